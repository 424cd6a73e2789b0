"""How often perturbations act on a latent dimension: a rate that is given, or learned with the masks.

Generative story of a learned rate, for latent dimensions k, with c = inclusion_concentration, p = mask_prior_prob:

    rate_k   ~ Beta(c p, c (1 - p))          site `inclusion_rate`, in a plate of its own; one for all k if "global"
    mask_tk  ~ Bernoulli(rate_k)

Guide: a Beta for every rate. Its KL is analytic, and so is that of the masks under it: E_q[log rate] and
E_q[log(1 - rate)] are differences of digammas. So with masks held, the optimum is the conjugate posterior
Beta(c p + sum_t q(mask_tk), c (1 - p) + sum_t (1 - q(mask_tk))), and p matters less the more perturbations there are.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax.scipy.special import digamma
from jaxtyping import Array, Float
from numpyro.distributions.kl import kl_divergence

from samsjax.distributions import StraightThroughBernoulli, clamp_probability
from samsjax.errors import check_choice, check_range
from samsjax.models.base import DataStatistics, ModelConfig
from samsjax.rotation.axes import Path

INCLUSIONS = ("fixed", "global", "per_latent")
PLATE = "inclusion_rates"
SITE, LOG_ODDS, LOG_TOTAL = "inclusion_rate", "inclusion_log_odds", "inclusion_log_total"
"""The site, and the parameters of its guide: log odds of the mean, and logarithm of the sum of concentrations."""


@dataclass(frozen=True)
class InclusionConfig(ModelConfig):
    """Prior of masks."""

    mask_prior_prob: float = 0.01
    """Prior probability that a perturbation acts on a latent dimension; smaller = sparser masks."""
    inclusion: Literal["fixed", "global", "per_latent"] = "fixed"
    """Take that probability as it is, or learn it, for all latent dimensions together or for each."""
    inclusion_concentration: float = 2.0
    """Learned probabilities: how many perturbations the prior counts for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("mask_prior_prob", self.mask_prior_prob, above=0.0, below=1.0)
        check_choice("inclusion", self.inclusion, INCLUSIONS)
        check_range("inclusion_concentration", self.inclusion_concentration, above=0.0)


class Rate(NamedTuple):
    """What is known of a learned rate: a draw, and what the guide expects of it."""

    drawn: Float[Array, " _"]
    """(latent,), or (1,) for a global rate; inside (0, 1)."""
    log: Float[Array, " _"]
    """E_q[log rate]."""
    log_rest: Float[Array, " _"]
    """E_q[log(1 - rate)]."""
    mean_log_odds: Float[Array, " _"]
    """Of the guide's mean."""

    @property
    def log_odds(self) -> Float[Array, " _"]:
        """Of the draw."""
        return jnp.log(self.drawn) - jnp.log1p(-self.drawn)


class BernoulliOfRate(dist.BernoulliProbs):
    """Bernoulli masks under a draw of the rate, whose KL from a posterior of masks is the expectation over the rate."""

    pytree_data_fields = ("rate",)

    def __init__(self, rate: Rate, shape: tuple[int, ...]) -> None:
        self.rate = rate
        super().__init__(jnp.broadcast_to(rate.drawn, shape))


def _expected_kl(q: StraightThroughBernoulli, p: BernoulliOfRate) -> Array:
    """E over the rate of the KL; `rate.log` and `rate.log_rest` broadcast over perturbations."""
    q1 = clamp_probability(q.probs)
    return q1 * (jnp.log(q1) - p.rate.log) + (1.0 - q1) * (jnp.log1p(-q1) - p.rate.log_rest)


kl_divergence.add((StraightThroughBernoulli, BernoulliOfRate), _expected_kl)


def prior_rate(config: InclusionConfig, statistics: DataStatistics) -> Rate | None:
    """Sample the rate in the model; None if it is fixed."""
    if config.inclusion == "fixed":
        return None
    c, p = config.inclusion_concentration, config.mask_prior_prob
    ones = jnp.ones(_width(config))
    with _plate(config):
        drawn = numpyro.sample(SITE, dist.Beta(c * p * ones, c * (1.0 - p) * ones))
    return _rate(drawn, _posterior(config, statistics))


def posterior_rate(config: InclusionConfig, statistics: DataStatistics) -> Rate | None:
    """Sample the rate in the guide; None if it is fixed."""
    if config.inclusion == "fixed":
        return None
    posterior = _posterior(config, statistics)
    with _plate(config):
        return _rate(numpyro.sample(SITE, posterior), posterior)


def mask_prior(config: InclusionConfig, rate: Rate | None, n_rows: int) -> dist.Distribution:
    """Of the masks of `n_rows` perturbations."""
    shape = (n_rows, config.n_latent)
    if rate is None:
        return dist.Bernoulli(jnp.full(shape, config.mask_prior_prob)).to_event(1)
    return BernoulliOfRate(rate, shape).to_event(1)


def rate_paths(config: InclusionConfig) -> tuple[Path, ...]:
    """Parameters with one entry for each latent dimension, which a rotation averages."""
    return ((LOG_ODDS,), (LOG_TOTAL,)) if config.inclusion == "per_latent" else ()


def _posterior(config: InclusionConfig, statistics: DataStatistics) -> dist.Beta:
    """Starts at the prior's mean, as sure as it will be in the end, but with no mass at 0 or 1."""
    shape = (_width(config),)
    p, n_masks = config.mask_prior_prob, statistics.n_perturbations * config.n_latent // _width(config)
    first_total = max(config.inclusion_concentration + n_masks, 1.0 / p, 1.0 / (1.0 - p))
    log_odds = numpyro.param(LOG_ODDS, jnp.full(shape, math.log(p) - math.log1p(-p), jnp.float32))
    log_total = numpyro.param(LOG_TOTAL, jnp.full(shape, math.log(first_total), jnp.float32))
    total = jnp.exp(log_total)
    return dist.Beta(total * jax.nn.sigmoid(log_odds), total * jax.nn.sigmoid(-log_odds))


def _rate(drawn: Array, posterior: dist.Beta) -> Rate:
    a, b = posterior.concentration1, posterior.concentration0
    log_total = digamma(a + b)
    return Rate(clamp_probability(drawn), digamma(a) - log_total, digamma(b) - log_total, jnp.log(a) - jnp.log(b))


def _width(config: InclusionConfig) -> int:
    return config.n_latent if config.inclusion == "per_latent" else 1


@contextmanager
def _plate(config: InclusionConfig) -> Iterator[None]:
    """Of the rates; each counts once in a bound."""
    with numpyro.plate(PLATE, _width(config)):
        yield
