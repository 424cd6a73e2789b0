"""CPA-VAE: SAMS-VAE without masks, every perturbation acts on every latent dimension.

Generative story, for perturbations t and cells i:

    E_t      ~ Normal(0, embedding_prior_scale)
    z_i      ~ Normal(0, I)                                        site `z_basal`
    s_i      = z_i + sum_t dosage_it E_t                           site `z`
    x_i      ~ likelihood(decoder(s_i), library_size_i)

Guide: q(E) prod_i q(z_i | x_i, offset_i), a Gaussian per entry of E. With `mean_field_encoder` the encoder of z does
not see the offset.

Source: the baseline of Bereket & Karaletsos, NeurIPS 2023 (arXiv 2311.02794), after the compositional perturbation
autoencoder. Differs: as SAMS-VAE.
"""

from dataclasses import dataclass

import numpyro

from samsjax.effects import offset, perturbations
from samsjax.errors import check_range
from samsjax.models.base import DataStatistics, ModelConfig
from samsjax.models.parts import (
    MEAN_FIELD_EMBEDDING,
    additive_axes,
    additive_cells,
    encode_basal,
    mean_field_embedding,
    standard_normal,
)
from samsjax.rotation.axes import EffectParameters, LatentAxes
from samsjax.types import Batch, ModelGuide


@dataclass(frozen=True)
class CPAVAEConfig(ModelConfig):
    """Sizes and prior of CPA-VAE."""

    mean_field_encoder: bool = False
    """Hide the perturbation's offset from the encoder of the basal state."""
    embedding_prior_scale: float = 1.0
    """Prior standard deviation of an effect's size."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("embedding_prior_scale", self.embedding_prior_scale, above=0.0)


def latent_axes(config: CPAVAEConfig) -> LatentAxes:
    """How latent space can be rotated: nothing is sparse, but effects in few latent dimensions are easier to read."""
    return additive_axes(EffectParameters(MEAN_FIELD_EMBEDDING), mean_field_encoder=config.mean_field_encoder)


def build(config: CPAVAEConfig, statistics: DataStatistics) -> ModelGuide:
    """The NumPyro programs of CPA-VAE for data of these sizes."""

    def model(batch: Batch) -> None:
        with perturbations(batch):
            effect = standard_normal("E", batch.rows.shape[0], config.n_latent, config.embedding_prior_scale)
        additive_cells(config, statistics, offset(effect, batch), batch)

    def guide(batch: Batch) -> None:
        with perturbations(batch):
            effect = numpyro.sample("E", mean_field_embedding(config, statistics, batch))
        shift = offset(effect, batch)
        encode_basal(config, statistics, shift, batch, mean_field_encoder=config.mean_field_encoder)

    return ModelGuide(model, guide, *statistics.sizes)
