"""What each latent dimension (mechanism) does to genes: change of expected expression when cells move along it.

Control cells are drawn from the prior, with library sizes and covariates of the training cells, and moved along one
latent dimension as the perturbations that act on it typically move it. All dimensions are tried on the same cells.
Works for every model with effects in latent space, whether the shift is added to the basal state or is in its prior.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from samsjax.errors import check_range
from samsjax.evaluation.forward import Technical, drawn, forward_trace, has_own_totals, in_scale, technical_of
from samsjax.evaluation.model_effects import EffectsConfig, check_scale
from samsjax.evaluation.posterior_effects import PosteriorEffects
from samsjax.inference.batching import empty_batch
from samsjax.inference.fitted import Fitted
from samsjax.models.base import Build, DataStatistics
from samsjax.types import Params


class GeneResponses(NamedTuple):
    """Response of all genes to a typical movement along each latent dimension."""

    step: Float[np.ndarray, " latent"]
    """The movement, in units of the prior of the basal state; 0 where no perturbation acts."""
    response: Float[np.ndarray, "latent gene"]
    """Change of expected expression that the step causes, in the scale of `transform`; 0 where the step is 0."""
    transform: str
    """Name in `TRANSFORMS`."""


def gene_responses(
    key: jax.Array,
    fitted: Fitted,
    effects: PosteriorEffects,
    config: EffectsConfig | None = None,
    *,
    n_cells: int = 512,
) -> GeneResponses:
    """Average change of each gene's expected expression when cells are moved along each latent dimension in turn.

    The expectation of a cell is transformed, not draws of it, so responses have no noise of counts; what error is left
    is that of averaging over `n_cells` pairs of cells with and without the step.

    Args:
        key: decides the cells.
        fitted: the model.
        effects: its `posterior_effects`, which decide the steps (`typical_steps`).
        config: scale, library size and covariates; other settings play no part.
        n_cells: control cells to average over.

    Raises:
        InputError: for no cells, a scale of counts under a likelihood of continuous values, or covariates or levels
            the model does not know.
    """
    config = config or EffectsConfig()
    check_scale(config, fitted.config.likelihood)
    check_range("n_cells", n_cells, low=1)
    step = typical_steps(effects)
    technical = technical_of(fitted, config.library_size, config.covariates, config.fails)
    used_first = np.argsort(step == 0, kind="stable").astype(np.int32)
    model = (fitted.params, fitted.statistics, technical)
    response = _responses(
        key, *model, step, used_first, fitted.build, config.transform, has_own_totals(fitted), n_cells
    )
    return GeneResponses(step, np.asarray(response), config.transform)


def typical_steps(effects: PosteriorEffects) -> Float[np.ndarray, " latent"]:
    """How perturbations move each latent dimension: the root mean square of the effects active on it.

    Every active perturbation counts once, at its posterior mean, so weak and doubtful ones count for little. The sign
    is that of the active effects' sum (plus if that is zero), as the two ends of a latent dimension mean nothing by
    themselves: a step is what most of its perturbations do.
    """
    acting = np.where(effects.active, effects.mean, 0.0)
    size = np.sqrt((acting**2).sum(axis=0) / np.maximum(effects.active.sum(axis=0), 1))
    return np.where(acting.sum(axis=0) < 0, -size, size).astype(np.float32)


@partial(jax.jit, static_argnums=(6, 7, 8, 9))
def _responses(
    key: jax.Array,
    params: Params,
    statistics: DataStatistics,
    technical: Technical,
    step: Float[Array, " latent"],
    order: Int[Array, " latent"],
    build: Build,
    transform: str,
    own_totals: bool,  # noqa: FBT001 (jit wants static arguments by position)
    n_cells: int,
) -> Float[Array, "latent gene"]:
    """One latent dimension after the other in `order`, in which unused ones come last and are left out.

    Memory holds (cell, gene) values of one dimension.
    """
    model_guide = build(statistics)
    technical_key, model_key = jax.random.split(key)
    totals, covariates = drawn(technical_key, technical, n_cells)
    # Controls carry no perturbation, so one of these is instantiated and not all; given x, the model draws none.
    batch = empty_batch(model_guide)._replace(
        x=jnp.zeros((n_cells, model_guide.n_genes)),
        library_size=totals,
        perturbation_index=jnp.zeros((n_cells, 1), dtype=jnp.int32),
        dosage=jnp.zeros((n_cells, 1)),
        weight=jnp.ones(n_cells),
        rows=jnp.zeros(1, dtype=jnp.int32),
        row_weight=jnp.ones(1),
        row_cells=jnp.zeros(1),
        row_numbers=jnp.zeros(1, dtype=jnp.int32),
        covariates=covariates,
        artifacts=None if technical.artifacts is None else jnp.tile(technical.artifacts, (n_cells, 1)),
    )
    run = partial(forward_trace, model_guide, model_key, params, batch=batch)

    def expected(trace: dict[str, Any]) -> Float[Array, "cell gene"]:
        return in_scale(trace["x"]["fn"].mean, batch.library_size, transform, own_totals)

    control = run({})
    unmoved, draws = expected(control), _draws(control)
    moved = next(name for name in ("offset", "z_basal", "z") if name in draws)

    def add(place: Array, responses: Float[Array, "latent gene"]) -> Float[Array, "latent gene"]:
        k = order[place]
        trace = run(draws | {moved: draws[moved].at[:, k].add(step[k])})
        return responses.at[k].set((expected(trace) - unmoved).mean(axis=0))

    return jax.lax.fori_loop(0, (step != 0).sum(), add, jnp.zeros((step.shape[0], model_guide.n_genes)))


def _draws(trace: dict[str, Any]) -> dict[str, Array]:
    """Values of the latent sites of a trace, and of the offset where that is a state of its own."""

    def latent_site(name: str, site: dict[str, Any]) -> bool:
        return name == "offset" or (site["type"] == "sample" and not site["is_observed"])

    latent = {name: site for name, site in trace.items() if latent_site(name, site)}
    return {name: site["value"] for name, site in latent.items()}
