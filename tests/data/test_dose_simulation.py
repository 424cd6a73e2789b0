"""The simulated screen with doses: what has no dose is the screen, and what has follows the stated curves."""

from dataclasses import fields, replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from samsjax.data import SimulationConfig, simulate, treatments
from samsjax.data.dose_simulation import DoseSimulationConfig, TrueCurves, draw_dosed_screen, simulate_doses
from samsjax.data.simulations import simulation
from samsjax.errors import InputError

SMALL = DoseSimulationConfig(
    n_genes=40,
    n_latent=4,
    n_perturbations=8,
    n_without_effect=2,
    n_doubles=6,
    n_control_cells=60,
    cells_per_single=43,
    cells_per_double=40,
    doses=(0.1, 1.0, 10.0, 1000.0),
)
PLAIN = SimulationConfig(**{field.name: getattr(SMALL, field.name) for field in fields(SimulationConfig)})


@pytest.fixture(scope="module")
def dosed():
    return draw_dosed_screen(SMALL, seed=3)


def test_everything_but_doses_and_counts_is_that_of_the_screen(dosed):
    data, truth = dosed.drawn.data, dosed.drawn.truth
    plain, plain_truth = simulate(PLAIN, seed=3)
    assert_array_equal(data.perturbation_index, plain.perturbation_index)
    assert_array_equal(data.dosage != 0, plain.dosage != 0)
    for name in ("mask", "effect", "z_basal", "theta"):
        assert_array_equal(getattr(truth, name), getattr(plain_truth, name))
    control = (data.dosage == 0).all(axis=1)
    assert_allclose(truth.mean[control], plain_truth.mean[control], rtol=1e-6)


def test_every_single_perturbation_is_spread_evenly_over_its_doses(dosed):
    treated = treatments(dosed.drawn.data)
    n_cells = np.bincount(treated.assignment[treated.assignment >= 0])
    alone = (treated.dosage != 0).sum(axis=1) == 1
    assert alone.sum() == 8 * 4
    assert set(n_cells[alone]) == {10, 11}
    assert_allclose(np.unique(treated.dosage[treated.dosage > 0]), SMALL.doses, rtol=1e-6)
    pairs = treated.dosage[~alone]
    assert (pairs[:, 0] != pairs[:, 1]).any()


def test_gates_are_the_formula():
    curves = TrueCurves(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 2.0], [3.0, 4.0]]))
    gate = curves.gate(np.array([0, 1, 1]), np.array([2.0, 4.0, 0.0]))
    assert_allclose(gate, [[2 / 3, 1 / 2], [64 / 91, 1 / 2], [0.0, 0.0]])


def test_cells_move_by_their_gated_effects(dosed):
    drawn, curves = dosed.drawn, dosed.curves
    cell = int(np.flatnonzero((drawn.data.dosage > 0).all(axis=1))[0])
    index, dose = drawn.data.perturbation_index[cell], drawn.data.dosage[cell].astype(float)
    shift = sum(
        d**curves.steepness[i] / (curves.half_dose[i] ** curves.steepness[i] + d**curves.steepness[i])
        * drawn.truth.effect[i]
        for i, d in zip(index, dose, strict=True)
    )  # fmt: skip
    assert_allclose(drawn.shift[cell], shift, rtol=1e-6)
    wanted = drawn.library_size[cell] * drawn.shares(drawn.truth.z_basal[cell : cell + 1] + shift)
    assert_allclose(drawn.truth.mean[cell : cell + 1], wanted, rtol=1e-4)


@pytest.mark.parametrize("curves_of", ["perturbations", "mechanisms"])
def test_half_doses_lie_around_the_middle_of_the_doses(curves_of):
    config = replace(SMALL, n_perturbations=60, cells_per_single=4, curves_of=curves_of)
    curves = draw_dosed_screen(config, seed=0).curves
    log_half = np.log(curves.half_dose)
    assert_allclose(log_half.mean(), np.log(SMALL.doses).mean(), atol=4 * 0.7 / np.sqrt(60))
    assert 0.5 < log_half.std() < 0.9
    assert (curves.steepness >= 1).all() and (curves.steepness <= 4).all()
    assert (np.ptp(log_half, axis=1) == 0).all() == (curves_of == "perturbations")


@pytest.mark.parametrize("place", ["inside", "highest"])
def test_a_held_out_dose_never_trains(place):
    data, _ = simulate_doses(replace(SMALL, held_out_dose=place), seed=3)
    trained = data.split != "test"
    for perturbation in range(8):
        carried = (data.perturbation_index == perturbation) & (data.dosage > 0)
        doses = [set(data.dosage[rows][carried[rows]].tolist()) for rows in (trained, slice(None))]
        (held,) = doses[1] - doses[0]
        assert held == pytest.approx(1000) if place == "highest" else held in (1.0, 10.0)
    assert set(data.split) == {"train", "val", "test"}


def test_the_same_seed_gives_the_same_bits_and_the_table_names_it(dosed):
    again, _ = simulation("doses").simulate(SMALL, seed=3)
    assert_array_equal(again.x.toarray(), dosed.drawn.data.x.toarray())
    assert_array_equal(again.dosage, dosed.drawn.data.dosage)
    assert_array_equal(again.split, dosed.drawn.data.split)
    assert simulation("doses").config is DoseSimulationConfig


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"doses": (1.0, 0.5)}, "ascending"),
        ({"doses": (0.0, 1.0)}, "positive"),
        ({"doses": ()}, "positive"),
        ({"doses": (1.0, 2.0), "held_out_dose": "inside"}, "at least 3 doses"),
        ({"held_out_dose": "hihgest"}, "highest"),
        ({"curves_of": "cells"}, "curves_of"),
        ({"half_dose_log_sd": -1.0}, "half_dose_log_sd"),
        ({"cells_per_single": 3}, "at least the 4 doses"),
    ],
)
def test_impossible_settings_are_refused(change, said):
    with pytest.raises(InputError, match=said):
        replace(SMALL, **change)
