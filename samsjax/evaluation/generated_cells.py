"""Cells drawn from a fitted model as measured cells would be: with the noise of counts, totals and covariates.

`generate_cells` draws cells of one treatment, `replicate_cells` a second copy of measured cells: the same treatments,
totals and covariates with other basal states, effects and noise.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from samsjax.data.dataset import PerturbationData
from samsjax.errors import InputError
from samsjax.evaluation.forward import Technical, forward_trace, one_cell, technical_of
from samsjax.evaluation.model_effects import EffectsConfig
from samsjax.inference.batching import DeviceData, arrange, empty_batch, gather, in_order, plan_batches, to_device
from samsjax.inference.fitted import Fitted
from samsjax.inference.log_weights import draw_shared
from samsjax.models.base import Build, DataStatistics, check_composition
from samsjax.types import Params

CELLS_AT_ONCE = 20
"""Cells with effects of their own that are drawn together."""
REPLICATES_AT_ONCE = 512
"""Cells of a replicate that are decoded together."""


class GeneratedCells(NamedTuple):
    """Cells of one treatment."""

    x: Float[np.ndarray, "cell gene"]
    """Counts, or continuous values."""
    library_size: Float[np.ndarray, " cell"]
    """The exposures they were drawn with."""


def generate_cells(
    key: jax.Array,
    fitted: Fitted,
    perturbation_index: Int[np.ndarray, " slot"],
    dosage: Float[np.ndarray, " slot"],
    n_cells: int,
    config: EffectsConfig | None = None,
) -> GeneratedCells:
    """Draw cells that received one treatment; every cell has its own draw of effects and basal state.

    Args:
        key: decides all draws; equal keys give cells with equal basal states and totals under every treatment.
        fitted: the model.
        perturbation_index: into the model's perturbations.
        dosage: 0 for empty slots; all 0 for controls.
        n_cells: how many.
        config: library size and covariates; other settings play no part.

    Raises:
        InputError: for combinations under a model of single perturbations, or unknown covariates or levels.
    """
    config = config or EffectsConfig()
    check_composition(fitted.config, dosage[None])
    technical = technical_of(fitted, config.library_size, config.covariates, config.fails)
    arm = (jnp.asarray(perturbation_index, dtype=jnp.int32), jnp.asarray(dosage, dtype=jnp.float32))
    x, totals = _cells(key, fitted.params, fitted.statistics, technical, *arm, fitted.build, n_cells)
    return GeneratedCells(np.asarray(x), np.asarray(totals))


@partial(jax.jit, static_argnums=(6, 7))
def _cells(
    key: jax.Array,
    params: Params,
    statistics: DataStatistics,
    technical: Technical,
    perturbation_index: Int[Array, " slot"],
    dosage: Float[Array, " slot"],
    build: Build,
    n_cells: int,
) -> tuple[Float[Array, "cell gene"], Float[Array, " cell"]]:
    model_guide = build(statistics)
    everything = empty_batch(model_guide)

    def one(cell_key: jax.Array) -> tuple[Float[Array, " gene"], Float[Array, ""]]:
        shared_key, technical_key, model_key = jax.random.split(cell_key, 3)
        shared = draw_shared(shared_key, model_guide, params, 1, everything)
        batch = one_cell(technical_key, everything, technical, perturbation_index, dosage)
        shared = {name: value[0] for name, value in shared.items()}
        trace = forward_trace(model_guide, model_key, params, shared, batch)
        return trace["x"]["value"][0].astype(jnp.float32), batch.library_size[0]

    # Some cells at once keep memory at their effects. A last chunk of another size would be compiled anew.
    n_chunks = -(-n_cells // CELLS_AT_ONCE)
    keys = jax.random.split(key, n_chunks * CELLS_AT_ONCE).reshape(n_chunks, CELLS_AT_ONCE)
    x, totals = jax.lax.map(jax.vmap(one), keys)
    return x.reshape(-1, x.shape[-1])[:n_cells], totals.reshape(-1)[:n_cells]


class Replicates(NamedTuple):
    """Measured cells drawn anew."""

    x: Float[np.ndarray, "cell gene"]
    """Counts, or continuous values."""
    most_expected: Int[np.ndarray, " cell"]
    """The gene each cell expects most of, given its treatment and the basal state drawn for it."""


def draw_effects(key: jax.Array, fitted: Fitted) -> dict[str, Array]:
    """One draw from the posterior of every shared site of the guide, such as "mask" and "E" (perturbation, latent)."""
    model_guide = fitted.model_guide
    drawn_sites = draw_shared(key, model_guide, fitted.params, 1, empty_batch(model_guide))
    return {name: values[0] for name, values in drawn_sites.items()}


def replicate_cells(
    key: jax.Array,
    fitted: Fitted,
    data: PerturbationData,
    cells: np.ndarray,
    effects: dict[str, Array] | None = None,
) -> np.ndarray:
    """Draw every one of `cells` (row numbers of `data`) anew, float32 (cell, gene); see `replicates`."""
    return replicates(key, fitted, data, cells, effects).x


def replicates(
    key: jax.Array,
    fitted: Fitted,
    data: PerturbationData,
    cells: np.ndarray,
    effects: dict[str, Array] | None = None,
) -> Replicates:
    """Draw every one of `cells` (row numbers of `data`) anew.

    A cell keeps its treatment, covariates and exposure. All cells share one draw of the effects, as the measured ones
    share the true effects.

    Args:
        key: decides all draws.
        fitted: the model.
        data: the measured cells.
        cells: which of them.
        effects: the effects they share, from `draw_effects`; drawn by the key if not given.

    Raises:
        InputError: for no cells, or cells with covariates the model does not know.
    """
    if len(cells) == 0:
        raise InputError("no cells to replicate")
    plan = plan_batches(len(cells), REPLICATES_AT_ONCE)
    places = arrange(jnp.arange(len(cells)), plan)
    device_data = to_device(data.subset(cells), fitted.vocabulary.covariates, fitted.vocabulary.artifacts)
    x, top = _replicate(key, fitted.params, fitted.statistics, device_data, places, fitted.build, effects)
    return Replicates(*(in_order(np.asarray(values), places, len(cells)) for values in (x, top)))


@partial(jax.jit, static_argnums=(5,))
def _replicate(
    key: jax.Array,
    params: Params,
    statistics: DataStatistics,
    device_data: DeviceData,
    places: Int[Array, "batch place"],
    build: Build,
    effects: dict[str, Array] | None,
) -> tuple[Float[Array, "batch place gene"], Int[Array, "batch place"]]:
    model_guide = build(statistics)
    everything = empty_batch(model_guide)
    shared_key, local_key = jax.random.split(key)
    if effects is None:
        effects = {name: draw[0] for name, draw in draw_shared(shared_key, model_guide, params, 1, everything).items()}

    def chunk(step: tuple[jax.Array, Array]) -> tuple[Float[Array, "place gene"], Int[Array, " place"]]:
        batch = gather(device_data, step[1], everything.row_weight)._replace(x=None)
        site = forward_trace(model_guide, step[0], params, effects, batch)["x"]
        return site["value"].astype(jnp.float32), site["fn"].mean.argmax(axis=-1)

    return jax.lax.map(chunk, (jax.random.split(local_key, places.shape[0]), places))
