"""Distances between the cells a predictor draws and the measured cells of the same treatment."""

from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

import jax
import numpy as np

from samsjax.evaluation.cell_distances import CELL_METRICS
from samsjax.evaluation.cell_space import PrincipalAxes, principal_axes, project
from samsjax.evaluation.data_effects import dense
from samsjax.evaluation.noise import MeasuredCells
from samsjax.evaluation.predictors import Predictor
from samsjax.evaluation.scoring.config import ScoringConfig
from samsjax.evaluation.scoring.measured import Measurement

CELLS_FOR_AXES = 5000
"""Most measured cells, controls included, that the principal axes are taken from."""


class CellScores(NamedTuple):
    """Cell metrics, in the order of `CELL_METRICS`."""

    values: np.ndarray
    """(1 + replicate, predictor, metric, treatment): of all cells, then of the replicates. NaN where a predictor says
    nothing."""
    ceiling: np.ndarray
    """(half, metric, treatment)."""


def cell_scores(
    key: jax.Array,
    predictors: Sequence[Predictor],
    measurement: Measurement,
    weights: np.ndarray,
    halves: np.ndarray,
    config: ScoringConfig,
) -> CellScores:
    """Compare cells treatment by treatment; distances are computed once for all replicates.

    Args:
        key: decides the cells drawn, and which measured cells are left out. Predictors get equal keys.
        predictors: to draw from.
        measurement: the measured cells.
        weights: bootstrap weights of the measured cells, (replicate, cell).
        halves: 1 for cells of the first half and 0 for the others, (half, cell).
        config: numbers of cells.
    """
    axes_key, key = jax.random.split(key)
    axes = _axes(axes_key, measurement.cells)
    n_treatments, n_metrics = len(measurement.rows), len(CELL_METRICS)
    scores = np.full((1 + len(weights), len(predictors), n_metrics, n_treatments), np.nan)
    ceiling = np.full((len(halves), n_metrics, n_treatments), np.nan)
    for row, (name, (start, stop)) in enumerate(zip(measurement.cells.names, measurement.cells.bounds, strict=True)):
        if row == n_treatments:  # the controls
            break
        own_key, drawn_key = jax.random.split(jax.random.fold_in(key, crc32(name.encode())))
        chosen = _subset(own_key, start, stop, config.max_cells)
        measured = project(axes, dense(measurement.cells.values[chosen]))
        counts = np.concatenate([np.ones((1, len(chosen))), weights[:, chosen]])
        half = halves[:, chosen]
        for m, metric in enumerate(CELL_METRICS.values()):
            ceiling[:, m, row] = metric.function(measured, measured, half, 1 - half)
        for p, predictor in enumerate(predictors):
            drawn = predictor.cells(drawn_key, measurement.treated, row, config.n_cells_generated)
            if np.isnan(drawn).any():
                continue
            predicted = project(axes, drawn)
            for m, metric in enumerate(CELL_METRICS.values()):
                scores[:, p, m, row] = metric.function(measured, predicted, counts, None)
    return CellScores(scores, ceiling)


def _axes(key: jax.Array, cells: MeasuredCells) -> PrincipalAxes:
    chosen = _subset(key, 0, cells.values.shape[0], CELLS_FOR_AXES)
    return principal_axes(dense(cells.values[chosen]))


def _subset(key: jax.Array, start: int, stop: int, n_most: int) -> np.ndarray:
    """Ascending rows from `start` to `stop`, a random `n_most` of them if there are more."""
    rows = np.arange(start, stop)
    if len(rows) <= n_most:
        return rows
    entropy = np.asarray(jax.random.key_data(key)).ravel().tolist()
    return np.sort(np.random.default_rng(entropy).choice(rows, n_most, replace=False))
