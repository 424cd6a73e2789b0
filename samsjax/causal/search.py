"""Search for the acyclic graph that explains many contexts best, where in each an unknown few variables are disturbed.

Every context gives the moments of its cells. Given its parents, a variable follows one linear equation in all contexts
but those in which it is a target. The score of a variable and a set of parents is the log likelihood at the best
equation and the best targets, less a cost per target and per parent. Scores of variables add up, so a graph is improved
edge by edge (added, removed, reversed) and only the variables that change are scored again. Wrong parents are paid for
with many targets: the shifts of an ancestor show in all its descendants, and only the right equation explains them.

Nonlinear equations that add up over parents are searched for as linear ones in several functions of each parent.

Source: greedy search over graphs (Chickering 2002; Hauser & Bühlmann 2012 for interventions); targets are unknown as in
Gamella et al. 2022. Differs: targets are found along with the equation of every variable and set of parents.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from samsjax.causal.graphs import descendants

_MOST_ROUNDS = 12
_RIDGE = 1e-6
_SURE = 30.0
"""Log odds of an edge are cut off here, either way."""


class ContextMoments(NamedTuple):
    """Moments by context; the first context has no targets. Columns are functions of variables."""

    n_cells: np.ndarray
    """float64 (context,)."""
    mean: np.ndarray
    """float64 (context, column)."""
    covariance: np.ndarray
    """float64 (context, column, column), divided by the number of cells."""
    parts: tuple[tuple[int, ...], ...]
    """Columns by which each variable enters the equations of others."""
    response: tuple[int, ...]
    """The column that is each variable itself."""


class Equation(NamedTuple):
    """The best equation of one variable."""

    score: float
    """Nats, over all contexts."""
    weight: np.ndarray
    """(column of parents,)."""
    variance: float
    targets: np.ndarray
    """Bool (context,): where the variable is disturbed."""


@dataclass(eq=False)
class Scores:
    """Scores of variables and sets of parents, each computed once."""

    moments: ContextMoments
    kind: Literal["shift", "hard", "shift_scale"]
    """What happens to targets."""
    target_cost: float
    """Nats per target, in addition to half the logarithm of the context's cells for every parameter it has."""
    known: np.ndarray | None = None
    """(context, variable): 0 or 1 where targets are known, 0.5 where not."""
    cost_per_parent: float | None = None
    """Nats; None: half the logarithm of all cells, for every column of the parent."""
    _found: dict[tuple[int, tuple[int, ...]], float] = field(default_factory=dict, repr=False)

    def __call__(self, child: int, parents: tuple[int, ...]) -> float:
        """The score, in nats."""
        key = child, parents
        if key not in self._found:
            self._found[key] = self.equation(child, parents).score
        return self._found[key]

    def equation(self, child: int, parents: tuple[int, ...]) -> Equation:
        """The best equation and targets of a variable: each given the other, in turns, until targets stay."""
        m = self.moments
        columns = [column for parent in parents for column in m.parts[parent]] + [m.response[child]]
        n, mean, covariance = m.n_cells, m.mean[:, columns], m.covariance[np.ix_(range(len(m.mean)), columns, columns)]
        open_, fixed = self._known(child)
        targets, centred = fixed, False
        weight, variance = _regression(np.tensordot(n, covariance, 1), n.sum())
        centre = mean[0]
        gain, base = self._gains(n, mean, covariance, weight, variance, centre)
        for _ in range(_MOST_ROUNDS):
            now = np.where(open_, gain > 0, fixed)
            if (now == targets).all() and centred:
                break
            targets, centred = now, True
            undisturbed = n * ~targets
            centre = undisturbed @ mean / undisturbed.sum()
            shares = self._shares(n, covariance, weight, variance, targets)
            off = mean - centre
            scatter = np.tensordot(n * shares, covariance, 1) + (undisturbed[:, None] * off).T @ off
            weight, variance = _regression(scatter, (n * (shares > 0)).sum())
            gain, base = self._gains(n, mean, covariance, weight, variance, centre)
        cost = 0.5 * np.log(n.sum()) if self.cost_per_parent is None else self.cost_per_parent
        score = base.sum() + np.where(targets, gain, 0.0).sum() - cost * len(weight)
        return Equation(float(score), weight, variance, targets)

    def _known(self, child: int) -> tuple[np.ndarray, np.ndarray]:
        """Where targets are to be found, and those that are known."""
        n_contexts = len(self.moments.n_cells)
        if self.known is None:
            open_, fixed = np.ones(n_contexts, bool), np.zeros(n_contexts, bool)
        else:
            open_, fixed = self.known[:, child] == 0.5, self.known[:, child] == 1
        open_[0] = False
        return open_ & (self.moments.n_cells > 0), fixed

    def _gains(
        self, n: np.ndarray, mean: np.ndarray, covariance: np.ndarray, weight: np.ndarray, variance: float, centre
    ) -> tuple[np.ndarray, np.ndarray]:
        """By context: what a target gains, its cost taken off; and the log likelihood without."""
        off = (mean[:, -1] - centre[-1]) - (mean[:, :-1] - centre[:-1]) @ weight
        spread = _residual_variance(covariance, weight)
        base = -0.5 * n * (np.log(2 * np.pi * variance) + (spread + off**2) / variance)
        cost = self.target_cost + 0.5 * np.log(np.maximum(n, 1.0)) * (1 if self.kind == "shift" else 2)
        if self.kind == "shift":
            return 0.5 * n * off**2 / variance - cost, base
        own = np.maximum(covariance[:, -1, -1] if self.kind == "hard" else spread, 1e-4 * variance)
        return -0.5 * n * (np.log(2 * np.pi * own) + 1) - base - cost, base

    def _shares(
        self, n: np.ndarray, covariance: np.ndarray, weight: np.ndarray, variance: float, targets: np.ndarray
    ) -> np.ndarray:
        """How much the spread of each context's cells says about the equation."""
        if self.kind == "shift":
            return np.ones(len(n))
        if self.kind == "hard":
            return (~targets).astype(float)
        own = np.maximum(_residual_variance(covariance, weight), 1e-4 * variance)
        return np.where(targets, variance / own, 1.0)


def _regression(scatter: np.ndarray, n: float) -> tuple[np.ndarray, float]:
    """Weights of all columns but the last for the last, and the variance that is left."""
    among, onto = scatter[:-1, :-1], scatter[:-1, -1]
    weight = np.linalg.solve(among + _RIDGE * n * np.eye(len(among)), onto) if len(among) else np.zeros(0)
    left = scatter[-1, -1] - 2 * weight @ onto + weight @ among @ weight
    return weight, max(left / n, 1e-6)


def _residual_variance(covariance: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """By context, of the last column given the others."""
    return covariance[:, -1, -1] - 2 * covariance[:, -1, :-1] @ weight + (covariance[:, :-1, :-1] @ weight) @ weight


def search(
    rng: np.random.Generator, scores: Scores, n_variables: int, n_starts: int, known: np.ndarray | None = None
) -> np.ndarray:
    """The best graph found by climbing from the empty graph and from `n_starts` disturbances of the best so far, int8.

    Args:
        rng: decides the disturbances.
        scores: of variables and parents.
        n_variables: of the graph.
        n_starts: disturbances, each a third of the variables with their edges drawn anew.
        known: 0 or 1 where edges are known, 0.5 where not; (variable, variable), without cycles.
    """
    fixed = np.full((n_variables, n_variables), 0.5) if known is None else np.asarray(known, dtype=float)
    best = climb((fixed == 1).astype(np.int8), scores, fixed)
    value = total(best, scores)
    for _ in range(n_starts):
        found = climb(_disturbed(rng, best, fixed), scores, fixed)
        if (found_value := total(found, scores)) > value + 1e-9:
            best, value = found, found_value
    return best


def total(graph: np.ndarray, scores: Scores) -> float:
    """Score of a graph, in nats."""
    return sum(scores(child, _parents(graph, child)) for child in range(len(graph)))


def climb(graph: np.ndarray, scores: Scores, fixed: np.ndarray) -> np.ndarray:
    """The graph after single edges were added, removed or reversed as long as that improves it, the best first."""
    graph = graph.copy()
    free = (fixed == 0.5) & ~np.eye(len(graph), dtype=bool)
    gains = np.full(graph.shape, np.nan)
    while True:
        flippable, reversible = _legal_changes(graph, free)
        for parent, child in np.argwhere(np.isnan(gains) & (flippable | reversible.T)).tolist():
            gains[parent, child] = _gain(graph, scores, parent, child)  # kept until the parents of this child change
        changes = np.stack([np.where(flippable, gains, -np.inf), np.where(reversible, gains + gains.T, -np.inf)], -1)
        best = np.unravel_index(np.argmax(changes), changes.shape)
        if changes[best] <= 1e-9:
            return graph
        i, j, reverse = map(int, best)
        for edge in ((i, j), (j, i)) if reverse else ((i, j),):
            graph[edge] ^= 1
            gains[:, edge[1]] = np.nan


def edge_log_odds(graph: np.ndarray, scores: Scores) -> np.ndarray:
    """By how much the score rises with an edge present, others as in `graph`; within +-30, (variable, variable).

    An edge against one of the graph stands for the graph with that edge reversed. One that would close a longer cycle
    has the lowest log odds.
    """
    n = len(graph)
    found = np.full((n, n), -_SURE)
    flippable, reversible = _legal_changes(graph, ~np.eye(n, dtype=bool))
    for parent, child in np.argwhere(flippable | reversible.T).tolist():
        gain = _gain(graph, scores, parent, child)
        if graph[child, parent]:
            gain += _gain(graph, scores, child, parent)
        found[parent, child] = -gain if graph[parent, child] else gain
    return np.clip(found, -_SURE, _SURE)


def _parents(graph: np.ndarray, child: int) -> tuple[int, ...]:
    return tuple(int(parent) for parent in np.flatnonzero(graph[:, child]))


def _gain(graph: np.ndarray, scores: Scores, parent: int, child: int) -> float:
    """What the score gains by adding the edge, or by removing it where it is there."""
    now = _parents(graph, child)
    changed = tuple(sorted({*now} ^ {parent}))
    return scores(child, changed) - scores(child, now)


def _legal_changes(graph: np.ndarray, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bool (variable, variable): edges that can be added or removed without a cycle, and those that can be reversed."""
    reach = descendants(graph)
    there = graph != 0
    other_ways = there.astype(int) @ reach - there > 0
    return free & (there | ~reach.T), free & free.T & there & ~other_ways


def _disturbed(rng: np.random.Generator, graph: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """The graph with a third of its variables cut loose and put at random places of a random order, with random edges.

    Where edges are known these stay, and others that would close a cycle with them are left out.
    """
    n = len(graph)
    loose = rng.permutation(n)[: max(2, n // 3)]
    changed = graph.copy()
    changed[loose], changed[:, loose] = 0, 0
    order = rng.permutation(n)
    drawn = (rng.random((n, n)) < 0.2) & (np.argsort(order)[:, None] < np.argsort(order)[None, :])
    drawn[np.ix_(np.setdiff1d(np.arange(n), loose), np.setdiff1d(np.arange(n), loose))] = False
    changed = np.where(fixed == 0.5, changed, fixed).astype(np.int8)
    for parent, child in np.argwhere(drawn & (fixed == 0.5)).tolist():
        if not descendants(changed)[child, parent]:
            changed[parent, child] = 1
    return changed
