"""Search of graphs over contexts with unknown targets."""

import numpy as np
import pytest

from samsjax.causal.graphs import is_acyclic
from samsjax.causal.search import ContextMoments, Scores, edge_log_odds, search, total
from samsjax.data.structural import StructuralModel, draw_mechanisms

GRAPH = np.array([[0, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]], dtype=bool)
N_CONTEXTS, N_CELLS = 40, 60


def screen(kind, seed=0):
    """Contexts of a known graph with one or two targets each, and which these are; the first context has none."""
    rng = np.random.default_rng(seed)
    model = StructuralModel(GRAPH, draw_mechanisms(rng, GRAPH, "linear"), rng.uniform(0.4, 1.0, 5))
    targets = rng.permuted(np.tile([True, True, False, False, False], (N_CONTEXTS, 1)), axis=1)
    targets[0] = False
    strength = rng.choice([-2.0, 2.0], (N_CONTEXTS, 5))
    cells = [
        model.sample(
            rng.standard_normal((N_CELLS, 5)), *(np.tile(row[k], (N_CELLS, 1)) for row in (targets, strength)), kind
        )
        for k in range(N_CONTEXTS)
    ]
    return cells, targets


def moments_of(cells):
    mean = np.stack([x.mean(axis=0) for x in cells])
    covariance = np.stack([np.cov(x.T, bias=True) for x in cells])
    singles = tuple((j,) for j in range(5))
    return ContextMoments(np.array([float(len(x)) for x in cells]), mean, covariance, singles, tuple(range(5)))


@pytest.mark.parametrize("kind", ["shift", "hard", "shift_scale"])
def test_graph_and_targets_are_found(kind):
    cells, targets = screen("hard" if kind == "hard" else "shift")
    scores = Scores(moments_of(cells), kind, target_cost=3.0)
    graph = search(np.random.default_rng(0), scores, 5, n_starts=6)
    assert graph.astype(bool).tolist() == GRAPH.tolist()
    assert total(graph, scores) >= total(GRAPH.astype(np.int8), scores)
    found = np.stack([scores.equation(j, tuple(np.flatnonzero(GRAPH[:, j]))).targets for j in range(5)], axis=1)
    assert (found == targets).mean() > 0.97
    log_odds = edge_log_odds(graph, scores)
    assert log_odds[GRAPH].min() > log_odds[~GRAPH].max()


def test_known_edges_and_targets_stay():
    cells, targets = screen("shift")
    known = np.full((5, 5), 0.5)
    known[4, 0] = 1.0
    known_targets = np.where(np.arange(N_CONTEXTS)[:, None] < 20, targets.astype(float), 0.5)
    scores = Scores(moments_of(cells), "shift", target_cost=3.0, known=known_targets)
    graph = search(np.random.default_rng(0), scores, 5, n_starts=2, known=known)
    assert graph[4, 0] == 1
    assert is_acyclic(graph)
    assert (scores.equation(3, (1, 2)).targets[:20] == targets[:20, 3]).all()


def test_the_score_is_the_likelihood_of_the_cells_less_the_costs():
    """At the equation it found, cell by cell."""
    cells, _ = screen("shift")
    scores = Scores(moments_of(cells), "shift", target_cost=3.0, cost_per_parent=2.0)
    found = scores.equation(3, (1, 2))
    centre = np.average([x.mean(axis=0) for x in cells], axis=0, weights=~found.targets)
    value = -3.0 * found.targets.sum() - 0.5 * np.log(N_CELLS) * found.targets.sum() - 2.0 * 2
    for x, is_target in zip(cells, found.targets, strict=True):
        residual = (x[:, 3] - centre[3]) - (x[:, [1, 2]] - centre[[1, 2]]) @ found.weight
        residual = residual - residual.mean() * is_target
        value += (-0.5 * np.log(2 * np.pi * found.variance) - 0.5 * residual**2 / found.variance).sum()
    assert found.score == pytest.approx(value, rel=1e-9)


def test_the_same_seed_finds_the_same_graph():
    cells, _ = screen("shift", seed=3)
    runs = [search(np.random.default_rng(5), Scores(moments_of(cells), "shift", 3.0), 5, n_starts=2) for _ in range(2)]
    assert runs[0].tolist() == runs[1].tolist()
