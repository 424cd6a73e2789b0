"""The simulation from a causal model: graphs, mechanisms and contexts are what they are said to be.

The reference numbers of its difficulty are a slow test: `pytest --slow tests/data/test_gim_simulation.py` (2 seconds).
"""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from samsjax.causal.graphs import is_acyclic
from samsjax.causal.metrics import auroc, average_precision
from samsjax.data.features.table import feature_scale
from samsjax.data.gim_simulation import CONTROL, GIMSimulationConfig, draw_gim, simulate_gim
from samsjax.data.random_graphs import erdos_renyi, scale_free, topological_order
from samsjax.data.structural import StructuralModel, draw_mechanisms, linear_moments
from samsjax.errors import InputError

SMALL = GIMSimulationConfig(
    n_variables=6,
    n_train_functions=5,
    n_test_functions=2,
    n_control_cells=400,
    n_held_out_controls=10,
    cells_per_context=8,
    n_features=4,
    val_share=0.2,
)


def conditions(data):
    return np.where(data.is_control, CONTROL, data.perturbation_index[:, 0])


@pytest.mark.parametrize("draw", [erdos_renyi, scale_free])
def test_graphs_are_acyclic_with_the_asked_edges_in_random_order(draw):
    rng = np.random.default_rng(0)
    graphs = [draw(rng, 20, 2) for _ in range(200)]
    assert all(is_acyclic(graph) for graph in graphs)
    assert_allclose(np.mean([graph.sum() for graph in graphs]), 40 if draw is erdos_renyi else 37, rtol=0.03)
    assert_allclose(np.mean([np.triu(graph).sum() / graph.sum() for graph in graphs]), 0.5, atol=0.05)
    for graph in graphs[:5]:
        place = np.argsort(topological_order(graph))
        assert all(place[i] < place[j] for i, j in np.argwhere(graph))


def test_scale_free_graphs_have_hubs_that_are_causes():
    rng = np.random.default_rng(0)
    graphs = [scale_free(rng, 20, 2) for _ in range(50)]
    assert np.mean([graph.sum(axis=1).max() for graph in graphs]) > 6
    assert all(graph.sum(axis=0).max() == 2 for graph in graphs)


def test_a_cycle_has_no_order_and_edges_have_a_limit():
    with pytest.raises(InputError, match=r"cycle among the nodes \[0, 1\]"):
        topological_order(np.array([[0, 1], [1, 0]], dtype=bool))
    with pytest.raises(InputError, match="edges_per_node must be from 0 to 2 for 5 nodes, got 3"):
        erdos_renyi(np.random.default_rng(0), 5, 3)


@pytest.mark.parametrize("intervention", ["shift", "hard"])
def test_exact_moments_are_those_of_samples(intervention):
    rng = np.random.default_rng(1)
    graph = erdos_renyi(rng, 5, 1)
    model = StructuralModel(graph, draw_mechanisms(rng, graph, "linear"), rng.uniform(0.4, 1, 5))
    targets = np.array([[0, 1, 0, 1, 0]], dtype=bool)
    strengths = np.where(targets, 2.0, 0.0)
    (mean,), (covariance,) = linear_moments(model, targets, strengths, intervention)
    n = 40_000
    noise = rng.standard_normal((n, 5))
    x = model.sample(noise, np.repeat(targets, n, 0), np.repeat(strengths, n, 0), intervention)
    assert_allclose(x.mean(axis=0), mean, atol=4 * np.sqrt(np.diagonal(covariance).max() / n))
    assert_allclose(np.cov(x, rowvar=False), covariance, atol=0.05 * np.diagonal(covariance).max())
    if intervention == "hard":
        assert_allclose(mean[targets[0]], 2.0)
        assert_allclose(np.diagonal(covariance)[targets[0]], model.noise_sd[targets[0]] ** 2)


@pytest.mark.parametrize("mechanism", ["linear", "mlp"])
def test_a_rescaled_model_draws_rescaled_cells(mechanism):
    rng = np.random.default_rng(2)
    graph = erdos_renyi(rng, 5, 2)
    model = StructuralModel(graph, draw_mechanisms(rng, graph, mechanism), rng.uniform(0.4, 1, 5))
    loc, scale, noise = rng.normal(size=5), rng.uniform(0.5, 2, 5), rng.standard_normal((7, 5))
    targets, shift = rng.random((7, 5)) < 0.4, rng.normal(size=(7, 5))
    x = model.sample(noise, targets, shift, "shift")
    assert_allclose(model.rescaled(loc, scale).sample(noise, targets, shift / scale, "shift"), (x - loc) / scale)


@pytest.mark.parametrize("mechanism", ["linear", "mlp"])
@pytest.mark.parametrize("intervention", ["shift", "hard"])
def test_cells_follow_from_the_truth(mechanism, intervention):
    data, truth = draw_gim(replace(SMALL, mechanism=mechanism, intervention=intervention), seed=3)
    condition = conditions(data)
    targets = np.vstack([truth.targets, np.zeros((1, 6), bool)])[condition]
    strengths = np.vstack([truth.strengths, np.zeros((1, 6))])[condition]
    assert_allclose(data.x, truth.model.sample(truth.noise, targets, strengths, intervention), rtol=1e-4, atol=1e-4)
    reference = data.x[(condition == CONTROL) & (data.split == "train")].astype(np.float64)
    assert_allclose(reference.mean(axis=0), 0, atol=1e-5)
    assert_allclose(reference.std(axis=0), 1, rtol=1e-5)


def test_contexts_are_functions_at_doses_and_split_by_group():
    data, truth = draw_gim(SMALL, seed=0)
    sizes = dict(zip(*np.unique(truth.group, return_counts=True), strict=True))
    assert sizes == {"train": 16, "val": 4, "partly_interior": 15, "partly_edge": 10, "fully": 8}
    assert data.perturbation_names.tolist() == sorted(data.perturbation_names.tolist())
    assert data.perturbation_names[0] == "hill1@0.25" and "hill1@1" in data.perturbation_names
    condition = conditions(data)
    for group, split in (("train", "train"), ("val", "val"), ("partly_edge", "test"), ("fully", "test")):
        assert set(data.split[np.isin(condition, truth.contexts(group))]) == {split}
    assert (np.bincount(condition[condition >= 0]) == 8).all()
    assert set(truth.function[truth.contexts("train")]) == {f"hill{i}" for i in range(1, 6)}
    assert set(truth.function[truth.contexts("fully")]) == {"hill6", "hill7"}
    assert set(truth.dose[truth.contexts("partly_interior")]) == {0.75, 1.25, 1.75}


def test_strength_rises_with_the_dose_and_targets_do_not_change():
    _, truth = draw_gim(SMALL, seed=0)
    for function in np.unique(truth.function):
        rows = np.flatnonzero(truth.function == function)
        rows = rows[np.argsort(truth.dose[rows])]
        assert (truth.targets[rows] == truth.targets[rows[0]]).all() and 1 <= truth.targets[rows[0]].sum() <= 3
        strength = np.abs(truth.strengths[rows][:, truth.targets[rows[0]]])
        assert (np.diff(strength, axis=0) > 0).all() and not truth.strengths[rows][:, ~truth.targets[rows[0]]].any()


def test_the_same_seed_gives_the_same_bits_and_cells_do_not_change_the_model():
    (a, b), (c, d) = draw_gim(SMALL, seed=1), draw_gim(SMALL, seed=1)
    assert_array_equal(a.x, c.x)
    assert_array_equal(a.features.values, c.features.values)
    _, other = draw_gim(replace(SMALL, cells_per_context=5, features="onehot"), seed=1)
    assert_array_equal(other.targets, b.targets)
    assert_array_equal(other.graph, d.graph)
    assert not np.array_equal(draw_gim(SMALL, seed=2)[1].targets, b.targets)


def test_linear_features_are_the_stated_map():
    """Without noise, features of functions are linear in targets and amplitudes, and the rest is the curve."""
    config = replace(SMALL, n_train_functions=30, feature_noise=0.0)
    data, truth = draw_gim(config, seed=0)
    values = data.features.values
    assert data.features.names[:2] == ("targets01", "targets02") and values.shape[1] == 2 * 4 + 3
    residual = np.linalg.lstsq(truth.targets.astype(float), values[:, :4], rcond=None)[1]
    assert_allclose(residual, 0, atol=1e-16)
    assert_allclose(values[:, -1], np.log(truth.dose))
    noisy, _ = draw_gim(replace(config, feature_noise=0.05), seed=0)
    assert_allclose((noisy.features.values - values).std(), 0.05, rtol=0.05)


@pytest.mark.parametrize("features", ["nonlinear", "onehot"])
def test_other_features_can_be_standardised(features):
    data, truth = draw_gim(replace(SMALL, features=features), seed=0)
    trained = np.isin(np.arange(data.n_perturbations), truth.contexts("train"))
    standardised = feature_scale(data.features, trained).standardise(data.features.values)
    assert np.isfinite(standardised).all()
    if features == "onehot":
        rows = data.features.values[truth.contexts("fully")]
        assert not rows[:, :-1].any() and set(rows[:, -1].tolist()) == {0.5, 1.0, 1.5, 2.0}


@pytest.mark.parametrize("mechanism", ["linear", "mlp"])
def test_the_common_truth_holds_targets_and_means(mechanism):
    config = replace(SMALL, mechanism=mechanism)
    data, truth = simulate_gim(config, seed=4)
    _, own = draw_gim(config, seed=4)
    assert_array_equal(truth.mask, own.targets)
    assert_allclose(truth.effect, own.strengths, rtol=1e-6)
    assert truth.mean.shape == data.x.shape and truth.theta is None
    context = int(own.contexts("fully")[0])
    cells = own.sample(np.random.default_rng(0), context, 5000)
    expected = truth.mean[conditions(data) == context]
    assert_allclose(expected, np.broadcast_to(cells.mean(axis=0), expected.shape), atol=0.25)
    if mechanism == "linear":
        assert_allclose(expected[0], own.moments()[0][context], rtol=1e-5, atol=1e-6)
    else:
        with pytest.raises(InputError, match="linear mechanisms"):
            own.moments()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"graph": "tree"}, "unknown graph 'tree'"),
        ({"val_share": 0.9}, "val_share must be >= 0.0 and <= 0.75"),
        ({"interior_doses": (0.5,)}, "doses repeat"),
        ({"doses": (0.0,)}, "dose must be > 0"),
        ({"max_targets": 7}, "max_targets must be <= 6"),
        ({"cells_per_context": 1}, "cells_per_context must be >= 2"),
    ],
)
def test_impossible_settings_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **change)


@pytest.mark.slow
@pytest.mark.parametrize(("graph", "marginal"), [("er", (0.83, 0.41)), ("sf", (0.81, 0.29))])
def test_targets_are_as_hard_to_find_as_the_reference_says(graph, marginal):
    """Marginal mean shifts, and residual shifts given the true graph and weights; 10 seeds, 20 variables."""
    found = []
    for seed in range(10):
        data, truth = draw_gim(GIMSimulationConfig(graph=graph, val_share=0.0), seed=seed)
        rows, condition = truth.contexts("train"), conditions(data)
        means = np.array([data.x[condition == row].mean(axis=0, dtype=np.float64) for row in rows])
        mechanisms = truth.model.mechanisms
        residual = (means - means @ mechanisms.weights - mechanisms.bias) / truth.model.noise_sd
        scores = [np.abs(s) for s in (means, residual)]
        found.append([f(truth.targets[rows], s) for s in scores for f in (auroc, average_precision)])
    assert_allclose(np.mean(found, axis=0), [*marginal, 0.98, 0.96], atol=0.07)
