"""Directed graphs as arrays: whether they have cycles, an acyclic part of one that has, who reaches whom."""

import numpy as np
from scipy.sparse.csgraph import connected_components

from samsjax.errors import InputError


def check_graph(graph: np.ndarray) -> None:
    """Raises: InputError unless `graph` is a square array of 0 and 1 with zeros on its diagonal."""
    graph = np.asarray(graph)
    if graph.ndim != 2 or graph.shape[0] != graph.shape[1]:
        raise InputError(f"a graph must be a square array (variable, variable), got {graph.shape}")
    if not np.isin(graph, (0, 1)).all():
        raise InputError("a graph must hold only 0 and 1")
    if np.diagonal(graph).any():
        raise InputError("a graph must have zeros on its diagonal: no variable acts on itself")


def is_acyclic(graph: np.ndarray) -> bool:
    """Whether no variable acts on itself, directly or along a path."""
    return not edges_on_cycles(graph).any()


def edges_on_cycles(graph: np.ndarray) -> np.ndarray:
    """Bool (variable, variable): edges whose ends reach each other."""
    has_edge = np.asarray(graph) != 0
    _, component = connected_components(has_edge, directed=True, connection="strong")
    return has_edge & (component[:, None] == component[None, :])


def without_cycles(graph: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """`graph` without its least probable edges on cycles, taken out one by one until no cycle is left; int8.

    Args:
        graph: 0 and 1 (variable, variable).
        probability: of edges, (variable, variable); of equals the first in row order goes.
    """
    kept = (np.asarray(graph) != 0).astype(np.int8)
    np.fill_diagonal(kept, 0)
    while (on_cycle := edges_on_cycles(kept)).any():
        candidates = np.where(on_cycle, probability, np.inf)
        kept.flat[np.argmin(candidates)] = 0
    return kept


def decided_graph(probability: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """The acyclic graph of the edges more probable than `threshold`, int8; see `without_cycles`."""
    return without_cycles(np.asarray(probability) > threshold, probability)


def descendants(graph: np.ndarray) -> np.ndarray:
    """Bool (variable, variable): whether i reaches j along edges; every variable reaches itself."""
    reach = (np.asarray(graph) != 0) | np.eye(len(graph), dtype=bool)
    for _ in range(max(1, int(np.ceil(np.log2(max(len(reach), 2)))))):
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    return reach
