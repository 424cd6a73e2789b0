"""True effects of simulated screens: exact where counts have none of their noise, near what many cells measure."""

from dataclasses import fields, replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import samsjax
from samsjax.data import ArtifactSimulationConfig, SimulationConfig, simulate, simulate_artifacts
from samsjax.errors import InputError
from samsjax.evaluation.true_effects import true_effects
from tests import small


@pytest.fixture(scope="module")
def screen():
    return simulate(replace(small.SCREEN, n_control_cells=400, cells_per_single=150), seed=0)


def test_counts_are_averages_of_their_means(screen):
    data, truth = screen
    treated = samsjax.treatments(data)
    effects = true_effects(data, treated, truth, "counts")
    control = truth.mean[data.is_control].mean(axis=0)
    for row in range(len(treated.labels)):
        expected = truth.mean[treated.assignment == row].mean(axis=0) - control
        assert_allclose(effects.ate[row], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("transform", ["log2_cp10k", "cp10k"])
def test_measured_effects_scatter_about_them(screen, transform):
    data, truth = screen
    treated = samsjax.treatments(data)
    true = true_effects(data, treated, truth, transform)
    measured = samsjax.data_effects(data, treated, np.arange(data.n_cells), transform)
    z = (measured.ate - true.ate) / measured.standard_error
    # A gene hardly seen has a standard error of nearly zero, so a few may lie far out.
    assert np.abs(z).mean() < 1.0 and (np.abs(z) > 4).mean() < 0.01
    assert true.standard_error.mean() < 0.8 * measured.standard_error.mean()


@pytest.mark.parametrize("transform", ["counts", "log2_cp10k"])
def test_effects_of_a_screen_with_failed_cells_are_those_had_they_not_failed(transform):
    named = {"n_mito_genes": 3, "n_ribo_genes": 2, "n_confounded": 2}
    of_screen = {field.name: getattr(small.SCREEN, field.name) for field in fields(SimulationConfig)}
    data, truth = simulate_artifacts(ArtifactSimulationConfig(**of_screen, **named), seed=1)
    other, its_truth = simulate(small.SCREEN, seed=1)
    effects = true_effects(data, samsjax.treatments(data), truth, transform)
    assert_array_equal(effects.ate, true_effects(other, samsjax.treatments(other), its_truth, transform).ate)
    biased = true_effects(data, samsjax.treatments(data), truth._replace(good_mean=None), transform)
    assert np.abs(biased.ate - effects.ate).max() > 0.1


def test_what_has_no_truth_is_refused(screen):
    data, truth = screen
    treated = samsjax.treatments(data)
    with pytest.raises(InputError, match="continuous values"):
        true_effects(data, treated, truth._replace(theta=None), "cp10k")
    with pytest.raises(InputError, match="no control cells"):
        some = data.subset(~data.is_control)
        true_effects(some, samsjax.treatments(some), truth, "counts")
