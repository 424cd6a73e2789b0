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

Options of the prior: an inclusion rate that is learned (`inclusion`), and masks and embeddings whose priors come from
features of the perturbations (`feature_priors`), with which perturbations without cells are predicted.

Source: Bereket & Karaletsos, NeurIPS 2023 (arXiv 2311.02794). Differs: draws are made only for the perturbations of the
batch; the KL of masks and embeddings is exact in every step, not spread over cells.
"""

from dataclasses import dataclass

from samsjax.models.base import DataStatistics
from samsjax.models.interactions import composed_axes
from samsjax.models.parts import additive_axes, additive_cells, encode_basal
from samsjax.models.sparse import (
    SparseEffectsConfig,
    SparsePosterior,
    model_shift,
    sparse_effect_parameters,
)
from samsjax.rotation.axes import LatentAxes
from samsjax.types import Batch, ModelGuide


@dataclass(frozen=True)
class SAMSVAEConfig(SparseEffectsConfig):
    """Sizes, priors and guide of SAMS-VAE."""


def latent_axes(config: SAMSVAEConfig) -> LatentAxes | None:
    """How latent space can be rotated."""
    axes = additive_axes(sparse_effect_parameters(config), mean_field_encoder=config.mean_field_encoder)
    return composed_axes(config, axes)


def build(config: SAMSVAEConfig, statistics: DataStatistics) -> ModelGuide:
    """The NumPyro programs of SAMS-VAE for data of these sizes."""

    def model(batch: Batch) -> None:
        additive_cells(config, statistics, model_shift(config, statistics, batch), batch)

    def guide(batch: Batch) -> None:
        shift = SparsePosterior(config, statistics, batch).shift()
        encode_basal(config, statistics, shift, batch, mean_field_encoder=config.mean_field_encoder)

    return ModelGuide(model, guide, *statistics.sizes, cold_start=config.cold_share)
