"""The simplest generator of cells: the mean profile of a treatment, with the noise of counts. What a model must beat.

p_t     counts of the treatment's training cells by gene, as a share of their library sizes
phi_g   dispersion: excess of the variance about l p over l p, summed over all cells, relative to (l p)^2
x_ig    negative binomial, mean l_i p_tg, variance l_i p_tg + phi_g (l_i p_tg)^2
"""

from typing import NamedTuple

import numpy as np

from samsjax.data.dataset import PerturbationData
from samsjax.data.encoding import Treatments
from samsjax.evaluation.data_effects import dense

FEWEST_CELLS = 2
"""Training cells that a condition needs."""


class MeanCells(NamedTuple):
    """Learnt profiles."""

    share: np.ndarray
    """float64 (condition, gene)."""
    dispersion: np.ndarray
    """float64 (gene,); 0 for genes that vary no more than Poisson counts."""
    known: np.ndarray
    """bool (condition,): with enough training cells; shares of others are NaN."""

    def draw(self, rng: np.random.Generator, condition: int, totals: np.ndarray) -> np.ndarray:
        """One cell of a known condition for each of `totals` (cell,), int (cell, gene)."""
        mean = totals[:, None] * self.share[condition]
        varies = self.dispersion > 0
        size = 1 / np.where(varies, self.dispersion, 1.0)
        return rng.poisson(np.where(varies, rng.gamma(size, 1 / size, mean.shape), 1.0) * mean)


def learn_mean_cells(data: PerturbationData, cells: np.ndarray, compared: Treatments) -> MeanCells:
    """Learn the conditions `compared` (`cells.conditions` of the same data) from `cells`, row numbers of the data."""
    n_conditions, condition = len(compared.labels), compared.assignment[cells]
    share = np.full((n_conditions, data.n_genes), np.nan)
    excess, squares = np.zeros(data.n_genes), np.zeros(data.n_genes)
    known = np.bincount(condition[condition >= 0], minlength=n_conditions) >= FEWEST_CELLS
    for row in np.flatnonzero(known):
        own = cells[condition == row]
        x, totals = dense(data.x[own]).astype(np.float64), data.library_size[own].astype(np.float64)
        share[row] = x.sum(axis=0) / totals.sum()
        mean = totals[:, None] * share[row]
        excess += ((x - mean) ** 2).sum(axis=0) * len(own) / (len(own) - 1) - mean.sum(axis=0)
        squares += (mean**2).sum(axis=0)
    dispersion = np.divide(np.maximum(excess, 0.0), squares, out=np.zeros_like(excess), where=squares > 0)
    return MeanCells(share, dispersion, known)
