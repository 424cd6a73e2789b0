"""Pieces of generative and variational programs that several models share. Each binds its networks to named sites."""

from collections.abc import Sequence
from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int
from numpyro.contrib.module import flax_module

from samsjax.effects import cells, weighted
from samsjax.errors import InputError
from samsjax.likelihoods import Decoder
from samsjax.models.base import DataStatistics, ModelConfig, check_sizes
from samsjax.networks import EmbeddingNetwork, GaussianNetwork, uniform_fan_in, zeros
from samsjax.normalization import normalize
from samsjax.rotation.axes import EffectParameters, EmbeddingOfMask, EmbeddingTables, LatentAxes, Path
from samsjax.types import Batch


@dataclass(frozen=True)
class EmbeddingNetworkConfig:
    """Settings of guides whose effects depend on the mask."""

    embedding_n_layers: int = 2
    """Correlated guide only: layers of the network from mask to effect."""
    embedding_n_hidden: int = 200
    """Correlated guide only: width of that network."""

    def check_embedding(self) -> None:
        """Raises: InputError for impossible sizes."""
        check_sizes(embedding_n_layers=self.embedding_n_layers, embedding_n_hidden=self.embedding_n_hidden)


def shared_parameter(
    name: str, shape: tuple[int, ...], init: nn.initializers.Initializer, rows: Int[Array, " row"]
) -> Float[Array, "row _"]:
    """The `rows` of a parameter table with one row per perturbation; use it inside the plate of perturbations."""
    return numpyro.param(name, lambda key: init(key, shape))[rows]


def observed(batch: Batch) -> Float[Array, "cell gene"]:
    """The batch's expression, for guides.

    Raises:
        InputError: for a batch made to draw expression from the model.
    """
    if batch.x is None:
        raise InputError("the guide needs cells with expression; this batch has none")
    return batch.x


def covariates(batch: Batch) -> tuple[Float[Array, "cell level"], ...]:
    """The batch's covariates as further inputs of a network: one or none."""
    return () if batch.covariates is None else (batch.covariates,)


def standard_normal(name: str, n_rows: int, n_columns: int, scale: float = 1.0) -> Float[Array, "row column"]:
    """Sample independent zero-mean Gaussians inside the current plate."""
    return numpyro.sample(name, dist.Normal(jnp.zeros((n_rows, n_columns)), scale).to_event(1))


def observe_genes(
    config: ModelConfig,
    statistics: DataStatistics,
    z: Array,
    batch: Batch,
    *more: Float[Array, "cell _"],
    dosage_term: Array | None = None,
    n_layers: int | None = None,
) -> None:
    """Decode the cells' latent states and observe (or draw) their genes at site "x"; inside the plate of cells.

    The decoder sees `more` parts of the state if there are any, and the batch's covariates, if it has any.
    `dosage_term` (cell, hidden) is what the dosages add before the decoder's first activation, for models that decode
    them directly. `n_layers` replaces that of the configuration.
    """
    n_added = 0 if dosage_term is None else statistics.n_perturbations
    decoder = Decoder(config.likelihood, statistics.n_genes, n_layers or config.n_layers, config.n_hidden, n_added)
    inputs = (z, batch.library_size, *more, *covariates(batch))
    network = flax_module("decoder", decoder, *inputs, added=dosage_term)
    genes = network(*inputs, added=dosage_term)
    if batch.observation_weight is None:
        numpyro.sample("x", genes, obs=batch.x)
    else:
        with weighted(batch.observation_weight):
            numpyro.sample("x", genes, obs=batch.x)


def additive_cells(
    config: ModelConfig, statistics: DataStatistics, shift: Float[Array, "cell latent"], batch: Batch
) -> None:
    """Basal state plus what the perturbations do to it, decoded: the cells of every additive model."""
    with cells(batch):
        z_basal = standard_normal("z_basal", batch.dosage.shape[0], config.n_latent)
        z = numpyro.deterministic("z", z_basal + shift)
        observe_genes(config, statistics, z, batch)


def encode_cells(
    name: str,
    config: ModelConfig,
    statistics: DataStatistics,
    batch: Batch,
    *more: Float[Array, "cell _"],
    dosage_term: Array | None = None,
) -> None:
    """Sample the local site `name` from the encoder of normalised expression, `more` inputs, and covariates if any."""
    inputs = (normalize(observed(batch), statistics.genes, config.normalization), *more, *covariates(batch))
    n_added = 0 if dosage_term is None else statistics.n_perturbations
    module = GaussianNetwork(config.n_latent, config.n_layers, config.n_hidden, n_added)
    with cells(batch):
        encoder = flax_module("encoder", module, *inputs, added=dosage_term)
        numpyro.sample(name, dist.Normal(*encoder(*inputs, added=dosage_term)).to_event(1))


def encode_basal(
    config: ModelConfig,
    statistics: DataStatistics,
    shift: Float[Array, "cell latent"],
    batch: Batch,
    *,
    mean_field_encoder: bool,
) -> None:
    """Sample "z_basal" of an additive model; the encoder sees the cells' shifts unless it is mean-field."""
    more = () if mean_field_encoder else (shift,)
    encode_cells("z_basal", config, statistics, batch, *more)


def first_kernel(network: str, part: int) -> Path:
    """The kernel by which a network sees one of its inputs."""
    return (f"{network}$params", "trunk", "layer_0", f"kernel_{part}")


def heads(networks: Sequence[str], head: str) -> tuple[Path, ...]:
    """Kernels and biases of the named head ("loc" or "log_variance") of Gaussian networks, by their parameter sites."""
    return tuple((network, head, name) for network in networks for name in ("kernel_0", "bias"))


def effect_networks(effects: EffectParameters) -> list[str]:
    """Parameter sites of the Gaussian networks that give the effects."""
    return [effects.embedding.params] if isinstance(effects.embedding, EmbeddingOfMask) else []


def additive_axes(effects: EffectParameters, *, mean_field_encoder: bool) -> LatentAxes:
    """Where latent space appears in the networks of an additive model (`additive_cells`, `encode_basal`)."""
    decoder, encoder = first_kernel("decoder", 0), first_kernel("encoder", 1)
    networks = ["encoder$params", *effect_networks(effects)]
    return LatentAxes(
        effects=effects,
        into=heads(networks, "loc"),
        out_of=(decoder,) if mean_field_encoder else (decoder, encoder),
        log_variances=heads(networks, "log_variance"),
    )


MEAN_FIELD_EMBEDDING = EmbeddingTables("E_loc", "E_log_scale")
"""Parameters of `mean_field_embedding`."""


def correlated_embedding_parameters(n_latent: int, embedding: EmbeddingNetworkConfig) -> EmbeddingOfMask:
    """Parameters of `correlated_embedding`."""
    # The width of the inputs only matters for initial weights.
    network = EmbeddingNetwork(n_latent, embedding.embedding_n_layers, embedding.embedding_n_hidden, n_inputs=1)
    return EmbeddingOfMask(network, "embedding$params", "identity")


def mean_field_embedding(config: ModelConfig, statistics: DataStatistics, batch: Batch) -> dist.Distribution:
    """q(E): an independent Gaussian per entry. Scale is exp(.) + 1e-4."""
    shape = (statistics.n_perturbations, config.n_latent)
    loc = shared_parameter("E_loc", shape, zeros, batch.rows)
    log_scale = shared_parameter("E_log_scale", shape, zeros, batch.rows)
    return dist.Normal(loc, jnp.exp(log_scale) + 1e-4).to_event(1)


def correlated_embedding(
    config: ModelConfig,
    embedding: EmbeddingNetworkConfig,
    statistics: DataStatistics,
    mask: Float[Array, "row latent"],
    batch: Batch,
) -> dist.Distribution:
    """q(E | mask): a Gaussian from a network of the mask and the perturbation's identity."""
    n_hidden, n_inputs = embedding.embedding_n_hidden, config.n_latent + statistics.n_perturbations
    table = (statistics.n_perturbations, n_hidden)
    identity = shared_parameter("identity", table, uniform_fan_in(n_inputs), batch.rows)
    module = EmbeddingNetwork(config.n_latent, embedding.embedding_n_layers, n_hidden, n_inputs)
    return dist.Normal(*flax_module("embedding", module, mask, identity)(mask, identity)).to_event(1)


def embedding_posterior(
    config: ModelConfig,
    embedding: EmbeddingNetworkConfig,
    statistics: DataStatistics,
    mask: Float[Array, "row latent"],
    batch: Batch,
    *,
    correlated: bool,
) -> dist.Distribution:
    """q(E | mask): `correlated_embedding` or, not correlated, `mean_field_embedding`."""
    if correlated:
        return correlated_embedding(config, embedding, statistics, mask, batch)
    return mean_field_embedding(config, statistics, batch)
