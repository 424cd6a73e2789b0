"""Deciding on graphs, and scoring them."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from samsjax.causal.graphs import check_graph, decided_graph, descendants, edges_on_cycles, is_acyclic, without_cycles
from samsjax.causal.metrics import auroc, average_precision, graph_agreement, structural_hamming_distance
from samsjax.data.random_graphs import erdos_renyi, topological_order
from samsjax.errors import InputError


def has_order(graph):
    try:
        topological_order(np.asarray(graph) > 0)
    except InputError:
        return False
    return True


def test_acyclic_means_that_an_order_exists():
    rng = np.random.default_rng(0)
    graphs = [(rng.random((5, 5)) < 0.2) & ~np.eye(5, dtype=bool) for _ in range(60)]
    truth = [has_order(graph) for graph in graphs]
    assert 10 < sum(truth) < 50
    assert [is_acyclic(graph) for graph in graphs] == truth
    assert not is_acyclic(np.eye(2))


def test_cycles_lose_their_least_probable_edges():
    probability = np.array([[0, 0.9, 0.1], [0, 0, 0.8], [0.6, 0, 0]])
    assert decided_graph(probability).tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert edges_on_cycles(probability > 0.5).sum() == 3
    kept = np.array([[0, 1, 1], [0, 0, 1], [0, 0, 0]])
    assert without_cycles(kept, probability).tolist() == kept.tolist()
    assert decided_graph(np.full((3, 3), 0.4)).sum() == 0


def test_decided_graphs_are_acyclic_and_maximal():
    """No edge that was taken out could be put back."""
    probability = np.random.default_rng(1).random((8, 8))
    graph = decided_graph(probability)
    assert has_order(graph)
    for i, j in np.argwhere((probability > 0.5) & (graph == 0) & ~np.eye(8, dtype=bool)):
        back = graph.copy()
        back[i, j] = 1
        assert probability[i, j] < 0.9 or not has_order(back)


def test_descendants_follow_paths():
    reach = descendants(np.array([[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]))
    assert reach.tolist() == np.triu(np.ones((4, 4), bool)).tolist()


@pytest.mark.parametrize(
    ("graph", "wrong"), [(np.zeros((2, 3)), "square"), (np.full((2, 2), 0.5), "only 0 and 1"), (np.eye(2), "diagonal")]
)
def test_impossible_graphs_are_refused(graph, wrong):
    with pytest.raises(InputError, match=wrong):
        check_graph(graph)


def test_a_reversed_edge_counts_once():
    truth = np.array([[0, 1, 1], [0, 0, 0], [0, 0, 0]])
    reversed_, missing = truth.copy(), truth.copy()
    reversed_[0, 1], reversed_[1, 0] = 0, 1
    missing[0, 1] = 0
    assert structural_hamming_distance(truth, truth) == 0
    assert structural_hamming_distance(truth, reversed_) == 1
    assert structural_hamming_distance(truth, missing) == 1
    found = graph_agreement(truth, reversed_)
    assert (found.shd, found.precision, found.recall, found.acyclic) == (1, 0.5, 0.5, True)


def test_rankings_are_scored_as_elsewhere():
    rng = np.random.default_rng(2)
    truth, score = rng.random(80) < 0.3, rng.integers(0, 9, 80) / 8  # with ties
    assert average_precision(truth, score) == pytest.approx(average_precision_score(truth, score))
    assert auroc(truth, score) == pytest.approx(roc_auc_score(truth, score))
    assert np.isnan(average_precision(np.zeros(3), score[:3]))
    assert np.isnan(auroc(np.ones(3), score[:3]))
    graph = erdos_renyi(rng, 8, 2)
    assert graph_agreement(graph, graph).edge_average_precision == 1.0
    with pytest.raises(InputError, match="differ in shape"):
        auroc(truth, score[:3])
