"""Results as AnnData: effects, latents, predictions, cleaned cells, simulated truth, with keys scanpy users expect.

Latents of cells stand in `obsm["X_samsvae"]` (perturbed) and `obsm["X_samsvae_basal"]`, named after the model, so that
`scanpy.pp.neighbors(cells, use_rep="X_samsvae")` continues from there. Every object says in `uns["samsjax"]` what its
numbers are: scale, library size, particles, reference, and the quality of predicted cells where the model knows it.

Where cells carry quality labels, `obs` has a column of True (fails) and False for each criterion: `fails_n_counts` for
one that a rule judged, so that it is not taken for the statistic, and the column's own name for a ready label.
`--data.quality-key` reads both.
"""

from collections.abc import Sequence
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

PARTS = ("basal", "perturbation", "artifact")
"""Of a state whose parts the decoder sees side by side."""


def effects_to_anndata(
    fitted: Fitted, model: AverageEffects, data: AverageEffects, config: EffectsConfig, *, measured_in: str = "all"
) -> "anndata.AnnData":
    """Treatments x genes: X the model's effects, layers `model_se`, `data`, `data_se`; `measured_in` says which cells.

    `model_se` is the Monte-Carlo error; `model_sd`, `model_low` and `model_high` the posterior standard deviation and
    90 % interval, where they were computed. Rows of NaN: the model can say nothing of the treatment.
    """
    layers = {"model_se": model.standard_error, "data": data.of(model.labels), "data_se": data.standard_error}
    layers |= _posterior(model, "model")
    effects = _anndata(model.ate, model.labels, fitted.vocabulary.gene_names, layers)
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
    """Cells x perturbed latents, with treatment, split, library size, covariates and quality in obs; also in obsm.

    Latent dimensions are named in `var["name"]` where the model has effects in latent space. Where the decoder sees
    the parts of a state side by side, columns are those of the basal state, the perturbation and the artefact; the
    names are those of the perturbation.
    """
    cells = _anndata(latents["z"], data.cell_names, _state_columns(latents["z"], fitted.config.n_latent), {})
    if effects is not None:
        cells.var["name"] = _state_names(latent_names(fitted, effects), cells.n_vars)
    _describe_cells(cells, data, treated)
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
    """A simulated screen as a file others can read, with everything that generated it.

    Layer `mean` holds expected values of cells as they are and, of a screen with artefacts, `good_mean` those had no
    cell failed. Then `obs["failed"]` says which cells truly fail, beside the labels of the data.
    """
    cells = _anndata(data.x, data.cell_names, data.gene_names, _given(mean=truth.mean, good_mean=truth.good_mean))
    cells.obs["perturbation"] = _treatment_of_cells(data, treated)
    cells.obs["split"] = data.split
    for name, flags in _quality_columns(data).items():
        cells.obs[name] = flags
    if truth.failed is not None:
        cells.obs["failed"] = truth.failed
    cells.obsm["z_basal"] = truth.z_basal
    for name, values in _given(theta=truth.theta, noise_sd=truth.noise_sd).items():
        cells.var[name] = values
    cells.uns["truth"] = {
        "perturbation_names": data.perturbation_names.astype(object),
        "mask": truth.mask,
        "effect": truth.effect,
        **_given(artifact=truth.artifact, confounded=truth.confounded),
    }
    return cells


def counterfactual_to_anndata(
    fitted: Fitted,
    data: PerturbationData,
    treated: Treatments,
    wanted: np.ndarray,
    as_is: np.ndarray,
    *,
    fails: Sequence[str],
    transform: str,
    n_particles: int,
    seed: int,
) -> "anndata.AnnData":
    """Cells x genes: X what is expected of each cell in another quality, layer `as_is` in the quality it has.

    Both are decoded from the same draws, so that their difference is the artefact's. `obs` is that of `latents.h5ad`.

    Args:
        fitted: the model.
        data: the cells.
        treated: their treatments.
        wanted: (cell, gene), `samsjax.evaluation.counterfactual.counterfactual` of every cell.
        as_is: (cell, gene), the same with `fails=None`.
        fails: criteria that the cells of `wanted` fail.
        transform: scale of both.
        n_particles: draws they are averages of.
        seed: of these draws.
    """
    cells = _anndata(wanted, data.cell_names, fitted.vocabulary.gene_names, {"as_is": as_is})
    _describe_cells(cells, data, treated)
    cells.uns["samsjax"] = {
        "X": "expected expression of each cell, had it the quality named here; no counts, and not measured",
        "as_is": "expected expression of each cell in the quality it has, from the same draws",
        "quality": _quality(fails),
        "model": fitted.model_name,
        "scale": transform,
        "unit": TRANSFORMS[transform].unit,
        "library_size": "of each cell",
        "n_particles": n_particles,
        "seed": seed,
    }
    return cells


def _describe_cells(cells: "anndata.AnnData", data: PerturbationData, treated: Treatments) -> None:
    """Columns of obs that say what each cell is."""
    cells.obs["treatment"] = _treatment_of_cells(data, treated)
    cells.obs["split"] = data.split
    cells.obs["library_size"] = data.library_size
    for key, values in {**data.covariates, **_quality_columns(data)}.items():
        cells.obs[key] = values


def _quality_columns(data: PerturbationData) -> dict[str, np.ndarray]:
    """Bool (cell,) by column of obs, True where a cell fails; none for cells without labels."""
    if data.failed is None:
        return {}
    prefix = "" if data.quality_rule is None else "fails_"
    return {prefix + name: data.failed[:, column] for column, name in enumerate(data.criteria)}


def _quality(fails: Sequence[str]) -> str:
    """Quality of predicted cells in words."""
    return f"fails {', '.join(fails)}" if fails else "good"


def _given(**values: np.ndarray | None) -> dict[str, np.ndarray]:
    """Those that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def _posterior(model: AverageEffects, prefix: str) -> dict[str, np.ndarray]:
    """Layers of posterior sd and interval, as far as they were computed."""
    known = _given(sd=model.sd, low=model.low, high=model.high)
    return {f"{prefix}_{name}": values for name, values in known.items()}


def _treatment_of_cells(data: PerturbationData, treated: Treatments) -> np.ndarray:
    labels = np.append(treated.labels.astype(object), data.control_name)  # assignment -1 is the last entry
    return labels[treated.assignment].astype(str)


def _latent_columns(latents: np.ndarray) -> list[str]:
    return [f"latent{k}" for k in range(latents.shape[1])]


def _state_columns(z: np.ndarray, n_latent: int) -> list[str]:
    """Names of what the decoder sees: latent dimensions, or those of its parts where these stand side by side."""
    if z.shape[1] == n_latent:
        return _latent_columns(z)
    return [f"{PARTS[k // n_latent]}{k % n_latent}" for k in range(z.shape[1])]


def _state_names(names: np.ndarray, n_columns: int) -> np.ndarray:
    """Names of latent dimensions, of which `PARTS` but the perturbation have none."""
    blank = np.full(len(names), "", dtype=object)
    return names if n_columns == len(names) else np.concatenate([blank, names, blank])[:n_columns]


def _anndata(x: Any, rows: np.ndarray, columns: Any, layers: dict[str, np.ndarray]) -> "anndata.AnnData":
    import anndata
    import pandas as pd

    obs = pd.DataFrame(index=pd.Index(np.asarray(rows, dtype=object)))
    return anndata.AnnData(x, obs, pd.DataFrame(index=pd.Index(np.asarray(columns, dtype=object))), layers=layers)


def _description(fitted: Fitted, config: EffectsConfig) -> dict[str, Any]:
    """Of predictions. Median and source of library sizes are those of the training cells predictions are like."""
    quality, of_cells = {}, "training cells"
    if fitted.vocabulary.artifacts:
        quality = {"quality": _quality(config.fails)}
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
