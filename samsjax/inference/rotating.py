"""The sparse rotation of a model in training or after it: measure effects, search, turn parameters and optimiser.

Perturbations first move cells along any direction in which the decoder answers, also along latent dimensions in which
unperturbed cells do not vary at all. Such directions are no mechanisms of the data, only slack of the model, and they
blur the basis. So in training, effects are gathered first in the directions that cells use (those whose posterior means
vary, the "active units" of Burda et al. 2016) and dropped elsewhere; what was real comes back in the passes after.

A fit rotates `len(DECISIVENESS)` times: the first time only the basis changes, and every entry stays possible; then
entries that do not stand out are made unlikely; the last time masks are decided.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from samsjax.effects import offset
from samsjax.inference.batching import gather
from samsjax.inference.epochs import FitArrays
from samsjax.inference.log_weights import effect_parameters, traces
from samsjax.inference.putting_effects import put_effects
from samsjax.inference.rows import present_rows, take_rows
from samsjax.models.base import Build
from samsjax.rotation.activity import inclusion_log_odds
from samsjax.rotation.axes import (
    LatentAxes,
    MaskedEffects,
    masked_effects,
    turn_base,
    turn_effects,
    turn_moments,
    turn_networks,
)
from samsjax.rotation.search import Search, closest_columns, search
from samsjax.types import Params

FRACTIONS = (0.3, 0.5, 0.7)
"""Parts of the budget after which a fit rotates: effects must have formed, and masks need time to settle."""
DECISIVENESS = (1.5, 1.5, 4.0)
"""Largest log odds of inclusion after each rotation; after the first, those of every effect in use."""
IN_USE_ABOVE = (0.05, 0.15, 0.15)
"""Variance over cells of a latent direction's posterior mean (the prior has 1) above which cells use it, by rotation.

Early on a real mechanism may still be small; after the first rotation it grows, and slack, such as a second direction
for the same mechanism, does not.
"""
N_CELLS = 4096
"""Most training cells to measure that with."""


class RotationReport(NamedTuple):
    """What one rotation found; L1 norms are sums over all effects, in standard deviations of the basal state."""

    epoch: int
    """After which pass over the data; 0 for a fitted model."""
    l1_before: float
    l1: float
    """Lowest norm found, effects in directions that cells do not use left out."""
    l1_next: float
    """Lowest norm of another local minimum; NaN if every start ended in the best. Close to `l1`: not unique."""
    l1_random: float
    """Mean over random rotations."""
    agreeing: float
    """Share of the starts that ended in the best."""
    directions_in_use: int
    """Latent directions in which cells vary, all for a fitted model."""
    active_entries: int
    """Effects that stand out."""


class Measured(NamedTuple):
    """What the search for a rotation needs to know of a state."""

    effects: MaskedEffects
    covariance: Float[Array, "latent latent"]
    """Of the posterior means of the basal state over training cells."""


class Rotating(NamedTuple):
    """The pure functions of a rotation in training; `vmap` over members as those of `Epochs`."""

    measure: Callable[[jax.Array, Params, FitArrays], Measured]
    """(key, parameters, arrays) -> effects and use of latent directions."""
    turn: Callable[[Any, Array, MaskedEffects, Array], Any]
    """(SVI state, rotation, effects, log odds) -> SVI state in the new basis."""


def make_rotating(build: Build, axes: LatentAxes) -> Rotating:
    """The compiled-to-be functions of rotations of the model that `build` makes."""

    def measure(key: jax.Array, params: Params, arrays: FitArrays) -> Measured:
        model_guide = build(arrays.statistics)
        n_train = arrays.train.shape[0]
        places = jnp.linspace(0, n_train - 1, min(N_CELLS, n_train)).astype(jnp.int32)
        no_shared_terms = jnp.zeros(model_guide.n_perturbations)
        rows, batch = present_rows(gather(arrays.cells, arrays.train[places], no_shared_terms))
        effects = masked_effects(params, axes.effects, arrays.features)
        if not axes.cells_turn:  # a space of effects alone: no direction of it can be slack that cells do not use
            return Measured(effects, jnp.eye(effects.mean.shape[-1]))
        own = take_rows(params, effect_parameters(model_guide), rows)
        _, guide_trace = traces(key, model_guide, own, batch)
        states = guide_trace[axes.cells]["fn"].mean
        if axes.cells_shifted:
            states = states - offset(take_rows({"E": effects.mean}, {"E"}, rows)["E"], batch)
        return Measured(effects, jnp.cov(states.T).reshape(states.shape[1], states.shape[1]))

    def turn(state: Any, rotation: Array, effects: MaskedEffects, log_odds: Array) -> Any:
        step, (params, inner) = state.optim_state
        first, second = (optax.tree_utils.tree_get(inner, name) for name in ("mu", "nu"))
        first, second = turn_moments(first, second, axes, rotation)
        inner = optax.tree_utils.tree_set(inner, mu=first, nu=second)
        params = put_effects(turn_networks(params, axes, rotation), axes.effects, effects, log_odds)
        return state._replace(optim_state=(step, (params, inner)))

    return Rotating(measure, turn)


class Plan(NamedTuple):
    """One member's rotation."""

    rotation: Float[Array, "latent latent"]
    effects: MaskedEffects
    log_odds: Float[Array, "perturbation latent"]
    report: RotationReport


def plan_rotation(key: jax.Array, measured: Measured, time: int, epoch: int) -> Plan:
    """Where to turn the model at its `time`-th rotation, and which masks to believe then."""
    covariance = np.asarray(measured.covariance, dtype=np.float64)
    if not np.isfinite(covariance).all():
        # One of several members has diverged: its parameters were set aside, and nobody reads what comes of it.
        covariance = np.eye(len(covariance))
    values, vectors = np.linalg.eigh(covariance)
    n_used = max(1, int((values > IN_USE_ABOVE[time]).sum()))
    basis, used = jnp.asarray(vectors[:, ::-1], dtype=jnp.float32), jnp.arange(len(values)) < n_used
    find = compiled_sparsest(*measured.effects.mean.shape)
    found, rotation, effects, log_odds = find(key, measured.effects._replace(base=None), basis, used)
    effects = effects._replace(base=turn_base(measured.effects.base, rotation))
    believed = jnp.where(log_odds > -jnp.inf, jnp.inf, log_odds) if time == 0 else log_odds
    report = report_of(found, measured.effects.mean, epoch, n_used, int((log_odds > 0).sum()))
    return Plan(rotation, effects, jnp.clip(believed, -DECISIVENESS[time], DECISIVENESS[time]), report)


class Turned(NamedTuple):
    """The basis in which effects are sparsest, among those that turn the directions in use."""

    found: Search
    rotation: Float[Array, "latent latent"]
    effects: MaskedEffects
    """In that basis, without what lies in other directions."""
    log_odds: Float[Array, "perturbation latent"]
    """Of inclusion; -infinity in directions not in use."""


def sparsest(
    key: jax.Array, effects: MaskedEffects, basis: Float[Array, "latent latent"], used: Bool[Array, " latent"]
) -> Turned:
    """Search among the directions in use; `used` says which columns of the orthogonal `basis` those are."""
    found = search(key, jnp.where(used, effects.mean @ basis, 0.0), used)
    rotation = basis @ found.rotation
    order, sign = closest_columns(rotation)
    rotation, used = rotation[:, order] * sign, used[order]
    turned = turn_effects(effects, rotation)
    turned = MaskedEffects(jnp.where(used, turned.mean, 0.0), turned.variance)
    log_odds = jnp.where(used, inclusion_log_odds(turned.mean, jnp.sqrt(turned.variance)), -jnp.inf)
    return Turned(found, rotation, turned, log_odds)


@lru_cache(maxsize=16)
def compiled_sparsest(n_perturbations: int, n_latent: int) -> Callable[..., Turned]:
    """`sparsest` for tables of this size; compiled once per process."""
    table, basis = (jnp.zeros((n, n_latent)) for n in (n_perturbations, n_latent))
    used = jnp.zeros(n_latent, bool)
    return jax.jit(sparsest).lower(jax.random.key(0), MaskedEffects(table, table), basis, used).compile()


def report_of(found: Search, effects: Array, epoch: int, directions_in_use: int, active_entries: int) -> RotationReport:
    """What there is to say about a search that started from these effects."""
    return RotationReport(
        epoch=epoch,
        l1_before=float(jnp.abs(effects).sum()),
        l1=float(found.l1),
        l1_next=float(found.l1_next),
        l1_random=float(found.l1_random),
        agreeing=float(found.agreeing),
        directions_in_use=directions_in_use,
        active_entries=active_entries,
    )


def rotation_epochs(n_epochs: int) -> dict[int, int]:
    """After which epochs a fit of `n_epochs` rotates, and which time that is; fewer times in very short fits."""
    epochs = {round(fraction * n_epochs): time for time, fraction in enumerate(FRACTIONS)}
    return {epoch: time for epoch, time in epochs.items() if 0 < epoch < n_epochs}
