"""Curves of doses: by how much of its full effect a perturbation acts at a dose.

Generative story, for perturbations t, latent dimensions k and a cell with dose d of t:

    log K_tk  ~ Normal(middle of the logarithms of t's training doses, half_dose_scale)    site `log_half_dose`
    log h_tk  ~ Normal(0, steepness_scale)                                                 site `log_steepness`
    gate_tk   = d^h / (K^h + d^h)

The gate takes the place of the dosage: effects are those at the highest doses, of which a dose K gives half. It is zero
without the perturbation and rises with the dose, whatever the draws. "hill" has a curve for every latent dimension,
"hill_shared" one for each perturbation, which commutes with rotations of latent space. Guide: a Gaussian per entry,
which starts as the prior, so that perturbations without training cells keep it.
"""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from samsjax.errors import check_choice, check_range
from samsjax.models.base import DataStatistics, ModelConfig
from samsjax.models.parts import shared_parameter
from samsjax.networks import zeros
from samsjax.types import Batch

CURVES = ("linear", "hill", "hill_shared")
HALF_DOSE, STEEPNESS = "log_half_dose", "log_steepness"
Draws = dict[str, Array]
"""Values of sites by name."""


@dataclass(frozen=True)
class DoseConfig(ModelConfig):
    """Priors of curves of doses."""

    dose: Literal["linear", "hill", "hill_shared"] = "linear"
    """How effects grow with dose: in proportion, or along a Hill curve for each perturbation and latent dimension, or
    for each perturbation. With hill, latent space is not rotated."""
    half_dose_scale: float = 1.5
    """Hill curves: prior standard deviation of the logarithm of the dose of half the effect, around the middle of a
    perturbation's doses."""
    steepness_scale: float = 0.75
    """Hill curves: prior standard deviation of the logarithm of the exponent."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("dose", self.dose, CURVES)
        check_range("half_dose_scale", self.half_dose_scale, above=0.0)
        check_range("steepness_scale", self.steepness_scale, above=0.0)

    @property
    def uses_doses(self) -> bool:
        """Whether the model needs to know the doses of the screen."""
        return self.dose != "linear"


def hill(
    dose: Float[Array, "*#shape"], log_half_dose: Float[Array, "*#shape"], log_steepness: Float[Array, "*#shape"]
) -> Float[Array, "*shape"]:
    """d^h / (K^h + d^h), computed from logarithms: doses may span any number of magnitudes. Gradients at 0 are 0."""
    given = dose > 0
    log_dose = jnp.log(jnp.where(given, dose, 1.0))
    gate = jax.nn.sigmoid(jnp.exp(log_steepness) * (log_dose - log_half_dose))
    return jnp.where(given, gate, 0.0)


def gates(draws: Draws, batch: Batch) -> Float[Array, "cell slot _"] | None:
    """What share of its full effect each of a cell's perturbations has, by latent dimension or for all of them.

    A gather, whatever the number of perturbations. None where effects are proportional to the dosage.
    """
    if HALF_DOSE not in draws:
        return None
    of_slots = (draws[name][batch.perturbation_index] for name in (HALF_DOSE, STEEPNESS))
    return hill(batch.dosage[..., None], *of_slots)


def curve_priors(config: DoseConfig, statistics: DataStatistics, batch: Batch) -> dict[str, dist.Distribution]:
    """Of the sites of the curves of the batch's perturbations, by name; none for a linear dose."""
    if config.dose == "linear":
        return {}
    shape = (batch.rows.shape[0], _width(config))
    middle = jnp.zeros(shape)
    if statistics.log_doses is not None:
        middle = jnp.broadcast_to(statistics.log_doses[batch.row_numbers, None], shape)
    return {
        HALF_DOSE: dist.Normal(middle, config.half_dose_scale).to_event(1),
        STEEPNESS: dist.Normal(jnp.zeros(shape), config.steepness_scale).to_event(1),
    }


def curve_posteriors(config: DoseConfig, statistics: DataStatistics, batch: Batch) -> dict[str, dist.Distribution]:
    """Posteriors of the same sites, a Gaussian per entry; use it inside the plate of perturbations."""
    return {
        name: _posterior(name, prior.base_dist, (statistics.n_perturbations, _width(config)), batch)
        for name, prior in curve_priors(config, statistics, batch).items()
    }


def _width(config: DoseConfig) -> int:
    return config.n_latent if config.dose == "hill" else 1


def _posterior(name: str, prior: dist.Normal, table: tuple[int, int], batch: Batch) -> dist.Distribution:
    """Tables of departures from the prior: of means, and of logarithms of scales."""
    loc = shared_parameter(f"{name}_loc", table, zeros, batch.rows)
    log_factor = shared_parameter(f"{name}_log_factor", table, zeros, batch.rows)
    return dist.Normal(prior.loc + prior.scale * loc, prior.scale * jnp.exp(log_factor)).to_event(1)
