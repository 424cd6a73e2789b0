"""Cells drawn from a fitted model under a treatment, as measured cells would be: with noise, totals and covariates."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from samsjax.evaluation.forward import Technical, drawn, forward_trace, technical_of
from samsjax.evaluation.model_effects import EffectsConfig
from samsjax.inference.batching import empty_batch
from samsjax.inference.fitted import Fitted
from samsjax.inference.log_weights import draw_shared
from samsjax.models.base import Build, DataStatistics, check_composition
from samsjax.types import Params


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
    technical = technical_of(fitted, config.library_size, config.covariates)
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
        total, covariates = drawn(technical_key, technical, 1)
        batch = everything._replace(
            x=None,
            library_size=total,
            perturbation_index=perturbation_index[None],
            dosage=dosage[None],
            covariates=covariates,
        )
        shared = {name: value[0] for name, value in shared.items()}
        trace = forward_trace(model_guide, model_key, params, shared, batch)
        return trace["x"]["value"][0].astype(jnp.float32), total[0]

    # One cell after the other within chunks keeps memory at (cell, gene) values and one set of effects.
    return jax.lax.map(one, jax.random.split(key, n_cells), batch_size=16)
