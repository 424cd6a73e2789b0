"""How the effects of a cell's perturbations come together: their sum, and what pairs of them do beyond it.

Generative story, for pairs t < t' of a cell's perturbations with effects w_t (masked, and scaled by dosage or gate),
interaction_rank directions a_r of length 1 (the columns of the parameter A) and

    V_r  ~ Normal(0, interaction_scale I)                     site `interaction`, in a plate of its own
    cell's shift = sum_t w_t + sum_{t<t'} sum_r V_r (a_r w_t) (a_r w_t')

So an interaction depends on what perturbations do, not on which they are: pairs that nobody measured have one. A cell
with a single perturbation has none, and the prior shrinks it to nothing. Guide: a Gaussian per entry of V around zero.

The sum over pairs is linear in the number of perturbations of a cell: every one meets the sum of those before it. That
is (sum A w)^2 - sum (A w)^2 over 2, and exactly zero for one perturbation, however a compiler rounds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from samsjax.effects import interactions, offset, perturbations, slot_effects
from samsjax.errors import check_range
from samsjax.models.base import DataStatistics, ModelConfig
from samsjax.models.doses import DoseConfig, Draws, curve_posteriors, curve_priors, gates
from samsjax.networks import zeros
from samsjax.rotation.axes import LatentAxes
from samsjax.types import Batch

SITE = "interaction"
INWARD, LOC, LOG_FACTOR = "interaction_in", "interaction_loc", "interaction_log_factor"
"""Parameters: A, and departures from the prior of V in means and logarithms of scales."""


@dataclass(frozen=True)
class InteractionConfig(ModelConfig):
    """Prior of interactions between perturbations of one cell."""

    interaction_rank: int = 0
    """Directions of latent space in which pairs of perturbations interact; 0 = effects add."""
    interaction_scale: float = 0.2
    """Prior standard deviation of an interaction, per unit of both effects."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("interaction_rank", self.interaction_rank, low=0)
        check_range("interaction_scale", self.interaction_scale, above=0.0)


@dataclass(frozen=True)
class CompositionConfig(DoseConfig, InteractionConfig):
    """How effects grow with dose, and how those of several perturbations come together."""


def composed(
    config: CompositionConfig, effect: Float[Array, "row latent"], draws: Draws, batch: Batch
) -> Float[Array, "cell latent"]:
    """What the effects of its perturbations do to each cell, under draws of the curves of doses and of interactions."""
    gate = gates(draws, batch)
    total = offset(effect, batch, gate)
    if SITE not in draws:
        return total
    seen = slot_effects(effect, batch, gate) @ _directions(config)
    return total + pair_products(seen) @ draws[SITE]


def pair_products(values: Float[Array, "cell slot rank"]) -> Float[Array, "cell rank"]:
    """Sum over pairs of slots of the products of their values; exactly 0 where all slots but one are 0."""
    before = jnp.cumsum(values, axis=-2)[:, :-1]
    return (values[:, 1:] * before).sum(axis=-2)


def interaction_prior(config: InteractionConfig) -> dict[str, dist.Distribution]:
    """Of the site of interactions, by name; none for rank 0."""
    if not config.interaction_rank:
        return {}
    return {SITE: dist.Normal(jnp.zeros(_shape(config)), config.interaction_scale).to_event(1)}


def interaction_posterior(config: InteractionConfig) -> dict[str, dist.Distribution]:
    """Posterior of the same site; starts as the prior."""
    if not config.interaction_rank:
        return {}
    loc, log_factor = (numpyro.param(name, lambda key: zeros(key, _shape(config))) for name in (LOC, LOG_FACTOR))
    return {SITE: dist.Normal(loc, config.interaction_scale * jnp.exp(log_factor)).to_event(1)}


def prior_draw(config: CompositionConfig, statistics: DataStatistics, batch: Batch) -> Draws:
    """Sample the sites of curves and interactions in the model; none where doses are linear and effects add."""
    return _drawn(config, statistics, batch, curve_priors, interaction_prior)


def posterior_draw(config: CompositionConfig, statistics: DataStatistics, batch: Batch) -> Draws:
    """Sample the same sites in the guide."""
    return _drawn(config, statistics, batch, curve_posteriors, interaction_posterior)


def another_draw(key: jax.Array, config: CompositionConfig, statistics: DataStatistics, batch: Batch) -> Draws:
    """Another draw from the guide, outside any site."""
    with perturbations(batch):
        posteriors = curve_posteriors(config, statistics, batch)
    posteriors |= interaction_posterior(config)
    return {name: q.sample(jax.random.fold_in(key, i)) for i, (name, q) in enumerate(posteriors.items())}


def _drawn(
    config: CompositionConfig,
    statistics: DataStatistics,
    batch: Batch,
    curves: Callable[[CompositionConfig, DataStatistics, Batch], dict[str, dist.Distribution]],
    pairs: Callable[[CompositionConfig], dict[str, dist.Distribution]],
) -> Draws:
    """Draws from both kinds of distributions, each in its plate; parameters of `pairs` stand outside of it."""
    draws: Draws = {}
    if config.uses_doses:
        with perturbations(batch):
            draws |= _sampled(curves(config, statistics, batch))
    if config.interaction_rank:
        of_pairs = pairs(config)
        with interactions(config.interaction_rank):
            draws |= _sampled(of_pairs)
    return draws


def _sampled(of: dict[str, dist.Distribution]) -> Draws:
    return {name: numpyro.sample(name, distribution) for name, distribution in of.items()}


def composed_axes(config: CompositionConfig, axes: LatentAxes) -> LatentAxes | None:
    """`axes` of a model with additive effects, and those of the composition; None for curves by latent dimension.

    A turned latent dimension would mix perturbations' gates, and have no gate of its own.
    """
    if config.dose == "hill":
        return None
    if not config.interaction_rank:
        return axes
    return axes._replace(
        into=(*axes.into, (LOC,)),
        out_of=(*axes.out_of, (INWARD,)),
        log_variances=(*axes.log_variances, (LOG_FACTOR,)),
    )


def _shape(config: InteractionConfig) -> tuple[int, int]:
    return config.interaction_rank, config.n_latent


def _directions(config: InteractionConfig) -> Float[Array, "latent rank"]:
    """A with columns of length 1: else it could grow, and V would escape its prior."""
    shape = (config.n_latent, config.interaction_rank)
    directions = numpyro.param(INWARD, lambda key: jax.random.normal(key, shape))
    return directions / jnp.linalg.norm(directions, axis=0)
