"""From results to things people read: tables (`tables`) and AnnData files that scanpy opens (`export`).

Nothing here computes a score; it takes what `samsjax.evaluation` returned.
"""

from samsjax.reporting.export import effects_to_anndata, latents_to_anndata, predictions_to_anndata, truth_to_anndata
from samsjax.reporting.tables import effects_table, markdown_table, metrics_summary

__all__ = [
    "effects_table",
    "effects_to_anndata",
    "latents_to_anndata",
    "markdown_table",
    "metrics_summary",
    "predictions_to_anndata",
    "truth_to_anndata",
]
