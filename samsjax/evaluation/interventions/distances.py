"""Distances between the cells of a context as measured and as predicted, on the variables themselves.

Energy distance and MMD are the U-statistics of [cell_distances][samsjax.evaluation.cell_distances], 0 in expectation
for equal distributions; here all of them share one table of pairwise distances, in double precision. Transport
distances match cells one to one, and are above 0 between any two samples of one distribution: read them beside a noise
floor from as many cells.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from samsjax.errors import InputError
from samsjax.evaluation.cell_space import cell_table

RATES = (2.0, 1.0, 0.5, 0.1, 0.01, 0.005)
"""Of the kernels exp(-rate |.|^2) that the MMD is averaged over, as CondOT and CellFlow do."""
MOST_CELLS = 500
"""Up to which cells are assigned exactly."""


class CellDistances(NamedTuple):
    """Between two sets of cells; best 0."""

    energy: float
    """2 mean|m - p| - mean|m - m'| - mean|p - p'|."""
    mmd: float
    """Squared MMD, mean over `RATES`."""
    mmd_median: float
    """Squared MMD with the median distance of measured cells as bandwidth; for many variables."""
    wasserstein2: float
    """Root of the mean squared distance under the best one-to-one assignment; NaN for more than `MOST_CELLS` cells."""
    wasserstein1: float
    """Mean over variables of the distance between the sorted values."""


def cell_distances(measured: np.ndarray, predicted: np.ndarray) -> CellDistances:
    """All distances between as many predicted as measured cells.

    Args:
        measured: (cell, variable).
        predicted: (cell, variable).

    Raises:
        InputError: for fewer than two cells, sets of other shapes, or values that are not finite.
    """
    measured, predicted = (
        np.asarray(cell_table(name, cells), dtype=np.float64)
        for name, cells in (("measured cells", measured), ("predicted cells", predicted))
    )
    if measured.shape != predicted.shape or len(measured) < 2:
        raise InputError(
            f"measured cells {measured.shape} and predicted cells {predicted.shape} must be as many, two or more"
        )
    between, own, theirs = cdist(measured, predicted), cdist(measured, measured), cdist(predicted, predicted)
    median = np.median(own[np.triu_indices(len(own), k=1)])
    rates = np.array([*RATES, 0.5 / median**2 if median > 0 else np.nan])
    kernels = [_discrepancy(lambda d, g=rate: -np.exp(-g * d**2), between, own, theirs) for rate in rates]  # type: ignore[misc]
    return CellDistances(
        energy=_discrepancy(lambda d: d, between, own, theirs),
        mmd=float(np.mean(kernels[:-1])),
        mmd_median=kernels[-1],
        wasserstein2=_transport(between) if len(measured) <= MOST_CELLS else float("nan"),
        wasserstein1=float(np.abs(np.sort(measured, axis=0) - np.sort(predicted, axis=0)).mean()),
    )


def _discrepancy(of, between: np.ndarray, own: np.ndarray, theirs: np.ndarray) -> float:
    """2 mean between - mean within either set, over pairs of different cells."""
    within = [_mean_of_pairs(of(distances)) for distances in (own, theirs)]
    return float(2 * of(between).mean() - sum(within))


def _mean_of_pairs(values: np.ndarray) -> float:
    n = len(values)
    return float((values.sum() - np.trace(values)) / (n * (n - 1)))


def _transport(between: np.ndarray) -> float:
    squares = between**2
    return float(np.sqrt(squares[linear_sum_assignment(squares)].mean()))
