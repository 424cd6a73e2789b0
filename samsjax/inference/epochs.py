"""Compiled passes over the data: one call trains an epoch, one call computes the validation bound.

A pass draws its order on the device, gathers minibatches inside `lax.scan` and takes one NumPyro `SVI` step for each.
Host code runs only between passes. Everything a data set decides is an array argument (`FitArrays`), so fits whose
arrays have equal shapes share their compiled passes, and `vmap` over keys and arrays trains several models at once.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from numpyro.infer import SVI

from samsjax.data.covariates import Levels
from samsjax.data.dataset import PerturbationData
from samsjax.inference import batching
from samsjax.inference.batching import BatchPlan, DeviceData
from samsjax.inference.config import TrainConfig
from samsjax.inference.log_weights import effect_parameters
from samsjax.inference.objectives import (
    per_cell_programs,
    training_objective,
    validation_objective,
    without_lone_terms,
)
from samsjax.inference.optimizer import optimizer
from samsjax.inference.references import (
    Pools,
    draw_references,
    gather_references,
    make_pools,
    observation_weights,
)
from samsjax.inference.rows import instantiates_all, present_rows, put_rows, take_rows, training_row_weights
from samsjax.models.base import Build, DataStatistics
from samsjax.normalization import GeneStatistics
from samsjax.types import Batch, Features, ModelGuide, Params, QualityTraining

REFERENCES, COLD_START = 1, 2
"""Folded into the key of a pass for its reference cells, and for the perturbations it treats as unseen."""


class FitArrays(NamedTuple):
    """Everything a fit computes with, as arrays."""

    cells: DeviceData
    """All cells of the data set."""
    genes: GeneStatistics
    """Normalisation statistics of the training cells."""
    train: Int[Array, " train_cell"]
    """Which cells train."""
    val: Int[Array, " val_cell"]
    """Which cells validate."""
    row_weight: Float[Array, " perturbation"]
    """Weight of each perturbation's shared terms in a training batch."""
    pools: Pools | None = None
    """From which reference cells are drawn; None for a model that wants none."""
    features: Features | None = None
    """Of the perturbations; None for a model that uses none."""
    log_doses: Float[Array, " perturbation"] | None = None
    """See `DataStatistics.log_doses`; None for a model that does not use them."""

    @property
    def statistics(self) -> DataStatistics:
        """What a model is built from."""
        covariates = self.cells.covariates
        n_levels = 0 if covariates is None else covariates.shape[1]
        n_artifacts = 0 if self.cells.artifacts is None else self.cells.artifacts.shape[1]
        sizes = self.cells.x.shape[1], self.row_weight.shape[0]
        return DataStatistics(*sizes, self.genes, n_levels, n_artifacts, self.features, self.log_doses)

    @property
    def failed_share(self) -> Float[Array, ""]:
        """Share of the training cells that fail quality control; 0 for a model that does not know it."""
        artifacts = self.cells.artifacts
        return jnp.zeros(()) if artifacts is None else (artifacts[self.train] > 0).any(axis=-1).mean()


def fit_arrays(
    data: PerturbationData,
    genes: GeneStatistics,
    config: TrainConfig,
    levels: Levels | None = None,
    artifacts: Sequence[str] = (),
    quality: QualityTraining | None = None,
    features: Features | None = None,
    log_doses: Float[Array, " perturbation"] | None = None,
) -> FitArrays:
    """The arrays of a fit to `data` with batches as `config` wants them.

    `levels` names the covariates to use, `artifacts` the quality indicators, `quality` what the model wants to know of
    the quality of its training cells (`ModelGuide.quality_training`); `features` and `log_doses` are those of the
    perturbations.
    """
    train, val = (jnp.asarray(data.cells(split), dtype=jnp.int32) for split in ("train", "val"))
    plan = batching.plan_batches(len(train), config.batch_size)
    return FitArrays(
        cells=batching.to_device(data, levels, artifacts),
        genes=GeneStatistics(*(jnp.asarray(values) for values in genes)),
        train=train,
        val=val,
        row_weight=training_row_weights(data, plan),
        pools=None if quality is None else make_pools(data, quality),
        features=features,
        log_doses=log_doses,
    )


def training_plan(arrays: FitArrays, config: TrainConfig) -> BatchPlan:
    """How an epoch is cut into steps."""
    return batching.plan_batches(arrays.train.shape[0], config.batch_size)


class Epochs(NamedTuple):
    """The pure functions of a fit; state and data are arguments."""

    init: Callable[[jax.Array, FitArrays], Any]
    """(key, arrays) -> SVI state."""
    train: Callable[[jax.Array, Any, FitArrays], tuple[Any, Float[Array, " step"]]]
    """(key, state, arrays) -> (state, loss of every step in nats per cell)."""
    params: Callable[[Any, FitArrays], Params]
    """(state, arrays) -> parameters."""
    validate: Callable[[jax.Array, Params, FitArrays], Float[Array, ""]]
    """(key, parameters, arrays) -> validation ELBO in nats per cell; NaN without validation cells."""


class _Learner(NamedTuple):
    """A model of some data with its optimiser."""

    svi: SVI
    model_guide: ModelGuide
    tables: frozenset[str]
    """Parameters with one row per perturbation."""


def make_epochs(build: Build, config: TrainConfig) -> Epochs:
    """The compiled-to-be passes of fits of the model that `build` makes."""

    def learner(arrays: FitArrays) -> _Learner:
        model_guide = build(arrays.statistics)
        tables = effect_parameters(model_guide)
        model, guide = per_cell_programs(model_guide, arrays.train.shape[0])
        svi = SVI(model, guide, optimizer(config, tables), training_objective(config))
        # An SVI learns the constraints of its parameters when it makes a state.
        jax.eval_shape(partial(_initial_state, svi, model_guide), jax.random.key(0))
        return _Learner(svi, model_guide, tables)

    def init(key: jax.Array, arrays: FitArrays) -> Any:
        svi, model_guide, _ = learner(arrays)
        return _initial_state(svi, model_guide, key)

    def train(key: jax.Array, state: Any, arrays: FitArrays) -> tuple[Any, Float[Array, " step"]]:
        svi, model_guide, tables = learner(arrays)
        gathered = _gathering(jax.random.fold_in(key, REFERENCES), model_guide.quality_training, arrays)
        plan, n_cells = training_plan(arrays, config), arrays.train.shape[0]
        all_rows = instantiates_all(arrays.row_weight.shape[0], plan.batch_size * arrays.cells.dosage.shape[1])
        cold_start = model_guide.cold_start

        def step(state: Any, given: tuple[Array, jax.Array | None]) -> tuple[Any, Array]:
            batch_cells, cold_key = given
            batch = _standing_for(gathered(batch_cells, arrays.row_weight), n_cells)
            if cold_key is not None:
                cold = jax.random.bernoulli(cold_key, cold_start, batch.rows.shape)
                batch = batch._replace(unseen=cold.astype(jnp.float32))
            if all_rows:
                return svi.update(state, batch)
            rows, batch = present_rows(batch)
            part, loss = svi.update(take_rows(state, tables, rows), batch)
            return put_rows(state, part, tables, rows), loss

        order = jax.random.permutation(key, arrays.train)
        cold_keys = jax.random.split(jax.random.fold_in(key, COLD_START), plan.n_batches) if cold_start else None
        return jax.lax.scan(step, state, (batching.arrange(order, plan), cold_keys))

    def params(state: Any, arrays: FitArrays) -> Params:
        return learner(arrays).svi.get_params(state)

    def validate(key: jax.Array, params: Params, arrays: FitArrays) -> Float[Array, ""]:
        if arrays.val.shape[0] == 0:
            return jnp.array(jnp.nan)
        _, model_guide, tables = learner(arrays)
        return _validation_bound(key, model_guide, tables, config, params, arrays)

    return Epochs(init, train, params, validate)


def _gathering(
    key: jax.Array, wanted: QualityTraining | None, arrays: FitArrays
) -> Callable[[Int[Array, " cell"], Float[Array, " perturbation"]], Batch]:
    """(cells, row weights) -> batch, with all that the model wants to know of the quality of its training cells."""
    if wanted is None or arrays.cells.artifacts is None:
        return partial(batching.gather, arrays.cells)
    known = (arrays.cells.x, arrays.cells.artifacts, arrays.cells.covariates)
    references = None if arrays.pools is None else draw_references(key, arrays.pools, wanted, *known)
    failed_share = arrays.failed_share

    def gathered(cells: Int[Array, " cell"], row_weight: Float[Array, " perturbation"]) -> Batch:
        batch = batching.gather(arrays.cells, cells, row_weight)
        return batch._replace(
            reference=None if references is None else gather_references(references, cells, *known),
            observation_weight=observation_weights(batch, wanted, failed_share),
        )

    return gathered


def _initial_state(svi: SVI, model_guide: ModelGuide, key: jax.Array) -> Any:
    with warnings.catch_warnings():
        # NumPyro cannot know that straight-through draws of a Bernoulli carry gradients.
        warnings.filterwarnings("ignore", message=".*discrete latent variables")
        return svi.init(key, batching.empty_batch(model_guide))


def _standing_for(batch: Batch, n_cells: int) -> Batch:
    """Weight the batch's cells so that together they stand for `n_cells`."""
    return batch._replace(weight=batch.weight * (n_cells / batch.weight.sum()))


def _validation_bound(
    key: jax.Array,
    model_guide: ModelGuide,
    tables: frozenset[str],
    config: TrainConfig,
    params: Params,
    arrays: FitArrays,
) -> Float[Array, ""]:
    """Mean local terms of the validation cells plus the shared terms spread over the training cells.

    Shared terms count as in training (the reference divides them by the number of validation cells).
    """
    elbo = validation_objective(config)
    n_val = arrays.val.shape[0]
    plan = batching.plan_batches(n_val, config.batch_size)
    no_shared_terms = jnp.zeros(model_guide.n_perturbations)
    wanted = model_guide.quality_training
    in_validation = wanted is not None and wanted.in_validation
    gathered = _gathering(jax.random.fold_in(key, REFERENCES), wanted if in_validation else None, arrays)

    def bound(bound_key: jax.Array, params: Params, batch: Batch, programs: tuple[Any, Any]) -> Array:
        return -elbo.loss(bound_key, params, *programs, batch)

    programs = model_guide.model, model_guide.guide
    local_programs = without_lone_terms(programs[0]), without_lone_terms(programs[1])

    def local_terms(step: tuple[jax.Array, Array]) -> Array:
        rows, batch = present_rows(gathered(step[1], no_shared_terms))
        return bound(step[0], take_rows(params, tables, rows), batch, local_programs)

    keys = jax.random.split(key, plan.n_batches + 1)
    local = jax.lax.map(local_terms, (keys[1:], batching.arrange(arrays.val, plan))).sum()
    shared = bound(keys[0], params, batching.empty_batch(model_guide), programs)
    return local / n_val + shared / arrays.train.shape[0]
