"""The two distributions NumPyro does not have: a straight-through Bernoulli and a count likelihood exact in float32.

Both are ordinary NumPyro distributions, so plates, `vmap`, handlers and analytic KL divergences work with them.
`count_law` reads from a distribution of counts what expectations over them need, their Laplace transform.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array
from numpyro.distributions import constraints
from numpyro.distributions.kl import kl_divergence
from numpyro.distributions.util import promote_shapes, validate_sample

_EPS = float(jnp.finfo(jnp.float32).eps)
_LOG_2PI = 1.8378770664093453
_SERIES_FROM = 4.0


def clamp_probability(p: Array) -> Array:
    """`p` clipped to [eps, 1 - eps] of float32; its gradient is zero where it was clipped."""
    return jnp.clip(p, _EPS, 1.0 - _EPS)


def _logit(p: Array) -> Array:
    return jnp.log(p) - jnp.log1p(-p)


class StraightThroughBernoulli(dist.Distribution):
    """Bernoulli whose draws are exactly 0 or 1 and whose gradients are those of a relaxed (Gumbel-sigmoid) draw.

    The density is the discrete Bernoulli mass at the hard draw, not the concrete density, so KL divergences against
    a Bernoulli are exact.

    Args:
        logits: log odds of a 1. Beyond about 15.9 in size the clamped probability saturates and gradients vanish.
        temperature: of the relaxation; only gradients depend on it.

    Source: Gumbel-softmax straight-through estimator as used by SAMS-VAE.
    """

    arg_constraints = {"logits": constraints.real}  # noqa: RUF012 (NumPyro's protocol)
    support = constraints.boolean
    reparametrized_params = ["logits"]  # noqa: RUF012
    pytree_data_fields = ("logits",)
    pytree_aux_fields = ("temperature",)

    def __init__(self, logits: Array, temperature: float | Array = 1.0, *, validate_args: bool | None = None) -> None:
        self.logits = logits
        self.temperature = temperature
        super().__init__(batch_shape=jnp.shape(logits), validate_args=validate_args)

    @property
    def probs(self) -> Array:
        """Probability of a 1."""
        return jax.nn.sigmoid(self.logits)

    def from_uniform(self, u: Array) -> Array:
        """The draw that belongs to uniform noise `u`: hard value forward, relaxed gradient backward."""
        logits = _logit(clamp_probability(u)) + _logit(clamp_probability(self.probs))
        soft = jax.nn.sigmoid(logits / self.temperature)
        hard = jnp.round(clamp_probability(soft))
        surrogate = clamp_probability(soft)
        # The brackets matter: hard + soft - soft rounds and leaves {0, 1}.
        return jax.lax.stop_gradient(hard) + (surrogate - jax.lax.stop_gradient(surrogate))

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Hard draws of shape `sample_shape + batch_shape`, differentiable in the logits."""
        return self.from_uniform(jax.random.uniform(key, sample_shape + self.batch_shape))

    @validate_sample
    def log_prob(self, value: Array) -> Array:
        """Bernoulli log mass with clamped probabilities; differentiable in `value` too (straight-through)."""
        p = clamp_probability(self.probs)
        return value * jnp.log(p) + (1.0 - value) * jnp.log1p(-p)

    @property
    def mean(self) -> Array:
        """Probability of a 1."""
        return self.probs

    @property
    def variance(self) -> Array:
        """Of a hard draw."""
        return self.probs * (1.0 - self.probs)


def _kl_straight_through_bernoulli(q: StraightThroughBernoulli, p: dist.Distribution) -> Array:
    """Exact KL of two Bernoulli distributions, both probabilities clamped."""
    q1, p1 = clamp_probability(q.probs), clamp_probability(p.probs)
    return q1 * (jnp.log(q1) - jnp.log(p1)) + (1.0 - q1) * (jnp.log1p(-q1) - jnp.log1p(-p1))


for _prior in (dist.BernoulliProbs, dist.BernoulliLogits, StraightThroughBernoulli):
    kl_divergence.add((StraightThroughBernoulli, _prior), _kl_straight_through_bernoulli)


def _log_ratio(a: Array, b: Array, difference: Array) -> Array:
    """log(a / b) for positive a and b whose `difference` a - b is known better than by subtracting them."""
    return jnp.sign(difference) * jnp.log1p(jnp.abs(difference) / jnp.minimum(a, b))


@jax.custom_jvp
def _deviance_terms(x: Array, m: Array, theta: Array) -> Array:
    """X log(m/x) + (x + theta) log((x + theta)/(m + theta)): zero at m = x, negative elsewhere.

    Regrouped as x log(m (x + theta) / (x (m + theta))) + theta log((x + theta)/(m + theta)), because these two parts
    are of the size of their sum for every theta; the parts as first written are not.
    """
    x_safe = jnp.maximum(x, 1.0)  # x is 0 or at least 1, and the first part vanishes at 0
    first = x * _log_ratio(m * (x + theta), x_safe * (m + theta), theta * (m - x))
    return first + theta * _log_ratio(theta + x, theta + m, x - m)


@_deviance_terms.defjvp
def _deviance_terms_jvp(primals, tangents):
    """Derivatives in closed form, free of cancellation. Counts are data: there is no derivative in x."""
    x, m, theta = primals
    _, m_dot, theta_dot = tangents
    towards_x = (x - m) / (m + theta)
    in_m = theta * towards_x / m
    in_theta = _log_ratio(theta + x, theta + m, x - m) - towards_x
    return _deviance_terms(x, m, theta), in_m * m_dot + in_theta * theta_dot


@jax.custom_jvp
def _stirling_remainder(y: Array) -> Array:
    """lgamma(y) minus its leading Stirling terms (y - 1/2) log y - y + log(2 pi)/2, for y > 0.

    Small and smooth where lgamma itself is huge, so differences of it lose no digits in float32. Below 4 the recurrence
    lgamma(y) = lgamma(y + 4) - log(y (y + 1) (y + 2) (y + 3)) leads to where the series holds; this and the derivative
    in closed form cost a fraction of lgamma and digamma.
    """
    small = y < _SERIES_FROM
    inverse = 1.0 / jnp.where(small, y + _SERIES_FROM, y)
    square = inverse * inverse
    series = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680)))
    low = jnp.minimum(y, _SERIES_FROM)
    above = low + _SERIES_FROM
    shift = (low - 0.5) * jnp.log1p(_SERIES_FROM / low) + jnp.log(above**4 / _rising(low)) - _SERIES_FROM
    return series + jnp.where(small, shift, 0.0)


@_stirling_remainder.defjvp
def _stirling_remainder_jvp(primals, tangents):
    (y,), (y_dot,) = primals, tangents
    small = y < _SERIES_FROM
    square = 1.0 / jnp.where(small, y + _SERIES_FROM, y) ** 2
    series = -square * (1 / 12 - square * (1 / 120 - square * (1 / 252 - square / 240)))
    low = jnp.minimum(y, _SERIES_FROM)
    above = low + _SERIES_FROM
    reciprocals = 1 / low + 1 / (low + 1) + 1 / (low + 2) + 1 / (low + 3)
    slope = jnp.log1p(_SERIES_FROM / low) + (low - 0.5) * (1 / above - 1 / low) + _SERIES_FROM / above - reciprocals
    return _stirling_remainder(y), (series + jnp.where(small, slope, 0.0)) * y_dot


def _rising(y: Array) -> Array:
    return y * (y + 1.0) * (y + 2.0) * (y + 3.0)


class MeanNegativeBinomial(dist.Distribution):
    """Negative binomial counts with mean `mean` and inverse dispersion `theta`: variance mean + mean^2 / theta.

    The log density is the saddle-point form (deviance plus Stirling remainders). Every term stays of the size of the
    result, so float32 agrees with float64 to about 1e-6 relative also at theta = 1e5 or counts in the ten thousands,
    where the usual lgamma form is off by up to 0.2 nats per entry. Terms without the mean are kept apart: under `vmap`
    over particles they are computed once.

    Args:
        mean: positive.
        theta: positive; the Poisson limit is theta -> infinity.
    """

    arg_constraints = {"mean_param": constraints.positive, "theta": constraints.positive}  # noqa: RUF012
    support = constraints.nonnegative_integer
    pytree_data_fields = ("mean_param", "theta")

    def __init__(self, mean: Array, theta: Array, *, validate_args: bool | None = None) -> None:
        self.mean_param, self.theta = promote_shapes(mean, theta)
        shape = jnp.broadcast_shapes(jnp.shape(mean), jnp.shape(theta))
        super().__init__(batch_shape=shape, validate_args=validate_args)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Gamma-Poisson draws, float32 whole numbers."""
        key_rate, key_count = jax.random.split(key)
        theta = jnp.broadcast_to(self.theta, sample_shape + self.batch_shape)
        rate = jax.random.gamma(key_rate, theta) * (self.mean_param / theta)
        return jax.random.poisson(key_count, rate).astype(jnp.float32)

    @validate_sample
    def log_prob(self, value: Array) -> Array:
        """Log mass in nats, elementwise."""
        return _deviance_terms(value, self.mean_param, self.theta) + _mean_free_terms(value, self.theta)

    @property
    def mean(self) -> Array:
        """Expected counts."""
        return jnp.broadcast_to(self.mean_param, self.batch_shape)

    @property
    def variance(self) -> Array:
        """Mean + mean^2 / theta."""
        return self.mean_param + self.mean_param**2 / self.theta


def _mean_free_terms(x: Array, theta: Array) -> Array:
    at_any_count = _stirling_remainder(x + theta) - _stirling_remainder(theta) - 0.5 * jnp.log1p(x / theta)
    x_safe = jnp.maximum(x, 1.0)
    above_zero = _stirling_remainder(x_safe) + 0.5 * (jnp.log(x_safe) + _LOG_2PI)
    return at_any_count - jnp.where(x > 0, above_zero, 0.0)


class CountLaw(NamedTuple):
    """Independent counts, Poisson or negative binomial, as plain arrays: what `vmap` can carry out of a program."""

    mean: Array
    """(..., gene), positive."""
    theta: Array | None
    """(..., gene), inverse dispersion; None for Poisson counts."""

    def log_laplace(self, t: Array | np.ndarray | float) -> Array:
        """Log E exp(-t x) for t >= 0, infinity included: log P(x = 0). Free of cancellation for small t."""
        seen = -jnp.expm1(-t)  # the probability that at least one of Poisson(t) marks falls on a count
        if self.theta is None:
            return -self.mean * seen
        return -self.theta * jnp.log1p(self.mean / self.theta * seen)

    def tilted_mean(self, t: Array | np.ndarray | float) -> Array:
        """E[x exp(-t x)] / E exp(-t x), minus the derivative of `log_laplace`."""
        at_zero = self.mean * jnp.exp(-t)
        return at_zero if self.theta is None else at_zero / (1.0 - self.mean / self.theta * jnp.expm1(-t))


def count_law(distribution: dist.Distribution) -> CountLaw | None:
    """The law of independent counts; None for a distribution whose Laplace transform is not known here."""
    if isinstance(distribution, dist.Independent):
        return count_law(distribution.base_dist)
    if isinstance(distribution, MeanNegativeBinomial):
        return CountLaw(distribution.mean, jnp.broadcast_to(distribution.theta, distribution.batch_shape))
    if isinstance(distribution, dist.Poisson):
        return CountLaw(distribution.rate, None)
    return None
