"""Cells on the device, and minibatches gathered there.

Counts are kept in the smallest unsigned integer type that holds them and cast in the step, so the data sets of this
field fit on one device. A minibatch is a gather by cell number; -1 marks padding and gets weight 0.

Shared terms. With few perturbations a batch instantiates all of them and their terms are exact. With more perturbations
than the batch has places for, it instantiates only those it carries, each weighted by one over the probability that a
batch carries it (Horvitz-Thompson), which is unbiased and makes the cost of a step independent of the size of a screen.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.special import gammaln

from samsjax.data.dataset import PerturbationData
from samsjax.types import Batch


class DeviceData(NamedTuple):
    """All cells of a data set as device arrays, in the data set's order."""

    x: Array
    """(cell, gene), uint8/16/32 for counts, float32 otherwise."""
    library_size: Float[Array, " cell"]
    perturbation_index: Int[Array, "cell slot"]
    dosage: Float[Array, "cell slot"]


class BatchPlan(NamedTuple):
    """How an index set is cut into batches: all of one size, as equal as can be, padding spread over them."""

    n_batches: int
    batch_size: int


def to_device(data: PerturbationData) -> DeviceData:
    """Move a data set to the default device."""
    dense = data.x if isinstance(data.x, np.ndarray) else data.x.toarray()
    return DeviceData(
        x=jnp.asarray(_smallest(dense)),
        library_size=jnp.asarray(data.library_size, dtype=jnp.float32),
        perturbation_index=jnp.asarray(data.perturbation_index, dtype=jnp.int32),
        dosage=jnp.asarray(data.dosage, dtype=jnp.float32),
    )


def _smallest(x: np.ndarray) -> np.ndarray:
    """Counts as uint16 (uint32 where they do not fit); other values as float32."""
    whole = x.size > 0 and (np.issubdtype(x.dtype, np.integer) or not np.any(x % 1)) and x.min() >= 0
    if not whole or x.max() > np.iinfo(np.uint32).max:
        return x.astype(np.float32)
    return x.astype(np.uint16 if x.max() <= np.iinfo(np.uint16).max else np.uint32)


def plan_batches(n_cells: int, batch_size: int) -> BatchPlan:
    """Cut `n_cells` into the fewest batches of at most `batch_size`; sizes differ by at most one cell."""
    n_batches = max(1, -(-n_cells // batch_size))
    return BatchPlan(n_batches, max(1, -(-n_cells // n_batches)))


def arrange(cells: Int[Array, " cell"], plan: BatchPlan) -> Int[Array, "batch cell"]:
    """Lay cell numbers out as batches; -1 fills the places that are left, at most one per batch."""
    n_places = plan.n_batches * plan.batch_size
    padded = jnp.concatenate([cells, jnp.full(n_places - cells.shape[0], -1, dtype=cells.dtype)])
    return padded.reshape(plan.batch_size, plan.n_batches).T


def gather(data: DeviceData, cells: Int[Array, " cell"], row_weight: Float[Array, " perturbation"]) -> Batch:
    """The batch of these cell numbers with every perturbation instantiated.

    Real cells have weight 1, padding (-1) has weight 0; `row_weight` weights the shared terms of each perturbation.
    """
    valid = cells >= 0
    place = jnp.maximum(cells, 0)
    return Batch(
        x=data.x[place].astype(jnp.float32),
        library_size=data.library_size[place],
        perturbation_index=data.perturbation_index[place],
        dosage=jnp.where(valid[:, None], data.dosage[place], 0.0),
        weight=valid.astype(jnp.float32),
        rows=jnp.arange(row_weight.shape[0]),
        row_weight=row_weight,
    )


def keep_present_rows(batch: Batch) -> Batch:
    """The batch with only the perturbations its cells carry, if it has fewer slots than there are perturbations.

    Rows are distinct and ascending; places left over are padded with weight 0.
    """
    n_rows, n_slots = batch.rows.shape[0], batch.perturbation_index.size
    if n_rows <= n_slots:
        return batch
    carried = jnp.where(batch.dosage > 0, batch.perturbation_index, n_rows)
    distinct = jnp.unique(carried, size=n_slots, fill_value=n_rows)
    is_row = distinct < n_rows
    place = jnp.where(is_row, distinct, 0)
    # Empty slots may point past the end: their dosage is 0, and the clip only keeps the gather in bounds.
    position = jnp.minimum(jnp.searchsorted(distinct, carried), n_slots - 1)
    return batch._replace(
        rows=batch.rows[place],
        row_weight=jnp.where(is_row, batch.row_weight[place], 0.0),
        perturbation_index=position.astype(jnp.int32),
    )


def empty_batch(n_genes: int, n_perturbations: int) -> Batch:
    """One cell without counts, perturbation or weight, and all perturbations: runs a model for its shared sites."""
    return Batch(
        x=jnp.zeros((1, n_genes)),
        library_size=jnp.ones(1),
        perturbation_index=jnp.zeros((1, 1), dtype=jnp.int32),
        dosage=jnp.zeros((1, 1)),
        weight=jnp.zeros(1),
        rows=jnp.arange(n_perturbations),
        row_weight=jnp.ones(n_perturbations),
    )


def training_row_weights(data: PerturbationData, cells: np.ndarray, plan: BatchPlan) -> Float[Array, " perturbation"]:
    """Weight of each perturbation's shared terms in a training batch.

    1 where batches instantiate every perturbation; otherwise one over the probability that a batch drawn without
    replacement carries the perturbation (0 for perturbations without training cells, which no batch ever carries).
    """
    if data.n_perturbations <= plan.batch_size * data.dosage.shape[1]:
        return jnp.ones(data.n_perturbations)
    carries = data.dosage[cells] > 0
    n_carrying = np.bincount(data.perturbation_index[cells][carries], minlength=data.n_perturbations)
    return jnp.asarray(_inverse_inclusion(n_carrying, len(cells), plan.batch_size), dtype=jnp.float32)


def _inverse_inclusion(n_carrying: np.ndarray, n_cells: int, batch_size: int) -> np.ndarray:
    """1 / (1 - P(no carrying cell among `batch_size` of `n_cells`)), hypergeometric."""
    n_other = n_cells - n_carrying
    possible = n_other >= batch_size
    n_safe = np.where(possible, n_other, batch_size).astype(np.float64)

    def log_choose(n: np.ndarray | float) -> np.ndarray:
        return gammaln(n + 1) - gammaln(batch_size + 1) - gammaln(n - batch_size + 1)

    log_miss = log_choose(n_safe) - log_choose(float(n_cells))
    included = np.where(possible, -np.expm1(np.minimum(log_miss, 0.0)), 1.0)
    return np.where(n_carrying > 0, 1.0 / np.where(n_carrying > 0, included, 1.0), 0.0)
