"""Search for the rotation of latent space in which effects are sparsest.

The criterion is a smooth L1 norm of the rotated effects, sum_tk mu log cosh((W R)_tk / mu), minimised over orthogonal R
by projected gradient, with mu annealed towards the L1 norm itself. For large mu it is the quartimax criterion (sum of
fourth powers, to be maximised) up to constants; starting there is smooth but leads every start to the same, sometimes
wrong basin, so starts differ in their first mu too. They run side by side, and the lowest L1 norm wins.

Source: our own method. The criterion is that of L1 rotation in factor analysis and of sparse dictionary learning with
an orthogonal dictionary.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

N_STARTS = 32
N_ITERATIONS = 300
COARSEST = (1.0, 0.2, 0.1, 0.2)
"""Smoothing mu of the first iteration, in units of the typical effect; starts take turns."""
FINEST = 0.02
"""Smoothing mu of the last iteration."""
LONGEST, SHORTEST = 0.5, 0.002
"""Length of the first and last step, as the largest angle it may turn by, in radians."""
N_NEWTON_SCHULZ = 4
"""A step leaves singular values between 1 and 1.12; four iterations bring them to 1 within float32."""
SAME_ABOVE = 0.95
"""Two rotations are the same when every column in use of one has a cosine above this with a column of the other."""


class Search(NamedTuple):
    """The best rotation, and what is needed to judge it. Norms are sums of absolute effects."""

    rotation: Float[Array, "latent latent"]
    """Orthogonal. Effects become W R: its columns are the new latent dimensions."""
    l1: Float[Array, ""]
    """Of the rotated effects."""
    l1_before: Float[Array, ""]
    """Of the effects as they came."""
    l1_random: Float[Array, ""]
    """Mean over random rotations."""
    l1_next: Float[Array, ""]
    """Lowest among the starts that ended in a distinct rotation; NaN if none did."""
    agreeing: Float[Array, ""]
    """Share of the starts that ended in the best rotation, up to order and sign of its columns."""


def typical_effect(effects: Float[Array, "perturbation latent"]) -> Float[Array, ""]:
    """Typical length of a perturbation's effect: root mean square over rows, weighted by their squares.

    Rows without effect do not count, however many there are; 0 if there are only such rows.
    """
    squares = (effects**2).sum(axis=1)
    return jnp.sqrt((squares**2).sum() / jnp.maximum(squares.sum(), jnp.finfo(squares.dtype).tiny))


def smooth_l1(effects: Float[Array, "perturbation latent"], mu: Float[Array, ""] | float) -> Float[Array, ""]:
    """Sum of mu log cosh(effect / mu): |effect| - mu log 2 far from zero, effect^2 / (2 mu) close to it."""
    scaled = jnp.abs(effects) / mu
    return (mu * (scaled + jnp.log1p(jnp.exp(-2 * scaled)) - np.log(2.0))).sum()


def smooth_l1_gradient(
    effects: Float[Array, "perturbation latent"], rotation: Float[Array, "latent latent"], mu: Float[Array, ""] | float
) -> Float[Array, "latent latent"]:
    """Gradient of `smooth_l1(effects @ rotation)` by the entries of the rotation: W' tanh(W R / mu)."""
    return effects.T @ jnp.tanh(effects @ rotation / mu)


@partial(jax.jit, static_argnames=("n_starts",))
def search(
    key: jax.Array,
    effects: Float[Array, "perturbation latent"],
    turning: Bool[Array, " latent"] | None = None,
    n_starts: int = N_STARTS,
) -> Search:
    """The rotation with the lowest L1 norm of the rotated effects, among local minima from `n_starts` starts.

    Order and sign of the columns are those closest to the latent dimensions as they were, so effects that are as sparse
    as they can be stay where they are. The same key gives the same rotation on the same machine. Latent dimensions that
    are not among the `turning` ones (by default all) stay what they are, and effects on them should be zero.
    """
    scale = typical_effect(effects)
    scaled = effects / jnp.where(scale > 0, scale, 1.0)
    n_latent = effects.shape[1]
    random = _random_rotations(key, jnp.ones(n_latent, bool) if turning is None else turning, n_starts)
    starts = random.at[0].set(jnp.eye(n_latent))
    found = jax.vmap(partial(_descend, scaled))(starts, jnp.resize(jnp.array(COARSEST), (n_starts,)))
    l1 = jnp.abs(effects @ found).sum(axis=(1, 2))
    l1_before = jnp.abs(effects).sum()
    # Nothing to gain beyond rounding: leave the model alone.
    best = jnp.where(l1.min() < l1_before * (1 - 1e-4), found[jnp.argmin(l1)], jnp.eye(n_latent))
    order, sign = closest_columns(best)
    same = jax.vmap(partial(_same, scaled, best))(found)
    others = jnp.where(same, jnp.inf, l1).min()
    return Search(
        rotation=best[:, order] * sign,
        l1=jnp.abs(effects @ best).sum(),
        l1_before=l1_before,
        l1_random=jnp.abs(effects @ random).sum(axis=(1, 2)).mean(),
        l1_next=jnp.where(jnp.isfinite(others), others, jnp.nan),
        agreeing=same.mean(),
    )


def _random_rotations(key: Array, turning: Array, n: int) -> Array:
    """Uniform rotations of the space of the turning dimensions; the gradient of the others is zero, so they stay."""
    gaussian = jax.random.normal(key, (n, *2 * turning.shape))
    q, r = jnp.linalg.qr(jnp.where(jnp.outer(turning, turning), gaussian, jnp.eye(len(turning))))
    return q * jnp.sign(jnp.diagonal(r, axis1=-2, axis2=-1))[:, None, :]


def _descend(effects: Array, start: Array, coarsest: Array) -> Array:
    """The local minimum below a start; `effects` in units of the typical effect."""

    def step(i: Array, rotation: Array) -> Array:
        done = i / (N_ITERATIONS - 1)
        mu = coarsest * (FINEST / coarsest) ** done
        length = LONGEST * (SHORTEST / LONGEST) ** done
        turn = smooth_l1_gradient(effects, rotation, mu) @ rotation.T
        turn = turn - turn.T
        # Two bounds of the spectral norm of a skew matrix: the smaller one makes the longer step.
        size = jnp.minimum(jnp.linalg.norm(turn) / 2**0.5, jnp.abs(turn).sum(axis=1).max())
        return _polar(rotation - (length / jnp.where(size > 0, size, 1.0)) * turn @ rotation)

    return jax.lax.fori_loop(0, N_ITERATIONS, step, start)


def _polar(matrix: Array) -> Array:
    """The closest orthogonal matrix to one that almost is, by matrix products (an SVD is slow on accelerators)."""
    return jax.lax.fori_loop(0, N_NEWTON_SCHULZ, lambda _, x: 1.5 * x - 0.5 * x @ (x.T @ x), matrix)


def _same(effects: Array, best: Array, other: Array) -> Array:
    """Whether `other` has, up to order and sign, the columns of `best` that effects use."""
    in_use = jnp.abs(effects @ best).max(axis=0) > 0.25
    return (~in_use | (jnp.abs(best.T @ other).max(axis=1) > SAME_ABOVE)).all()


@jax.jit
def closest_columns(rotation: Float[Array, "latent latent"]) -> tuple[Int[Array, " latent"], Float[Array, " latent"]]:
    """(order, sign) that bring an orthogonal matrix close to the identity: `rotation[:, order] * sign`.

    Greedy, largest entries first.
    """
    n_latent = rotation.shape[0]

    def place(_: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        left, order = state
        row, column = jnp.unravel_index(jnp.argmax(left), left.shape)
        return left.at[row].set(-1.0).at[:, column].set(-1.0), order.at[row].set(column)

    _, order = jax.lax.fori_loop(0, n_latent, place, (jnp.abs(rotation), jnp.zeros(n_latent, int)))
    return order, jnp.where(rotation[jnp.arange(n_latent), order] < 0, -1.0, 1.0)
