"""Intervals from bootstrap replicates of scores.

A replicate measures effects from cells that were drawn from the cells: its effects carry the noise of the measured ones
and then its own. Scores against noisier effects are worse and also vary otherwise: with as many draws as cells, twice
the noise, replicates of a correlation lie below the score they belong to and too close to each other, and percentiles
of them may not even contain it. The plain reversed interval, 2 x score - percentiles, errs as far to the other side.

So `DRAWS_PER_CELL` times as many cells are drawn, which leaves replicates with little more noise than the measured
effects; their deviations from their own mean are scaled up to those of one draw per cell, and taken from the score in
reverse. The interval is about the score that other cells, as many as these, would give; it makes no claim about the
score against effects without noise.

Source: the basic bootstrap interval, Davison & Hinkley, Bootstrap Methods and their Application (1997), chapter 5.
Differs: replicates are centred, and of more draws than cells.
"""

import numpy as np

COVERAGE = 0.9
DRAWS_PER_CELL = 4
"""More bring replicates nearer to the measured effects, where metrics that count genes no longer change."""


def interval(
    value: np.ndarray, replicates: np.ndarray, bounds: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Reversed interval of centred and scaled replicates, clipped to `bounds`.

    Args:
        value: (...) scores.
        replicates: (replicate, ...), of `DRAWS_PER_CELL` draws per cell; those that are NaN are left out.
        bounds: smallest and largest possible score, of shapes that broadcast to (...).

    Returns:
        Lower and upper ends, (...), with the score between them; NaN where it, or all of its replicates, are NaN.
    """
    deviation = np.sqrt(DRAWS_PER_CELL) * (replicates - mean_of_known(replicates, axis=0))
    tail = (1 - COVERAGE) / 2
    low, high = (value - _quantile(deviation, q) for q in (1 - tail, tail))
    # Where replicates pile up at a bound, their mean lies apart from all of them, and so would the interval.
    low, high = np.minimum(low, value), np.maximum(high, value)
    return np.clip(low, *bounds), np.clip(high, *bounds)


def mean_of_known(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean over the entries that are not NaN; NaN where all are."""
    known = ~np.isnan(values)
    n = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis, dtype=np.float64)
    return np.divide(total, n, out=np.full(np.shape(n), np.nan), where=n > 0)


def _quantile(values: np.ndarray, q: float) -> np.ndarray:
    """Linearly interpolated quantile over the first axis, without NaN; NaN where all are."""
    ordered = np.sort(values, axis=0)  # NaN come last
    place = q * np.maximum((~np.isnan(values)).sum(axis=0) - 1, 0)
    below = np.floor(place).astype(int)
    above = np.ceil(place).astype(int)
    at = [np.take_along_axis(ordered, i[None], axis=0)[0] for i in (below, above)]
    return at[0] + (place - below) * (at[1] - at[0])
