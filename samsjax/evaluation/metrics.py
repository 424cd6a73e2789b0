"""Agreement of predicted with measured treatment effects: a table of named metrics, each for one treatment at a time.

Names are those of cell-eval where it has the metric. The reference of an effect is explicit in every record: control,
or the perturbed centroid (the mean over treatments, which takes out what all perturbations share).

Source: cell-eval 0.8 (Arc Institute, MIT licence) for the names. Differs: it compares single cells of both sides, here
the predicted side is a mean effect without a test of its own, so "differentially expressed" is said of measured genes
only; what is not defined is NaN instead of 0, 1 or an entry left out; ties never follow the order of genes.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from samsjax.evaluation import effect_metrics as by_row
from samsjax.evaluation.pooled_scores import effect_scores

__all__ = ["METRICS", "Metric", "Sides", "effect_scores"]


class Sides(NamedTuple):
    """Measured and predicted effects of the same treatments, in one scale of `TRANSFORMS`. No cell is on both sides."""

    measured: np.ndarray
    """float64 (treatment, gene): mean difference to control."""
    predicted: np.ndarray
    """float64 (treatment, gene): the same, predicted; no NaN."""
    measured_control: np.ndarray
    """float64 (gene,): mean transformed expression of the controls of the measured side."""
    predicted_control: np.ndarray
    """float64 (gene,): the same of the predicted side."""
    measured_centroid: np.ndarray
    """float64 (gene,): mean of the measured effects over all treatments of the split, not only those compared here."""
    predicted_centroid: np.ndarray
    """float64 (gene,): mean of the effects of all training treatments, as the predictor sees it."""
    significant: np.ndarray
    """Bool (treatment, gene): differentially expressed in the measured cells."""


class Metric(NamedTuple):
    """One way to compare the sides."""

    name: str
    function: Callable[[Sides], np.ndarray]
    """float64 (treatment,); NaN where the metric is not defined, such as a correlation with a constant."""
    description: str
    best: float
    """Value of a perfect prediction."""
    unit: str
    """"1" for pure numbers, "scale" for the units of the transform, "scale^2" for their squares."""
    reference: str
    """"control", "perturbed centroid" or "none" (levels of expression)."""
    higher_is_better: bool
    bounds: tuple[float, float]
    """Smallest and largest possible value."""


Function = Callable[[Sides], np.ndarray]
CORRELATION, SHARE, ERROR = (-1.0, 1.0), (0.0, 1.0), (0.0, float("inf"))
BLOCK = 2**17
"""Entries (treatment x gene) compared at a time: temporary arrays of this size stay in a processor's cache."""


def _score(
    name: str, function: Function, description: str, bounds: tuple[float, float], reference: str = "control"
) -> Metric:
    return Metric(name, function, description, 1.0, "1", reference, higher_is_better=True, bounds=bounds)


def _error(name: str, function: Function, description: str, unit: str, reference: str = "control") -> Metric:
    return Metric(name, function, description, 0.0, unit, reference, higher_is_better=False, bounds=ERROR)


def _in_blocks(function: Function) -> Function:
    """The same function, of some treatments after the other; for functions that look at each on its own."""

    def in_blocks(sides: Sides) -> np.ndarray:
        n_treatments, n_genes = sides.measured.shape
        step = max(1, BLOCK // n_genes)
        slices = [slice(start, start + step) for start in range(0, max(n_treatments, 1), step)]
        return np.concatenate([function(_rows(sides, rows)) for rows in slices])

    return in_blocks


def _rows(sides: Sides, rows: slice) -> Sides:
    return sides._replace(
        measured=sides.measured[rows], predicted=sides.predicted[rows], significant=sides.significant[rows]
    )


def _without_centroid(sides: Sides) -> np.ndarray:
    measured, predicted = sides.measured - sides.measured_centroid, sides.predicted - sides.predicted_centroid
    return by_row.correlation(measured, predicted, sizes_of=(sides.measured, sides.predicted))


def _levels(sides: Sides) -> tuple[np.ndarray, np.ndarray]:
    return sides.measured_control + sides.measured, sides.predicted_control + sides.predicted


_EACH_TREATMENT_ALONE = (
    # cell-eval: the same, from means of both sides' cells.
    _score(
        "pearson_delta",
        lambda s: by_row.correlation(s.measured, s.predicted),
        "Pearson correlation over all genes of predicted and measured change from control",
        CORRELATION,
    ),
    # Not in cell-eval. The SAMS-VAE paper pools treatments instead (`effect_scores`).
    _score(
        "pearson_delta_top20",
        lambda s: by_row.correlation_of_top(s.measured, s.predicted, 20),
        "Pearson correlation over the 20 genes that the treatment was measured to change most",
        CORRELATION,
    ),
    # Not in cell-eval. The idea of Systema: what perturbed cells have in common is easy to predict and says little.
    _score(
        "pearson_delta_centroid",
        _without_centroid,
        "Pearson correlation of what sets the treatment apart from the average treatment, predicted and measured",
        CORRELATION,
        "perturbed centroid",
    ),
    # Not in cell-eval.
    _score(
        "r2_delta",
        lambda s: by_row.r2(s.measured, s.predicted),
        "share of the differences between genes in measured change that the prediction explains, size included; "
        "below 0 if the same change for all genes would have been nearer",
        (-float("inf"), 1.0),
    ),
    # cell-eval: the same four. Levels hold the controls of each side, so a shift of these is an error here.
    _error(
        "mse",
        lambda s: by_row.mean_squared_error(*_levels(s)),
        "mean over genes of the squared error of mean expression under the treatment",
        "scale^2",
        "none",
    ),
    _error(
        "mae",
        lambda s: by_row.mean_absolute_error(*_levels(s)),
        "mean over genes of the absolute error of mean expression under the treatment",
        "scale",
        "none",
    ),
    _error(
        "mse_delta",
        lambda s: by_row.mean_squared_error(s.measured, s.predicted),
        "mean over genes of the squared error of the change from control",
        "scale^2",
    ),
    _error(
        "mae_delta",
        lambda s: by_row.mean_absolute_error(s.measured, s.predicted),
        "mean over genes of the absolute error of the change from control",
        "scale",
    ),
    # Not in cell-eval. Unlike Pearson's, this correlation is not centred: a common shift of all genes counts.
    _score(
        "cosine_logfc",
        lambda s: by_row.cosine(s.measured, s.predicted),
        "cosine between predicted and measured change from control: direction without size; in a log scale these are "
        "log fold changes",
        CORRELATION,
    ),
    # Not in cell-eval.
    *(
        _score(
            f"jaccard_top{n}",
            lambda s, n=n: by_row.jaccard_of_top(s.measured, s.predicted, n),  # type: ignore[misc]
            f"genes shared by the {n} predicted and the {n} measured to change most, as a share of all genes in either",
            SHARE,
        )
        for n in (20, 50)
    ),
    # cell-eval: of the genes significant in its own cells, the N with the largest |log2 fold change| on each side, so
    # the measured effect itself scores 1; 0 if no gene is significant. Here the predicted side has no cells to test.
    _score(
        "overlap_at_N",
        lambda s: by_row.overlap_with_significant(s.significant, s.predicted),
        "of the N genes that were measured to change significantly, the share among the N genes predicted to change "
        "most; N of all genes by chance, and 1 only if large changes are also the significant ones",
        SHARE,
    ),
    # cell-eval: the same; a treatment without significant gene is left out.
    _score(
        "de_direction_match",
        lambda s: by_row.direction_match(s.measured, s.predicted, s.significant),
        "of the genes that were measured to change significantly, the share predicted to change in the same direction; "
        "no predicted change is no match",
        SHARE,
    ),
    # cell-eval: the same with log2 fold changes of means; genes without a predicted one count as 0.
    _score(
        "de_spearman_lfc_sig",
        lambda s: by_row.rank_correlation(s.measured, s.predicted, s.significant),
        "Spearman correlation of predicted and measured change over the genes measured to change significantly",
        CORRELATION,
    ),
)

_AMONG_TREATMENTS = (
    # cell-eval: 1 - rank / treatments, so that the worst is 1 / treatments; ties follow the order of treatments; the
    # perturbed gene itself is left out of the distance, here it is in.
    *(
        _score(
            f"discrimination_score_{name}",
            lambda s, distance=distance: by_row.discrimination(s.measured, s.predicted, distance),  # type: ignore[misc]
            f"how near the prediction is to its own treatment ({words} of changes) compared with all other treatments "
            "measured: 1 nearest, 0 farthest, 1/2 by chance",
            SHARE,
        )
        for name, distance, words in (
            ("l1", "cityblock", "summed absolute difference"),
            ("l2", "euclidean", "Euclidean distance"),
            ("cosine", "cosine", "angle"),
        )
    ),
)

METRICS: dict[str, Metric] = {
    metric.name: metric._replace(function=_in_blocks(metric.function)) for metric in _EACH_TREATMENT_ALONE
} | {metric.name: metric for metric in _AMONG_TREATMENTS}
"""By name. Fast enough for bootstraps: vectorised over treatments, without compilation."""
