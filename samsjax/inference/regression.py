"""A Gaussian network fitted to moments: from features of contexts to the mean and spread of their cells.

The smallest of the fits: all contexts are one batch, the loss is the expected Gaussian negative log density of cells
with given means and variances, and a set of other contexts may say when to stop.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from samsjax.networks import GaussianNetwork

Moments = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Features (context, feature), means and variances of cells (context, variable)."""


class NetworkSettings(NamedTuple):
    """Sizes and budget."""

    n_hidden: int = 64
    n_layers: int = 2
    n_steps: int = 2000
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    """Decoupled, as AdamW's."""
    n_checks: int = 20
    """How often the other contexts are looked at."""


def fit_gaussian_network(
    key: jax.Array, training: Moments, val: Moments | None = None, settings: NetworkSettings | None = None
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Train a network; with `val` the parameters with the smallest loss there, else the last ones.

    Args:
        key: of the start.
        training: what is learned from.
        val: what decides when to stop.
        settings: sizes and budget.

    Returns:
        Features (context, feature) -> mean and standard deviation of cells, float64 (context, variable) each.
    """
    settings = settings or NetworkSettings()
    n_out = training[1].shape[1]
    train, held_out = (None if m is None else tuple(jnp.asarray(a, jnp.float32) for a in m) for m in (training, val))
    params = jax.jit(_network(settings, n_out).init)(key, train[0])  # type: ignore[index]
    state, best, smallest = _optimizer(settings).init(params), params, np.inf
    for _ in range(settings.n_checks):
        params, state = _steps(params, state, train, settings=settings, n_out=n_out)
        now = -np.inf if held_out is None else float(_held_out_loss(params, held_out, settings=settings, n_out=n_out))
        if now <= smallest:
            best, smallest = params, now

    def predict(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        loc, scale = _outputs(best, jnp.asarray(features, jnp.float32), settings=settings, n_out=n_out)
        return np.asarray(loc, np.float64), np.asarray(scale, np.float64)

    return predict


def _network(settings: NetworkSettings, n_out: int) -> GaussianNetwork:
    return GaussianNetwork(n_out, settings.n_layers, settings.n_hidden)


def _optimizer(settings: NetworkSettings) -> optax.GradientTransformation:
    return optax.adamw(settings.learning_rate, weight_decay=settings.weight_decay)


def _loss(params, moments, settings: NetworkSettings, n_out: int) -> Float[Array, ""]:
    """Expected negative log density per cell and variable, up to a constant."""
    features, mean, variance = moments
    loc, scale = _outputs(params, features, settings=settings, n_out=n_out)
    return (jnp.log(scale) + 0.5 * (variance + (mean - loc) ** 2) / scale**2).mean()


_held_out_loss = partial(jax.jit, static_argnames=("settings", "n_out"))(_loss)


@partial(jax.jit, static_argnames=("settings", "n_out"))
def _outputs(params, features, *, settings: NetworkSettings, n_out: int) -> tuple[Array, Array]:
    loc, scale = _network(settings, n_out).apply(params, features)
    return jnp.asarray(loc), jnp.asarray(scale)


@partial(jax.jit, static_argnames=("settings", "n_out"))
def _steps(params, state, moments, *, settings: NetworkSettings, n_out: int):
    """The steps between two checks. At module level, so that fits of equal shapes share what is compiled."""

    def step(carry, _):
        params, state = carry
        gradient = jax.grad(_loss)(params, moments, settings, n_out)
        updates, state = _optimizer(settings).update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, state), length=settings.n_steps // settings.n_checks)[0]
