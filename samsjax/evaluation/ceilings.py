"""What a perfect prediction would score against measured effects, from scores of one half of the cells on the other.

Measured effects carry noise, so the true effects themselves do not reach the best value of a metric. Two halves of the
cells differ by the noise of both, and each half has twice the variance of all cells together. So for errors of
independent genes and cells

    squared error    half against half = 2 x 2 s^2, truth against all cells = s^2:      a quarter
    absolute error   in proportion to standard deviations:                              a half
    correlation r    reliability of all cells 2 r / (1 + r) (Spearman-Brown), whose
                     square root is the correlation of the truth with all cells

For metrics that rank or count genes there is no such rule, and nothing is said. Distances between sets of cells are
unbiased: the truth scores 0.
"""

from collections.abc import Callable

import numpy as np


def _from_correlation(half: float) -> float:
    return float(np.sqrt(2 * half / (1 + half))) if half > 0 else 0.0


PERFECT: dict[str, Callable[[float], float]] = {
    **dict.fromkeys(("pearson_delta", "pearson_delta_centroid", "cosine_logfc"), _from_correlation),
    **dict.fromkeys(("mse", "mse_delta"), lambda half: half / 4),
    **dict.fromkeys(("mae", "mae_delta"), lambda half: half / 2),
    **dict.fromkeys(("edistance", "mmd"), lambda half: 0.0),
}
"""By metric: from the score of half against half to that of the truth against all measured cells."""


def perfect_score(metric: str, half: float) -> float:
    """Expected score of the true effects against those measured; NaN where no rule is known or `half` is NaN."""
    return PERFECT[metric](half) if metric in PERFECT and not np.isnan(half) else float("nan")
