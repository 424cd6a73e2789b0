"""What is checked before the fits of a stability study: that there are masks to compare, and features in every half."""

from collections.abc import Mapping

import jax.numpy as jnp

from samsjax.data import PerturbationData
from samsjax.data.features.table import constant_columns
from samsjax.errors import InputError, listing
from samsjax.inference.batching import carrying_cells, middle_log_doses
from samsjax.inference.fitted import standardised_features, statistics_of, vocabulary_of
from samsjax.inference.log_weights import shared_sites
from samsjax.models import DataStatistics, ModelConfig, build_model, described

MASKED = "give --model sams_vae, sams_vae_beta_bernoulli or svae_plus"


def check_latents(model: ModelConfig) -> None:
    """Raises: InputError if masks would be of genes, whose order is known."""
    if not model.has_latent_space:
        raise InputError(
            f"stability compares masks of latents, in whatever order they come, and {described(model)} has no latents, "
            f"only genes: {MASKED}"
        )


def check_masks(model: ModelConfig, data: PerturbationData) -> None:
    """Raises: InputError if the model has no masks, or uses features and the data have none that can be used."""
    if "mask" not in shared_sites(build_model(model, _statistics(model, data))):
        raise InputError(f"stability compares masks, which {described(model)} does not have: {MASKED}")


def _statistics(model: ModelConfig, data: PerturbationData) -> DataStatistics:
    """What the model is built from."""
    seen = vocabulary_of(data, model.covariates, model.quality_indicators)
    features = standardised_features(data)[1] if model.uses_features else None
    log_doses = jnp.asarray(middle_log_doses(data)) if model.uses_doses else None
    return statistics_of(data, model.normalization, seen.covariates, seen.artifacts, features, log_doses)


def check_features(model: ModelConfig, parts: Mapping[str, PerturbationData]) -> None:
    """Raises: InputError if the model uses features and one is the same for all perturbations of a half, by name."""
    for label, data in parts.items():
        if not model.uses_features or data.features is None:
            continue
        trained = data.features.values[carrying_cells(data) > 0]
        constant = constant_columns(trained)
        if len(constant):
            names = listing(data.features.names[column] for column in constant)
            raise InputError(
                f"{label}: {len(constant)} features are the same for all {len(trained)} perturbations that have cells "
                f"in this half, though not for those of all training cells: {names}; leave these features out, or give "
                "--halves 0"
            )
