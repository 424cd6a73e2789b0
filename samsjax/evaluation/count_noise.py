"""Expected counts in a named scale, exact over the noise of counts: no draws of counts, no table, differentiable.

For independent counts x_g with total S, c = 1e4 and a cell without counts counted as zero everywhere,

    E log(1 + c x_g / S) = int_0^inf (1/t) prod_{h != g} M_h(t) [M_g(t) - M_g((1 + c) t)] dt
    E x_g / S            = int_0^inf -M_g'(t) prod_{h != g} M_h(t) dt
    M_g(t)               = E exp(-t x_g)

by log(a / b) = int (exp(-b t) - exp(-a t)) / t dt and 1/b = int exp(-b t) dt, taken inside the expectation. In
u = log t the integrands are analytic and die out at both ends, so sums over evenly spaced nodes converge exponentially.

Error of the logarithm, in log2 units: at most 4.1e-5 from spacing, because by Poisson summation the sum is off by
2 Re sum_m Gamma(i w m) E[S^(-i w m) - (S + c x_g)^(-i w m)], w = 2 pi / spacing, whatever the law of the counts; and
below 1e-5 from cutting the ends, for expected totals up to 1e7 and inverse dispersions from 0.01. The spacing divides
log(1 + c), so M_g((1 + c) t) is M_g at a later node. For x_g / S the error is below 1e-5 of the expectation.

Source: the identities are those of Frullani and Laplace; the rule in log t is Poisson summation.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from samsjax.distributions import CountLaw
from samsjax.errors import InputError
from samsjax.evaluation.transforms import transform_named

PER_TOTAL = 1e4
"""Counts are stated per so many."""
VALUES_AT_ONCE = 2**19
"""Most (node, gene) values of all rows worked on together: few enough for the caches of a CPU."""


class _Nodes(NamedTuple):
    """Places and weights of a sum over log t."""

    t: np.ndarray
    """(node,), ascending, each a constant times the one before."""
    weight: np.ndarray
    """(node,); the first also stands for all nodes below it, where the integrand is proportional to t."""


def _nodes(spacing: float, first: float, last: float) -> _Nodes:
    n = int(np.ceil(np.log(last / first) / spacing)) + 1
    weight = np.full(n, spacing)
    weight[0] = spacing / -np.expm1(-spacing)
    return _Nodes(last * np.exp(spacing * np.arange(1 - n, 1)), weight)


STEPS = 11
"""Nodes from t to (1 + c) t."""
LOG_NODES = _nodes(np.log1p(PER_TOTAL) / STEPS, first=1e-14, last=6.0)
SHARE_NODES = _nodes(np.log1p(PER_TOTAL) / 16, first=1e-11, last=10.0)


def expected_in_scale(
    law: CountLaw,
    library_size: Float[Array, "..."],
    transform: str,
    own_totals: bool,  # noqa: FBT001 (jit wants static arguments by position)
) -> Float[Array, "... gene"]:
    """Expectation over counts of `forward.in_scale`.

    Args:
        law: of the counts, (..., gene), independent given the mean.
        library_size: (...), totals where they are not those of the counts themselves.
        transform: name in `TRANSFORMS`.
        own_totals: whether a cell's total is the sum of its counts.

    Raises:
        InputError: for a transform outside `TRANSFORMS`, or one whose expectation is not known here.
    """
    transform_named(transform)
    if transform == "counts":
        return law.mean
    if transform == "cp10k":
        return _by_rows(_shares, law) if own_totals else PER_TOTAL * law.mean / library_size[..., None]
    if transform != "log2_cp10k":
        raise InputError(f"noise 'marginal' has no expectation of {transform!r}; use noise 'sampled'")
    if own_totals:
        return _by_rows(_log2_own_total, law)
    return _by_rows(_log2_given_total, law, library_size)


def _by_rows(function: Callable[..., Array], law: CountLaw, *more: Float[Array, "..."]) -> Float[Array, "... gene"]:
    """`function` of each row, a few rows at a time: every node of a row is at hand at once, and only its."""
    shape = law.mean.shape
    arguments = tuple(a.reshape(-1, *a.shape[len(shape) - 1 :]) for a in jax.tree.leaves((law, more)))
    rows_at_once = max(1, VALUES_AT_ONCE // (len(LOG_NODES.t) * shape[-1]))

    def one(row: tuple[Array, ...]) -> Array:
        of_row, rest = jax.tree.unflatten(jax.tree.structure((law, more)), row)
        return function(of_row, *rest)

    return jax.lax.map(one, arguments, batch_size=rows_at_once).reshape(shape)


def _log2_own_total(law: CountLaw) -> Float[Array, " gene"]:
    """E log2(1 + c x / S), S the sum of x."""
    n = len(LOG_NODES.t)
    # Behind the last node nothing but zero counts is left, which t = infinity stands for.
    at = law.log_laplace(_column(np.append(LOG_NODES.t, np.inf)))
    now, later = at[:n], at[np.minimum(np.arange(n) + STEPS, n)]
    all_genes = jnp.exp(now.sum(axis=-1, keepdims=True))
    return -(_column(LOG_NODES.weight) * all_genes * jnp.expm1(later - now)).sum(axis=0) / np.log(2.0)


def _log2_given_total(law: CountLaw, total: Float[Array, ""]) -> Float[Array, " gene"]:
    """E log2(1 + c x / S) for a number S. As above with exp(-S t) for the rest of the total."""
    of_total = jnp.exp(-total * _column(LOG_NODES.t))
    scaled = jnp.expm1(law.log_laplace(_column(PER_TOTAL * LOG_NODES.t)))
    return -(_column(LOG_NODES.weight) * of_total * scaled).sum(axis=0) / np.log(2.0)


def _shares(law: CountLaw) -> Float[Array, " gene"]:
    """E c x / S, S the sum of x."""
    t = _column(SHARE_NODES.t)
    all_genes = jnp.exp(law.log_laplace(t).sum(axis=-1, keepdims=True))
    weight = _column(PER_TOTAL * SHARE_NODES.weight * SHARE_NODES.t)
    return (weight * all_genes * law.tilted_mean(t)).sum(axis=0)


def _column(values: np.ndarray) -> Float[Array, "node 1"]:
    return jnp.asarray(values[:, None], dtype=jnp.float32)
