"""Running a model forward: cells as the training cells were measured, decoded, in a named scale.

What predictions of treatments (`model_effects`, `effect_posterior`) and of movements in latent space
(`gene_responses`) share.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpyro import handlers

from samsjax.data.artifacts import chosen_artifacts
from samsjax.data.covariates import chosen_codes, one_hot
from samsjax.distributions import CountLaw, count_law
from samsjax.errors import InputError, listing
from samsjax.evaluation.count_noise import expected_in_scale
from samsjax.evaluation.transforms import transform_named
from samsjax.inference.batching import empty_batch
from samsjax.inference.fitted import Fitted
from samsjax.types import Batch, ModelGuide, Params


class Technical(NamedTuple):
    """What cells differ in besides state and treatment; a predicted cell draws one of each kind."""

    library_sizes: Float[Array, " quantile"]
    covariates: Float[Array, "combination level"] | None
    """One-hots of distinct combinations; None for a model without covariates."""
    shares: Float[Array, " combination"]
    artifacts: Float[Array, " artifact"] | None = None
    """Which quality criteria cells fail; None for a model that does not know the quality of cells."""


def technical_of(
    fitted: Fitted, library_size: float | None, covariates: dict[str, str], fails: Sequence[str] = ()
) -> Technical:
    """Library sizes and covariates of the training cells, or those given; good quality, unless cells shall fail some.

    Raises:
        InputError: for covariates, levels or quality criteria the model does not know, or cells that shall fail where
            no training cell did.
    """
    names = fitted.vocabulary.artifacts
    artifacts = chosen_artifacts(fails, names)
    totals = fitted.failed_library_sizes if len(fails) else fitted.library_sizes
    if totals is None:
        raise InputError(f"cells that fail {listing(fails)} cannot be predicted: no training cell failed")
    levels = fitted.vocabulary.covariates
    chosen = chosen_codes(covariates, levels)
    combinations = np.where(chosen >= 0, chosen, fitted.covariate_codes)
    return Technical(
        jnp.asarray(totals if library_size is None else [library_size]),
        jnp.asarray(one_hot(combinations, levels), dtype=jnp.float32) if levels else None,
        jnp.asarray(fitted.covariate_shares),
        jnp.asarray(artifacts) if names else None,
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


def one_cell(
    key: jax.Array,
    everything: Batch,
    technical: Technical,
    perturbation_index: Int[Array, " slot"],
    dosage: Float[Array, " slot"],
) -> Batch:
    """A cell to be predicted: `everything` (`batching.empty_batch`) with one draw of technical kind and a treatment."""
    total, covariates = drawn(key, technical, 1)
    return everything._replace(
        x=None,
        library_size=total,
        perturbation_index=perturbation_index[None],
        dosage=dosage[None],
        covariates=covariates,
        artifacts=None if technical.artifacts is None else technical.artifacts[None],
    )


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


class Readout(NamedTuple):
    """How decoded cells are turned into expression. Hashable, a static argument of compiled functions."""

    transform: str
    """Name in `TRANSFORMS`."""
    noise: str
    """Of counts: "marginal" (expectation over it), "sampled", or "mean" (none)."""
    own_totals: bool
    """See `has_own_totals`."""
    paired: bool = True
    """Whether all arms of a cell share their draws."""


class Arms(NamedTuple):
    """Conditions to decode: control first, then treatments."""

    perturbation_index: Int[Array, "arm slot"]
    dosage: Float[Array, "arm slot"]
    number: Int[Array, " arm"]
    """Distinguishes the arms' keys when draws are independent."""


def arms_of(perturbation_index: np.ndarray, dosage: np.ndarray, start: int, n_arms: int) -> tuple[Arms, int]:
    """Control and the `n_arms` treatments from row `start` on, filled up with control arms; and how many are real.

    All chunks of treatments have one shape and so share one compilation.
    """
    n_treatments, n_slots = perturbation_index.shape
    places = np.arange(start, start + n_arms)
    inside = places < n_treatments
    place = np.where(inside, places, 0)
    arms = Arms(
        jnp.asarray(np.concatenate([np.zeros((1, n_slots), int), perturbation_index[place]]), dtype=jnp.int32),
        jnp.asarray(np.concatenate([np.zeros((1, n_slots)), dosage[place] * inside[:, None]]), dtype=jnp.float32),
        jnp.asarray(np.concatenate([[0], places + 1]), dtype=jnp.int32),
    )
    return arms, int(inside.sum())


def expressed(
    keys: jax.Array,
    model_guide: ModelGuide,
    params: Params,
    shared: dict[str, Array],
    technical: Technical,
    arms: Arms,
    readout: Readout,
    *,
    one_shared: bool = False,
) -> Float[Array, "particle arm gene"]:
    """Expression of one cell per particle under every arm.

    Args:
        keys: (particle,), of the cells' basal states, totals, covariates and counts.
        model_guide: the programs.
        params: their parameters.
        shared: draws of the shared sites, one per particle.
        technical: what cells differ in besides.
        arms: conditions to decode.
        readout: scale and noise.
        one_shared: `shared` is one draw without an axis of particles, the same for all.

    Raises:
        InputError: for noise "marginal" and a likelihood whose expectation in this scale is not known.
    """
    everything = empty_batch(model_guide)

    def one_arm(
        cell_key: jax.Array, draws: dict[str, Array], index: Array, dosage: Array, number: Array
    ) -> tuple[Array | CountLaw, Array]:
        arm_key = cell_key if readout.paired else jax.random.fold_in(cell_key, number)
        library_key, model_key = jax.random.split(arm_key)
        batch = one_cell(library_key, everything, technical, index, dosage)
        site = forward_trace(model_guide, model_key, params, draws, batch)["x"]
        return jax.tree.map(
            lambda values: values[0], (_before_scale(site, batch.library_size, readout), batch.library_size)
        )

    over_arms = jax.vmap(one_arm, in_axes=(None, None, 0, 0, 0))
    over_particles = jax.vmap(over_arms, in_axes=(0, None if one_shared else 0, None, None, None))
    values, totals = over_particles(keys, shared, *arms)
    if isinstance(values, CountLaw):
        return expected_in_scale(values, totals, readout.transform, readout.own_totals)
    return values


def _before_scale(
    site: dict[str, Any], library_size: Float[Array, " cell"], readout: Readout
) -> Float[Array, "cell gene"] | CountLaw:
    """Expression in the readout's scale or, where its expectation is still to be taken, the law of the counts."""
    if readout.noise == "marginal" and readout.transform != "counts":
        law = count_law(site["fn"])
        if law is None:
            raise InputError(
                f"noise 'marginal' needs Poisson or negative binomial counts for {readout.transform!r}, and the model "
                f"has {type(getattr(site['fn'], 'base_dist', site['fn'])).__name__}; use noise 'sampled' or 'mean'"
            )
        return law
    x = site["value"] if readout.noise == "sampled" else site["fn"].mean
    return in_scale(x, library_size, readout.transform, readout.own_totals)
