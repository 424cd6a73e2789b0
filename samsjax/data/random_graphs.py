"""Random directed acyclic graphs: bool (parent, child), `graph[i, j]` means i -> j.

Nodes are permuted, so that their number says nothing of their place in the order.

Source: Erdős and Rényi (1959); Barabási and Albert (1999) for preferential attachment.
"""

import numpy as np

from samsjax.errors import InputError, check_range


def erdos_renyi(rng: np.random.Generator, n_nodes: int, edges_per_node: float) -> np.ndarray:
    """Every pair in the order is joined with the same probability, `edges_per_node * n_nodes` edges expected.

    Raises:
        InputError: for more edges than there are pairs.
    """
    check_range("n_nodes", n_nodes, low=2)
    probability = 2 * edges_per_node / (n_nodes - 1)
    if not 0 <= probability <= 1:
        raise InputError(
            f"edges_per_node must be from 0 to {(n_nodes - 1) / 2:g} for {n_nodes} nodes, got {edges_per_node:g}"
        )
    upper = np.triu(rng.random((n_nodes, n_nodes)) < probability, k=1)
    return permuted(rng, upper)


def scale_free(rng: np.random.Generator, n_nodes: int, edges_per_node: int) -> np.ndarray:
    """Preferential attachment: each node joins `edges_per_node` earlier ones, chosen by their number of edges plus one.

    Edges point from the earlier node to the later one: hubs are causes of many.

    Raises:
        InputError: for fewer than one edge per node, or as many as nodes.
    """
    check_range("edges_per_node", edges_per_node, low=1, below=n_nodes)
    graph = np.zeros((n_nodes, n_nodes), dtype=bool)
    for node in range(1, n_nodes):
        degree = 1.0 + (graph | graph.T)[:node, :node].sum(axis=1)
        n_parents = min(int(edges_per_node), node)
        graph[rng.choice(node, n_parents, replace=False, p=degree / degree.sum()), node] = True
    return permuted(rng, graph)


def permuted(rng: np.random.Generator, graph: np.ndarray) -> np.ndarray:
    """The graph with its nodes in random order."""
    order = rng.permutation(len(graph))
    return graph[np.ix_(order, order)]


def topological_order(graph: np.ndarray) -> np.ndarray:
    """Nodes with every parent before its children, int (node,); the smallest number first where several could stand.

    Raises:
        InputError: if the graph has a cycle.
    """
    waiting = graph.sum(axis=0)
    order: list[int] = []
    placed = np.zeros(len(graph), dtype=bool)
    while len(order) < len(graph):
        free = np.flatnonzero(~placed & (waiting == 0))
        if not len(free):
            raise InputError(f"the graph has a cycle among the nodes {np.flatnonzero(~placed).tolist()}")
        order.append(int(free[0]))
        placed[free[0]] = True
        waiting = waiting - graph[free[0]]
    return np.array(order)
