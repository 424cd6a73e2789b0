"""Cells as AnnData: their latents, their expectation in another quality, and simulated ones with their truth."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from samsjax.data.dataset import PerturbationData
from samsjax.data.simulate import Truth
from samsjax.data.treatments import Treatments
from samsjax.errors import InputError
from samsjax.evaluation.posterior_effects import PosteriorEffects
from samsjax.evaluation.transforms import TRANSFORMS
from samsjax.inference.fitted import Fitted
from samsjax.reporting.export.common import given, latent_columns, make_anndata, quality_in_words
from samsjax.reporting.mechanisms import latent_names

if TYPE_CHECKING:
    import anndata

PARTS = ("basal", "perturbation", "artifact")
"""Of a state whose parts the decoder sees side by side."""


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
    cells = make_anndata(latents["z"], data.cell_names, _state_columns(latents["z"], fitted.config.n_latent), {})
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
    cell failed. Then `obs["failed"]` says which cells truly fail, beside the labels of the data. Features of
    perturbations are in `uns["features"]`, one row for each.
    """
    cells = make_anndata(data.x, data.cell_names, data.gene_names, given(mean=truth.mean, good_mean=truth.good_mean))
    cells.obs["perturbation"] = _treatment_of_cells(data, treated)
    cells.obs["split"] = data.split
    for name, flags in _quality_columns(data).items():
        cells.obs[name] = flags
    if truth.failed is not None:
        cells.obs["failed"] = truth.failed
    cells.obsm["z_basal"] = truth.z_basal
    for name, values in given(theta=truth.theta, noise_sd=truth.noise_sd).items():
        cells.var[name] = values
    cells.uns["truth"] = {
        "perturbation_names": data.perturbation_names.astype(object),
        "mask": truth.mask,
        "effect": truth.effect,
        **given(artifact=truth.artifact, confounded=truth.confounded),
    }
    if data.features is not None:
        cells.uns["features"] = {
            "perturbation_names": data.perturbation_names.astype(object),
            "names": np.array(data.features.names, dtype=object),
            "values": data.features.values,
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
    cells = make_anndata(wanted, data.cell_names, fitted.vocabulary.gene_names, {"as_is": as_is})
    _describe_cells(cells, data, treated)
    cells.uns["samsjax"] = {
        "X": "expected expression of each cell, had it the quality named here; no counts, and not measured",
        "as_is": "expected expression of each cell in the quality it has, from the same draws",
        "quality": quality_in_words(fails),
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


def _treatment_of_cells(data: PerturbationData, treated: Treatments) -> np.ndarray:
    labels = np.append(treated.labels.astype(object), data.control_name)  # assignment -1 is the last entry
    return labels[treated.assignment].astype(str)


def _state_columns(z: np.ndarray, n_latent: int) -> list[str]:
    """Names of what the decoder sees: latent dimensions, or those of its parts where these stand side by side."""
    if n_latent in (0, z.shape[1]):  # 0 where genes stand in place of latent dimensions
        return latent_columns(z)
    return [f"{PARTS[k // n_latent]}{k % n_latent}" for k in range(z.shape[1])]


def _state_names(names: np.ndarray, n_columns: int) -> np.ndarray:
    """Names of latent dimensions, of which `PARTS` but the perturbation have none."""
    blank = np.full(len(names), "", dtype=object)
    return names if n_columns == len(names) else np.concatenate([blank, names, blank])[:n_columns]
