"""Agreement of predicted with measured treatment effects: a table of named metrics, each for one treatment at a time.

Names are those of cell-eval where it has the metric. The reference of an effect is explicit in every record: control,
or the perturbed centroid (the mean over treatments, which takes out what all perturbations share). `effect_scores` are the pooled scores of the SAMS-VAE paper (specification 7.3), kept for parity: all
entries (treatment x gene) at once; `top20` keeps, for each treatment, the 20 genes with the largest measured effect.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from samsjax.errors import InputError


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


def pearson(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Pearson correlation of all entries; NaN if either side is constant."""
    a, b = (np.asarray(v, dtype=np.float64).ravel() for v in (truth, prediction))
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else float("nan")


def r2(truth: np.ndarray, prediction: np.ndarray) -> float:
    """1 - residual / total sum of squares of all entries; best 1, can be negative; NaN if the truth is constant."""
    a, b = (np.asarray(v, dtype=np.float64).ravel() for v in (truth, prediction))
    total = ((a - a.mean()) ** 2).sum()
    return float(1 - ((a - b) ** 2).sum() / total) if total > 0 else float("nan")


def top_genes(truth: np.ndarray, n_top: int) -> np.ndarray:
    """Columns of the `n_top` genes with the largest |effect| per treatment, int (treatment, top)."""
    return np.argsort(-np.abs(truth), axis=1, kind="stable")[:, :n_top]


def effect_scores(truth: np.ndarray, prediction: np.ndarray, n_top: int = 20) -> dict[str, float]:
    """`pearson`, `r2` and the same over each treatment's top genes, for effects (treatment, gene).

    Raises:
        InputError: if shapes differ.
    """
    if truth.shape != prediction.shape:
        raise InputError(f"measured effects {truth.shape} and predicted effects {prediction.shape} differ in shape")
    top = top_genes(truth, n_top)
    true_top, predicted_top = (np.take_along_axis(v, top, axis=1) for v in (truth, prediction))
    return {
        "pearson": pearson(truth, prediction),
        f"pearson_top{n_top}": pearson(true_top, predicted_top),
        "r2": r2(truth, prediction),
        f"r2_top{n_top}": r2(true_top, predicted_top),
    }
