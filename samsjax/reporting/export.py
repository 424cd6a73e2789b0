"""Results as AnnData: effects, latents, predictions and simulated truth, with the keys scanpy users expect.

Every object says in `uns["samsjax"]` what its numbers are: scale, library size, particles, reference.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from samsjax.data.dataset import PerturbationData
from samsjax.data.encoding import Treatments
from samsjax.data.simulate import Truth
from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.model_effects import EffectsConfig
from samsjax.evaluation.transforms import TRANSFORMS
from samsjax.inference.fitted import Fitted

if TYPE_CHECKING:
    import anndata


def effects_to_anndata(fitted: Fitted, model: AverageEffects, data: AverageEffects, config: EffectsConfig):
    """Treatments x genes: X the model's effects, layers `model_se`, `data`, `data_se` (measured in all cells)."""
    layers = {"model_se": model.standard_error, "data": data.of(model.labels), "data_se": data.standard_error}
    effects = _anndata(model.ate, model.labels, fitted.vocabulary.gene_names, layers)
    effects.var["model_control"] = model.control_mean
    effects.var["data_control"] = data.control_mean
    effects.uns["samsjax"] = _description(fitted, config) | {"reference": "control", "data_cells": "all"}
    return effects


def predictions_to_anndata(fitted: Fitted, model: AverageEffects, config: EffectsConfig, n_training_cells: np.ndarray):
    """Treatments x genes: X the predicted mean expression, layers `ate` and `ate_se` against control.

    `n_training_cells` (treatment,) is the smallest number of training cells among a treatment's perturbations.
    """
    layers = {"ate": model.ate, "ate_se": model.standard_error}
    predicted = _anndata(model.control_mean + model.ate, model.labels, fitted.vocabulary.gene_names, layers)
    predicted.obs["n_training_cells"] = n_training_cells
    predicted.var["control"] = model.control_mean
    predicted.uns["samsjax"] = _description(fitted, config) | {"reference": "control"}
    return predicted


def latents_to_anndata(
    data: PerturbationData,
    treated: Treatments,
    latents: dict[str, np.ndarray],
    n_particles: int,
    names: np.ndarray | None = None,
):
    """Cells x perturbed latents, with treatment, split and library size in obs.

    `obsm["X_samsjax_basal"]` holds the basal latents of models that have them, and `var["name"]` the `names` (latent,)
    of latent dimensions if given.
    """
    perturbed = latents["z"]
    cells = _anndata(perturbed, data.cell_names, [f"latent{k}" for k in range(perturbed.shape[1])], {})
    if names is not None:
        cells.var["name"] = names
    labels = np.append(treated.labels.astype(object), data.control_name)  # assignment -1 is the last entry
    cells.obs["treatment"] = labels[treated.assignment].astype(str)
    cells.obs["split"] = data.split
    cells.obs["library_size"] = data.library_size
    for key, values in data.covariates.items():
        cells.obs[key] = values
    cells.obsm["X_samsjax"] = perturbed
    if "z_basal" in latents:
        cells.obsm["X_samsjax_basal"] = latents["z_basal"]
    cells.uns["samsjax"] = {"X": "posterior mean of the perturbed latent state", "n_particles": n_particles}
    return cells


def truth_to_anndata(data: PerturbationData, treated: Treatments, truth: Truth) -> "anndata.AnnData":
    """A simulated screen as a file others can read, with everything that generated it."""
    labels = np.append(treated.labels.astype(object), data.control_name)
    cells = _anndata(data.x, data.cell_names, data.gene_names, {"mean": truth.mean})
    cells.obs["perturbation"] = labels[treated.assignment].astype(str)
    cells.obs["split"] = data.split
    cells.obsm["z_basal"] = truth.z_basal
    for name, values in (("theta", truth.theta), ("noise_sd", truth.noise_sd)):
        if values is not None:
            cells.var[name] = values
    cells.uns["truth"] = {
        "perturbation_names": data.perturbation_names.astype(object),
        "mask": truth.mask,
        "effect": truth.effect,
    }
    return cells


def _anndata(x: Any, rows: np.ndarray, columns: Any, layers: dict[str, np.ndarray]) -> "anndata.AnnData":
    import anndata
    import pandas as pd

    obs = pd.DataFrame(index=pd.Index(np.asarray(rows, dtype=object)))
    return anndata.AnnData(x, obs, pd.DataFrame(index=pd.Index(np.asarray(columns, dtype=object))), layers=layers)


def _description(fitted: Fitted, config: EffectsConfig) -> dict[str, Any]:
    return {
        "scale": config.transform,
        "unit": TRANSFORMS[config.transform].unit,
        "library_size": "training cells" if config.library_size is None else config.library_size,
        "library_size_median": float(np.median(fitted.library_sizes)),
        "library_size_source": fitted.vocabulary.library_size_source,
        "n_particles": config.n_particles,
        "paired": config.paired,
        "noise": config.noise,
        "covariates": {name: config.covariates.get(name, "averaged") for name in fitted.vocabulary.covariates},
    }
