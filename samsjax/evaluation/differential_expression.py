"""Which genes a treatment changed, judged from mean differences and their standard errors."""

import numpy as np

from samsjax.errors import InputError, check_range


def differentially_expressed(
    mean_difference: np.ndarray, standard_error: np.ndarray, level: float = 0.05
) -> np.ndarray:
    """Bool (treatment, gene): two-sided Welch z test, false discovery rate held at `level` within each treatment.

    The statistic is Welch's, mean difference / sqrt(var/n + var/n); its distribution is taken as normal instead of
    Student's, so groups of fewer than about 20 cells give too many genes. A gene with standard error 0 (constant in
    both groups) or NaN (one cell, or a treatment without a prediction) cannot be tested: it is never significant, and
    stays in its treatment's family of tests with p = 1, so that all treatments correct for the same number of genes.

    Args:
        mean_difference: (treatment, gene), as `AverageEffects.ate`.
        standard_error: (treatment, gene), of the mean difference.
        level: expected share of false discoveries among those of one treatment, in (0, 1).

    Raises:
        InputError: for shapes that differ, a negative standard error, or a level outside (0, 1).

    Source: Benjamini and Hochberg (1995), as in `scipy.stats.false_discovery_control`.
    """
    from scipy.special import ndtr
    from scipy.stats import false_discovery_control

    check_range("level", level, above=0.0, below=1.0)
    difference, error = (np.asarray(v, dtype=np.float64) for v in (mean_difference, standard_error))
    if difference.ndim != 2 or difference.shape != error.shape:
        raise InputError(
            f"mean differences {difference.shape} and standard errors {error.shape} must be (treatment, gene) both"
        )
    if (error < 0).any():
        raise InputError(f"standard errors must be >= 0, got {np.nanmin(error)}")
    testable = (error > 0) & ~np.isnan(difference)
    z = np.divide(difference, error, out=np.zeros_like(difference), where=testable)
    return false_discovery_control(2 * ndtr(-np.abs(z)), axis=1) <= level
