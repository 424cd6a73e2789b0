"""Compiled passes over the data: one call trains an epoch, one call computes the validation bound.

A pass draws its order on the device, gathers minibatches inside `lax.scan` and takes one NumPyro `SVI` step for each.
Host code runs only between passes.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.infer import SVI

from samsjax.data.dataset import PerturbationData
from samsjax.inference import batching
from samsjax.inference.batching import BatchPlan, DeviceData
from samsjax.inference.config import TrainConfig
from samsjax.inference.log_weights import effect_parameters
from samsjax.inference.objectives import per_cell_programs, training_objective, validation_objective
from samsjax.inference.optimizer import optimizer
from samsjax.inference.rows import instantiates_all, present_rows, put_rows, take_rows, training_row_weights
from samsjax.types import Batch, ModelGuide, Params


class Epochs(NamedTuple):
    """The pure functions of a fit; state and data are arguments."""

    init: Callable[[jax.Array], Any]
    """key -> SVI state."""
    train: Callable[[jax.Array, Any, DeviceData], tuple[Any, Float[Array, " step"]]]
    """(key, state, data) -> (state, loss of every step in nats per cell)."""
    params: Callable[[Any], Params]
    """state -> parameters."""
    validate: Callable[[jax.Array, Params, DeviceData], Float[Array, ""]]
    """(key, parameters, data) -> validation ELBO in nats per cell; NaN without validation cells."""
    plan: BatchPlan


def make_epochs(model_guide: ModelGuide, data: PerturbationData, config: TrainConfig) -> Epochs:
    """The compiled-to-be passes of a fit over the training and validation cells of `data`."""
    train_cells, val_cells = data.cells("train"), data.cells("val")
    plan = batching.plan_batches(len(train_cells), config.batch_size)
    row_weight = training_row_weights(data, plan)
    all_rows = instantiates_all(data.n_perturbations, plan.batch_size * data.dosage.shape[1])
    tables = effect_parameters(model_guide)
    n_cells = len(train_cells)
    model, guide = per_cell_programs(model_guide, n_cells)
    svi = SVI(model, guide, optimizer(config, tables), training_objective(config))
    cells = jnp.asarray(train_cells, dtype=jnp.int32)

    def init(key: jax.Array) -> Any:
        with warnings.catch_warnings():
            # NumPyro cannot know that straight-through draws of a Bernoulli carry gradients.
            warnings.filterwarnings("ignore", message=".*discrete latent variables")
            return svi.init(key, batching.empty_batch(model_guide.n_genes, model_guide.n_perturbations))

    def train(key: jax.Array, state: Any, device_data: DeviceData) -> tuple[Any, Float[Array, " step"]]:
        def step(state: Any, batch_cells: Array) -> tuple[Any, Array]:
            batch = _standing_for(batching.gather(device_data, batch_cells, row_weight), n_cells)
            if all_rows:
                return svi.update(state, batch)
            rows, batch = present_rows(batch)
            part, loss = svi.update(take_rows(state, tables, rows), batch)
            return put_rows(state, part, tables, rows), loss

        order = jax.random.permutation(key, cells)
        return jax.lax.scan(step, state, batching.arrange(order, plan))

    validate = _validation_bound(model_guide, config, tables, val_cells, n_cells)
    return Epochs(init, train, svi.get_params, validate, plan)


def _standing_for(batch: Batch, n_cells: int) -> Batch:
    """Weight the batch's cells so that together they stand for `n_cells`."""
    return batch._replace(weight=batch.weight * (n_cells / batch.weight.sum()))


def _validation_bound(
    model_guide: ModelGuide, config: TrainConfig, tables: frozenset[str], val_cells: np.ndarray, n_train: int
) -> Callable[[jax.Array, Params, DeviceData], Float[Array, ""]]:
    """Mean local terms of the validation cells plus the shared terms spread over the training cells.

    Shared terms count as in training (the reference divides them by the number of validation cells).
    """
    elbo = validation_objective(config)
    plan = batching.plan_batches(len(val_cells), config.batch_size)
    cells = jnp.asarray(val_cells, dtype=jnp.int32)
    no_shared_terms = jnp.zeros(model_guide.n_perturbations)

    def validate(key: jax.Array, params: Params, device_data: DeviceData) -> Float[Array, ""]:
        if len(val_cells) == 0:
            return jnp.array(jnp.nan)

        def bound(bound_key: jax.Array, params: Params, batch: Batch) -> Array:
            return -elbo.loss(bound_key, params, model_guide.model, model_guide.guide, batch)

        def local_terms(step: tuple[jax.Array, Array]) -> Array:
            rows, batch = present_rows(batching.gather(device_data, step[1], no_shared_terms))
            return bound(step[0], take_rows(params, tables, rows), batch)

        keys = jax.random.split(key, plan.n_batches + 1)
        local = jax.lax.map(local_terms, (keys[1:], batching.arrange(cells, plan))).sum()
        shared = bound(keys[0], params, batching.empty_batch(model_guide.n_genes, model_guide.n_perturbations))
        return local / len(val_cells) + shared / n_train

    return validate
