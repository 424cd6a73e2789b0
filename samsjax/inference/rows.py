"""Training only the rows a batch needs, so that a step costs the same for a hundred and for ten thousand perturbations.

With few perturbations a batch instantiates all of them, their shared terms are exact, and every step updates every row.
With more perturbations than that, a batch keeps only those its cells carry: their shared terms are weighted by one over
the probability that a batch carries them (Horvitz-Thompson), which is unbiased; their rows of parameters and optimiser
moments are taken out of the tables before the step and put back after it (as "lazy" or "sparse" Adam does). Nothing
then touches the other rows: no draws, no gradients of zeros, no decay of moments.
"""

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.special import gammaln

from samsjax.data.dataset import PerturbationData
from samsjax.inference.batching import BatchPlan, carrying_cells
from samsjax.types import Batch


def instantiates_all(n_perturbations: int, n_slots: int) -> bool:
    """Whether batches with this many slots (cells x slots per cell) instantiate every perturbation."""
    return n_perturbations <= n_slots


def present_rows(batch: Batch) -> tuple[Int[Array, " row"], Batch]:
    """Perturbations the batch carries, and the batch in terms of them.

    Returns:
        Row numbers, distinct and ascending, filled up with one past the last perturbation; and the batch whose `rows`
        count these rows, fillers with weight 0.
    """
    n_rows, n_slots = batch.rows.shape[0], batch.perturbation_index.size
    carried = jnp.where(batch.dosage > 0, batch.perturbation_index, n_rows)
    distinct = jnp.unique(carried, size=n_slots, fill_value=n_rows)
    is_row = distinct < n_rows
    place = jnp.where(is_row, distinct, 0)
    # Empty slots may point past the end: their dosage is 0, and the clip only keeps the gather in bounds.
    position = jnp.minimum(jnp.searchsorted(distinct, carried), n_slots - 1)
    return distinct, batch._replace(
        rows=jnp.arange(n_slots),
        row_weight=jnp.where(is_row, batch.row_weight[place], 0.0),
        row_cells=jnp.where(is_row, batch.row_cells[place], 0.0),
        row_numbers=place,
        unseen=None if batch.unseen is None else batch.unseen[place],
        perturbation_index=position.astype(jnp.int32),
    )


def take_rows(tree: Any, sites: Collection[str], rows: Int[Array, " row"]) -> Any:
    """`tree` (parameters, or a training state that holds them) with only these rows of the tables named `sites`."""
    return _over_tables(lambda table: jnp.take(table, rows, axis=0, mode="clip"), sites, tree)


def put_rows(tree: Any, part: Any, sites: Collection[str], rows: Int[Array, " row"]) -> Any:
    """`tree` with these rows of the tables named `sites`, and everything else, from `part`; fillers are dropped."""
    return _over_tables(lambda table, new: table.at[rows].set(new, mode="drop"), sites, tree, part)


def _over_tables(change: Any, sites: Collection[str], tree: Any, *others: Any) -> Any:
    """Apply `change` to every leaf below a dictionary key in `sites`; other leaves come from the last tree."""

    def at(path: Any, *leaves: Any) -> Any:
        is_table = any(getattr(entry, "key", None) in sites for entry in path)
        return change(*leaves) if is_table else leaves[-1]

    return jax.tree_util.tree_map_with_path(at, tree, *others)


def training_row_weights(data: PerturbationData, plan: BatchPlan) -> Float[Array, " perturbation"]:
    """Weight of each perturbation's shared terms in a training batch.

    1 where batches instantiate every perturbation; otherwise one over the probability that a batch drawn without
    replacement carries the perturbation (0 for perturbations without training cells, which no batch ever carries).
    """
    if instantiates_all(data.n_perturbations, plan.batch_size * data.dosage.shape[1]):
        return jnp.ones(data.n_perturbations)
    n_train = len(data.cells("train"))
    return jnp.asarray(inverse_inclusion(carrying_cells(data), n_train, plan.batch_size), dtype=jnp.float32)


def inverse_inclusion(n_carrying: np.ndarray, n_cells: int, batch_size: int) -> np.ndarray:
    """1 / (1 - P(no carrying cell among `batch_size` of `n_cells`)), hypergeometric; 0 where no cell carries it."""
    n_other = n_cells - n_carrying
    possible = n_other >= batch_size
    n_safe = np.where(possible, n_other, batch_size).astype(np.float64)

    def log_choose(n: Any) -> Any:
        return gammaln(n + 1) - gammaln(batch_size + 1) - gammaln(n - batch_size + 1)

    log_miss = log_choose(n_safe) - log_choose(float(n_cells))
    included = np.where(possible, -np.expm1(np.minimum(log_miss, 0.0)), 1.0)
    return np.where(n_carrying > 0, 1.0 / np.where(n_carrying > 0, included, 1.0), 0.0)
