"""From results to things people read: tables (`tables`, `mechanisms`), figures (`plots`) and
AnnData files that scanpy opens (`export`).

Nothing here computes a score; it takes what `samsjax.evaluation` returned.
"""

from samsjax.reporting.export import effects_to_anndata, latents_to_anndata, predictions_to_anndata, truth_to_anndata
from samsjax.reporting.mechanisms import latent_names, mechanisms_summary, mechanisms_table
from samsjax.reporting.plots import (
    agreement_matrix,
    effect_map,
    effect_maps,
    perturbation_agreement,
    save_figure,
    score_dots,
    stability_figure,
)
from samsjax.reporting.tables import effects_table, markdown_table, metrics_summary, rotations_summary

__all__ = [
    "agreement_matrix",
    "effect_map",
    "effect_maps",
    "effects_table",
    "effects_to_anndata",
    "latent_names",
    "latents_to_anndata",
    "markdown_table",
    "mechanisms_summary",
    "mechanisms_table",
    "metrics_summary",
    "perturbation_agreement",
    "predictions_to_anndata",
    "rotations_summary",
    "save_figure",
    "score_dots",
    "stability_figure",
    "truth_to_anndata",
]
