"""What the benchmark of doses measures with: exact effects, interpolation; curves halve the errors of lines."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from benchmarks.doses import SCREEN, exact_effects, held_out_errors, interpolated, relative_error
from samsjax.data import treatments
from samsjax.data.dose_simulation import draw_dosed_screen
from samsjax.evaluation import true_effects
from samsjax.evaluation.baselines.training import TrainingEffects

TINY = replace(
    SCREEN,
    n_genes=30,
    n_latent=4,
    n_perturbations=4,
    n_without_effect=1,
    n_doubles=2,
    n_control_cells=400,
    cells_per_single=600,
    gene_mean_log_sd=1.0,
)


def test_exact_effects_are_those_of_the_cells_up_to_their_sampling():
    screen = draw_dosed_screen(TINY, seed=0)
    treated = treatments(screen.drawn.data)
    exact = exact_effects(screen, treated)
    sampled = true_effects(screen.drawn.data, treated, screen.drawn.truth)
    alone = (treated.dosage != 0).sum(axis=1) == 1
    z = ((sampled.ate - exact) / sampled.standard_error)[alone]
    assert np.sqrt((z**2).mean()) < 1.6
    idle = alone & (treated.perturbation_index[:, 0] == 3)
    assert idle.sum() == 5
    assert_allclose(exact[idle], 0, atol=1e-6)


def test_interpolation_is_linear_in_log_dose_and_constant_beyond():
    conditions = [((0, 1.0),), ((0, 100.0),), ((1, 5.0),), ((0, 1.0), (1, 5.0))]
    effect = np.array([[1.0, 0.0], [3.0, 4.0], [10.0, 20.0], [9.0, 9.0]])
    names = ["labels", "n_cells", "standard_error", "control_mean", "controls", "gene_names", "perturbation_names"]
    training = TrainingEffects(
        conditions=conditions, effect=effect, transform="counts", whole_counts=True, **dict.fromkeys(names)
    )
    asked = [((0, 10.0),), ((0, 0.1),), ((0, 1e4),), ((0, 10.0), (1, 1.0))]
    assert_allclose(interpolated(training, asked), [[2, 2], [1, 0], [3, 4], [12, 22]])


def test_predicting_nothing_is_an_error_of_one():
    true = np.array([[1.0, -2.0], [0.0, 3.0]])
    assert relative_error(np.zeros((2, 2)), true) == pytest.approx(1.0)
    assert relative_error(true, true) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("place", ["inside", "highest"])
def test_curves_halve_the_error_of_lines_at_doses_that_nobody_trained_on(place):
    config = replace(SCREEN, held_out_dose=place)
    found = held_out_errors(config, ("linear", "hill_shared"), 2500, seed=0)
    assert found["SAMS-VAE, hill_shared"].held_out <= 0.5 * found["SAMS-VAE, linear"].held_out
    assert found["SAMS-VAE, hill_shared"].held_out < found["log-dose interpolation"].held_out
