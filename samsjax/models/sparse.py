"""Sparse effects of perturbations, masks times embeddings: what SAMS-VAE and models built on it share."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from samsjax.distributions import StraightThroughBernoulli
from samsjax.effects import offset, perturbations
from samsjax.errors import check_choice, check_range
from samsjax.models.base import DataStatistics, ModelConfig
from samsjax.models.parts import (
    MEAN_FIELD_EMBEDDING,
    EmbeddingNetworkConfig,
    correlated_embedding_parameters,
    embedding_posterior,
    shared_parameter,
    standard_normal,
)
from samsjax.networks import zeros
from samsjax.rotation.axes import EffectParameters
from samsjax.types import Batch

GUIDES = ("mean_field", "correlated")
Effect = Float[Array, "row latent"]


@dataclass(frozen=True)
class SparseEffectsConfig(EmbeddingNetworkConfig, ModelConfig):
    """Priors and guide of sparse effects."""

    guide: Literal["mean_field", "correlated"] = "mean_field"
    """Posterior of the effects: independent per entry, or effects that depend on the mask through a network."""
    mean_field_encoder: bool = False
    """Hide the perturbation's offset from the encoder of the basal state."""
    mask_prior_prob: float = 0.01
    """Prior probability that a perturbation acts on a latent dimension; smaller = sparser masks."""
    embedding_prior_scale: float = 1.0
    """Prior standard deviation of an effect's size."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_embedding()
        check_choice("guide", self.guide, GUIDES)
        check_range("mask_prior_prob", self.mask_prior_prob, above=0.0, below=1.0)
        check_range("embedding_prior_scale", self.embedding_prior_scale, above=0.0)


def sparse_effect_parameters(config: SparseEffectsConfig) -> EffectParameters:
    """The parameters of the guide's effects."""
    correlated = config.guide == "correlated"
    embedding = correlated_embedding_parameters(config.n_latent, config) if correlated else MEAN_FIELD_EMBEDDING
    return EffectParameters(embedding, mask_logits="mask_logits")


def model_shift(config: SparseEffectsConfig, statistics: DataStatistics, batch: Batch) -> Float[Array, "cell latent"]:
    """Sample "mask" and "E" from their priors; what they do to the batch's cells."""
    shape = (batch.rows.shape[0], config.n_latent)
    with perturbations(batch):
        mask = numpyro.sample("mask", dist.Bernoulli(jnp.full(shape, config.mask_prior_prob)).to_event(1))
        embedding = standard_normal("E", *shape, config.embedding_prior_scale)
    return offset(embedding * mask, batch)


class SparsePosterior:
    """q(mask) and q(E | mask) of a batch's perturbations; make it inside the guide."""

    def __init__(self, config: SparseEffectsConfig, statistics: DataStatistics, batch: Batch) -> None:
        self.config, self.statistics, self.batch = config, statistics, batch

    def shift(self) -> Float[Array, "cell latent"]:
        """Sample the sites "mask" and "E"; what they do to the batch's cells."""
        with perturbations(self.batch):
            mask = numpyro.sample("mask", self._mask())
            embedding = numpyro.sample("E", self._embedding(mask))
        return offset(embedding * mask, self.batch)

    def another_shift(self, key: jax.Array) -> Float[Array, "cell latent"]:
        """What another draw does to the cells, outside any site."""
        with perturbations(self.batch):
            mask_key, embedding_key = jax.random.split(key)
            mask = self._mask().sample(mask_key)
            effect = self._embedding(mask).sample(embedding_key) * mask
        return offset(effect, self.batch)

    def _mask(self) -> dist.Distribution:
        table = (self.statistics.n_perturbations, self.config.n_latent)
        return StraightThroughBernoulli(shared_parameter("mask_logits", table, zeros, self.batch.rows)).to_event(1)

    def _embedding(self, mask: Effect) -> dist.Distribution:
        correlated = self.config.guide == "correlated"
        return embedding_posterior(self.config, self.config, self.statistics, mask, self.batch, correlated=correlated)
