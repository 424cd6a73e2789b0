"""Results as AnnData: effects, latents, predictions and simulated truth, with the keys scanpy users expect.

Latents of cells stand in `obsm["X_samsvae"]` (perturbed) and `obsm["X_samsvae_basal"]`, named after the model, so that
`scanpy.pp.neighbors(cells, use_rep="X_samsvae")` continues from there. Every object says in `uns["samsjax"]` what its
numbers are: scale, library size, particles, reference.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from samsjax.data.dataset import PerturbationData
from samsjax.data.encoding import Treatments
from samsjax.data.simulate import Truth
from samsjax.errors import InputError
from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.gene_responses import GeneResponses
from samsjax.evaluation.model_effects import EffectsConfig
from samsjax.evaluation.posterior_effects import PosteriorEffects
from samsjax.evaluation.transforms import TRANSFORMS
from samsjax.inference.fitted import Fitted
from samsjax.reporting.mechanisms import latent_names

if TYPE_CHECKING:
    import anndata


def effects_to_anndata(fitted: Fitted, model: AverageEffects, data: AverageEffects, config: EffectsConfig):
    """Treatments x genes: X the model's effects, layers `model_se`, `data`, `data_se` (measured in all cells).

    `model_se` is the Monte-Carlo error; `model_sd`, `model_low` and `model_high` the posterior standard deviation and
    90 % interval, where they were computed. Rows of NaN: the model can say nothing of the treatment.
    """
    layers = {"model_se": model.standard_error, "data": data.of(model.labels), "data_se": data.standard_error}
    layers |= _posterior(model, "model")
    effects = _anndata(model.ate, model.labels, fitted.vocabulary.gene_names, layers)
    effects.var["model_control"] = model.control_mean
    effects.var["data_control"] = data.control_mean
    effects.uns["samsjax"] = _description(fitted, config) | {"reference": "control", "data_cells": "all"}
    return effects


def predictions_to_anndata(fitted: Fitted, model: AverageEffects, config: EffectsConfig, n_training_cells: np.ndarray):
    """Treatments x genes: X the predicted mean expression, layers `ate` and `ate_se` against control.

    Layers `ate_sd`, `ate_low` and `ate_high` are the posterior sd and 90 % interval, where they were computed.

    `n_training_cells` (treatment,) is the smallest number of training cells among a treatment's perturbations.
    """
    layers = {"ate": model.ate, "ate_se": model.standard_error, **_posterior(model, "ate")}
    predicted = _anndata(model.control_mean + model.ate, model.labels, fitted.vocabulary.gene_names, layers)
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
    result = _anndata(effects.mean, np.array(words.perturbation_names), _latent_columns(effects.mean), layers)
    result.obs["n_training_cells"] = fitted.n_training_cells
    result.var["name"] = latent_names(fitted, effects)
    description = {"X": "mask x embedding, in sd of the basal state's prior, at dosage 1", "level": level}
    if responses is not None:
        result.var["step"] = responses.step
        result.varm["gene_response"] = responses.response
        description |= {"scale": responses.transform, "genes": np.array(words.gene_names, dtype=object)}
    result.uns["samsjax"] = description | {"sparse": effects.sparse}
    return result


def latents_to_anndata(
    fitted: Fitted,
    data: PerturbationData,
    treated: Treatments,
    latents: dict[str, np.ndarray],
    n_particles: int,
    effects: PosteriorEffects | None = None,
) -> "anndata.AnnData":
    """Cells x perturbed latents, with treatment, split, library size and covariates in obs; latents also in obsm.

    Latent dimensions are named in `var["name"]` where the model has effects in latent space.
    """
    cells = _anndata(latents["z"], data.cell_names, _latent_columns(latents["z"]), {})
    if effects is not None:
        cells.var["name"] = latent_names(fitted, effects)
    cells.obs["treatment"] = _treatment_of_cells(data, treated)
    cells.obs["split"] = data.split
    cells.obs["library_size"] = data.library_size
    for key, values in data.covariates.items():
        cells.obs[key] = values
    add_latents(cells, fitted, data, latents)
    cells.uns["samsjax"] = {"X": "posterior mean of the perturbed latent state", "n_particles": n_particles}
    return cells


def add_latents(
    adata: "anndata.AnnData", fitted: Fitted, data: PerturbationData, latents: dict[str, np.ndarray]
) -> None:
    """Write the latents of `data`'s cells into the AnnData they came from, matched by the names of cells.

    Keys are `X_<model>` for the perturbed and `X_<model>_basal` for the basal state, such as `X_samsvae`. Cells of
    `adata` that were left out of `data` get NaN.

    Args:
        adata: changed in place.
        fitted: the model.
        data: the cells, `samsjax.from_anndata(adata, ...)`.
        latents: of every cell of `data`, from `samsjax.posterior_latents`.

    Raises:
        InputError: if a cell of `data` is not in `adata`, or latents are not those of all cells.
    """
    place = adata.obs_names.get_indexer(data.cell_names)
    if (place < 0).any():
        missing = data.cell_names[place < 0]
        raise InputError(f"{len(missing)} cells are not in the AnnData (first: {str(missing[0])!r})")
    for site, suffix in (("z", ""), ("z_basal", "_basal")):
        if site not in latents:
            continue
        values = latents[site]
        if len(values) != data.n_cells:
            raise InputError(f"{len(values)} latents for {data.n_cells} cells")
        of_all = np.full((adata.n_obs, values.shape[1]), np.nan, dtype=np.float32)
        of_all[place] = values
        adata.obsm[latents_key(fitted) + suffix] = of_all


def latents_key(fitted: Fitted) -> str:
    """Key of perturbed latents in `obsm`, such as "X_samsvae"."""
    return "X_" + fitted.model_name.replace("_", "")


def truth_to_anndata(data: PerturbationData, treated: Treatments, truth: Truth) -> "anndata.AnnData":
    """A simulated screen as a file others can read, with everything that generated it."""
    cells = _anndata(data.x, data.cell_names, data.gene_names, {"mean": truth.mean})
    cells.obs["perturbation"] = _treatment_of_cells(data, treated)
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


def _posterior(model: AverageEffects, prefix: str) -> dict[str, np.ndarray]:
    """Layers of posterior sd and interval, as far as they were computed."""
    given = {"sd": model.sd, "low": model.low, "high": model.high}
    return {f"{prefix}_{name}": values for name, values in given.items() if values is not None}


def _treatment_of_cells(data: PerturbationData, treated: Treatments) -> np.ndarray:
    labels = np.append(treated.labels.astype(object), data.control_name)  # assignment -1 is the last entry
    return labels[treated.assignment].astype(str)


def _latent_columns(latents: np.ndarray) -> list[str]:
    return [f"latent{k}" for k in range(latents.shape[1])]


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
