"""Results as AnnData: effects, latents, predictions, cleaned cells, simulated truth, with keys scanpy users expect.

Latents of cells stand in `obsm["X_samsvae"]` (perturbed) and `obsm["X_samsvae_basal"]`, named after the model, so that
`scanpy.pp.neighbors(cells, use_rep="X_samsvae")` continues from there. Every object says in `uns["samsjax"]` what its
numbers are: scale, library size, particles, reference, and the quality of predicted cells where the model knows it.

Where cells carry quality labels, `obs` has a column of True (fails) and False for each criterion: `fails_n_counts` for
one that a rule judged, so that it is not taken for the statistic, and the column's own name for a ready label.
`--data.quality-key` reads both.
"""

from samsjax.reporting.export.cells import (
    add_latents,
    counterfactual_to_anndata,
    latents_key,
    latents_to_anndata,
    truth_to_anndata,
)
from samsjax.reporting.export.effects import effects_to_anndata, latent_effects_to_anndata, predictions_to_anndata

__all__ = [
    "add_latents",
    "counterfactual_to_anndata",
    "effects_to_anndata",
    "latent_effects_to_anndata",
    "latents_key",
    "latents_to_anndata",
    "predictions_to_anndata",
    "truth_to_anndata",
]
