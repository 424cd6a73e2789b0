"""True average effects of a simulated screen, from the expectations that generated its cells.

Counts are not read: for every simulated cell the expectation of its expression over the noise of counts is exact
(`count_noise`). What error is left is that of averaging over the screen's basal states and totals, and is stated.
Effects are those on cells of good quality: a cell that fails counts with what it would have expressed had it not.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from samsjax.data.dataset import PerturbationData
from samsjax.data.encoding import Treatments
from samsjax.data.simulate import Truth
from samsjax.distributions import CountLaw
from samsjax.errors import InputError
from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.count_noise import expected_in_scale
from samsjax.evaluation.data_effects import group_moments

CELLS_AT_ONCE = 256


def true_effects(
    data: PerturbationData, treated: Treatments, truth: Truth, transform: str = "log2_cp10k"
) -> AverageEffects:
    """Effect of every treatment of a simulated screen against its controls.

    Args:
        data: the screen, all its cells.
        treated: its treatments.
        truth: what generated it.
        transform: name in `TRANSFORMS`.

    Raises:
        InputError: for a screen without controls, a transform unknown or, for continuous values, other than "counts".
    """
    if not (treated.assignment < 0).any():
        raise InputError("the screen has no control cells: effects have no reference")
    if truth.theta is None and transform != "counts":
        raise InputError(f"effects in {transform!r} need counts, and the screen holds continuous values; use 'counts'")
    of_good = truth.mean if truth.good_mean is None else truth.good_mean
    expression = of_good if truth.theta is None else _expected(of_good, truth.theta, transform)
    n = len(treated.labels)
    group = np.where(treated.assignment < 0, n, treated.assignment)
    mean, variance = group_moments(expression.astype(np.float64), group, n + 1)
    return AverageEffects(
        labels=treated.labels,
        ate=(mean[:-1] - mean[-1]).astype(np.float32),
        standard_error=np.sqrt(variance[:-1] + variance[-1]).astype(np.float32),
        control_mean=mean[-1].astype(np.float32),
        transform=transform,
    )


def _expected(mean: np.ndarray, theta: np.ndarray, transform: str) -> np.ndarray:
    """Expected expression of every cell, (cell, gene), against its own total."""
    dispersed = None if np.isinf(theta).all() else jnp.asarray(theta)
    n_chunks = -(-len(mean) // CELLS_AT_ONCE)
    padded = np.pad(mean, ((0, n_chunks * CELLS_AT_ONCE - len(mean)), (0, 0)), constant_values=1.0)
    chunks = [slice(i * CELLS_AT_ONCE, (i + 1) * CELLS_AT_ONCE) for i in range(n_chunks)]
    of_chunk = [_of_chunk(jnp.asarray(padded[c]), dispersed, transform) for c in chunks]
    return np.concatenate([np.asarray(values) for values in of_chunk])[: len(mean)]


@partial(jax.jit, static_argnums=(2,))
def _of_chunk(
    mean: Float[Array, "cell gene"], theta: Float[Array, " gene"] | None, transform: str
) -> Float[Array, "cell gene"]:
    law = CountLaw(mean, None if theta is None else jnp.broadcast_to(theta, mean.shape))
    return expected_in_scale(law, mean.sum(axis=-1), transform, own_totals=True)
