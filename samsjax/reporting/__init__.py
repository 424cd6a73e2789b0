"""From results to things people read: tables (`tables`, `mechanisms`), figures (`plots`), AnnData files that scanpy
opens (`export`), and one self-contained HTML page (`page`) with everything of a run (`report`).

Nothing here computes a score; it takes what `samsjax.evaluation` returned.
"""

from samsjax.reporting.export import (
    add_latents,
    counterfactual_to_anndata,
    effects_to_anndata,
    latent_effects_to_anndata,
    latents_key,
    latents_to_anndata,
    predictions_to_anndata,
    truth_to_anndata,
)
from samsjax.reporting.mechanisms import latent_names, mechanisms_summary, mechanisms_table
from samsjax.reporting.page import Page, Section, render, write_page
from samsjax.reporting.plots import (
    DoseCurve,
    agreement_matrix,
    calibration_curve,
    dose_curves,
    effect_map,
    effect_maps,
    effect_scatter,
    effect_scatters,
    effects_plane,
    mask_map,
    perturbation_agreement,
    predictive_check,
    programme_bars,
    save_figure,
    score_comparison,
    score_dots,
    stability_figure,
    training_curves,
)
from samsjax.reporting.report import report
from samsjax.reporting.report.doses import dose_panels, dose_response_table
from samsjax.reporting.score_tables import interactions_table, scores_summary, scores_table, treatment_scores_table
from samsjax.reporting.tables import effects_table, markdown_table, metrics_summary, rotations_summary

__all__ = [
    "DoseCurve",
    "Page",
    "Section",
    "add_latents",
    "agreement_matrix",
    "calibration_curve",
    "counterfactual_to_anndata",
    "dose_curves",
    "dose_panels",
    "dose_response_table",
    "effect_map",
    "effect_maps",
    "effect_scatter",
    "effect_scatters",
    "effects_plane",
    "effects_table",
    "effects_to_anndata",
    "interactions_table",
    "latent_effects_to_anndata",
    "latent_names",
    "latents_key",
    "latents_to_anndata",
    "markdown_table",
    "mask_map",
    "mechanisms_summary",
    "mechanisms_table",
    "metrics_summary",
    "perturbation_agreement",
    "predictions_to_anndata",
    "predictive_check",
    "programme_bars",
    "render",
    "report",
    "rotations_summary",
    "save_figure",
    "score_comparison",
    "score_dots",
    "scores_summary",
    "scores_table",
    "stability_figure",
    "training_curves",
    "treatment_scores_table",
    "truth_to_anndata",
    "write_page",
]
