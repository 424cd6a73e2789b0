"""Resampling of measured cells: means, independence of halves, seeds."""

import jax
import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from samsjax.evaluation import noise
from samsjax.evaluation.noise import (
    MeasuredCells,
    bootstrap_effects,
    bootstrap_weights,
    half_effects,
    half_weights,
    measured_effects,
)

SIZES = np.array([6, 11, 30])


@pytest.fixture(params=["sparse", "dense"])
def cells(request):
    values = np.random.default_rng(0).poisson(0.7, (SIZES.sum(), 5)).astype(float)
    return MeasuredCells(sp.csr_matrix(values) if request.param == "sparse" else values, SIZES, ("A", "B", "ctrl"))


def dense(cells):
    return cells.values.toarray() if sp.issparse(cells.values) else cells.values


def test_effects_of_all_cells_are_differences_of_means(cells):
    found = measured_effects(cells)
    a, b, control = np.split(dense(cells), np.cumsum(SIZES)[:-1])
    assert_allclose(found.effect, [a.mean(axis=0) - control.mean(axis=0), b.mean(axis=0) - control.mean(axis=0)])
    assert_allclose(found.control_mean, control.mean(axis=0))
    variance = [np.maximum(g.var(axis=0, ddof=1), control.var(axis=0, ddof=1)) / len(g) for g in (a, b)]
    assert_allclose(found.standard_error, np.sqrt(variance + control.var(axis=0, ddof=1) / len(control)))


def test_an_absent_rare_transcript_is_not_certainly_lost():
    """Treated cells without any count do not vary, yet their mean is as uncertain as that of so many controls."""
    control = np.zeros((100, 1))
    control[:10] = 1.0
    cells = MeasuredCells(np.concatenate([np.zeros((5, 1)), control]), np.array([5, 100]), ("A", "ctrl"))
    found = measured_effects(cells)
    assert abs(found.effect[0, 0] / found.standard_error[0, 0]) < 1


def test_replicates_are_means_of_the_cells_drawn(cells, monkeypatch):
    weights = bootstrap_weights(jax.random.key(1), cells, 9)
    assert_array_equal([weights[:, a:b].sum(axis=1) for a, b in cells.bounds], np.tile(SIZES[:, None], 9))
    monkeypatch.setattr(noise, "VALUES_IN_FLIGHT", 2 * 3 * 5)  # two replicates at a time
    replicates = list(bootstrap_effects(cells, weights))
    assert len(replicates) == 9
    for weight, replicate in zip(weights.astype(int), replicates, strict=True):
        copied = [np.repeat(dense(cells)[a:b], weight[a:b], axis=0).mean(axis=0) for a, b in cells.bounds]
        assert_allclose(replicate.effect, np.array(copied[:2]) - copied[2], atol=1e-12)
        assert_allclose(replicate.control_mean, copied[2])


@pytest.mark.parametrize("draws_per_cell", [1, 4])
def test_replicates_vary_as_the_standard_error_says(draws_per_cell):
    values = np.random.default_rng(1).standard_normal((300, 4))
    cells = MeasuredCells(values, np.array([100, 200]), ("A", "ctrl"))
    weights = bootstrap_weights(jax.random.key(0), cells, 2000, draws_per_cell)
    sd = np.std([replicate.effect for replicate in bootstrap_effects(cells, weights)], axis=0)
    variance = values[:100].var(axis=0) / 100 + values[100:].var(axis=0) / 200
    assert_allclose(sd[0], np.sqrt(variance / draws_per_cell), rtol=0.08)


def test_halves_share_no_cell_and_hold_all(cells):
    weights = half_weights(jax.random.key(2), cells, 5)
    assert set(np.unique(weights)) == {0.0, 1.0}
    assert_array_equal([weights[:, a:b].sum(axis=1) for a, b in cells.bounds], np.tile(SIZES[:, None] // 2, 5))
    assert len(np.unique(weights, axis=0)) == 5
    for weight, halves in zip(weights, half_effects(cells, weights), strict=True):
        for chosen, half in zip((weight == 1, weight == 0), halves, strict=True):
            groups = [dense(cells)[a:b][chosen[a:b]] for a, b in cells.bounds]
            part = MeasuredCells(np.concatenate(groups), np.array([len(g) for g in groups]), cells.names)
            expected = measured_effects(part)
            for field in ("effect", "control_mean", "standard_error"):
                assert_allclose(getattr(half, field), getattr(expected, field), atol=1e-12)


@pytest.mark.parametrize("draw", [bootstrap_weights, half_weights])
def test_draws_of_a_treatment_depend_on_its_name_alone(cells, draw):
    weights = draw(jax.random.key(3), cells, 4)
    assert_array_equal(weights, draw(jax.random.key(3), cells, 4))
    assert (weights != draw(jax.random.key(4), cells, 4)).any()
    a, b, control = np.split(np.arange(SIZES.sum()), np.cumsum(SIZES)[:-1])
    turned = MeasuredCells(cells.values[np.concatenate([b, control])], SIZES[1:], ("B", "ctrl"))
    assert_array_equal(draw(jax.random.key(3), turned, 4), weights[:, np.concatenate([b, control])])
    assert len(a) == 6
