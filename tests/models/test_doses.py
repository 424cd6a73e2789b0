"""Curves of doses: zero without the perturbation, rising with the dose, safe at any magnitude; off by default."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import samsjax
from samsjax.errors import InputError
from samsjax.inference.batching import middle_log_doses
from samsjax.inference.fitted import prepare
from samsjax.inference.log_weights import draw_shared, effect_parameters, shared_sites
from samsjax.models import build_model, latent_axes
from samsjax.models.doses import HALF_DOSE, STEEPNESS, gates, hill
from samsjax.types import Batch
from tests import small
from tests.models import contract
from tests.models.contract_cases import SIZES
from tests.models.subject import subject

DOSES = np.array([0.0, 1e-6, 1e-3, 0.1, 1.0, 30.0, 1e4, 1e6], np.float32)
HILL, SHARED = (samsjax.SAMSVAEConfig(dose=dose, **SIZES) for dose in ("hill", "hill_shared"))


@pytest.fixture(scope="module")
def dosed():
    """The small screen, every second cell at a dose of 100 instead of 1, and the third perturbation always at 100."""
    data = small.labelled(small.screen())
    factor = np.where(np.arange(data.n_cells)[:, None] % 2 == 0, 100.0, 1.0)
    factor = np.where(data.perturbation_index == 2, 100.0, factor)
    return replace(data, dosage=(data.dosage * factor).astype(np.float32))


def grid():
    """Doses, and curves with half doses and exponents of many magnitudes: (dose, half dose, steepness)."""
    half, steep = np.log([1e-6, 1.0, 1e6]), np.log([0.1, 1.0, 4.0, 20.0])
    return jnp.asarray(DOSES[:, None, None]), jnp.asarray(half[:, None], jnp.float32), jnp.asarray(steep, jnp.float32)


def test_gates_are_shares_that_rise_with_the_dose():
    gate = np.asarray(hill(*grid()))
    assert gate.shape == (8, 3, 4)
    assert ((gate >= 0) & (gate <= 1)).all()
    assert (np.diff(gate, axis=0) >= 0).all()
    assert (gate[-1] > gate[1]).all()
    assert_array_equal(gate[0], 0.0)


def test_gates_are_those_of_the_formula():
    half, steep = np.array([0.5, 3.0, 40.0]), np.array([0.7, 1.0, 3.5])
    dose = np.array([0.01, 0.5, 3.0, 200.0])[:, None]
    wanted = dose**steep / (half**steep + dose**steep)
    assert_allclose(hill(*map(jnp.asarray, (dose, np.log(half), np.log(steep)))), wanted, rtol=1e-5)
    assert_allclose(hill(jnp.asarray(half), jnp.log(half), jnp.log(steep)), 0.5, rtol=1e-6)


def test_gradients_are_finite_everywhere_and_zero_without_the_perturbation():
    gradients = jax.grad(lambda *arguments: hill(*arguments).sum(), argnums=(0, 1, 2))(*jnp.broadcast_arrays(*grid()))
    assert all(bool(jnp.isfinite(gradient).all()) for gradient in gradients)
    assert all(bool((gradient[0] == 0).all()) for gradient in gradients)
    assert bool((gradients[0] >= 0).all())
    assert bool((gradients[1][4] != 0).any()) and bool((gradients[2][4] != 0).any())


def batch_of(index, dosage):
    """Cells with these perturbations, of a screen of four; nothing else is looked at."""
    zeros, rows = jnp.zeros(len(index)), jnp.arange(4)
    return Batch(None, zeros, jnp.asarray(index), jnp.asarray(dosage), zeros, rows, jnp.ones(4), jnp.ones(4), rows)


def test_every_slot_has_the_curve_of_its_perturbation():
    half, steep = np.log([[1.0, 4.0], [2.0, 2.0], [3.0, 1.0], [4.0, 9.0]]), np.zeros((4, 2))
    draws = {HALF_DOSE: jnp.asarray(half), STEEPNESS: jnp.asarray(steep)}
    found = gates(draws, batch_of([[2, 0], [3, 1]], [[1.0, 4.0], [4.0, 0.0]]))
    assert_allclose(found, [[[1 / 4, 1 / 2], [4 / 5, 1 / 2]], [[1 / 2, 4 / 13], [0.0, 0.0]]], rtol=1e-6)
    assert gates({}, batch_of([[2, 0]], [[1.0, 4.0]])) is None


COMPOSED = replace(SHARED, interaction_rank=2)


@pytest.mark.slow
def test_the_promises_of_models_that_doses_could_break(dosed):
    model = subject(COMPOSED, dosed)
    for promise in (
        contract.sites_and_plates_match,
        contract.every_parameter_learns,
        contract.absent_perturbations_can_be_left_out,
        contract.empty_slots_say_nothing,
        contract.turned_latent_space_says_the_same,
    ):
        promise(model)


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [HILL, COMPOSED, samsjax.CRADLEVAEConfig(dose="hill_shared", interaction_rank=2, **SIZES)],
    ids=["hill", "shared, interactions", "cradle"],
)
def test_all_promises_of_models(dosed, config):
    model = subject(config, dosed)
    for promise in contract.PROMISES:
        promise(model)


def test_tables_have_a_row_for_each_perturbation_and_linear_doses_have_none(dosed):
    tables = {f"{site}_{part}" for site in (HALF_DOSE, STEEPNESS) for part in ("loc", "log_factor")}
    for config, width in ((HILL, 4), (SHARED, 1)):
        model = subject(config, dosed)
        assert tables < effect_parameters(model.model_guide)
        assert {model.initial[name].shape for name in tables} == {(6, width)}
        assert {HALF_DOSE, STEEPNESS} < shared_sites(model.model_guide)
    linear = subject(replace(HILL, dose="linear"), dosed)
    assert not tables & set(linear.initial)
    assert shared_sites(linear.model_guide) == {"mask", "E"}


def test_half_doses_start_at_the_middle_of_the_doses_of_each_perturbation(dosed):
    middle = middle_log_doses(dosed)
    assert_allclose(np.exp(middle), [10, 10, 100, 10, 10, 10], rtol=1e-5)
    ready = prepare(dosed, SHARED, small.TRAIN)
    assert_array_equal(ready.arrays.statistics.log_doses, middle)
    assert_array_equal(ready.statistics.log_doses, middle)
    model_guide = build_model(SHARED, ready.statistics)
    model = subject(SHARED, dosed)
    draws = draw_shared(jax.random.key(0), model_guide, model.initial, 400, model.batch(np.arange(2)))
    assert_allclose(draws[HALF_DOSE].mean(axis=0)[:, 0], middle, atol=5 * 1.5 / 20)
    assert_allclose(draws[HALF_DOSE].std(axis=0), 1.5, rtol=0.2)


def test_perturbations_without_training_cells_have_the_middle_of_the_others(dosed):
    carried = ((dosed.perturbation_index == 4) & (dosed.dosage > 0)).any(axis=1)
    data = dosed.with_split(np.where(carried, "test", "train"))
    assert middle_log_doses(data)[4] == pytest.approx(np.log([10, 10, 100, 10, 10]).mean(), rel=1e-5)


def test_linear_doses_keep_no_statistics_of_doses(dosed):
    assert prepare(dosed, replace(SHARED, dose="linear"), small.TRAIN).statistics.log_doses is None


def test_curves_by_latent_dimension_do_not_turn():
    assert latent_axes(HILL) is None
    assert latent_axes(SHARED) == latent_axes(replace(SHARED, dose="linear")) is not None
    assert latent_axes(samsjax.CRADLEVAEConfig(dose="hill")) is None


def test_a_stored_model_keeps_its_curves(dosed, tmp_path):
    fitted = samsjax.fit(dosed, SHARED, small.TRAIN, progress=False)
    samsjax.save(fitted, tmp_path / "model")
    loaded = samsjax.load(tmp_path / "model")
    assert loaded.config == SHARED
    assert_array_equal(loaded.statistics.log_doses, fitted.statistics.log_doses)
    assert_array_equal(loaded.params["log_half_dose_loc"], fitted.params["log_half_dose_loc"])
    assert bool((loaded.params["log_half_dose_loc"] != 0).all())


@pytest.mark.parametrize(
    ("change", "said"),
    [({"dose": "hil"}, "hill"), ({"half_dose_scale": 0.0}, "half_dose_scale"), ({"steepness_scale": -1.0}, "steep")],
)
def test_impossible_settings_are_refused(change, said):
    with pytest.raises(InputError, match=said):
        samsjax.SAMSVAEConfig(**change)
