"""How well an estimated graph, or probabilities of edges, or any score of yes/no entries, agree with the truth."""

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from samsjax.causal.graphs import is_acyclic
from samsjax.errors import InputError


def average_precision(truth: np.ndarray, score: np.ndarray) -> float:
    """Area under the precision-recall curve, in [0, 1]; NaN if nothing is true.

    Precision at each distinct score, weighted by the recall it adds: ties are taken together.
    """
    truth, score = _flat(truth, score)
    if not truth.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    last_of_ties = np.append(np.diff(score[order]) != 0, True)
    hits = np.cumsum(truth[order])[last_of_ties]
    precision = hits / (np.flatnonzero(last_of_ties) + 1)
    return float((precision * np.diff(hits, prepend=0)).sum() / truth.sum())


def auroc(truth: np.ndarray, score: np.ndarray) -> float:
    """Probability that a true entry scores above a false one, ties half; NaN unless there are both kinds."""
    truth, score = _flat(truth, score)
    n_true, n_false = int(truth.sum()), int((~truth).sum())
    if not n_true or not n_false:
        return float("nan")
    return float((rankdata(score)[truth].sum() - n_true * (n_true + 1) / 2) / (n_true * n_false))


def structural_hamming_distance(truth: np.ndarray, graph: np.ndarray) -> int:
    """Pairs of variables that the two graphs join differently: missing, additional or reversed edges count 1 each."""
    true, found = _same_variables(truth, graph)
    differs = true != found
    return int(np.triu(differs | differs.T, k=1).sum())


class GraphAgreement(NamedTuple):
    """An estimated graph against the true one."""

    shd: int
    """Structural Hamming distance, a reversed edge counted once."""
    precision: float
    """Of directed edges; NaN without estimated edges."""
    recall: float
    """Of directed edges; NaN without true edges."""
    f1: float
    """NaN if neither graph has an edge."""
    edge_average_precision: float
    """Of the edges' probabilities, over all ordered pairs of variables."""
    edge_auroc: float
    """Of the edges' probabilities, over all ordered pairs of variables."""
    n_true: int
    """Edges of the true graph."""
    n_found: int
    """Edges of the estimated graph."""
    acyclic: bool
    """Whether the estimated graph is."""


def graph_agreement(truth: np.ndarray, graph: np.ndarray, probability: np.ndarray | None = None) -> GraphAgreement:
    """Agreement of a graph and of edge probabilities (the graph itself if None) with the truth.

    Raises:
        InputError: for arrays over different variables.
    """
    true, found = _same_variables(truth, graph)
    score = _same_variables(truth, found if probability is None else probability, binary=False)[1]
    pairs = ~np.eye(len(true), dtype=bool)
    hits, n_true, n_found = int((true & found).sum()), int(true.sum()), int(found.sum())
    return GraphAgreement(
        shd=structural_hamming_distance(true, found),
        precision=hits / n_found if n_found else float("nan"),
        recall=hits / n_true if n_true else float("nan"),
        f1=2 * hits / (n_true + n_found) if n_true + n_found else float("nan"),
        edge_average_precision=average_precision(true[pairs], score[pairs]),
        edge_auroc=auroc(true[pairs], score[pairs]),
        n_true=n_true,
        n_found=n_found,
        acyclic=is_acyclic(found),
    )


def _flat(truth: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, score = np.asarray(truth), np.asarray(score, dtype=np.float64)
    if truth.shape != score.shape:
        raise InputError(f"truth {truth.shape} and score {score.shape} differ in shape")
    if not np.isfinite(score).all():
        raise InputError("scores must be finite")
    return truth.ravel() != 0, score.ravel()


def _same_variables(truth: np.ndarray, other: np.ndarray, *, binary: bool = True) -> tuple[np.ndarray, np.ndarray]:
    truth, other = np.asarray(truth), np.asarray(other)
    if truth.ndim != 2 or truth.shape[0] != truth.shape[1] or truth.shape != other.shape:
        raise InputError(f"graphs {truth.shape} and {other.shape} must be square and over the same variables")
    return truth != 0, (other != 0) if binary else np.asarray(other, dtype=np.float64)
