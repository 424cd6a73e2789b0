"""Figures: effects, scores, training, checks, quality of cells, agreement of fits. They need matplotlib (extra `plot`).

    axes = effect_map(effects.mean, fitted.vocabulary.perturbation_names)
    save_figure(axes.figure, "effects.svg")

Functions draw into the Axes they are given, or make a Figure of their own; no global state and no display is touched.
matplotlib is imported when a figure is made. Colours tell apart under all common kinds of colour blindness, and no
distinction rests on them alone.
"""

from samsjax.reporting.plots.agreement import agreement_matrix, perturbation_agreement, stability_figure
from samsjax.reporting.plots.base import MARKS, require_matplotlib, save_figure
from samsjax.reporting.plots.checks import calibration_curve, predictive_check
from samsjax.reporting.plots.effects import effect_map, effect_maps, effects_plane, mask_map, row_order
from samsjax.reporting.plots.estimators import error_by_draws
from samsjax.reporting.plots.programmes import programme_bars
from samsjax.reporting.plots.quality import artifact_changes, distance_dots, failed_shares, probe_dots, rate_dots
from samsjax.reporting.plots.scores import score_comparison, score_dots
from samsjax.reporting.plots.training import training_curves
from samsjax.reporting.plots.treatments import DoseCurve, dose_curves, effect_scatter, effect_scatters

__all__ = [
    "MARKS",
    "DoseCurve",
    "agreement_matrix",
    "artifact_changes",
    "calibration_curve",
    "distance_dots",
    "dose_curves",
    "effect_map",
    "effect_maps",
    "effect_scatter",
    "effect_scatters",
    "effects_plane",
    "error_by_draws",
    "failed_shares",
    "mask_map",
    "perturbation_agreement",
    "predictive_check",
    "probe_dots",
    "programme_bars",
    "rate_dots",
    "require_matplotlib",
    "row_order",
    "save_figure",
    "score_comparison",
    "score_dots",
    "stability_figure",
    "training_curves",
]
