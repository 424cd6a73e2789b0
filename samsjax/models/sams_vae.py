"""SAMS-VAE: sparse additive mechanism shifts.

Generative story, for perturbations t, latent dimensions k and cells i:

    mask_tk  ~ Bernoulli(mask_prior_prob)
    E_tk     ~ Normal(0, embedding_prior_scale)
    z_i      ~ Normal(0, I)                                        site `z_basal`
    s_i      = z_i + sum_t dosage_it mask_t E_t                    site `z`
    x_i      ~ likelihood(decoder(s_i), library_size_i)

Guide: q(mask) q(E | mask) prod_i q(z_i | x_i, offset_i). `mean_field` has q(E | mask) = q(E), a Gaussian per entry;
`correlated` takes q(E | mask) from a network of the mask and the perturbation's identity. With `mean_field_encoder` the
encoder of z does not see the offset.

Source: Bereket & Karaletsos, NeurIPS 2023 (arXiv 2311.02794). Differs: draws are made only for the perturbations of the
batch; the KL of masks and embeddings is exact in every step, not spread over cells.
"""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from samsjax.distributions import StraightThroughBernoulli
from samsjax.effects import perturbations
from samsjax.errors import check_choice, check_range
from samsjax.models.base import DataStatistics, ModelConfig
from samsjax.models.parts import (
    MEAN_FIELD_EMBEDDING,
    EmbeddingNetworkConfig,
    additive_axes,
    additive_cells,
    correlated_embedding,
    correlated_embedding_parameters,
    encode_basal,
    mean_field_embedding,
    shared_parameter,
    standard_normal,
)
from samsjax.networks import zeros
from samsjax.rotation.axes import EffectParameters, LatentAxes
from samsjax.types import Batch, ModelGuide

GUIDES = ("mean_field", "correlated")


@dataclass(frozen=True)
class SAMSVAEConfig(EmbeddingNetworkConfig, ModelConfig):
    """Sizes, priors and guide of SAMS-VAE."""

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


def latent_axes(config: SAMSVAEConfig) -> LatentAxes:
    """How latent space can be rotated."""
    embedding = (
        correlated_embedding_parameters(config.n_latent, config)
        if config.guide == "correlated"
        else MEAN_FIELD_EMBEDDING
    )
    effects = EffectParameters(embedding, mask_logits="mask_logits")
    return additive_axes(effects, mean_field_encoder=config.mean_field_encoder)


def build(config: SAMSVAEConfig, statistics: DataStatistics) -> ModelGuide:
    """The NumPyro programs of SAMS-VAE for data of these sizes."""

    def model(batch: Batch) -> None:
        shape = (batch.rows.shape[0], config.n_latent)
        with perturbations(batch):
            mask = numpyro.sample("mask", dist.Bernoulli(jnp.full(shape, config.mask_prior_prob)).to_event(1))
            embedding = standard_normal("E", *shape, config.embedding_prior_scale)
        additive_cells(config, statistics, embedding * mask, batch)

    def guide(batch: Batch) -> None:
        with perturbations(batch):
            table = (statistics.n_perturbations, config.n_latent)
            logits = shared_parameter("mask_logits", table, zeros, batch.rows)
            mask = numpyro.sample("mask", StraightThroughBernoulli(logits).to_event(1))
            posterior = (
                correlated_embedding(config, config, statistics, mask, batch)
                if config.guide == "correlated"
                else mean_field_embedding(config, statistics, batch)
            )
            embedding = numpyro.sample("E", posterior)
        encode_basal(config, statistics, embedding * mask, batch, mean_field_encoder=config.mean_field_encoder)

    return ModelGuide(model, guide, *statistics.sizes)
