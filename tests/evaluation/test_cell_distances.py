"""Distances between sets of cells: brute force, scikit-learn, known distributions, weights, single precision."""

from itertools import combinations, product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import rbf_kernel

from samsjax.errors import InputError
from samsjax.evaluation import cell_distances
from samsjax.evaluation.cell_distances import (
    CELL_METRICS,
    energy_distance,
    median_distance,
    mmd,
    pair_distances,
    principal_axes,
    project,
)

N_AXES = 5


def cells(n: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, scale, (n, N_AXES))


@pytest.fixture(scope="module")
def measured() -> np.ndarray:
    return cells(300, 0)  # more than one block of distances


@pytest.fixture(scope="module")
def predicted() -> np.ndarray:
    return cells(40, 1, shift=0.3, scale=1.4)


def brute_energy(a, b) -> float:
    between = np.mean([np.linalg.norm(x - y) for x, y in product(a, b)])
    within = [np.mean([np.linalg.norm(x - y) for x, y in combinations(side, 2)]) for side in (a, b)]
    return 2 * between - sum(within)


def kernel_mmd(a, b, bandwidth: float) -> float:
    gamma = 1 / (2 * bandwidth**2)
    k_aa, k_bb = (
        (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (rbf_kernel(v, gamma=gamma) for v in (a, b))
    )
    return k_aa + k_bb - 2 * rbf_kernel(a, b, gamma=gamma).mean()


def test_distances_agree_with_scipy(measured, predicted):
    found = pair_distances(measured, predicted)
    assert found.dtype == np.float32
    assert_allclose(found, cdist(measured, predicted), rtol=1e-5)


def test_energy_distance_is_that_of_all_pairs_of_different_cells(predicted):
    few = cells(25, 2)
    assert_allclose(energy_distance(few, predicted), brute_energy(few, predicted), rtol=1e-5)


def test_sets_larger_than_a_block_give_the_same(measured, predicted):
    d = {k: cdist(*v) for k, v in {"mp": (measured, predicted), "mm": (measured,) * 2, "pp": (predicted,) * 2}.items()}
    expected = 2 * d["mp"].mean() - d["mm"].sum() / (300 * 299) - d["pp"].sum() / (40 * 39)
    assert_allclose(energy_distance(measured, predicted), expected, rtol=1e-5)
    assert_allclose(energy_distance(predicted, measured), expected, rtol=1e-5)


def test_mmd_agrees_with_the_kernel_of_scikit_learn(measured, predicted):
    bandwidth = np.median(cdist(measured, measured)[np.triu_indices(300, 1)])
    assert_allclose(median_distance(measured), bandwidth, rtol=1e-6)
    assert_allclose(mmd(measured, predicted), kernel_mmd(measured, predicted, bandwidth), rtol=1e-4)
    assert_allclose(mmd(measured, predicted, bandwidth=0.7), kernel_mmd(measured, predicted, 0.7), rtol=1e-4)


def test_bandwidth_of_many_cells_is_taken_over_some(monkeypatch, measured):
    whole = median_distance(measured)
    monkeypatch.setattr(cell_distances, "CELLS_FOR_BANDWIDTH", 100)
    assert 0 < abs(median_distance(measured) / whole - 1) < 0.1


def test_one_dimension_has_a_closed_form():
    """Two pairs of points: {0, 1} and {3, 7} on a line."""
    a, b = np.array([[0.0], [1.0]]), np.array([[3.0], [7.0]])
    assert_allclose(energy_distance(a, b), 2 * (3 + 7 + 2 + 6) / 4 - 1 - 4, rtol=1e-6)
    k = lambda d: np.exp(-(d**2) / 8)  # noqa: E731
    assert_allclose(mmd(a, b, bandwidth=2.0), k(1) + k(4) - (k(3) + k(7) + k(2) + k(6)) / 2, rtol=1e-6)


@pytest.mark.parametrize("metric", CELL_METRICS.values(), ids=CELL_METRICS)
def test_equal_distributions_are_at_zero_whatever_the_numbers_of_cells(metric):
    """Sets of 3 and 60 cells would be far from 0 if a cell were paired with itself."""
    drawn = [metric.function(cells(60, 2 * s), cells(3, 2 * s + 1)) for s in range(150)]
    standard_error = np.std(drawn) / np.sqrt(150)
    assert abs(np.mean(drawn)) < 4 * standard_error
    assert np.min(drawn) < 0
    paired_with_itself = {"edistance": np.sqrt(2 * N_AXES) * 0.95 / 3, "mmd": 0.4 / 3}[metric.name]
    assert standard_error < paired_with_itself / 8


@pytest.mark.parametrize("metric", CELL_METRICS.values(), ids=CELL_METRICS)
def test_distances_grow_with_differences_of_mean_and_of_spread(metric, measured):
    by_shift = [metric.function(measured, cells(200, 9, shift=s)) for s in (0.0, 0.3, 0.6, 1.2)]
    by_scale = [metric.function(measured, cells(200, 9, scale=s)) for s in (1.0, 1.5, 2.0, 3.0)]
    assert (np.diff(by_shift) > 0.01).all() and (np.diff(by_scale) > 0.01).all()


@pytest.mark.parametrize("metric", CELL_METRICS.values(), ids=CELL_METRICS)
def test_rotation_shift_and_order_do_not_matter_and_units_are_those_stated(metric, measured, predicted):
    value = metric.function(measured, predicted)
    rotation = np.linalg.qr(cells(N_AXES, 3))[0]
    order = np.random.default_rng(0).permutation(len(measured))
    assert_allclose(metric.function(measured @ rotation, predicted @ rotation), value, rtol=1e-4)
    # A shift by a million standard deviations costs no precision.
    assert_allclose(metric.function(measured + 1e6, predicted + 1e6), value, rtol=1e-4)
    assert_allclose(metric.function(measured[order], predicted), value, rtol=1e-5)
    scaled = metric.function(1e-3 * measured, 1e-3 * predicted)
    assert_allclose(scaled, value * {"scale": 1e-3, "1": 1.0}[metric.unit], rtol=1e-4)
    assert metric.bounds[0] <= value <= metric.bounds[1]


@pytest.mark.parametrize("metric", CELL_METRICS.values(), ids=CELL_METRICS)
def test_zero_and_one_weights_choose_cells(metric, measured, predicted):
    """All halves of one set in one call: the same cells on both sides, with weights that do not overlap."""
    options = {} if metric.name == "edistance" else {"bandwidth": 2.0}
    rng = np.random.default_rng(0)
    half = rng.random((4, len(measured))) < 0.5
    found = metric.function(measured, measured, half, ~half, **options)
    assert found.shape == (4,)
    assert_allclose(found, [metric.function(measured[h], measured[~h], **options) for h in half], rtol=1e-3, atol=1e-6)
    single = metric.function(measured, predicted, half[0], **options)
    assert single.shape == ()
    assert_allclose(single, metric.function(measured[half[0]], predicted, **options), rtol=1e-5)
    assert_array_equal(metric.function(measured, predicted, half[:1], **options), [single])


def test_weights_are_relative_and_replicates_go_with_one_fixed_side(measured, predicted):
    weights = np.random.default_rng(0).dirichlet(np.ones(len(measured)), size=3)
    found = energy_distance(measured, predicted, weights)
    assert_allclose(energy_distance(measured, predicted, 1e3 * weights), found)
    ones = np.ones((3, len(predicted)))
    assert_allclose(energy_distance(measured, predicted, weights, ones), found)
    assert_allclose(energy_distance(predicted, measured, None, weights), found, rtol=1e-5)
    expected = []
    for w in weights:
        within = (w @ cdist(measured, measured) @ w) / (1 - (w**2).sum())
        between = w @ cdist(measured, predicted).mean(axis=1)
        expected.append(2 * between - within - cdist(predicted, predicted).sum() / (40 * 39))
    assert_allclose(found, expected, rtol=1e-5)


def test_bootstrap_replicates_lie_about_the_estimate(measured, predicted):
    """A cell drawn twice is no pair at distance 0: replicates are not shifted."""
    drawn = np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), size=400)
    replicates = energy_distance(measured, predicted, None, drawn)
    estimate = energy_distance(measured, predicted)
    spread = replicates.std()
    assert abs(replicates.mean() - estimate) < 0.25 * spread
    # The spread is that between independent samples of the same size.
    samples = [energy_distance(measured, cells(40, 100 + s, shift=0.3, scale=1.4)) for s in range(60)]
    assert 0.6 < spread / np.std(samples) < 1.6


def test_the_bandwidth_depends_on_measured_cells_alone(measured, predicted):
    bandwidth = median_distance(measured)
    draws = np.random.default_rng(0).multinomial(300, np.full(300, 1 / 300), size=3)
    for side, weights in ((predicted, draws), (5 * predicted, None)):
        assert_array_equal(mmd(measured, side, weights), mmd(measured, side, weights, bandwidth=bandwidth))


def test_single_precision_loses_no_small_distances():
    """Near copies far from the centre: |a|^2 + |b|^2 - 2 a.b would find distances of 0 to 0.1 here."""
    rng = np.random.default_rng(0)
    centres = 100 * rng.standard_normal((20, 50))
    copies = centres + 1e-3 * rng.standard_normal((20, 50))
    # Coordinates near 100 are known to about 4e-6, their differences of 1e-3 to half a percent.
    assert_allclose(np.diagonal(pair_distances(centres, copies)), np.linalg.norm(centres - copies, axis=1), rtol=0.01)
    assert_array_equal(np.diagonal(pair_distances(centres, centres)), 0.0)


def test_too_few_or_equal_cells_are_not_defined(measured, predicted):
    for function in (energy_distance, mmd):
        assert np.isnan(function(measured, predicted[:1]))
        assert np.isnan(function(measured[:1], predicted))
        weights = np.zeros((2, len(measured)))
        weights[0, 7], weights[1, 7:9] = 3.0, 0.1
        assert_array_equal(np.isnan(function(measured, predicted, weights)), [True, False])
    equal = np.ones((5, N_AXES))
    assert np.isnan(mmd(equal, predicted))
    assert energy_distance(equal, equal) == 0.0
    assert np.isnan(median_distance(equal[:1]))


def test_axes_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    for shape in ((60, 20), (20, 60)):
        values = rng.standard_normal(shape) @ np.diag(np.linspace(1, 4, shape[1])) + 10 * rng.random(shape[1])
        axes = principal_axes(values, 6)
        oracle = PCA(6, svd_solver="full").fit(values)
        signs = np.sign((axes.components * oracle.components_).sum(axis=1))
        assert_allclose(axes.components, signs[:, None] * oracle.components_, atol=1e-8)
        assert_allclose(project(axes, values), oracle.transform(values) * signs, atol=1e-4)
        largest = np.abs(axes.components).argmax(axis=1)
        assert (axes.components[np.arange(6), largest] > 0).all()
        flipped = principal_axes(2 * axes.mean - values, 6)
        assert_allclose(flipped.components, axes.components, atol=1e-8)


def test_no_more_axes_than_cells_span():
    rng = np.random.default_rng(0)
    assert principal_axes(rng.standard_normal((8, 30))).components.shape == (7, 30)
    assert principal_axes(rng.standard_normal((30, 8))).components.shape == (8, 8)
    planar = rng.standard_normal((40, 2)) @ rng.standard_normal((2, 30)) + 1e3
    axes = principal_axes(planar)
    assert axes.components.shape == (2, 30)
    assert_allclose(cdist(project(axes, planar), project(axes, planar)), cdist(planar, planar), atol=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: principal_axes(np.ones((5, 3))), "cells that differ, all 5 are equal"),
        (lambda: principal_axes(np.full((5, 3), 0.1)), "cells that differ"),
        (lambda: principal_axes(np.ones((1, 3))), "two or more cells, got 1"),
        (lambda: principal_axes(np.eye(3), 0), "n_axes must be >= 1, got 0"),
        (lambda: principal_axes(np.array([[1.0, np.nan], [1.0, 2.0]])), "values: 1 cells hold values that are not fin"),
        (lambda: project(principal_axes(np.eye(3)), np.eye(4)), "values have 4 genes, the principal axes 3"),
        (lambda: pair_distances(np.eye(3), np.eye(4)), "cells with 3 and 4 coordinates"),
        (lambda: pair_distances(np.eye(3), np.ones(3)), r"second cells must be a table of cells, .* got shape \(3,\)"),
        (lambda: energy_distance(np.eye(3), np.zeros((0, 3))), r"got shape \(0, 3\)"),
        (
            lambda: energy_distance(np.eye(3), np.eye(3), np.ones(4)),
            r"measured cells have shape \(1, 4\), expected .* 3",
        ),
        (lambda: mmd(np.eye(3), np.eye(3), None, -np.ones(3)), "predicted cells must be finite and >= 0, got -1.0"),
        (lambda: mmd(np.eye(3), np.eye(3), np.ones((2, 3)), np.ones((4, 3))), "2 and 4 replicates do not go together"),
        (lambda: mmd(np.eye(3), np.eye(3), bandwidth=0.0), "bandwidth must be > 0.0, got 0.0"),
    ],
)
def test_unusable_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
