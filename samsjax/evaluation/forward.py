"""Running a model forward: cells as the training cells were measured, decoded, in a named scale.

What predictions of treatments (`model_effects`) and of movements in latent space (`gene_responses`) share.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro import handlers

from samsjax.data.covariates import chosen_codes, one_hot
from samsjax.evaluation.transforms import transform_named
from samsjax.inference.fitted import Fitted
from samsjax.types import Batch, ModelGuide, Params


class Technical(NamedTuple):
    """What cells differ in besides state and treatment; a predicted cell draws one of each kind."""

    library_sizes: Float[Array, " quantile"]
    covariates: Float[Array, "combination level"] | None
    """One-hots of distinct combinations; None for a model without covariates."""
    shares: Float[Array, " combination"]


def technical_of(fitted: Fitted, library_size: float | None, covariates: dict[str, str]) -> Technical:
    """Library sizes and covariates of the training cells, or those given.

    Raises:
        InputError: for covariates or levels the model does not know.
    """
    levels = fitted.vocabulary.covariates
    chosen = chosen_codes(covariates, levels)
    combinations = np.where(chosen >= 0, chosen, fitted.covariate_codes)
    return Technical(
        jnp.asarray(fitted.library_sizes if library_size is None else [library_size]),
        jnp.asarray(one_hot(combinations, levels), dtype=jnp.float32) if levels else None,
        jnp.asarray(fitted.covariate_shares),
    )


def drawn(
    key: jax.Array, technical: Technical, n_cells: int
) -> tuple[Float[Array, " cell"], Float[Array, "cell level"] | None]:
    """Library sizes, and combinations of covariates as one-hots if the model has any."""
    totals = jax.random.choice(key, technical.library_sizes, (n_cells,))
    if technical.covariates is None:
        return totals, None
    place = jax.random.fold_in(key, 1)
    return totals, jax.random.choice(place, technical.covariates, (n_cells,), p=technical.shares)


def forward_trace(
    model_guide: ModelGuide, key: jax.Array, params: Params, given: dict[str, Array], batch: Batch
) -> dict[str, Any]:
    """Trace of the model run forward; sites in `given` take their value from there."""
    model = handlers.substitute(handlers.seed(model_guide.model, key), data={**params, **given})
    return handlers.trace(model).get_trace(batch)


def has_own_totals(fitted: Fitted) -> bool:
    """Whether a cell's total is the sum of its genes, and not a number given with the data."""
    return fitted.vocabulary.library_size_source == "row_sum"


def in_scale(
    x: Float[Array, "cell gene"],
    library_size: Float[Array, " cell"],
    transform: str,
    own_totals: bool,  # noqa: FBT001 (jit wants static arguments by position)
) -> Float[Array, "cell gene"]:
    """Expression in a scale of `TRANSFORMS`, against totals of the kind the data have (`has_own_totals`)."""
    x = x.astype(jnp.float32)
    return jnp.asarray(transform_named(transform).of(x, x.sum(axis=-1) if own_totals else library_size))
