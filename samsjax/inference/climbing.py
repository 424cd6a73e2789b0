"""Steps of several starts side by side: pure functions, compiled once for all multipliers, stretches and seeds.

What is minimised is loss + lambda h + rho h^2 / 2, with h how cyclic the graph is. After each stretch of steps rho
grows, within bounds, and lambda by rho h.

Source: augmented Lagrangian for graphs: Zheng et al. 2018. Differs: multipliers grow by a fixed schedule.
"""

from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from samsjax.inference.log_weights import initial_parameters
from samsjax.models.base import Build, DataStatistics
from samsjax.types import ConstrainedTraining, KnownStructure, Params

FIRST_WEIGHT = 1.0
"""Weight of the squared constraint at its first update."""
MOST_WEIGHT = 1e6
LAST_PART, LAST_FACTOR = 0.2, 0.2
"""In the last part of the steps these are shorter by the factor."""
CLIP_NORM = 10.0


class State(NamedTuple):
    """Where the starts stand; every array has an axis for them."""

    params: Params
    moments: Any
    multiplier: Float[Array, " start"]
    weight: Float[Array, " start"]


class Stretch(NamedTuple):
    """What changes from one run of the compiled steps to the next. Arrays, so that nothing is compiled again."""

    first_step: Float[Array, ""]
    all_steps: Float[Array, ""]
    constrained: Float[Array, ""]
    """1 if the weight of the constraint is to be raised afterwards."""


@lru_cache(maxsize=64)
def compiled_for(function: Any, static: tuple[Any, ...], structure: Any, shapes: tuple[Any, ...]) -> Any:
    """`function` with its static arguments, compiled for others of this structure and these (shape, type)s."""
    arguments = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(*shape) for shape in shapes])
    return jax.jit(partial(function, *static)).lower(*arguments).compile()


def clipped_adam() -> optax.GradientTransformation:
    """Directions of steps; their length is set in `climbed`."""
    return optax.chain(optax.clip_by_global_norm(CLIP_NORM), optax.scale_by_adam())


def training_of(build: Build, statistics: DataStatistics) -> ConstrainedTraining:
    """The functions of the model."""
    training = build(statistics).constrained
    assert training is not None
    return training


def initial_starts(build: Build, statistics: DataStatistics, keys: jax.Array) -> Params:
    """Parameters of all starts."""
    model_guide = build(statistics)
    return jax.vmap(lambda key: initial_parameters(key, model_guide))(keys)


def edges_of_starts(build: Build, statistics: DataStatistics, params: Params) -> tuple[Array, Array]:
    """(log odds of edges, how cyclic the graph is) of all starts."""
    training = training_of(build, statistics)
    return jax.vmap(training.log_odds)(params), jax.vmap(training.constraint)(params)


def finished_starts(
    build: Build, statistics: DataStatistics, params: Params, cells: Any, known: KnownStructure
) -> Params:
    """The parameters of all starts, with the posterior of targets."""
    training = training_of(build, statistics)
    return jax.vmap(lambda own: training.finish(own, cells, known))(params)


def scores_of_starts(build: Build, statistics: DataStatistics, params: Params, cells: Any) -> Float[Array, " start"]:
    """Log likelihood of held-out cells under all starts, per cell."""
    training = training_of(build, statistics)
    return jax.vmap(lambda own: training.score(own, cells))(params)


def climbed(
    build: Build,
    n_steps: int,
    n_graphs: int,
    constrained: bool,  # noqa: FBT001 (a static argument, by position)
    statistics: DataStatistics,
    keys: jax.Array,
    state: State,
    cells: Any,
    known: KnownStructure,
    stretch: Stretch,
) -> tuple[State, Float[Array, " start"]]:
    """A stretch of steps of all starts, then an update of the multipliers; and the mean losses of its steps."""
    training, optimizer = training_of(build, statistics), clipped_adam()

    def of_start(key: jax.Array, own: State, graph: Array) -> tuple[State, Array]:
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
        return State(params, moments, multiplier, weight), values.mean()

    return jax.vmap(of_start)(keys, state, known.graph)
