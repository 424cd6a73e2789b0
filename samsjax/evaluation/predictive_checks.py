"""Posterior predictive checks: do cells drawn from the model look like the measured ones, gene by gene and in total?

Every measured cell is drawn anew many times (`replicate_cells`), and statistics of the measured cells are held against
their spread over replicates. If the model were true, about 90 % of them would lie inside the 90 % bands; what lies
outside says in which respect the model is wrong. Cells that were not trained on make the check honest.
"""

from collections.abc import Callable
from itertools import chain
from typing import NamedTuple

import jax
import numpy as np
import scipy.sparse as sp

from samsjax.data.dataset import PerturbationData
from samsjax.errors import InputError, check_range
from samsjax.evaluation.generated_cells import replicate_cells
from samsjax.inference.fitted import Fitted
from samsjax.likelihoods import models_counts

LEVEL = 0.9
"""Share of replicates inside a band."""
TOTAL_QUANTILES = np.linspace(0.025, 0.975, 39)
"""At which the totals of cells are compared."""
_Statistic = Callable[[np.ndarray], np.ndarray]


class StatisticCheck(NamedTuple):
    """One statistic of the measured cells, and its spread over replicates."""

    name: str
    """"mean", "variance" and "zeros" by gene, "library size" by quantile of cells."""
    unit: str
    measured: np.ndarray
    """(entry,): by gene, or by quantile in `TOTAL_QUANTILES`."""
    expected: np.ndarray
    """(entry,): mean over replicates."""
    low: np.ndarray
    high: np.ndarray
    """(entry,): 90 % band over replicates."""

    @property
    def inside(self) -> float:
        """Share of entries whose measured value lies in the band; about .9 under a true model."""
        return float(((self.measured >= self.low) & (self.measured <= self.high)).mean())


class PredictiveCheck(NamedTuple):
    """All statistics of one set of cells."""

    n_replicates: int
    statistics: tuple[StatisticCheck, ...]
    measured: np.ndarray
    """(cell, gene): the cells that were checked."""
    replicate: np.ndarray
    """(cell, gene): one replicate of them."""


def predictive_check(
    key: jax.Array,
    fitted: Fitted,
    data: PerturbationData,
    cells: np.ndarray,
    *,
    n_replicates: int = 20,
    max_cells: int = 1000,
) -> PredictiveCheck:
    """Check the model against `cells` (row numbers of `data`), or against `max_cells` of them chosen by the key.

    Counts are checked by mean, variance and share of zeros of every gene and by the quantiles of totals; continuous
    values by mean and variance. A cell's exposure is given to its replicate, so totals differ by noise alone.

    Raises:
        InputError: for fewer than two cells or 20 replicates, or cells with covariates the model does not know.
    """
    check_range("n_replicates", n_replicates, low=20)
    if len(cells) < 2:
        raise InputError(f"a predictive check needs at least 2 cells, got {len(cells)}")
    choice_key, draw_key = jax.random.split(key)
    if len(cells) > max_cells:
        cells = np.sort(np.asarray(jax.random.choice(choice_key, cells, (max_cells,), replace=False)))
    of = _statistics_of(models_counts(fitted.config.likelihood))
    x = data.x[cells]
    values = np.asarray(x.toarray() if sp.issparse(x) else x, dtype=np.float64)
    measured = _compute(of, values)
    keys = jax.random.split(draw_key, n_replicates)
    first = replicate_cells(keys[0], fitted, data, cells)
    rest = (replicate_cells(k, fitted, data, cells) for k in keys[1:])
    replicates = [_compute(of, drawn.astype(np.float64)) for drawn in chain([first], rest)]
    checks = []
    for name, (_, unit) in of.items():
        drawn = np.stack([replicate[name] for replicate in replicates])
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        checks.append(StatisticCheck(name, unit, measured[name], drawn.mean(axis=0), low, high))
    return PredictiveCheck(n_replicates, tuple(checks), values, first)


def _statistics_of(counts: bool) -> dict[str, tuple[_Statistic, str]]:  # noqa: FBT001
    """Name -> (function of values (cell, gene), unit)."""
    moments: dict[str, tuple[_Statistic, str]] = {
        "mean": (lambda x: x.mean(axis=0), "counts" if counts else "value"),
        "variance": (lambda x: x.var(axis=0, ddof=1), "counts^2" if counts else "value^2"),
    }
    if not counts:
        return moments
    return moments | {
        "zeros": (lambda x: (x == 0).mean(axis=0), "share of cells"),
        "library size": (lambda x: np.quantile(x.sum(axis=1), TOTAL_QUANTILES), "counts"),
    }


def _compute(of: dict[str, tuple[_Statistic, str]], x: np.ndarray) -> dict[str, np.ndarray]:
    return {name: function(x) for name, (function, _) in of.items()}
