"""SAMS-VAE: sparse additive mechanism shifts.

Generative story, for perturbations t, latent dimensions k and cells i:

    mask_tk  ~ Bernoulli(mask_prior_prob)
    E_tk     ~ Normal(0, embedding_prior_scale)
    z_i      ~ Normal(0, I)                                        site `z_basal`
    s_i      = z_i + sum_t dosage_it mask_t E_t
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
from jaxtyping import Array, Float

from samsjax.distributions import StraightThroughBernoulli
from samsjax.effects import cells, offset, perturbations
from samsjax.errors import check_choice, check_range
from samsjax.likelihoods import LIKELIHOODS, Decoder
from samsjax.models.base import DataStatistics, check_sizes, network, observed, shared_parameter
from samsjax.networks import EmbeddingNetwork, GaussianNetwork, uniform_fan_in, zeros
from samsjax.normalization import NORMALIZATIONS, normalize
from samsjax.types import Batch, ModelGuide

GUIDES = ("mean_field", "correlated")


@dataclass(frozen=True)
class SAMSVAEConfig:
    """Sizes, priors and guide of SAMS-VAE."""

    n_latent: int = 20
    """Number of latent dimensions (mechanisms); more than needed does little harm."""
    n_hidden: int = 128
    """Width of encoder and decoder."""
    n_layers: int = 1
    """Layers of encoder and decoder."""
    likelihood: Literal["library_nb", "poisson", "normal", "normal_fixed_variance"] = "library_nb"
    """Distribution of a gene given the latent state; library_nb for UMI counts."""
    normalization: Literal["log_standardize", "standardize", "none"] = "log_standardize"
    """What the encoder sees: standardised log(1 + counts), standardised counts, or the raw values."""
    guide: Literal["mean_field", "correlated"] = "mean_field"
    """Posterior of the effects: independent per entry, or effects that depend on the mask through a network."""
    mean_field_encoder: bool = False
    """Hide the perturbation's offset from the encoder of the basal state."""
    mask_prior_prob: float = 0.01
    """Prior probability that a perturbation acts on a latent dimension; smaller = sparser masks."""
    embedding_prior_scale: float = 1.0
    """Prior standard deviation of an effect's size."""
    embedding_n_layers: int = 2
    """Correlated guide only: layers of the network from mask to effect."""
    embedding_n_hidden: int = 200
    """Correlated guide only: width of that network."""

    def __post_init__(self) -> None:
        check_sizes(
            n_latent=self.n_latent,
            n_hidden=self.n_hidden,
            n_layers=self.n_layers,
            embedding_n_layers=self.embedding_n_layers,
            embedding_n_hidden=self.embedding_n_hidden,
        )
        check_choice("likelihood", self.likelihood, list(LIKELIHOODS))
        check_choice("normalization", self.normalization, NORMALIZATIONS)
        check_choice("guide", self.guide, GUIDES)
        check_range("mask_prior_prob", self.mask_prior_prob, above=0.0, below=1.0)
        check_range("embedding_prior_scale", self.embedding_prior_scale, above=0.0)


def build(config: SAMSVAEConfig, statistics: DataStatistics) -> ModelGuide:
    """The NumPyro programs of SAMS-VAE for data of these sizes."""

    def model(batch: Batch) -> None:
        shape = (batch.rows.shape[0], config.n_latent)
        with perturbations(batch):
            mask = numpyro.sample("mask", dist.Bernoulli(jnp.full(shape, config.mask_prior_prob)).to_event(1))
            prior_scale = jnp.full(shape, config.embedding_prior_scale)
            embedding = numpyro.sample("E", dist.Normal(jnp.zeros(shape), prior_scale).to_event(1))
        n_cells = batch.dosage.shape[0]
        with cells(batch):
            z_basal = numpyro.sample("z_basal", dist.Normal(jnp.zeros((n_cells, config.n_latent)), 1.0).to_event(1))
            z = numpyro.deterministic("z", z_basal + offset(embedding * mask, batch))
            decoder = Decoder(config.likelihood, statistics.n_genes, config.n_layers, config.n_hidden)
            numpyro.sample("x", network("decoder", decoder, z, batch.library_size)(z, batch.library_size), obs=batch.x)

    def guide(batch: Batch) -> None:
        with perturbations(batch):
            shape = (statistics.n_perturbations, config.n_latent)
            logits = shared_parameter("mask_logits", shape, zeros, batch.rows)
            mask = numpyro.sample("mask", StraightThroughBernoulli(logits).to_event(1))
            loc, scale = _embedding_posterior(config, statistics, mask, batch)
            embedding = numpyro.sample("E", dist.Normal(loc, scale).to_event(1))
        x = normalize(observed(batch), statistics.genes, config.normalization)
        inputs = (x,) if config.mean_field_encoder else (x, offset(embedding * mask, batch))
        with cells(batch):
            encoder = network("encoder", GaussianNetwork(config.n_latent, config.n_layers, config.n_hidden), *inputs)
            numpyro.sample("z_basal", dist.Normal(*encoder(*inputs)).to_event(1))

    return ModelGuide(model, guide, statistics.n_genes, statistics.n_perturbations)


def _embedding_posterior(
    config: SAMSVAEConfig, statistics: DataStatistics, mask: Float[Array, "row latent"], batch: Batch
) -> tuple[Float[Array, "row latent"], Float[Array, "row latent"]]:
    """(loc, scale) of q(E | mask) for the perturbations of the batch."""
    if config.guide == "correlated":
        n_inputs = config.n_latent + statistics.n_perturbations
        identity = shared_parameter(
            "identity", (statistics.n_perturbations, config.embedding_n_hidden), uniform_fan_in(n_inputs), batch.rows
        )
        module = EmbeddingNetwork(config.n_latent, config.embedding_n_layers, config.embedding_n_hidden, n_inputs)
        return network("embedding", module, mask, identity)(mask, identity)
    shape = (statistics.n_perturbations, config.n_latent)
    loc = shared_parameter("E_loc", shape, zeros, batch.rows)
    log_scale = shared_parameter("E_log_scale", shape, zeros, batch.rows)
    return loc, jnp.exp(log_scale) + 1e-4
