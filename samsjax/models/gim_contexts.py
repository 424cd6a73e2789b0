"""The contexts of a generative intervention model, as its steps and its search take them."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from samsjax.causal.search import ContextMoments
from samsjax.models.mechanisms import Moments, PaddedCells


def searched_moments(cells: Moments | PaddedCells) -> ContextMoments:
    """Contexts as the search sees them, control first. Networks as mechanisms are searched as sums over parents of
    u, u^2 - 1 and tanh(2u).
    """
    if isinstance(cells, Moments):
        n_variables = cells.mean.shape[1]
        n, mean, covariance = (
            np.concatenate([np.asarray(control)[None], np.asarray(rows)]).astype(np.float64)
            for control, rows in (
                (cells.control_n_cells, cells.n_cells),
                (cells.control_mean, cells.mean),
                (cells.control_covariance, cells.covariance),
            )
        )
        return ContextMoments(n, mean, covariance, tuple((j,) for j in range(n_variables)), tuple(range(n_variables)))
    u, present = np.asarray(cells.u, np.float64), np.asarray(cells.present) > 0
    control = np.asarray(cells.control, np.float64)[np.asarray(cells.control_present) > 0]
    contexts = [control, *(of_row[there] for of_row, there in zip(u, present, strict=True))]
    n_variables = u.shape[-1]
    widened = [np.concatenate([v, v**2 - 1, np.tanh(2 * v)], axis=1) for v in contexts]
    n = np.array([len(v) for v in widened], dtype=np.float64)
    mean = np.stack([v.mean(axis=0) if len(v) else np.zeros(3 * n_variables) for v in widened])
    covariance = np.stack([(v - m).T @ (v - m) / max(len(v), 1) for v, m in zip(widened, mean, strict=True)])
    parts = tuple((j, j + n_variables, j + 2 * n_variables) for j in range(n_variables))
    return ContextMoments(n, mean, covariance, parts, tuple(range(n_variables)))


class Part(NamedTuple):
    """Contexts of one step, and how many contexts each stands for."""

    cells: Moments | PaddedCells
    rows: Any
    """Numbers of the perturbations, or a slice of them."""
    row_factor: float
    control_factor: float


def drawn_contexts(key: jax.Array, cells: Moments | PaddedCells, n_contexts: int) -> Part:
    """All contexts if they are given as moments; of contexts with all their cells a few."""
    n_rows = (cells.n_cells if isinstance(cells, Moments) else cells.u).shape[0]
    if isinstance(cells, Moments) or n_contexts >= n_rows:
        return Part(cells, slice(None), 1.0, 1.0)
    row_key, control_key = jax.random.split(key)
    n_parts = cells.control.shape[0]
    n_control = -(-n_parts * n_contexts // n_rows)
    rows = jax.random.permutation(row_key, n_rows)[:n_contexts]
    parts = jax.random.permutation(control_key, n_parts)[:n_control]
    chosen = PaddedCells(cells.u[rows], cells.present[rows], cells.control[parts], cells.control_present[parts])
    return Part(chosen, rows, n_rows / n_contexts, n_parts / n_control)


def n_cells_of(cells: Moments | PaddedCells) -> Float[Array, ""]:
    """How many cells all contexts have together."""
    if isinstance(cells, Moments):
        return cells.n_cells.sum() + cells.control_n_cells
    return cells.present.sum() + cells.control_present.sum()
