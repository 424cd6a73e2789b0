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
from samsjax.evaluation.paired_moments import PairedMoments, paired_moments
from samsjax.inference.fitted import Fitted
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
        config: draws, scale, noise, library size and covariates; `fails`, `paired` and
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
    particle_chunk = max(1, min(config.n_particles, values_in_flight // (len(names) * fitted.statistics.n_genes)))
    flags = jnp.asarray(np.stack([chosen_artifacts((name,), names) for name in names]))
    model = (fitted.params, fitted.statistics, technical)
    found = _moments(key, *model, flags, fitted.build, readout, config.n_particles, particle_chunk)
    found = jax.device_get(found)
    return ArtifactGenes(
        indicators=tuple(names),
        difference=found.difference,
        standard_error=found.standard_error,
        good_mean=found.control,
        transform=config.transform,
    )


@partial(jax.jit, static_argnums=(5, 6, 7, 8))
def _moments(
    key: jax.Array,
    params: Params,
    statistics: DataStatistics,
    technical: Technical,
    flags: Float[Array, "indicator artifact"],
    build: Build,
    readout: Readout,
    n_particles: int,
    particle_chunk: int,
) -> PairedMoments:
    """Moments of control cells: good ones, and the same cells with each row of `flags`."""
    model_guide = build(statistics)
    control = Arms(jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1)), jnp.zeros(1, jnp.int32))
    qualities = [technical, *(technical._replace(artifacts=of_indicator) for of_indicator in flags)]

    def values(keys: jax.Array, shared: dict[str, Array]) -> Float[Array, "particle arm gene"]:
        arms = [expressed(keys, model_guide, params, shared, each, control, readout) for each in qualities]
        return jnp.concatenate(arms, axis=1)

    shape = (len(qualities), model_guide.n_genes)
    return paired_moments(key, model_guide, params, values, shape, n_particles, particle_chunk)
