"""What each artefact does to genes: expected expression of control cells that fail quality control, less that of the
same cells when they pass.

Both have the same basal states, draws of the artefact, covariates and library sizes, those of good training cells. What
is left is what failing does to the composition of a cell. That failed cells often have fewer counts is not in it.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from samsjax.data.artifacts import chosen_artifacts
from samsjax.errors import InputError
from samsjax.evaluation.forward import Arms, Readout, Technical, expressed, technical_of
from samsjax.evaluation.model_effects import VALUES_IN_FLIGHT, EffectsConfig, check_scale, readout_of
from samsjax.inference.batching import empty_batch
from samsjax.inference.fitted import Fitted
from samsjax.inference.log_weights import draw_shared
from samsjax.models.base import Build, DataStatistics
from samsjax.types import Params


class ArtifactGenes(NamedTuple):
    """Effect of each artefact on all genes."""

    indicators: tuple[str, ...]
    """Names of quality indicators of the model. A cell that fails one passes all others."""
    difference: Float[np.ndarray, "indicator gene"]
    """Mean over posterior and cells of failing less passing, in the scale of `transform`."""
    standard_error: Float[np.ndarray, "indicator gene"]
    """Monte-Carlo error of `difference`; it says nothing of how sure the model is."""
    good_mean: Float[np.ndarray, " gene"]
    """Of control cells that pass."""
    transform: str
    """Name in `TRANSFORMS`."""


def artifact_genes(
    key: jax.Array,
    fitted: Fitted,
    config: EffectsConfig | None = None,
    *,
    values_in_flight: int = VALUES_IN_FLIGHT,
) -> ArtifactGenes:
    """Average change of each gene's expected expression when control cells fail one quality indicator.

    Args:
        key: decides all draws; every indicator is tried on the same cells.
        fitted: a model that knows the quality of cells.
        config: draws (at least `n_particles`), scale, noise, library size and covariates; `fails`, `paired` and
            `untrained` play no part.
        values_in_flight: bound on memory; smaller = more, smaller chunks (and other draws).

    Raises:
        InputError: for a model that does not know quality or that saw no failed cell, or as `model_effects`.
    """
    config, names = config or EffectsConfig(), fitted.vocabulary.artifacts
    if not names:
        raise InputError(f"the model {fitted.model_name!r} does not know the quality of cells: it has no artefact")
    if fitted.failed_library_sizes is None:
        raise InputError("no training cell failed: the model knows nothing of artefacts but their prior")
    check_scale(config, fitted.config.likelihood)
    technical = technical_of(fitted, config.library_size, config.covariates)
    readout = readout_of(fitted, config)._replace(paired=True)
    n_chunks = max(1, -(-config.n_particles * fitted.statistics.n_genes // values_in_flight))
    model = (fitted.params, fitted.statistics, technical)
    static = (fitted.build, readout, n_chunks, -(-config.n_particles // n_chunks))
    found = [_moments(key, *model, jnp.asarray(chosen_artifacts((name,), names)), *static) for name in names]
    pooled = [_pooled(np.asarray(each.difference), np.asarray(each.deviation), static[-1]) for each in found]
    return ArtifactGenes(
        indicators=tuple(names),
        difference=np.stack([mean for mean, _ in pooled]),
        standard_error=np.stack([error for _, error in pooled]),
        good_mean=np.asarray(found[0].good).mean(axis=0),
        transform=config.transform,
    )


class _Chunks(NamedTuple):
    """Of each chunk of cells: mean of those that pass, mean difference, and summed squares about that."""

    good: Float[Array, "chunk gene"]
    difference: Float[Array, "chunk gene"]
    deviation: Float[Array, "chunk gene"]


@partial(jax.jit, static_argnums=(5, 6, 7, 8))
def _moments(
    key: jax.Array,
    params: Params,
    statistics: DataStatistics,
    technical: Technical,
    flags: Float[Array, " artifact"],
    build: Build,
    readout: Readout,
    n_chunks: int,
    n_cells: int,
) -> _Chunks:
    """Moments of `n_cells` pairs of control cells in each chunk."""
    model_guide = build(statistics)
    everything = empty_batch(model_guide)
    control = Arms(jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1)), jnp.zeros(1, jnp.int32))

    def of_chunk(chunk_key: jax.Array) -> _Chunks:
        shared_key, local_key = jax.random.split(chunk_key)
        shared = draw_shared(shared_key, model_guide, params, n_cells, everything)
        keys = jax.random.split(local_key, n_cells)
        good, failing = (
            expressed(keys, model_guide, params, shared, each, control, readout)[:, 0]
            for each in (technical, technical._replace(artifacts=flags))
        )
        difference = failing - good
        mean = difference.mean(axis=0)
        return _Chunks(good.mean(axis=0), mean, ((difference - mean) ** 2).sum(axis=0))

    return jax.lax.map(of_chunk, jax.random.split(key, n_chunks))


def _pooled(means: np.ndarray, deviations: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean over chunks of `n` cells, and its standard error, each (gene,)."""
    mean, total = means.mean(axis=0), n * len(means)
    deviation = deviations.sum(axis=0) + n * ((means - mean) ** 2).sum(axis=0)
    return mean, np.sqrt(deviation / (total - 1) / total)
