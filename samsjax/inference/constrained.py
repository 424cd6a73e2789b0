"""Training of models with a graph: search or constrained climbing from several starts, a decision, then a polish.

A model with a graph gives its loss, its constraint (how cyclic the graph is) and what to do with a decided graph as
pure functions (`types.ConstrainedTraining`). Where the model has no search of its own, all starts climb side by side
under an augmented Lagrangian, loss + lambda h + rho h^2 / 2, whose multipliers are arguments of one compiled function.
Then the graph of likely edges is decided, its least likely edges on cycles taken out, and everything else trained on
under it. The start under which held-out cells are likeliest is kept.

Source: augmented Lagrangian for graphs: Zheng et al. 2018. Differs: multipliers grow by a fixed schedule.
"""

import math
import time
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from tqdm.auto import tqdm

from samsjax.causal.graphs import check_graph, decided_graph, is_acyclic
from samsjax.data.dataset import PerturbationData
from samsjax.errors import InputError
from samsjax.inference.log_weights import initial_parameters
from samsjax.inference.training import DIVERGENCE_ADVICE, DivergenceError, FitResult
from samsjax.models.base import Build, DataStatistics
from samsjax.types import ConstrainedTraining, KnownStructure, Params, Schedule

FIRST_WEIGHT = 1.0
"""Weight of the squared constraint at its first update."""
MOST_WEIGHT = 1e6
LAST_PART, LAST_FACTOR = 0.2, 0.2
"""In the last part of the steps these are shorter by the factor."""
CLIP_NORM = 10.0


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


class CellSets(NamedTuple):
    """What a model made of training cells, and of held-out ones (None without any)."""

    train: Any
    held_out: Any | None


def cell_sets(data: PerturbationData, training: ConstrainedTraining) -> CellSets:
    """Training and validation cells as the model wants them."""

    def of_split(split: str) -> Any | None:
        cells = data.cells(split)
        if not len(cells):
            return None
        x = data.x[cells]
        dense = x if isinstance(x, np.ndarray) else x.toarray()
        slot = (data.dosage[cells] != 0).argmax(axis=1)
        row = np.take_along_axis(data.perturbation_index[cells], slot[:, None], axis=1)[:, 0]
        return training.summarise(dense, np.where((data.dosage[cells] != 0).any(axis=1), row, -1))

    return CellSets(of_split("train"), of_split("val"))


def check_whole_contexts(data: PerturbationData) -> None:
    """Raises: InputError for counts, combinations, doses that are no perturbations of their own, or no control."""
    if ((data.dosage != 0).sum(axis=1) > 1).any():
        raise InputError(
            "a model with a graph takes every combination as a perturbation of its own: "
            "give --data.combinations-as-unique"
        )
    doses = np.unique(data.dosage[data.dosage != 0])
    if (doses != 1).any():
        raise InputError(
            f"a model with a graph takes every dose as a perturbation of its own, and the cells carry "
            f"{len(doses)} doses ({doses[:4]}): give --data.doses-as-unique"
        )
    if np.issubdtype(data.x.dtype, np.integer):
        raise InputError(
            "a model with a graph takes continuous values, and the data are counts: log-normalise them, better those "
            "of metacells (sums over some twenty cells of one treatment)"
        )
    if not data.is_control[data.cells("train")].any():
        raise InputError("a model with a graph needs control cells among the training cells, and there are none")


def known_structure(
    n_genes: int, n_perturbations: int, graph: np.ndarray | None, targets: np.ndarray | None
) -> KnownStructure:
    """What is known, checked; NaN counts as open.

    Args:
        n_genes: of the model.
        n_perturbations: of the model.
        graph: (gene, gene) 0, 1 or NaN; None: nothing is known.
        targets: (perturbation, gene) 0, 1 or NaN; None: nothing is known.

    Raises:
        InputError: for other shapes or values, or known edges that close a cycle.
    """

    def checked(kind: str, values: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
        if values is None:
            return np.full(shape, 0.5)
        values = np.asarray(values, dtype=np.float64)
        if values.shape != shape:
            raise InputError(f"known {kind} have shape {values.shape}, expected {shape}")
        values = np.where(np.isnan(values), 0.5, values)
        if not np.isin(values, (0, 0.5, 1)).all():
            raise InputError(f"known {kind} must be 0, 1, or NaN where they are open")
        return values

    edges = checked("edges", graph, (n_genes, n_genes))
    np.fill_diagonal(edges, 0.0)
    check_graph(edges == 1)
    if not is_acyclic(edges == 1):
        raise InputError("the known edges close a cycle")
    known_targets = checked("targets", targets, (n_perturbations, n_genes))
    return KnownStructure(jnp.asarray(edges, jnp.float32), jnp.asarray(known_targets, jnp.float32))


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
        known: see `known_structure`.
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


class _State(NamedTuple):
    """Where the starts stand; every array has an axis for them."""

    params: Params
    moments: Any
    multiplier: Float[Array, " start"]
    weight: Float[Array, " start"]


class _Stretch(NamedTuple):
    """What changes from one run of the compiled steps to the next. Arrays, so that nothing is compiled again."""

    first_step: Float[Array, ""]
    all_steps: Float[Array, ""]
    constrained: Float[Array, ""]
    """1 if the weight of the constraint is to be raised afterwards."""


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
        return self._call(_initial, (self.build,), self.statistics, keys)

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
        log_odds, constraint = self._call(_graph_parameters, (self.build,), self.statistics, params)
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
        params = self._call(_finished, (self.build,), self.statistics, params, self.cells, self.known)
        scores = -losses
        if held_out is not None:
            scores = np.asarray(self._call(_scores, (self.build,), self.statistics, params, held_out))
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
        state = _State(params, jax.vmap(_optimizer().init)(params), *jnp.zeros((2, self.n_starts)))
        kind = "graph" if constrained else "polish"
        before, losses = len(self.history), np.zeros(self.n_starts)
        for place in tqdm(range(n_stretches), desc=kind, unit="stretch", disable=None if self.progress else True):
            raises = constrained and place + 1 >= schedule.warmup_fraction * n_stretches
            stretch = _Stretch(*(jnp.asarray(v, jnp.float32) for v in (place * length, n_stretches * length, raises)))
            known = self.known._replace(graph=graphs)
            static = self.build, length, n_graphs, constrained
            state, loss = self._call(_steps, static, self.statistics, keys, state, self.cells, known, stretch)
            losses = np.asarray(loss)
            self.history.append(_row(before + place + 1, (place + 1) * length, losses, schedule, self.started))
        return state.params, losses

    def _call(self, function: Any, static: tuple[Any, ...], *arguments: Any) -> Any:
        """`function(*static, *arguments)`, compiled once for arguments of these shapes."""
        arguments = jax.tree.map(jnp.asarray, arguments)
        leaves, structure = jax.tree.flatten(arguments)
        before = time.perf_counter()
        compiled = _compiled(function, static, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves))
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


@lru_cache(maxsize=64)
def _compiled(function: Any, static: tuple[Any, ...], structure: Any, shapes: tuple[Any, ...]) -> Any:
    arguments = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(*shape) for shape in shapes])
    return jax.jit(partial(function, *static)).lower(*arguments).compile()


def _optimizer() -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(CLIP_NORM), optax.scale_by_adam())


def _training(build: Build, statistics: DataStatistics) -> ConstrainedTraining:
    training = build(statistics).constrained
    assert training is not None
    return training


def _initial(build: Build, statistics: DataStatistics, keys: jax.Array) -> Params:
    model_guide = build(statistics)
    return jax.vmap(lambda key: initial_parameters(key, model_guide))(keys)


def _graph_parameters(build: Build, statistics: DataStatistics, params: Params) -> tuple[Array, Array]:
    training = _training(build, statistics)
    return jax.vmap(training.log_odds)(params), jax.vmap(training.constraint)(params)


def _finished(build: Build, statistics: DataStatistics, params: Params, cells: Any, known: KnownStructure) -> Params:
    training = _training(build, statistics)
    return jax.vmap(lambda own: training.finish(own, cells, known))(params)


def _scores(build: Build, statistics: DataStatistics, params: Params, cells: Any) -> Float[Array, " start"]:
    training = _training(build, statistics)
    return jax.vmap(lambda own: training.score(own, cells))(params)


def _steps(
    build: Build,
    n_steps: int,
    n_graphs: int,
    constrained: bool,  # noqa: FBT001 (a static argument, by position)
    statistics: DataStatistics,
    keys: jax.Array,
    state: _State,
    cells: Any,
    known: KnownStructure,
    stretch: _Stretch,
) -> tuple[_State, Float[Array, " start"]]:
    """A stretch of steps of all starts, then an update of the multipliers; and the mean losses of its steps."""
    training, optimizer = _training(build, statistics), _optimizer()

    def of_start(key: jax.Array, own: _State, graph: Array) -> tuple[_State, Array]:
        own_known = known._replace(graph=graph)

        def loss(params: Params, step_key: jax.Array, progress: Array) -> tuple[Array, Array]:
            value = training.loss(step_key, params, cells, own_known, progress, n_graphs)
            if not constrained:
                return value, value
            cyclic = training.constraint(params)
            return value + own.multiplier * cyclic + 0.5 * own.weight * cyclic**2, value

        def step(carry: tuple[Params, Any], number: Array) -> tuple[tuple[Params, Any], Array]:
            params, moments = carry
            at = stretch.first_step + number
            progress = at / stretch.all_steps
            step_key = jax.random.fold_in(key, at.astype(jnp.uint32))
            (_, value), gradient = jax.value_and_grad(loss, has_aux=True)(params, step_key, progress)
            updates, moments = optimizer.update(gradient, moments)
            rate = training.schedule.learning_rate * jnp.where(progress < 1 - LAST_PART, 1.0, LAST_FACTOR)
            return (optax.apply_updates(params, jax.tree.map(lambda u: -rate * u, updates)), moments), value

        (params, moments), values = jax.lax.scan(step, (own.params, own.moments), jnp.arange(n_steps))
        cyclic = training.constraint(params) if constrained else jnp.zeros(())
        weight = jnp.clip(own.weight * training.schedule.multiplier_growth, FIRST_WEIGHT, MOST_WEIGHT)
        weight = jnp.where(stretch.constrained > 0, weight, own.weight)
        multiplier = own.multiplier + stretch.constrained * weight * cyclic
        return _State(params, moments, multiplier, weight), values.mean()

    return jax.vmap(of_start)(keys, state, known.graph)
