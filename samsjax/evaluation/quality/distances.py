"""Energy distance of generated cells of one quality to measured ones, and what to hold it against.

Cells of every treatment are compared in the leading principal components of measured cells of that quality. All
distances are unbiased estimates: 0 for sets of one distribution, whatever the numbers of cells.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from samsjax.data.counts import Matrix
from samsjax.data.dataset import PerturbationData
from samsjax.errors import InputError
from samsjax.evaluation.cell_distances import energy_distance
from samsjax.evaluation.cell_space import PrincipalAxes, principal_axes, project
from samsjax.evaluation.data_effects import dense, transformed
from samsjax.evaluation.forward import in_scale
from samsjax.evaluation.quality.cells import condition_key, generator, held_out, some
from samsjax.evaluation.quality.config import QualityConfig
from samsjax.evaluation.quality.drawn_cells import Drawn, DrawnCells

CELLS_FOR_AXES = 2000
MOST_CELLS = 500
"""Measured cells of a condition and quality that are compared."""
N_HALVES = 8
"""Random divisions that the distance between halves is a mean of."""
SOURCES = ("generated", "baseline", "other_quality", "half_split")
"""What is compared with the held-out cells of the quality asked for: cells of the model; cells about means (NaN for
continuous values); measured cells of the other quality, of all splits; and the held-out cells' own halves."""


class QualityDistances(NamedTuple):
    """Energy distances by condition."""

    labels: np.ndarray
    """str (condition,): control and treatments with enough held-out cells of the quality asked for."""
    values: dict[str, np.ndarray]
    """By name in `SOURCES`, float64 (condition,), in the units of the scale; NaN where there is nothing to compare."""

    def mean(self, source: str) -> float:
        """Over the conditions where it is defined; NaN if it is nowhere."""
        values = self.values[source]
        values = values[~np.isnan(values)]
        return float(values.mean()) if len(values) else float("nan")


def quality_distances(
    key: jax.Array,
    drawn: DrawnCells,
    data: PerturbationData,
    config: QualityConfig | None = None,
    transform: str = "log2_cp10k",
) -> QualityDistances:
    """Compare generated with held-out cells of one quality, condition by condition.

    Args:
        key: decides which cells are left out, and halves.
        drawn: of `draw_cells`.
        data: the same cells with quality labels.
        config: the fewest cells of a condition.
        transform: scale, a name in `TRANSFORMS`.

    Raises:
        InputError: for a scale of counts and cells of continuous values.
    """
    config = config or QualityConfig()
    if drawn.means is None and transform != "counts":
        raise InputError(f"distances in {transform!r} need counts; use transform 'counts', the data's own scale")
    axes_key, key = jax.random.split(key)
    condition, wanted = drawn.compared.assignment, drawn.wanted
    tested = held_out(data)
    tested = tested[wanted[tested] & (condition[tested] >= 0)]
    rows = np.flatnonzero(np.bincount(condition[tested]) >= config.min_cells).tolist()
    if not rows:
        return QualityDistances(drawn.compared.labels[:0], {source: np.zeros(0) for source in SOURCES})
    scaled = _Scaled(_axes(generator(axes_key), data, wanted, transform), transform, data)
    found = [
        _of_condition(generator(condition_key(key, drawn.compared, row)), scaled, drawn, tested, row) for row in rows
    ]
    values = {source: np.array([each[source] for each in found]) for source in SOURCES}
    return QualityDistances(drawn.compared.labels[rows], values)


class _Scaled(NamedTuple):
    """Cells as coordinates."""

    axes: PrincipalAxes
    transform: str
    data: PerturbationData

    def of(self, x: Matrix, totals: np.ndarray) -> np.ndarray:
        """float32 (cell, axis) of cells with these library sizes.

        Rows are filled up to a power of two, so that few shapes are compiled.
        """
        padding = (1 << (len(totals) - 1).bit_length()) - len(totals)
        values = jnp.asarray(np.pad(dense(x).astype(np.float32), ((0, padding), (0, 0))))
        given = jnp.asarray(np.pad(totals.astype(np.float32), (0, padding), constant_values=1.0))
        own_totals = self.data.library_size_source == "row_sum"
        return project(self.axes, np.asarray(in_scale(values, given, self.transform, own_totals))[: len(totals)])

    def measured(self, cells: np.ndarray) -> np.ndarray:
        """Of cells of the data."""
        return self.of(self.data.x[cells], self.data.library_size[cells])


def _of_condition(
    rng: np.random.Generator, scaled: _Scaled, drawn: DrawnCells, tested: np.ndarray, row: int
) -> dict[str, float]:
    condition = drawn.compared.assignment
    own = scaled.measured(some(rng, tested[condition[tested] == row], MOST_CELLS))
    others = some(rng, np.flatnonzero(~drawn.wanted & (condition == row)), MOST_CELLS)
    half = rng.permuted(np.tile(np.arange(len(own)) < len(own) // 2, (N_HALVES, 1)), axis=1).astype(float)
    return {
        "generated": _to_drawn(own, scaled, drawn.model, row),
        "baseline": _to_drawn(own, scaled, drawn.means, row),
        "other_quality": float(energy_distance(own, scaled.measured(others))) if len(others) else float("nan"),
        "half_split": float(energy_distance(own, own, half, 1 - half).mean()),
    }


def _to_drawn(own: np.ndarray, scaled: _Scaled, drawn: Drawn | None, row: int) -> float:
    if drawn is None or not drawn.known[row]:
        return float("nan")
    rows = drawn.rows(row)
    return float(energy_distance(own, scaled.of(drawn.x[rows], drawn.totals[rows])))


def _axes(rng: np.random.Generator, data: PerturbationData, wanted: np.ndarray, transform: str) -> PrincipalAxes:
    """Of training cells; of all cells if none are for training."""
    trained = np.flatnonzero(wanted & (data.split == "train"))
    cells = some(rng, trained if len(trained) > 1 else np.flatnonzero(wanted), CELLS_FOR_AXES)
    return principal_axes(dense(transformed(data, cells, transform)))
