"""Cells on the device, and minibatches gathered there.

Counts are kept in the smallest unsigned integer type that holds them and cast in the step, so the data sets of this
field fit on one device. A minibatch is a gather by cell number; -1 marks padding and gets weight 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from samsjax.data.artifacts import artifact_indicators
from samsjax.data.covariates import Levels, codes, one_hot
from samsjax.data.dataset import PerturbationData
from samsjax.types import Batch, ModelGuide


class DeviceData(NamedTuple):
    """All cells of a data set as device arrays, in the data set's order."""

    x: Array
    """(cell, gene), uint8/16/32 for counts, float32 otherwise."""
    library_size: Float[Array, " cell"]
    perturbation_index: Int[Array, "cell slot"]
    dosage: Float[Array, "cell slot"]
    row_cells: Float[Array, " perturbation"]
    """Training cells that carry each perturbation."""
    covariates: Array | None
    """(cell, level), uint8 one-hots; None for a model without covariates."""
    artifacts: Float[Array, "cell artifact"] | None = None
    """None for a model that does not know the quality of cells."""


class BatchPlan(NamedTuple):
    """How an index set is cut into batches: all of one size, as equal as can be, padding spread over them."""

    n_batches: int
    batch_size: int


def to_device(data: PerturbationData, levels: Levels | None = None, artifacts: Sequence[str] = ()) -> DeviceData:
    """Move a data set to the default device, with the covariates that `levels` names and these quality indicators.

    Raises:
        InputError: if a covariate or quality labels are missing, or a cell has an unknown level.
    """
    dense = data.x if isinstance(data.x, np.ndarray) else data.x.toarray()
    return DeviceData(
        x=jnp.asarray(_smallest(dense)),
        library_size=jnp.asarray(data.library_size, dtype=jnp.float32),
        perturbation_index=jnp.asarray(data.perturbation_index, dtype=jnp.int32),
        dosage=jnp.asarray(data.dosage, dtype=jnp.float32),
        row_cells=jnp.asarray(carrying_cells(data), dtype=jnp.float32),
        covariates=jnp.asarray(one_hot(codes(data, levels), levels)) if levels else None,
        artifacts=jnp.asarray(artifact_indicators(data, artifacts)) if artifacts else None,
    )


def carrying_cells(data: PerturbationData) -> np.ndarray:
    """Training cells that carry each perturbation, int (perturbation,)."""
    cells = data.cells("train")
    carried = data.perturbation_index[cells][data.dosage[cells] > 0]
    return np.bincount(carried, minlength=data.n_perturbations)


def middle_log_doses(data: PerturbationData) -> np.ndarray:
    """Mean of the logarithms of the distinct doses of each perturbation in training cells, float32 (perturbation,).

    Perturbations without training cells get the mean of the others.
    """
    cells = data.cells("train")
    given = data.dosage[cells] > 0
    pairs = np.stack([data.perturbation_index[cells][given], data.dosage[cells][given]], axis=1, dtype=np.float64)
    index, dose = np.unique(pairs, axis=0).reshape(-1, 2).T
    n_doses, total = (np.bincount(index.astype(int), w, data.n_perturbations) for w in (None, np.log(dose)))
    middle = total / np.maximum(n_doses, 1)
    others = middle[n_doses > 0].mean() if (n_doses > 0).any() else 0.0
    return np.where(n_doses > 0, middle, others).astype(np.float32)


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


def arrange(cells: Int[Array, " cell"], plan: BatchPlan) -> Int[Array, "batch place"]:
    """Lay cell numbers out as batches; -1 fills the places that are left, at most one per batch."""
    n_places = plan.n_batches * plan.batch_size
    padded = jnp.concatenate([cells, jnp.full(n_places - cells.shape[0], -1, dtype=cells.dtype)])
    return padded.reshape(plan.batch_size, plan.n_batches).T


def in_order(values: np.ndarray, places: Int[Array, "batch place"], n_cells: int) -> np.ndarray:
    """Values (batch, place, ...) of cells laid out by `arrange`, as rows (cell, ...) in their own order."""
    order, flat = np.asarray(places).ravel(), values.reshape(-1, *values.shape[2:])
    out = np.empty((n_cells, *flat.shape[1:]), dtype=flat.dtype)
    out[order[order >= 0]] = flat[order >= 0]
    return out


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
        row_cells=data.row_cells,
        row_numbers=jnp.arange(row_weight.shape[0]),
        covariates=None if data.covariates is None else data.covariates[place].astype(jnp.float32),
        artifacts=None if data.artifacts is None else data.artifacts[place],
    )


def empty_batch(model_guide: ModelGuide) -> Batch:
    """A good cell without counts, perturbation or weight, and all perturbations: runs a model for its shared sites."""
    n_perturbations, n_levels, n_artifacts = model_guide.n_perturbations, model_guide.n_levels, model_guide.n_artifacts
    return Batch(
        x=jnp.zeros((1, model_guide.n_genes)),
        library_size=jnp.ones(1),
        perturbation_index=jnp.zeros((1, 1), dtype=jnp.int32),
        dosage=jnp.zeros((1, 1)),
        weight=jnp.zeros(1),
        rows=jnp.arange(n_perturbations),
        row_weight=jnp.ones(n_perturbations),
        row_cells=jnp.zeros(n_perturbations),
        row_numbers=jnp.arange(n_perturbations),
        covariates=jnp.zeros((1, n_levels)) if n_levels else None,
        artifacts=jnp.zeros((1, n_artifacts)) if n_artifacts else None,
    )
