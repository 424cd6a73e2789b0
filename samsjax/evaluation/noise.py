"""How much measured effects would change with other cells: bootstrap replicates and random halves of the cells.

Cells are never copied. A replicate is a vector of weights over cells, drawn for every treatment and the controls apart,
and its means are products of weights and expression; replicates are made one block at a time.

Every group of cells has a random generator of its own, seeded by a key and the group's name. So the same key gives
the same bits, whatever the order of treatments and whichever others are measured beside one.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple
from zlib import crc32

import jax
import numpy as np

from samsjax.data.counts import Matrix
from samsjax.evaluation.data_effects import group_moments

VALUES_IN_FLIGHT = 2**24
"""Most (replicate, group, gene) means held at once: 128 MB."""


class MeasuredCells(NamedTuple):
    """Transformed expression of cells in the order of their groups: treatments first, controls last."""

    values: Matrix
    """float64 (cell, gene), sparse or dense."""
    sizes: np.ndarray
    """int (group,): cells of each; at least one."""
    names: tuple[str, ...]
    """Labels of the treatments, then of the controls."""

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """First row of each group, and the row after its last."""
        return list(pairwise([0, *np.cumsum(self.sizes).tolist()]))

    @property
    def group(self) -> np.ndarray:
        """Int (cell,)."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)


class MeasuredEffects(NamedTuple):
    """What a set of cells, or a replicate of it, says."""

    effect: np.ndarray
    """float64 (treatment, gene): mean difference to the controls."""
    control_mean: np.ndarray
    """float64 (gene,)."""
    standard_error: np.ndarray | None = None
    """float64 (treatment, gene) of `effect`, for tests of no effect (`_null_error`); None for bootstrap replicates."""


def measured_effects(cells: MeasuredCells) -> MeasuredEffects:
    """Effects in all cells, each counted once, with standard errors."""
    mean, variance = group_moments(cells.values, cells.group, len(cells.sizes))
    return MeasuredEffects(mean[:-1] - mean[-1], mean[-1], _null_error(variance, cells.sizes[:, None]))


def bootstrap_weights(key: jax.Array, cells: MeasuredCells, n_replicates: int, draws_per_cell: int = 1) -> np.ndarray:
    """How often each cell is drawn when every group is resampled with replacement, float32 (replicate, cell).

    Args:
        key: decides the draws.
        cells: the groups.
        n_replicates: how many times.
        draws_per_cell: m, to draw m times as many cells as there are. Means of a replicate then differ from those of
            all cells by 1 / sqrt(m) of their standard error.
    """
    draw = lambda rng, n: rng.multinomial(draws_per_cell * n, np.full(n, 1 / n), size=n_replicates)  # noqa: E731
    return _by_group(key, cells, draw)


def half_weights(key: jax.Array, cells: MeasuredCells, n_halves: int) -> np.ndarray:
    """1 for a random half of the cells of every group (rounded down) and 0 for the others, float32 (replicate, cell).

    Controls are divided too, so that the two halves share no cell.
    """
    return _by_group(key, cells, lambda rng, n: rng.permuted(np.tile(np.arange(n) < n // 2, (n_halves, 1)), axis=1))


def bootstrap_effects(cells: MeasuredCells, weights: np.ndarray) -> Iterator[MeasuredEffects]:
    """Effects of each row of `weights` (replicate, cell)."""
    for mean in weighted_means(cells.values, cells.bounds, weights):
        yield MeasuredEffects(mean[:-1] - mean[-1], mean[-1])


def half_effects(cells: MeasuredCells, weights: np.ndarray) -> Iterator[tuple[MeasuredEffects, MeasuredEffects]]:
    """Effects of each half and of the rest of the cells. Standard errors are NaN for groups of fewer than two cells.

    Args:
        cells: every group has at least two.
        weights: (replicate, cell) of 0 and 1, `half_weights`.
    """
    squares = cells.values.multiply(cells.values).tocsr() if hasattr(cells.values, "tocsr") else cells.values**2
    halves = [_with_errors(cells, squares, share) for share in (weights, 1 - weights)]
    yield from zip(*halves, strict=True)


def weighted_means(values: Matrix, bounds: Sequence[tuple[int, int]], weights: np.ndarray) -> Iterator[np.ndarray]:
    """Weighted means of groups of rows, float64 (group, gene) for each row of `weights`.

    Args:
        values: (cell, gene), sparse or dense, groups standing together.
        bounds: first row of each group, and the row after its last.
        weights: (replicate, cell), not negative, with a positive sum in every group.
    """
    block = max(1, VALUES_IN_FLIGHT // (len(bounds) * values.shape[1]))
    parts = [values[a:b] for a, b in bounds]
    for start in range(0, len(weights), block):
        chunk = weights[start : start + block].astype(np.float64)
        means = np.empty((len(chunk), len(parts), values.shape[1]))
        for group, ((a, b), part) in enumerate(zip(bounds, parts, strict=True)):
            share = chunk[:, a:b] / chunk[:, a:b].sum(axis=1, keepdims=True)
            means[:, group] = (part.T @ share.T).T
        yield from means


def _with_errors(cells: MeasuredCells, squares: Matrix, weights: np.ndarray) -> Iterator[MeasuredEffects]:
    """Effects with standard errors in the cells of weight 1, for each row of `weights` (replicate, cell) of 0 and 1."""
    sizes = np.stack([weights[:, a:b].sum(axis=1) for a, b in cells.bounds], axis=1, dtype=np.float64)
    means = weighted_means(cells.values, cells.bounds, weights)
    seconds = weighted_means(squares, cells.bounds, weights)
    for mean, second, n in zip(means, seconds, sizes[:, :, None], strict=True):
        variance = np.where(n > 1, np.maximum(second - mean**2, 0.0) / np.maximum(n - 1, 1), np.nan)
        yield MeasuredEffects(mean[:-1] - mean[-1], mean[-1], _null_error(variance, n))


def _null_error(variance: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Standard error of effects, (treatment, gene), from variances of means (group, gene) and group sizes (group, 1).

    Without an effect treated cells vary like controls. A handful of treated cells may all lack a rare transcript and
    not vary at all, which would make their lack of it certain; so the error is at least that of so many controls.
    """
    like_controls = variance[-1] * n[-1] / n[:-1]
    return np.sqrt(np.fmax(variance[:-1], like_controls) + variance[-1])


def _by_group(
    key: jax.Array, cells: MeasuredCells, draw: Callable[[np.random.Generator, int], np.ndarray]
) -> np.ndarray:
    """Draws (replicate, cell) of a generator for each group, side by side."""
    entropy = np.asarray(jax.random.key_data(key)).ravel().tolist()
    parts = []
    for name, size in zip(cells.names, cells.sizes.tolist(), strict=True):
        parts.append(draw(np.random.default_rng([*entropy, crc32(name.encode())]), size).astype(np.float32))
    return np.concatenate(parts, axis=1)
