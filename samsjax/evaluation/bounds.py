"""The predictive importance-weighted bound of cells a model has not seen.

K draws of the shared effects are made once and used for every cell; each cell's basal state is drawn from the encoder
under each of them. Shared draws are not scored against their priors: this bounds the log likelihood of a cell under the
fitted effects, not the evidence, hence "predictive".

Source: SAMS-VAE, specification 6.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from samsjax.data.dataset import PerturbationData
from samsjax.errors import check_range
from samsjax.inference.batching import DeviceData, arrange, empty_batch, gather, in_order, plan_batches, to_device
from samsjax.inference.fitted import Fitted
from samsjax.inference.log_weights import draw_shared, iwelbo, local_log_weight, log_weights, traces
from samsjax.models.base import Build, DataStatistics
from samsjax.types import Batch, ModelGuide, Params

VALUES_IN_FLIGHT = 2**24
"""Most (particle, cell, gene) values held at once by default: 64 MB per intermediate array."""


def predictive_iwelbo(
    key: jax.Array,
    fitted: Fitted,
    data: PerturbationData,
    cells: np.ndarray,
    n_particles: int = 100,
    *,
    values_in_flight: int = VALUES_IN_FLIGHT,
) -> Float[np.ndarray, " cell"]:
    """Bound of each of `cells` (row numbers of `data`) in nats; higher is better.

    `data` must be encoded in the model's vocabulary. Memory is bounded by `values_in_flight` (particle, cell, gene)
    values, whatever the number of cells.

    Raises:
        InputError: for fewer than one particle, or cells with covariates the model does not know.
    """
    return over_cells(key, fitted, data, cells, n_particles, _iwelbo_of_batch, values_in_flight)


def posterior_latents(
    key: jax.Array, fitted: Fitted, data: PerturbationData, cells: np.ndarray, n_particles: int = 16
) -> dict[str, Float[np.ndarray, "cell latent"]]:
    """Posterior mean of each cell's latent sites ("z_basal") and of the state the decoder sees ("z").

    Raises:
        InputError: for fewer than one particle, or cells with covariates the model does not know.
    """
    return over_cells(key, fitted, data, cells, n_particles, _latents_of_batch)


def _iwelbo_of_batch(
    keys: jax.Array, model_guide: ModelGuide, params: Params, shared: dict[str, Array], batch: Batch
) -> Float[Array, " cell"]:
    def one(key: jax.Array, given: dict[str, Array]) -> Float[Array, " cell"]:
        return local_log_weight(log_weights(key, model_guide, params, batch, given))

    return iwelbo(jax.vmap(one)(keys, shared))


def _latents_of_batch(
    keys: jax.Array, model_guide: ModelGuide, params: Params, shared: dict[str, Array], batch: Batch
) -> dict[str, Float[Array, "cell latent"]]:
    def one(key: jax.Array, given: dict[str, Array]) -> dict[str, Array]:
        model_trace, _ = traces(key, model_guide, params, batch, given)
        return {name: model_trace[name]["value"] for name in ("z_basal", "z") if name in model_trace}

    return jax.tree.map(lambda draws: draws.mean(axis=0), jax.vmap(one)(keys, shared))


def over_cells(
    key: jax.Array,
    fitted: Fitted,
    data: PerturbationData,
    cells: np.ndarray,
    n_particles: int,
    of_batch: Callable[..., Any],
    values_in_flight: int = VALUES_IN_FLIGHT,
) -> Any:
    """`of_batch` of every cell, chunk by chunk in one compiled call, in the order of `cells`.

    `of_batch` takes keys and draws of the shared sites by particle, the programs, their parameters and a batch.

    Raises:
        InputError: for fewer than one particle, or cells with covariates or qualities the model does not know.
    """
    check_range("n_particles", n_particles, low=1)
    plan = plan_batches(len(cells), max(1, values_in_flight // (n_particles * data.n_genes)))
    places = arrange(jnp.arange(len(cells)), plan)
    device_data = to_device(data.subset(cells), fitted.vocabulary.covariates, fitted.vocabulary.artifacts)
    model = (fitted.params, fitted.statistics)
    result = _run_chunks(key, *model, device_data, places, fitted.build, n_particles, of_batch)
    return jax.tree.map(lambda values: in_order(values, places, len(cells)), jax.device_get(result))


@partial(jax.jit, static_argnums=(5, 6, 7))
def _run_chunks(
    key: jax.Array,
    params: Params,
    statistics: DataStatistics,
    device_data: DeviceData,
    places: Int[Array, "batch place"],
    build: Build,
    n_particles: int,
    of_batch: Callable[..., Any],
) -> Any:
    model_guide = build(statistics)
    shared_key, local_key = jax.random.split(key)
    everything = empty_batch(model_guide)
    shared = draw_shared(shared_key, model_guide, params, n_particles, everything)

    def chunk(step: tuple[jax.Array, Array]) -> Any:
        batch = gather(device_data, step[1], everything.row_weight)
        return of_batch(jax.random.split(step[0], n_particles), model_guide, params, shared, batch)

    return jax.lax.map(chunk, (jax.random.split(local_key, places.shape[0]), places))
