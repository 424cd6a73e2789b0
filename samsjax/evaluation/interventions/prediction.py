"""What a predictor says of a context: cells, how sure it is of their mean, how likely cells are, which targets it sees.

The context as a whole is uncertain first (which targets are hit, how strongly), its cells second. So a prediction is
a mixture: each component is a possible context, shared by all its cells.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

LEVELS = (0.5, 0.8, 0.95)
"""Of the intervals whose coverage is counted."""
N_UNCERTAIN = 20
"""Possible contexts that stand for a Gaussian uncertainty of the mean."""


class Prediction(NamedTuple):
    """Of one context."""

    cells: np.ndarray
    """float64 (cell, variable): drawn cells."""
    means: np.ndarray
    """float64 (component, variable): means of possible contexts; one row if the predictor is certain."""
    sds: np.ndarray
    """float64 (component, variable): spread of cells about these means."""
    log_likelihood: Callable[[np.ndarray], float] | None = None
    """Cells (cell, variable) -> nats of all of them together; None for a predictor without density."""
    target_scores: np.ndarray | None = None
    """float64 (variable,), larger = more likely a target; None for a predictor that knows no targets."""

    @property
    def mean(self) -> np.ndarray:
        """Expected mean of the context, (variable,)."""
        return self.means.mean(axis=0)

    @property
    def sd(self) -> np.ndarray:
        """Expected spread of the cells of the context about their mean, (variable,)."""
        return np.sqrt((self.sds**2).mean(axis=0))


def gaussian_prediction(
    rng: np.random.Generator,
    mean: np.ndarray,
    covariance: np.ndarray,
    n_cells: int,
    mean_sd: np.ndarray | None = None,
) -> Prediction:
    """Gaussian cells about a mean that is itself known up to Gaussian errors.

    Args:
        rng: what draws cells.
        mean: (variable,).
        covariance: of cells, (variable, variable).
        n_cells: cells to draw.
        mean_sd: standard deviation of the error of the mean, (variable,); None = certain.
    """
    root = np.linalg.cholesky(covariance)
    cells = mean + rng.standard_normal((n_cells, len(mean))) @ root.T
    means = mean[None] if mean_sd is None else possible_means(mean, mean_sd)
    sds = np.broadcast_to(np.sqrt(np.diagonal(covariance)), means.shape)
    return Prediction(cells, means, sds, gaussian_log_likelihood(mean, covariance))


def possible_means(mean: np.ndarray, mean_sd: np.ndarray) -> np.ndarray:
    """Quantiles of a Gaussian uncertainty, (`N_UNCERTAIN`, variable).

    All variables are in the same order: whatever looks at one variable at a time is right, joint statements are not.
    """
    return mean + ndtri((np.arange(N_UNCERTAIN) + 0.5) / N_UNCERTAIN)[:, None] * mean_sd


def gaussian_log_likelihood(mean: np.ndarray, covariance: np.ndarray) -> Callable[[np.ndarray], float]:
    """The log density of cells (cell, variable) under one Gaussian, summed over cells."""
    root = np.linalg.cholesky(covariance)
    constant = 0.5 * len(mean) * np.log(2 * np.pi) + np.log(np.diagonal(root)).sum()

    def of(cells: np.ndarray) -> float:
        whitened = np.linalg.solve(root, (cells - mean).T)
        return float(-0.5 * (whitened**2).sum() - len(cells) * constant)

    return of


def covered(prediction: Prediction, mean: np.ndarray, n_cells: int) -> np.ndarray:
    """Whether a measured mean lies in the central predictive intervals, bool (level, variable), levels `LEVELS`.

    The interval is that of the mean of `n_cells` cells: of the possible contexts, and of the cells drawn from each.

    Args:
        prediction: of the context.
        mean: measured, (variable,).
        n_cells: cells it was measured in.
    """
    below = ndtr((mean - prediction.means) / (prediction.sds / np.sqrt(n_cells))).mean(axis=0)
    return np.abs(below - 0.5) <= np.array(LEVELS)[:, None] / 2


def near_positive(covariance: np.ndarray, floor: float = 1e-3) -> np.ndarray:
    """The symmetric part with eigenvalues of at least `floor` times their mean."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    least = floor * max(values.mean(), floor)
    return (vectors * np.maximum(values, least)) @ vectors.T
