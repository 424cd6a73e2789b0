"""Sparse effects of perturbations, masks times embeddings: what SAMS-VAE and models built on it share."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from samsjax.distributions import StraightThroughBernoulli
from samsjax.effects import perturbations
from samsjax.errors import InputError, check_choice
from samsjax.models.base import DataStatistics
from samsjax.models.feature_priors import (
    FeaturePriorConfig,
    PriorOfRows,
    cold_rows,
    effect_prior,
    feature_prior_parameters,
    undecided,
)
from samsjax.models.inclusion import Rate, mask_prior, posterior_rate, prior_rate, rate_paths
from samsjax.models.interactions import CompositionConfig, another_draw, composed, posterior_draw, prior_draw
from samsjax.models.parts import (
    MEAN_FIELD_EMBEDDING,
    EmbeddingNetworkConfig,
    correlated_embedding_parameters,
    embedding_posterior,
    shared_parameter,
)
from samsjax.networks import constant, zeros
from samsjax.rotation.axes import EffectParameters
from samsjax.types import Batch

GUIDES = ("mean_field", "correlated")
Effect = Float[Array, "row latent"]


@dataclass(frozen=True)
class SparseEffectsConfig(EmbeddingNetworkConfig, CompositionConfig, FeaturePriorConfig):
    """Priors and guide of sparse effects."""

    guide: Literal["mean_field", "correlated"] = "mean_field"
    """Posterior of the effects: independent per entry, or effects that depend on the mask through a network."""
    mean_field_encoder: bool = False
    """Hide the perturbation's offset from the encoder of the basal state."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_embedding()
        check_choice("guide", self.guide, GUIDES)
        if self.feature_prior and self.guide == "correlated":
            raise InputError(
                "feature_prior needs guide 'mean_field': the network of guide 'correlated' knows no features"
            )


def sparse_effect_parameters(config: SparseEffectsConfig) -> EffectParameters:
    """The parameters of the guide's effects."""
    correlated = config.guide == "correlated"
    embedding = correlated_embedding_parameters(config.n_latent, config) if correlated else MEAN_FIELD_EMBEDDING
    return EffectParameters(
        embedding,
        mask_logits="mask_logits",
        prior=feature_prior_parameters(config),
        averaged=rate_paths(config),
    )


def model_shift(config: SparseEffectsConfig, statistics: DataStatistics, batch: Batch) -> Float[Array, "cell latent"]:
    """Sample "mask" and "E" from their priors; what they do to the batch's cells."""
    prior = _prior(config, statistics, batch, prior_rate(config, statistics))
    if prior.features is not None:
        numpyro.factor("effect_prior_weights", prior.features.log_prob)
    with perturbations(batch):
        mask = numpyro.sample("mask", prior.mask)
        embedding = numpyro.sample("E", prior.embedding)
    return composed(config, embedding * mask, prior_draw(config, statistics, batch), batch)


class _Prior(NamedTuple):
    """p(mask) and p(E) of a batch's perturbations."""

    mask: dist.Distribution
    embedding: dist.Distribution
    features: PriorOfRows | None
    """What they come from; None without features."""


def _prior(config: SparseEffectsConfig, statistics: DataStatistics, batch: Batch, rate: Rate | None) -> _Prior:
    """Under a draw of the inclusion rate, if it is learned; outside of all plates."""
    n_rows = batch.rows.shape[0]
    if config.feature_prior:
        said = effect_prior(config, statistics, batch, rate)
        embedding = dist.Normal(said.loc, said.scale)
        return _Prior(dist.Bernoulli(logits=said.log_odds).to_event(1), embedding.to_event(1), said)
    embedding = dist.Normal(jnp.zeros((n_rows, config.n_latent)), config.embedding_prior_scale)
    return _Prior(mask_prior(config, rate, n_rows), embedding.to_event(1), None)


class SparsePosterior:
    """q(mask) and q(E | mask) of a batch's perturbations; make it inside the guide."""

    def __init__(self, config: SparseEffectsConfig, statistics: DataStatistics, batch: Batch) -> None:
        self.config, self.statistics, self.batch = config, statistics, batch
        self._prior = _prior(config, statistics, batch, posterior_rate(config, statistics)).features

    def shift(self) -> Float[Array, "cell latent"]:
        """Sample the sites "mask" and "E"; what they do to the batch's cells."""
        with perturbations(self.batch):
            mask = numpyro.sample("mask", self._mask())
            embedding = numpyro.sample("E", self._embedding(mask))
        return composed(
            self.config, embedding * mask, posterior_draw(self.config, self.statistics, self.batch), self.batch
        )

    def another_shift(self, key: jax.Array) -> Float[Array, "cell latent"]:
        """What another draw does to the cells, outside any site."""
        with perturbations(self.batch):
            mask_key, embedding_key = jax.random.split(key)
            mask = self._mask().sample(mask_key)
            effect = self._embedding(mask).sample(embedding_key) * mask
        draws = another_draw(key, self.config, self.statistics, self.batch)
        return composed(self.config, effect, draws, self.batch)

    def _mask(self) -> dist.Distribution:
        table = (self.statistics.n_perturbations, self.config.n_latent)
        start = constant(undecided(self.config)) if self.config.feature_prior else zeros
        logits = shared_parameter("mask_logits", table, start, self.batch.rows)
        if self._prior is not None:
            logits = jnp.where(self._cold() > 0, self._prior.log_odds, self._prior.mean_log_odds + logits)
        return StraightThroughBernoulli(logits).to_event(1)

    def _embedding(self, mask: Effect) -> dist.Distribution:
        correlated = self.config.guide == "correlated"
        own = embedding_posterior(self.config, self.config, self.statistics, mask, self.batch, correlated=correlated)
        if self._prior is None:
            return own
        cold, own = self._cold(), own.base_dist
        loc = self._prior.loc + (1.0 - cold) * own.loc
        return dist.Normal(loc, jnp.where(cold > 0, self._prior.scale, own.scale)).to_event(1)

    def _cold(self) -> Float[Array, "row 1"]:
        return cold_rows(self.statistics, self.batch)
