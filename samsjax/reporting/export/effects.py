"""Effects and predictions as AnnData: treatments x genes, perturbations x latent dimensions."""

from typing import TYPE_CHECKING, Any

import numpy as np

from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.gene_responses import GeneResponses
from samsjax.evaluation.model_effects import EffectsConfig
from samsjax.evaluation.posterior_effects import PosteriorEffects
from samsjax.evaluation.transforms import TRANSFORMS
from samsjax.inference.fitted import Fitted
from samsjax.reporting.export.common import given, latent_columns, make_anndata, quality_in_words
from samsjax.reporting.mechanisms import latent_names

if TYPE_CHECKING:
    import anndata


def effects_to_anndata(
    fitted: Fitted, model: AverageEffects, data: AverageEffects, config: EffectsConfig, *, measured_in: str = "all"
) -> "anndata.AnnData":
    """Treatments x genes: X the model's effects, layers `model_se`, `data`, `data_se`; `measured_in` says which cells.

    `model_se` is the Monte-Carlo error; `model_sd`, `model_low` and `model_high` the posterior standard deviation and
    90 % interval, where they were computed. Rows of NaN: the model can say nothing of the treatment.
    """
    layers = {"model_se": model.standard_error, "data": data.of(model.labels), "data_se": data.standard_error}
    layers |= _posterior(model, "model")
    effects = make_anndata(model.ate, model.labels, fitted.vocabulary.gene_names, layers)
    effects.var["model_control"] = model.control_mean
    effects.var["data_control"] = data.control_mean
    effects.uns["samsjax"] = _description(fitted, config) | {"reference": "control", "data_cells": measured_in}
    return effects


def predictions_to_anndata(
    fitted: Fitted, model: AverageEffects, config: EffectsConfig, n_training_cells: np.ndarray
) -> "anndata.AnnData":
    """Treatments x genes: X the predicted mean expression, layers `ate` and `ate_se` against control.

    Layers `ate_sd`, `ate_low` and `ate_high` are the posterior sd and 90 % interval, where they were computed.

    `n_training_cells` (treatment,) is the smallest number of training cells among a treatment's perturbations.
    """
    layers = {"ate": model.ate, "ate_se": model.standard_error, **_posterior(model, "ate")}
    predicted = make_anndata(model.control_mean + model.ate, model.labels, fitted.vocabulary.gene_names, layers)
    predicted.obs["n_training_cells"] = n_training_cells
    predicted.var["control"] = model.control_mean
    predicted.uns["samsjax"] = _description(fitted, config) | {"reference": "control"}
    return predicted


def latent_effects_to_anndata(
    fitted: Fitted, effects: PosteriorEffects, responses: GeneResponses | None = None, level: float = 0.9
) -> "anndata.AnnData":
    """Perturbations x latent dimensions: X the posterior mean of the effect, what is known about it in layers.

    Layers `inclusion_probability`, `sd`, and `low` and `high`, the central interval of `level`. `obs` has the training
    cells of each perturbation, `var` the name of each latent, and `varm["gene_response"]` what moving along it does to
    genes (latent x gene, in the scale of `responses`; genes in `uns["samsjax"]["genes"]`).
    """
    low, high = effects.interval(level)
    layers = {"inclusion_probability": effects.inclusion_probability, "sd": effects.sd, "low": low, "high": high}
    words = fitted.vocabulary
    result = make_anndata(effects.mean, np.array(words.perturbation_names), latent_columns(effects.mean), layers)
    result.obs["n_training_cells"] = fitted.n_training_cells
    result.var["name"] = latent_names(fitted, effects)
    description = {"X": "mask x embedding, in sd of the basal state's prior, at dosage 1", "level": level}
    if responses is not None:
        result.var["step"] = responses.step
        result.varm["gene_response"] = responses.response
        description |= {"scale": responses.transform, "genes": np.array(words.gene_names, dtype=object)}
    result.uns["samsjax"] = description | {"sparse": effects.sparse}
    return result


def _posterior(model: AverageEffects, prefix: str) -> dict[str, np.ndarray]:
    """Layers of posterior sd and interval, as far as they were computed."""
    known = given(sd=model.sd, low=model.low, high=model.high)
    return {f"{prefix}_{name}": values for name, values in known.items()}


def _description(fitted: Fitted, config: EffectsConfig) -> dict[str, Any]:
    """Of predictions. Median and source of library sizes are those of the training cells predictions are like."""
    quality, of_cells = {}, "training cells"
    if fitted.vocabulary.artifacts:
        quality = {"quality": quality_in_words(config.fails)}
        of_cells = f"training cells {'that fail' if config.fails else 'of good quality'}"
    failed = fitted.failed_library_sizes if config.fails else None
    return quality | {
        "scale": config.transform,
        "unit": TRANSFORMS[config.transform].unit,
        "library_size": of_cells if config.library_size is None else config.library_size,
        "library_size_median": float(np.median(fitted.library_sizes if failed is None else failed)),
        "library_size_source": fitted.vocabulary.library_size_source,
        "n_particles": config.n_particles,
        "paired": config.paired,
        "noise": config.noise,
        "covariates": {name: config.covariates.get(name, "averaged") for name in fitted.vocabulary.covariates},
    }
