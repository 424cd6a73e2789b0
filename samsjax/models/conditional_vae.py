"""Conditional VAE: the dosages are inputs of encoder and decoder, and nothing about perturbations is uncertain.

Generative story, for cells i:

    z_i      ~ Normal(0, I)                                        site `z`
    x_i      ~ likelihood(decoder([z_i, dosage_i]), library_size_i)

Guide: prod_i q(z_i | x_i, dosage_i).

Source: the baseline of Bereket & Karaletsos, NeurIPS 2023 (arXiv 2311.02794). Differs: the product of a dosage vector
with the first layer is a lookup of the rows of the cell's perturbations, so the cost does not grow with their number.
"""

from dataclasses import dataclass

from jaxtyping import Array, Float

from samsjax.effects import cells, offset, perturbations
from samsjax.models.base import DataStatistics, ModelConfig
from samsjax.models.parts import encode_cells, observe_genes, shared_parameter, standard_normal
from samsjax.networks import uniform_fan_in
from samsjax.types import Batch, ModelGuide


@dataclass(frozen=True)
class ConditionalVAEConfig(ModelConfig):
    """Sizes of the conditional VAE."""


def build(config: ConditionalVAEConfig, statistics: DataStatistics) -> ModelGuide:
    """The NumPyro programs of the conditional VAE for data of these sizes."""

    def dosage_term(name: str, n_inputs: int, batch: Batch) -> Float[Array, "cell hidden"]:
        """What the dosages add to a first layer with `n_inputs` other inputs."""
        with perturbations(batch):
            init = uniform_fan_in(n_inputs + statistics.n_perturbations)
            kernel = shared_parameter(name, (statistics.n_perturbations, config.n_hidden), init, batch.rows)
        return offset(kernel, batch)

    def model(batch: Batch) -> None:
        term = dosage_term("decoder_dosage", config.n_latent + statistics.n_levels, batch)
        with cells(batch):
            z = standard_normal("z", batch.dosage.shape[0], config.n_latent)
            observe_genes(config, statistics, z, batch, dosage_term=term)

    def guide(batch: Batch) -> None:
        term = dosage_term("encoder_dosage", statistics.n_genes + statistics.n_levels, batch)
        encode_cells("z", config, statistics, batch, dosage_term=term)

    return ModelGuide(model, guide, *statistics.sizes)
