"""The pooled scores of the SAMS-VAE paper: all entries (treatment x gene) at once, kept for parity.

Treatments with many or strong effects weigh most here, and one number hides which treatments are predicted well; the
table `samsjax.evaluation.metrics.METRICS` scores one treatment at a time.

Source: SAMS-VAE, specification 7.3.
"""

import numpy as np

from samsjax.errors import InputError


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
