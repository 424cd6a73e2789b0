"""Distances between two sets of cells: do the predicted cells look like those measured, in spread as well as mean?

Cells are compared in the space of the leading principal components of measured cells. Both distances are U-statistics:
pairs within a set are pairs of different cells, so that the expected value is that of infinitely many cells, 0 for two
sets from one distribution, whatever the numbers of cells. A value may therefore be slightly negative. Weights per cell
make a bootstrap or a division into halves a reweighting: all replicates share one pass over the distances.

Source: Székely and Rizzo (2013) for the energy distance; Gretton et al. (2012), lemma 6, for the MMD. Differs:
means are weighted. cell-eval 0.8 has `pearson_edistance`, the correlation over treatments of V-statistic energy
distances between treatment and control; here predicted and measured cells of one treatment are compared directly.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from samsjax.errors import InputError, check_range
from samsjax.evaluation.cell_space import PrincipalAxes, cell_table, principal_axes, project

__all__ = [
    "CELL_METRICS",
    "CellMetric",
    "PrincipalAxes",
    "energy_distance",
    "median_distance",
    "mmd",
    "pair_distances",
    "principal_axes",
    "project",
]

TILE = 256
"""Most cells per side of a block of distances. Smaller sets are padded to a power of two: few shapes to compile."""
SMALLEST_TILE = 16
CELLS_FOR_BANDWIDTH = 2000
"""Most cells, evenly spaced in their order, that the median distance is taken over."""
OfSquares = Callable[[np.ndarray], np.ndarray]
"""An elementwise function of squared distances."""


class CellMetric(NamedTuple):
    """One way to compare two sets of cells; the fields are those of `Metric`."""

    name: str
    function: Callable[..., np.ndarray]
    """Of (measured, predicted, weights of measured, weights of predicted), as `energy_distance`."""
    description: str
    best: float
    unit: str
    reference: str
    higher_is_better: bool
    bounds: tuple[float, float]


def pair_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances, float32 (cell of a, cell of b)."""
    a, b = _pair(a, b)
    out = np.empty((len(a), len(b)), dtype=np.float32)
    for rows, columns, squares in _tiles(a, b):
        out[rows, columns] = np.sqrt(squares)
    return out


def median_distance(cells: np.ndarray) -> float:
    """Median Euclidean distance of pairs of different cells; NaN for one cell.

    At most `CELLS_FOR_BANDWIDTH` cells, evenly spaced, are used.
    """
    cells = cell_table("cells", cells)
    chosen = cells[np.linspace(0, len(cells) - 1, min(len(cells), CELLS_FOR_BANDWIDTH)).astype(int)]
    pairs = pair_distances(chosen, chosen)[np.triu_indices(len(chosen), k=1)]
    return float(np.median(pairs)) if len(pairs) else float("nan")


def energy_distance(
    measured: np.ndarray,
    predicted: np.ndarray,
    weights_measured: np.ndarray | None = None,
    weights_predicted: np.ndarray | None = None,
) -> np.ndarray:
    """2 mean|m - p| - mean|m - m'| - mean|p - p'| with Euclidean |.|: 0 for equal distributions, else larger.

    Args:
        measured: (cell, axis), as `project` gives them.
        predicted: (cell, axis); the same array as `measured` for halves of one set, with weights that do not overlap.
        weights_measured: at least 0, (cell,) or (replicate, cell); None for equal weights. A bootstrap replicate is
            the number of times each cell was drawn; a cell drawn twice is no pair of different cells.
        weights_predicted: the same for `predicted`.

    Returns:
        float64 (replicate,), or () if no weights have replicates. NaN where a side has fewer than two cells of
        positive weight.

    Raises:
        InputError: for sets of other shapes, values that are not finite, or unusable weights.
    """
    between, measured_pairs, predicted_pairs = _pair_means(
        np.sqrt, measured, predicted, weights_measured, weights_predicted
    )
    return 2 * between - measured_pairs - predicted_pairs


def mmd(
    measured: np.ndarray,
    predicted: np.ndarray,
    weights_measured: np.ndarray | None = None,
    weights_predicted: np.ndarray | None = None,
    bandwidth: float | None = None,
) -> np.ndarray:
    """Squared maximum mean discrepancy: mean k(m, m') + mean k(p, p') - 2 mean k(m, p): 0 for equal distributions.

    The kernel is Gaussian, k(x, y) = exp(-|x - y|^2 / (2 bandwidth^2)).

    Args:
        measured: (cell, axis), as `project` gives them.
        predicted: (cell, axis).
        weights_measured: as in `energy_distance`.
        weights_predicted: the same for `predicted`.
        bandwidth: None for `median_distance` of all measured cells, whatever their weights: neither the prediction
            nor a replicate changes the kernel.

    Returns:
        float64 (replicate,), or () if no weights have replicates. NaN where a side has fewer than two cells of
        positive weight, or where most measured cells are equal and the median distance is 0.

    Raises:
        InputError: for sets of other shapes, values that are not finite, unusable weights, or a bandwidth <= 0.
    """
    if bandwidth is None:
        bandwidth = median_distance(measured) or float("nan")
    else:
        check_range("bandwidth", bandwidth, above=0.0)
    rate = -0.5 / bandwidth**2
    between, measured_pairs, predicted_pairs = _pair_means(
        lambda squares: np.exp(rate * squares), measured, predicted, weights_measured, weights_predicted
    )
    return measured_pairs + predicted_pairs - 2 * between


CELL_METRICS: dict[str, CellMetric] = {
    "edistance": CellMetric(
        "edistance",
        energy_distance,
        "energy distance between predicted and measured cells of the treatment: 0 if they follow the same distribution",
        best=0.0,
        unit="scale",
        reference="none",
        higher_is_better=False,
        bounds=(-float("inf"), float("inf")),
    ),
    "mmd": CellMetric(
        "mmd",
        mmd,
        "squared maximum mean discrepancy between predicted and measured cells of the treatment, sensitive to "
        "differences of the size of a typical distance between measured cells: 0 if they follow the same distribution",
        best=0.0,
        unit="1",
        reference="none",
        higher_is_better=False,
        bounds=(-2.0, 2.0),
    ),
}
"""By name. The lower bounds are those of estimates: a perfect prediction gives 0 in expectation."""


@jax.jit
def _squared_distances(a: Float[Array, "a axis"], b: Float[Array, "b axis"]) -> Float[Array, "a b"]:
    # From differences: |a|^2 + |b|^2 - 2 a.b would lose the distances of near cells in single precision.
    return ((a[:, None] - b[None]) ** 2).sum(axis=-1)


def _tiles(a: np.ndarray, b: np.ndarray, *, upper: bool = False) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """(rows, columns, float64 squared distances) block by block; with `upper`, those not below the diagonal."""
    blocks_b = _blocks(b)
    for rows, block_a in _blocks(a):
        for columns, block_b in blocks_b:
            if not (upper and columns.start < rows.start):
                squares = np.asarray(_squared_distances(block_a, block_b), dtype=np.float64)
                yield rows, columns, squares[: rows.stop - rows.start, : columns.stop - columns.start]


def _blocks(cells: np.ndarray) -> list[tuple[slice, np.ndarray]]:
    """Slices of at most `TILE` cells, and those cells padded with zeros to one size."""
    size = min(TILE, max(SMALLEST_TILE, 1 << (len(cells) - 1).bit_length()))
    slices = [slice(start, min(start + size, len(cells))) for start in range(0, len(cells), size)]
    return [(s, np.pad(cells[s], ((0, size - (s.stop - s.start)), (0, 0)))) for s in slices]


def _pair_means(
    of: OfSquares,
    measured: np.ndarray,
    predicted: np.ndarray,
    weights_measured: np.ndarray | None,
    weights_predicted: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted means of a function of squared distance over pairs between the sets, and within each of them."""
    a, b = _pair(measured, predicted)
    weight_a = _weights("measured", weights_measured, len(a))
    weight_b = _weights("predicted", weights_predicted, len(b))
    if len({len(weight_a), len(weight_b)} - {1}) > 1:
        raise InputError(f"weights of {len(weight_a)} and {len(weight_b)} replicates do not go together")
    means = _between(of, a, b, weight_a, weight_b), _within(of, a, weight_a), _within(of, b, weight_b)
    if any(np.ndim(given) == 2 for given in (weights_measured, weights_predicted) if given is not None):
        return means
    return means[0][0], means[1][0], means[2][0]


def _between(of: OfSquares, a: np.ndarray, b: np.ndarray, weight_a: np.ndarray, weight_b: np.ndarray) -> np.ndarray:
    weight = weight_a.sum(axis=1) * weight_b.sum(axis=1)
    total = np.zeros(len(weight))
    for rows, columns, squares in _tiles(a, b):
        total += ((weight_a[:, rows] @ of(squares)) * weight_b[:, columns]).sum(axis=1)
    return _mean(total, weight)


def _within(of: OfSquares, cells: np.ndarray, weight: np.ndarray) -> np.ndarray:
    total = np.zeros(len(weight))
    for rows, columns, squares in _tiles(cells, cells, upper=True):
        value = of(squares)
        if rows == columns:
            np.fill_diagonal(value, 0.0)
        times = 1 if rows == columns else 2
        total += times * ((weight[:, rows] @ value) * weight[:, columns]).sum(axis=1)
    pairs = weight.sum(axis=1) ** 2 - (weight**2).sum(axis=1)
    return _mean(total, np.where((weight > 0).sum(axis=1) > 1, pairs, 0.0))


def _mean(total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return np.divide(total, weight, out=np.full(len(weight), np.nan), where=weight > 0)


def _weights(name: str, weights: np.ndarray | None, n_cells: int) -> np.ndarray:
    """float64 (replicate, cell); one replicate of equal weights for None."""
    array = np.ones((1, n_cells)) if weights is None else np.atleast_2d(np.asarray(weights, dtype=np.float64))
    if array.ndim != 2 or array.shape[1] != n_cells:
        raise InputError(f"weights of {name} cells have shape {array.shape}, expected (replicate, {n_cells})")
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise InputError(f"weights of {name} cells must be finite and >= 0, got {array.min()}")
    return array


def _pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in float32, about the mean of the first: single precision is relative to how far cells are from 0."""
    a, b = cell_table("first cells", a), cell_table("second cells", b)
    if a.shape[1] != b.shape[1]:
        raise InputError(f"cells with {a.shape[1]} and {b.shape[1]} coordinates cannot be compared")
    centre = a.mean(axis=0, dtype=np.float64)
    return (a - centre).astype(np.float32), (b - centre).astype(np.float32)
