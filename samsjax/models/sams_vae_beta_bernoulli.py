"""SAMS-VAE with a Beta prior on every inclusion probability.

Generative story, for perturbations t, latent dimensions k and cells i:

    q_tk     ~ Beta(mask_prior_alpha, mask_prior_beta)             site `mask_probs`
    mask_tk  ~ Bernoulli(q_tk)
    E_tk     ~ Normal(0, embedding_prior_scale)
    z_i      ~ Normal(0, I)                                        site `z_basal`
    s_i      = z_i + sum_t dosage_it mask_t E_t                    site `z`
    x_i      ~ likelihood(decoder(s_i), library_size_i)

Guides: `mean_field_bernoulli` and `correlated_bernoulli` have a point for q; `mean_field_beta` a Beta per entry. E is
mean-field, or correlated with the mask through a network.

Source: the variant in the code of Bereket & Karaletsos, NeurIPS 2023 (arXiv 2311.02794). Differs: shared draws can be
fixed in every guide (the reference's guides ignore them), the Beta posterior's parameters are positive by construction,
and logits are clamped.
"""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from samsjax.distributions import StraightThroughBernoulli, clamp_probability
from samsjax.effects import offset, perturbations
from samsjax.errors import check_choice, check_range
from samsjax.models.base import DataStatistics, ModelConfig
from samsjax.models.parts import (
    MEAN_FIELD_EMBEDDING,
    EmbeddingNetworkConfig,
    additive_axes,
    additive_cells,
    correlated_embedding_parameters,
    embedding_posterior,
    encode_basal,
    shared_parameter,
    standard_normal,
)
from samsjax.networks import zeros
from samsjax.rotation.axes import EffectParameters, LatentAxes
from samsjax.types import Batch, ModelGuide

GUIDES = ("mean_field_bernoulli", "correlated_bernoulli", "mean_field_beta")


@dataclass(frozen=True)
class SAMSVAEBetaBernoulliConfig(EmbeddingNetworkConfig, ModelConfig):
    """Sizes, priors and guide of beta-Bernoulli SAMS-VAE."""

    guide: Literal["mean_field_bernoulli", "correlated_bernoulli", "mean_field_beta"] = "mean_field_bernoulli"
    """Posterior of masks and effects: point probabilities with independent or correlated effects, or a Beta each."""
    mean_field_encoder: bool = False
    """Hide the perturbation's offset from the encoder of the basal state."""
    mask_prior_alpha: float = 1.0
    """First concentration of the prior of inclusion probabilities."""
    mask_prior_beta: float = 5.0
    """Second concentration; larger = sparser masks."""
    embedding_prior_scale: float = 1.0
    """Prior standard deviation of an effect's size."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_embedding()
        check_choice("guide", self.guide, GUIDES)
        for name in ("mask_prior_alpha", "mask_prior_beta", "embedding_prior_scale"):
            check_range(name, getattr(self, name), above=0.0)


def latent_axes(config: SAMSVAEBetaBernoulliConfig) -> LatentAxes:
    """How latent space can be rotated."""
    if config.guide == "mean_field_beta":
        effects = EffectParameters(MEAN_FIELD_EMBEDDING, mask_log_concentrations=("mask_log_alpha", "mask_log_beta"))
    elif config.guide == "correlated_bernoulli":
        embedding = correlated_embedding_parameters(config.n_latent, config)
        effects = EffectParameters(embedding, mask_logits="mask_logits")
    else:
        effects = EffectParameters(MEAN_FIELD_EMBEDDING, mask_logits="mask_logits")
    return additive_axes(effects, mean_field_encoder=config.mean_field_encoder)


def build(config: SAMSVAEBetaBernoulliConfig, statistics: DataStatistics) -> ModelGuide:
    """The NumPyro programs of beta-Bernoulli SAMS-VAE for data of these sizes."""

    def model(batch: Batch) -> None:
        shape = (batch.rows.shape[0], config.n_latent)
        with perturbations(batch):
            prior = dist.Beta(jnp.full(shape, config.mask_prior_alpha), config.mask_prior_beta)
            probability = numpyro.sample("mask_probs", prior.to_event(1))
            mask = numpyro.sample("mask", dist.Bernoulli(probability).to_event(1))
            embedding = standard_normal("E", *shape, config.embedding_prior_scale)
        additive_cells(config, statistics, offset(embedding * mask, batch), batch)

    def guide(batch: Batch) -> None:
        with perturbations(batch):
            mask = numpyro.sample("mask", StraightThroughBernoulli(_mask_logits(config, statistics, batch)).to_event(1))
            correlated = config.guide == "correlated_bernoulli"
            posterior = embedding_posterior(config, config, statistics, mask, batch, correlated=correlated)
            embedding = numpyro.sample("E", posterior)
        shift = offset(embedding * mask, batch)
        encode_basal(config, statistics, shift, batch, mean_field_encoder=config.mean_field_encoder)

    return ModelGuide(model, guide, *statistics.sizes)


def _mask_logits(
    config: SAMSVAEBetaBernoulliConfig, statistics: DataStatistics, batch: Batch
) -> Float[Array, "row latent"]:
    """Sample the inclusion probabilities; return their logits, clamped where they came from a draw."""
    table = (statistics.n_perturbations, config.n_latent)
    if config.guide != "mean_field_beta":
        logits = shared_parameter("mask_logits", table, zeros, batch.rows)
        numpyro.sample("mask_probs", dist.Delta(jax.nn.sigmoid(logits), event_dim=1))
        return logits
    alpha, beta = (
        jnp.exp(shared_parameter(f"mask_log_{name}", table, zeros, batch.rows)) for name in ("alpha", "beta")
    )
    probability = clamp_probability(numpyro.sample("mask_probs", dist.Beta(alpha, beta).to_event(1)))
    return jnp.log(probability) - jnp.log1p(-probability)
