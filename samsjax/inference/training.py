"""Fitting: epochs of compiled steps with validation, early stopping and a guard against divergence between them.

One loop serves one model and several. Several models of equal shapes, which differ in their keys and perhaps in their
data, are members of one program (`vmap`): an accelerator that one small model leaves idle trains them side by side.
"""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array
from tqdm.auto import tqdm

from samsjax.data.dataset import PerturbationData
from samsjax.errors import InputError
from samsjax.inference.batching import plan_batches
from samsjax.inference.config import TrainConfig
from samsjax.inference.epochs import FitArrays, make_epochs
from samsjax.inference.optimizer import learning_rate
from samsjax.inference.rotating import (
    Rotating,
    RotationReport,
    compiled_sparsest,
    make_rotating,
    plan_rotation,
    rotation_epochs,
)
from samsjax.models.base import Build
from samsjax.rotation.axes import LatentAxes
from samsjax.types import Params

DIVERGENCE_ADVICE = (
    "try a lower learning rate (halve --train.learning-rate), a smaller --train.clip-norm or a longer "
    "--train.warmup-fraction, and check the data for cells or genes with extreme counts"
)


class DivergenceError(RuntimeError):
    """Training produced NaN or infinity before any usable parameters existed."""


class DivergenceWarning(UserWarning):
    """Training produced NaN or infinity; the last good parameters were kept."""


@dataclass(frozen=True)
class FitResult:
    """Parameters and how they were found."""

    params: Params
    """Those with the best validation bound (the last ones when there are no validation cells)."""
    history: tuple[dict[str, float], ...]
    """One row per epoch: epoch, step, train_objective, val_elbo (nats per cell), learning_rate, seconds, rotated (1 if
    latent space was rotated after the epoch)."""
    best_epoch: int
    stopped: str
    """"budget", "early" (no better validation bound for `patience` epochs) or "diverged"."""
    compile_seconds: float
    """Of all members of a program together; almost 0 for passes that an earlier fit compiled."""
    train_seconds: float
    """Of all members of a program together."""
    rotations: tuple[RotationReport, ...] = ()
    """What each sparse rotation found; none without them."""

    @property
    def n_steps(self) -> int:
        """Optimiser steps taken."""
        return int(self.history[-1]["step"]) if self.history else 0


def fit_model(
    key: jax.Array,
    build: Build,
    arrays: FitArrays,
    config: TrainConfig,
    axes: LatentAxes | None = None,
    *,
    progress: bool = True,
) -> FitResult:
    """Climb the evidence lower bound on the training cells and keep the parameters best on the validation cells.

    A pure function of its arguments: the same key gives the same bits on the same machine.

    Args:
        key: decides the start, the order of cells and all draws.
        build: makes the model for the data's statistics.
        arrays: the data, see `epochs.fit_arrays`.
        config: budget and optimiser.
        axes: how latent space is rotated between epochs; None: never.
        progress: show a bar when standard error is a terminal.

    Raises:
        DivergenceError: NaN or infinity in the first epoch.
    """
    (result,) = _fit_members(jax.random.split(key, 3), None, build, arrays, config, axes, progress=progress)
    if isinstance(result, DivergenceError):
        raise result
    return result


def fit_models(
    keys: Sequence[jax.Array],
    build: Build,
    arrays: Sequence[FitArrays],
    config: TrainConfig,
    axes: LatentAxes | None = None,
    *,
    progress: bool = True,
) -> list[FitResult | DivergenceError]:
    """`fit_model` for several keys in one program, each member with its own data, all of equal shapes.

    Draws are those of `fit_model`; sums are grouped otherwise, so parameters agree closely but not to the bit. Every
    member stops by its own validation bound, and the program ends with the last of them. A member that diverges at
    once is returned as its error, so that the others are kept.

    Raises:
        InputError: if the arrays of the members differ in shape.
    """
    shapes = [jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), member) for member in arrays]
    if any(shape != shapes[0] for shape in shapes):
        raise InputError(
            "fits in one program need data of equal shapes (cells of each split, genes, perturbations): fit these one "
            "after the other"
        )
    shared = all(member is arrays[0] for member in arrays)
    together = arrays[0] if shared else jax.tree.map(lambda *leaves: jnp.stack(leaves), *arrays)
    member_keys = jax.vmap(lambda key: jax.random.split(key, 3), out_axes=1)(jnp.stack(list(keys)))
    members = _Members(len(keys), None if shared else 0)
    return _fit_members(member_keys, members, build, together, config, axes, progress=progress)


class _Members(NamedTuple):
    """How many models one program trains, and along which axis of the arrays their data lie (None: shared)."""

    n: int
    data_axis: int | None


class _Passes(NamedTuple):
    """Compiled functions of a fit; with members, keys, states and results have a leading axis."""

    init: Callable[..., Any]
    train: Callable[..., Any]
    params: Callable[..., Params]
    validate: Callable[..., Any]
    rotating: Rotating | None = None
    """Only for fits that rotate."""


@lru_cache(maxsize=16)
def _compiled(
    build: Build, config: TrainConfig, axes: LatentAxes | None, members: _Members | None, shapes: FitArrays
) -> _Passes:
    """The passes of every fit with these settings and shapes; compiled once per process."""
    epochs = make_epochs(build, config)
    rotating = None if axes is None else make_rotating(build, axes)
    keys: tuple[int, ...] = ()
    if members is not None:
        axis = members.data_axis
        epochs = epochs._replace(
            init=jax.vmap(epochs.init, in_axes=(0, axis)),
            train=jax.vmap(epochs.train, in_axes=(0, 0, axis)),
            params=jax.vmap(epochs.params, in_axes=(0, axis)),
            validate=jax.vmap(epochs.validate, in_axes=(0, 0, axis)),
        )
        if rotating is not None:
            rotating = rotating._replace(
                measure=jax.vmap(rotating.measure, in_axes=(0, 0, axis)), turn=jax.vmap(rotating.turn)
            )
        keys = (members.n,)
    key = jax.eval_shape(lambda: jnp.broadcast_to(jax.random.key(0), keys))
    state = jax.eval_shape(epochs.init, key, shapes)
    params = jax.eval_shape(epochs.params, state, shapes)
    passes = _Passes(
        jax.jit(epochs.init).lower(key, shapes).compile(),
        jax.jit(epochs.train).lower(key, state, shapes).compile(),
        jax.jit(epochs.params).lower(state, shapes).compile(),
        jax.jit(epochs.validate).lower(key, params, shapes).compile(),
    )
    if rotating is None:
        return passes
    return passes._replace(rotating=_compiled_rotating(rotating, key, state, params, shapes))


def _compiled_rotating(rotating: Rotating, key: Any, state: Any, params: Any, shapes: FitArrays) -> Rotating:
    """What a rotation needs, for arguments of these shapes."""
    measured = jax.eval_shape(rotating.measure, key, params, shapes)
    effects, covariance = measured
    compiled_sparsest(*effects.mean.shape[-2:])  # for `plan_rotation`, so that it does not compile while training
    return Rotating(
        jax.jit(rotating.measure).lower(key, params, shapes).compile(),
        jax.jit(rotating.turn).lower(state, covariance, effects, effects.mean).compile(),
    )


def _fit_members(
    keys: jax.Array,
    members: _Members | None,
    build: Build,
    arrays: FitArrays,
    config: TrainConfig,
    axes: LatentAxes | None,
    *,
    progress: bool,
) -> list[FitResult | DivergenceError]:
    """Fit one model (`members` None) or several; `keys` are three, each with an axis for members if there are any."""
    start = time.perf_counter()
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arrays)
    passes = _compiled(build, config, axes, members, shapes)
    compile_seconds = time.perf_counter() - start
    init_key, order_key, val_key = keys
    fold = jax.random.fold_in if members is None else jax.vmap(jax.random.fold_in, in_axes=(0, None))

    def run_epoch(epoch: int, state: Any) -> Epoch:
        state, losses = passes.train(fold(order_key, epoch), state, arrays)
        params = passes.params(state, arrays)
        # One validation key for all epochs: differences between epochs are not sampling noise.
        val_elbo = passes.validate(val_key, params, arrays)
        return Epoch(state, params, -losses.mean(axis=-1), val_elbo)

    def rotate(rotating: Rotating, epoch: int, time: int, result: Epoch) -> tuple[Any, list[RotationReport]]:
        key = fold(val_key, epoch)
        measured = rotating.measure(key, result.params, arrays)
        if members is None:
            plan = plan_rotation(key, measured, time, epoch)
            return rotating.turn(result.state, *plan[:3]), [plan.report]
        own = [jax.tree.map(lambda leaf, m=member: leaf[m], measured) for member in range(members.n)]
        plans = [plan_rotation(key[member], own[member], time, epoch) for member in range(members.n)]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(plan[:3] for plan in plans))
        return rotating.turn(result.state, *stacked), [plan.report for plan in plans]

    n_train, has_validation = arrays.train.shape[-1], arrays.val.shape[-1] > 0
    n_batches = plan_batches(n_train, config.batch_size).n_batches
    start = time.perf_counter()
    between = None
    if passes.rotating is not None:
        between = _Between(rotation_epochs(math.ceil(config.n_steps / n_batches)), partial(rotate, passes.rotating))
    last_rotation = 0 if between is None else max(between.rotations, default=0)
    ways = [_Way(config, has_validation, last_rotation) for _ in range(1 if members is None else members.n)]
    _climb(run_epoch, passes.init(init_key, arrays), ways, config, n_batches, between, progress=progress)
    train_seconds = time.perf_counter() - start
    return [way.result(compile_seconds, train_seconds) for way in ways]


class Epoch(NamedTuple):
    """What a pass over the data gave. With several members every array has a leading axis for them."""

    state: Any
    params: Params
    train_objective: Array
    """Mean over the steps, nats per cell."""
    val_elbo: Array
    """Nats per cell; NaN without validation cells."""

    def of_member(self, place: int) -> "Epoch":
        """What one member found; the whole if there is only one and hence no axis."""
        found = self._replace(state=None)
        return found if jnp.ndim(self.val_elbo) == 0 else jax.tree.map(lambda leaf: leaf[place], found)


class _Between(NamedTuple):
    """What happens between epochs."""

    rotations: dict[int, int]
    """After which epochs latent space is rotated, and which time that is."""
    rotate: Callable[[int, int, Epoch], tuple[Any, list[RotationReport]]]
    """(epoch, time, what the epoch gave) -> (state in the new basis, a report for each member)."""


@dataclass
class _Way:
    """How far one member has come: its history, and the best parameters so far.

    Parameters of the last rotation or earlier are only kept until there are later ones.
    """

    config: TrainConfig
    has_validation: bool
    last_rotation: int = 0
    """Epoch of it; 0 without."""
    params: Params = field(default_factory=dict)
    bound: float = -math.inf
    best_epoch: int = 0
    stopped: str | None = None
    """None while it climbs."""
    history: list[dict[str, float]] = field(default_factory=list)
    rotations: list[RotationReport] = field(default_factory=list)

    def add(self, epoch: int, result: Epoch, times: dict[str, float]) -> None:
        """Take note of an epoch; stop if it diverged, or if there was no better bound for `patience` epochs."""
        train_objective, val_elbo = float(result.train_objective), float(result.val_elbo)
        if not _usable(train_objective, val_elbo, result.params, has_validation=self.has_validation):
            self.stopped = "diverged"
            if self.best_epoch:
                _warn_of_divergence(epoch, self.best_epoch)
            return
        bounds = {"train_objective": train_objective, "val_elbo": val_elbo}
        self.history.append({"epoch": epoch, "step": times["step"], **bounds, **times})
        first_of_its_basis = self.best_epoch <= self.last_rotation < epoch
        if not self.has_validation or val_elbo > self.bound or first_of_its_basis:
            self.params, self.bound, self.best_epoch = result.params, val_elbo, epoch
        if not self.has_validation or self.config.patience is None or epoch <= self.last_rotation:
            return
        if epoch - self.best_epoch >= self.config.patience:
            self.stopped = "early"

    def rotated(self, report: RotationReport) -> None:
        """Take note that latent space was rotated after the epoch last added."""
        if self.stopped is None:
            self.history[-1]["rotated"] = 1.0
            self.rotations.append(report)

    def result(self, compile_seconds: float, train_seconds: float) -> FitResult | DivergenceError:
        """What was found, or the error that nothing was."""
        if not self.history:
            return DivergenceError(f"training diverged in epoch 1, before any usable parameters: {DIVERGENCE_ADVICE}")
        stopped = self.stopped or "budget"
        return FitResult(
            self.params,
            tuple(self.history),
            self.best_epoch,
            stopped,
            compile_seconds,
            train_seconds,
            tuple(self.rotations),
        )


def _climb(
    run_epoch: Callable[[int, Any], Epoch],
    state: Any,
    ways: Sequence[_Way],
    config: TrainConfig,
    n_batches: int,
    between: _Between | None = None,
    *,
    progress: bool,
) -> None:
    """The loop over epochs on the host; every way takes note of its part until it stops."""
    schedule = learning_rate(config)
    start = time.perf_counter()
    bar = tqdm(
        range(1, math.ceil(config.n_steps / n_batches) + 1),
        desc="fit",
        unit="epoch",
        disable=None if progress else True,
    )
    for epoch in bar:
        result = run_epoch(epoch, state)
        state, step = result.state, epoch * n_batches
        times = {
            "step": step,
            "learning_rate": float(schedule(step - 1)),
            "seconds": time.perf_counter() - start,
            "rotated": 0.0,
        }
        for place, way in enumerate(ways):
            if way.stopped is None:
                way.add(epoch, result.of_member(place), times)
        train, val = (float(jnp.mean(bound)) for bound in (result.train_objective, result.val_elbo))
        bar.set_postfix(train=f"{train:.2f}", val=f"{val:.2f}", refresh=False)
        if all(way.stopped for way in ways):
            break
        if between is not None and epoch in between.rotations:
            state, reports = between.rotate(epoch, between.rotations[epoch], result)
            for way, report in zip(ways, reports, strict=True):
                way.rotated(report)


def _usable(train_objective: float, val_elbo: float, params: Params, *, has_validation: bool) -> bool:
    finite = all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(params))
    return finite and math.isfinite(train_objective) and (math.isfinite(val_elbo) or not has_validation)


def _warn_of_divergence(epoch: int, best_epoch: int) -> None:
    warnings.warn(
        f"training diverged in epoch {epoch}; parameters of epoch {best_epoch} were kept. To go further, "
        f"{DIVERGENCE_ADVICE}.",
        DivergenceWarning,
        stacklevel=6,
    )


def check_trainable(data: PerturbationData) -> None:
    """Raises: InputError without training cells, or if none of them carries a perturbation."""
    cells = data.cells("train")
    if len(cells) == 0:
        raise InputError("no training cells: the split marks none as 'train'")
    if data.is_control[cells].all():
        raise InputError(f"none of the {len(cells)} training cells carries a perturbation")
