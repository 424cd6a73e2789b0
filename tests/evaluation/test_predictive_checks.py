"""Cells drawn from a model, and checks of a model against cells that it did or did not draw itself."""

from dataclasses import replace

import jax
import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal

import samsjax
from samsjax.errors import InputError
from samsjax.evaluation.generated_cells import generate_cells, replicate_cells
from samsjax.evaluation.model_effects import EffectsConfig, model_effects
from samsjax.evaluation.predictive_checks import predictive_check
from tests import small


@pytest.fixture(scope="module")
def data():
    return small.screen()


@pytest.fixture(scope="module")
def fitted(data):
    return samsjax.fit(data, small.MODEL, small.TRAIN, progress=False)


def as_drawn(fitted, data, seed):
    """The screen as the model would have measured it."""
    x = replicate_cells(jax.random.key(seed), fitted, data, np.arange(data.n_cells))
    return replace(data, x=sp.csr_matrix(x.astype(np.int32)))


def test_replicates_keep_order_and_exposure(fitted, data):
    rows = np.random.default_rng(0).permutation(data.n_cells)[:60]
    exposure = np.where(np.arange(data.n_cells) % 2 == 0, 10.0, 1000.0).astype(np.float32)
    x = replicate_cells(jax.random.key(1), fitted, replace(data, library_size=exposure), rows)
    assert x.shape == (60, data.n_genes)
    large = exposure[rows] > 100
    assert x[large].sum(axis=1).min() > 3 * x[~large].sum(axis=1).max()
    assert_array_equal(x, replicate_cells(jax.random.key(1), fitted, replace(data, library_size=exposure), rows))


def test_more_cells_than_one_chunk(fitted, data, monkeypatch):
    monkeypatch.setattr("samsjax.evaluation.generated_cells.REPLICATES_AT_ONCE", 64)
    x = replicate_cells(jax.random.key(1), fitted, data, np.arange(150))
    assert x.shape == (150, data.n_genes) and (x.sum(axis=1) > 0).mean() > 0.9


def test_generated_cells_have_the_predicted_effect(fitted, data):
    config = EffectsConfig(n_particles=2000, transform="counts", noise="mean", library_size=200.0)
    treated = samsjax.treatments(data)
    row = 0
    predicted = model_effects(
        jax.random.key(0), fitted, treated.labels, treated.perturbation_index, treated.dosage, config
    )
    arms = [(np.zeros_like(treated.perturbation_index[row]), np.zeros_like(treated.dosage[row]))]
    arms.append((treated.perturbation_index[row], treated.dosage[row]))
    control, cells = (generate_cells(jax.random.key(2), fitted, *arm, 2000, config) for arm in arms)
    assert (cells.library_size == 200.0).all() and cells.x.shape == (2000, data.n_genes)
    difference = cells.x.mean(axis=0) - control.x.mean(axis=0)
    error = np.sqrt((cells.x.var(axis=0) + control.x.var(axis=0)) / 2000) + predicted.standard_error[row]
    assert (np.abs(difference - predicted.ate[row]) < 4.5 * error).all()


def test_a_model_passes_its_own_check_and_fails_on_other_cells(fitted, data):
    drawn = as_drawn(fitted, data, seed=3)
    check = predictive_check(jax.random.key(4), fitted, drawn, np.arange(data.n_cells), n_replicates=40)
    inside = {statistic.name: statistic.inside for statistic in check.statistics}
    assert list(inside) == ["mean", "variance", "zeros", "library size"]
    assert min(inside.values()) > 0.65, inside
    doubled = replace(drawn, x=drawn.x * 2)
    worse = predictive_check(jax.random.key(4), fitted, doubled, np.arange(data.n_cells))
    assert all(statistic.inside < 0.3 for statistic in worse.statistics if statistic.name != "zeros")


def test_the_key_chooses_cells_beyond_the_limit(fitted, data):
    few = predictive_check(jax.random.key(0), fitted, data, np.arange(data.n_cells), n_replicates=20, max_cells=50)
    again = predictive_check(jax.random.key(0), fitted, data, np.arange(data.n_cells), n_replicates=20, max_cells=50)
    assert few.measured.shape == few.replicate.shape == (50, data.n_genes) and few.n_replicates == 20
    for one, other in zip(few.statistics, again.statistics, strict=True):
        assert_array_equal(one.measured, other.measured)
        assert_array_equal(one.high, other.high)
        assert (one.low <= one.high).all()


def test_what_cannot_be_checked_is_refused(fitted, data):
    with pytest.raises(InputError, match="at least 2 cells, got 1"):
        predictive_check(jax.random.key(0), fitted, data, np.arange(1))
    with pytest.raises(InputError, match="n_replicates"):
        predictive_check(jax.random.key(0), fitted, data, np.arange(9), n_replicates=3)
    with pytest.raises(InputError, match="no cells"):
        replicate_cells(jax.random.key(0), fitted, data, np.arange(0))
