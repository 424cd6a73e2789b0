"""SVAE+: one sparse mechanism shift per cell, in the prior of its latent state.

Generative story, for perturbations t, latent dimensions k and cells i that carry one perturbation t(i) or none:

    q_tk     ~ Beta(mask_beta_1, mask_beta_2)                      site `mask_prob`
    mask_tk  ~ Bernoulli(q_tk)
    z_i      ~ Normal(mask_t(i) E_t(i), I)                         site `z`; zero mean without perturbation
    x_i      ~ likelihood(decoder(z_i), library_size_i)

The shifts E are parameters without a prior (site `E` is deterministic). The dosage only says which perturbation is
present. Combinations must be encoded as perturbations of their own.

Guide: q(q) = a point, q(mask | q) = Bernoulli(q), prod_i q(z_i | x_i).

Source: Lopez et al., CLeaR 2023, in the variant of Bereket & Karaletsos, NeurIPS 2023 (arXiv 2311.02794). Differs:
logits are clamped where they are used; as SAMS-VAE otherwise.
"""

from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from samsjax.distributions import StraightThroughBernoulli
from samsjax.effects import cells, offset, perturbations
from samsjax.errors import check_range
from samsjax.models.base import DataStatistics, ModelConfig
from samsjax.models.parts import additive_axes, encode_cells, observe_genes, shared_parameter
from samsjax.networks import zeros
from samsjax.rotation.axes import EffectParameters, EmbeddingTables, LatentAxes
from samsjax.types import Batch, ModelGuide


@dataclass(frozen=True)
class SVAEPlusConfig(ModelConfig):
    """Sizes and prior of SVAE+."""

    mask_beta_1: float = 1.0
    """First concentration of the prior of inclusion probabilities."""
    mask_beta_2: float = 5.0
    """Second concentration; larger = sparser masks."""

    composes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("mask_beta_1", self.mask_beta_1, above=0.0)
        check_range("mask_beta_2", self.mask_beta_2, above=0.0)


def latent_axes(config: SVAEPlusConfig) -> LatentAxes:
    """How latent space can be rotated; the encoder's states include the shifts."""
    del config
    effects = EffectParameters(EmbeddingTables("E_mean"), mask_logits="mask_logits")
    axes = additive_axes(effects, mean_field_encoder=True)
    return axes._replace(cells="z", cells_shifted=True)


def build(config: SVAEPlusConfig, statistics: DataStatistics) -> ModelGuide:
    """The NumPyro programs of SVAE+ for data of these sizes."""
    table = (statistics.n_perturbations, config.n_latent)

    def model(batch: Batch) -> None:
        shape = (batch.rows.shape[0], config.n_latent)
        with perturbations(batch):
            shift = numpyro.deterministic(
                "E", shared_parameter("E_mean", table, nn.initializers.normal(0.1), batch.rows)
            )
            prior = dist.Beta(jnp.full(shape, config.mask_beta_1), config.mask_beta_2)
            probability = numpyro.sample("mask_prob", prior.to_event(1))
            mask = numpyro.sample("mask", dist.Bernoulli(probability).to_event(1))
        present = batch._replace(dosage=(batch.dosage > 0).astype(shift.dtype))
        with cells(batch):
            z = numpyro.sample("z", dist.Normal(offset(mask * shift, present), 1.0).to_event(1))
            observe_genes(config, statistics, z, batch)

    def guide(batch: Batch) -> None:
        with perturbations(batch):
            logits = shared_parameter("mask_logits", table, zeros, batch.rows)
            numpyro.sample("mask_prob", dist.Delta(jax.nn.sigmoid(logits), event_dim=1))
            numpyro.sample("mask", StraightThroughBernoulli(logits).to_event(1))
        encode_cells("z", config, statistics, batch)

    return ModelGuide(model, guide, *statistics.sizes)
