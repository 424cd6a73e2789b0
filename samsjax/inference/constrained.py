"""Training of models with a graph: search or constrained climbing from several starts, a decision, then a polish.

A model with a graph gives its loss, its constraint (how cyclic the graph is) and what to do with a decided graph as
pure functions (`types.ConstrainedTraining`). Where the model has no search of its own, all starts climb side by side
with a growing weight on cycles (`climbing`). Then the graph of likely edges is decided, its least likely edges on
cycles taken out, and everything else trained on under it. The start under which held-out cells are likeliest is kept.
"""

import math
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from tqdm.auto import tqdm

from samsjax.causal.graphs import decided_graph
from samsjax.data.dataset import PerturbationData
from samsjax.inference.climbing import (
    State,
    Stretch,
    climbed,
    clipped_adam,
    compiled_for,
    edges_of_starts,
    finished_starts,
    initial_starts,
    scores_of_starts,
)
from samsjax.inference.contexts import cell_sets, check_whole_contexts
from samsjax.inference.training import DIVERGENCE_ADVICE, DivergenceError, FitResult
from samsjax.models.base import Build, DataStatistics
from samsjax.types import ConstrainedTraining, KnownStructure, Params, Schedule


@dataclass(frozen=True)
class ConstrainedFit(FitResult):
    """Parameters and how they were found. The history has a row for every few steps of the start that was kept."""

    graph: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int8))
    """int8 (gene, gene): the decided graph; [i, j] = 1 where i acts on j."""
    edge_log_odds: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """(gene, gene): log odds of edges before the decision; for known graphs, +-infinity."""
    start_scores: tuple[float, ...] = ()
    """Log likelihood of held-out cells by start, per cell; of training cells without any held-out ones."""
    start: int = 0
    """Which start was kept."""
    constraint: float = 0.0
    """How cyclic its graph was before the decision; 0 for a graph that was searched or known."""
    search_seconds: float = 0.0


def train_constrained(
    seed: int,
    build: Build,
    statistics: DataStatistics,
    data: PerturbationData,
    known: KnownStructure,
    *,
    progress: bool = True,
) -> ConstrainedFit:
    """Learn a graph and all that depends on it; the same seed gives the same bits.

    Args:
        seed: decides starts and draws.
        build: makes the model for the data's statistics.
        statistics: of the data.
        data: cells with a split; every cell carries one perturbation at dosage 1, or none.
        known: see `contexts.known_structure`.
        progress: show a bar when standard error is a terminal.

    Raises:
        InputError: see `check_whole_contexts`.
        DivergenceError: NaN or infinity from all starts.
    """
    check_whole_contexts(data)
    training = build(statistics).constrained
    assert training is not None
    cells = cell_sets(data, training)
    keys = jax.random.split(jax.random.key(seed), training.schedule.n_restarts)
    climber = _Climber(build, statistics, training, cells.train, known, progress=progress)
    params = climber.initial(keys)
    params, structure = climber.structured(seed, keys, params)
    params, losses = climber.polished(keys, params, structure)
    return climber.best(params, losses, cells.held_out, structure)


class _Structure(NamedTuple):
    """Graphs by start, and how they were found."""

    graph: np.ndarray
    """int8 (start, gene, gene)."""
    log_odds: np.ndarray
    """float32 (start, gene, gene)."""
    constraint: np.ndarray
    """(start,), before the decision."""
    search_seconds: float = 0.0


class _Climber:
    """The stages of one fit, with what they share: the model, its training cells, clocks and the history."""

    def __init__(
        self,
        build: Build,
        statistics: DataStatistics,
        training: ConstrainedTraining,
        cells: Any,
        known: KnownStructure,
        *,
        progress: bool,
    ) -> None:
        self.build, self.statistics, self.training = build, statistics, training
        self.cells, self.known, self.progress = cells, known, progress
        self.n_starts = training.schedule.n_restarts
        self.compile_seconds, self.started = 0.0, time.perf_counter()
        self.history: list[dict[str, Any]] = []

    def initial(self, keys: jax.Array) -> Params:
        """Parameters of all starts."""
        return self._call(initial_starts, (self.build,), self.statistics, keys)

    def structured(self, seed: int, keys: jax.Array, params: Params) -> tuple[Params, _Structure]:
        """A graph for every start: as known, searched, or learned with all else by gradients."""
        edges = np.asarray(self.known.graph)
        if not (edges == 0.5).any():
            log_odds = np.where(edges == 1, np.inf, -np.inf).astype(np.float32)
            return params, self._one(edges.astype(np.int8), log_odds)
        if self.training.search is not None:
            before = time.perf_counter()
            graph, log_odds = self.training.search(np.random.default_rng(seed), self.cells, self.known)
            return params, self._one(graph, log_odds, time.perf_counter() - before)
        schedule = self.training.schedule
        known = jnp.broadcast_to(self.known.graph, (self.n_starts, *edges.shape))
        params, _ = self._climb(keys, params, known, schedule.n_steps, self.training.n_graphs, constrained=True)
        log_odds, constraint = self._call(edges_of_starts, (self.build,), self.statistics, params)
        graphs = [_decided(each, edges) for each in np.asarray(log_odds)]
        return params, _Structure(np.stack(graphs), np.asarray(log_odds), np.asarray(constraint))

    def _one(self, graph: np.ndarray, log_odds: np.ndarray, seconds: float = 0.0) -> _Structure:
        every = (self.n_starts, *graph.shape)
        return _Structure(
            np.broadcast_to(graph, every), np.broadcast_to(log_odds, every), np.zeros(self.n_starts), seconds
        )

    def polished(self, keys: jax.Array, params: Params, structure: _Structure) -> tuple[Params, np.ndarray]:
        """Parameters trained on under their decided graphs, and their losses."""
        graphs = jnp.asarray(structure.graph, jnp.float32)
        finite = jnp.clip(jnp.asarray(structure.log_odds), -_LARGE, _LARGE)
        params = jax.vmap(self.training.with_graph)(params, graphs, finite)
        return self._climb(keys, params, graphs, self.training.schedule.n_polish_steps, 1, constrained=False)

    def best(self, params: Params, losses: np.ndarray, held_out: Any | None, structure: _Structure) -> ConstrainedFit:
        """The start under which held-out cells are likeliest or, without any, of the smallest loss."""
        params = self._call(finished_starts, (self.build,), self.statistics, params, self.cells, self.known)
        scores = -losses
        if held_out is not None:
            scores = np.asarray(self._call(scores_of_starts, (self.build,), self.statistics, params, held_out))
        usable = np.isfinite(scores) & np.isfinite(losses)
        if not usable.any():
            raise DivergenceError(f"training diverged from all {self.n_starts} starts: {DIVERGENCE_ADVICE}")
        start = int(np.argmax(np.where(usable, scores, -np.inf)))
        rows = tuple({**row, "train_objective": float(row["train_objective"][start])} for row in self.history)
        if held_out is not None:
            rows = (*rows[:-1], {**rows[-1], "val_elbo": float(scores[start])})
        return ConstrainedFit(
            params=jax.tree.map(lambda leaf: leaf[start], params),
            history=rows,
            best_epoch=len(rows),
            stopped="budget",
            compile_seconds=self.compile_seconds,
            train_seconds=time.perf_counter() - self.started - self.compile_seconds,
            graph=structure.graph[start],
            edge_log_odds=structure.log_odds[start],
            start_scores=tuple(map(float, scores)),
            start=start,
            constraint=float(structure.constraint[start]),
            search_seconds=structure.search_seconds,
        )

    def _climb(
        self, keys: jax.Array, params: Params, graphs: Array, n_steps: int, n_graphs: int, *, constrained: bool
    ) -> tuple[Params, np.ndarray]:
        """Steps under partly or wholly known graphs (start, gene, gene), and the mean losses of the last stretch."""
        schedule = self.training.schedule
        length = min(schedule.multiplier_interval, n_steps)
        n_stretches = math.ceil(n_steps / length)
        state = State(params, jax.vmap(clipped_adam().init)(params), *jnp.zeros((2, self.n_starts)))
        kind = "graph" if constrained else "polish"
        before, losses = len(self.history), np.zeros(self.n_starts)
        for place in tqdm(range(n_stretches), desc=kind, unit="stretch", disable=None if self.progress else True):
            raises = constrained and place + 1 >= schedule.warmup_fraction * n_stretches
            stretch = Stretch(*(jnp.asarray(v, jnp.float32) for v in (place * length, n_stretches * length, raises)))
            known = self.known._replace(graph=graphs)
            static = self.build, length, n_graphs, constrained
            state, loss = self._call(climbed, static, self.statistics, keys, state, self.cells, known, stretch)
            losses = np.asarray(loss)
            self.history.append(_row(before + place + 1, (place + 1) * length, losses, schedule, self.started))
        return state.params, losses

    def _call(self, function: Any, static: tuple[Any, ...], *arguments: Any) -> Any:
        """`function(*static, *arguments)`, compiled once for arguments of these shapes."""
        arguments = jax.tree.map(jnp.asarray, arguments)
        leaves, structure = jax.tree.flatten(arguments)
        before = time.perf_counter()
        compiled = compiled_for(function, static, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves))
        self.compile_seconds += time.perf_counter() - before
        return compiled(*arguments)


_LARGE = 30.0
"""Log odds in parameters stay within these bounds."""


def _row(epoch: int, step: int, losses: np.ndarray, schedule: Schedule, started: float) -> dict[str, Any]:
    """A row of the history, with the objective of every start."""
    return {
        "epoch": epoch,
        "step": step,
        "train_objective": -losses,
        "val_elbo": float("nan"),
        "learning_rate": schedule.learning_rate,
        "seconds": time.perf_counter() - started,
        "rotated": 0.0,
    }


def _decided(log_odds: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The graph of likely edges without cycles; what is known stays."""
    certain = np.where(known == 0.5, log_odds, np.where(known == 1, np.inf, -np.inf))
    np.fill_diagonal(certain, -np.inf)
    return decided_graph(certain, threshold=0.0)
