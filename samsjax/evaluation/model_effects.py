"""Average treatment effects predicted by a model, for any combination and dose of the perturbations it knows.

Each particle draws the shared effects from the guide, one basal state from the prior, one library size and, for models
with covariates, one combination of levels as the training cells have them, and decodes them under control and under
every treatment. By default all arms of a particle share these draws (common random numbers), so that differences are
not drowned by cell-to-cell variation. Particles and treatments are streamed: memory holds one chunk of each.

Source: SAMS-VAE, specification 7.2. Differs: arms share draws (independent draws are an option), a Monte-Carlo standard
error is reported, and the library size is that of the training cells by default (the reference fixes 10,000).
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from samsjax.errors import InputError, check_choice, check_range
from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.forward import Technical, drawn, forward_trace, has_own_totals, in_scale, technical_of
from samsjax.evaluation.transforms import transform_named
from samsjax.inference.batching import empty_batch
from samsjax.inference.fitted import Fitted
from samsjax.inference.log_weights import draw_shared
from samsjax.likelihoods import models_counts
from samsjax.models.base import Build, DataStatistics, check_composition
from samsjax.types import ModelGuide, Params

VALUES_IN_FLIGHT = 2**23
"""Most (particle, treatment, gene) values held at once by default: 32 MB per intermediate array."""


@dataclass(frozen=True)
class EffectsConfig:
    """How treatment effects are predicted."""

    n_particles: int = 500
    """Draws from the posterior."""
    transform: Literal["log2_cp10k", "cp10k", "counts"] = "log2_cp10k"
    """Scale in which effects are stated."""
    library_size: float | None = None
    """Total count of predicted cells; none = library sizes of the training cells."""
    paired: bool = True
    """Let control and treatments share basal states, library sizes and effect draws."""
    noise: Literal["sampled", "mean"] = "sampled"
    """Draw counts before transforming (as measured cells are), or transform their expectation."""
    covariates: dict[str, str] = field(default_factory=dict, hash=False)
    """Levels of predicted cells, such as batch A; other covariates are averaged over the training cells' levels."""

    def __post_init__(self) -> None:
        check_range("n_particles", self.n_particles, low=2)
        check_choice("noise", self.noise, ("sampled", "mean"))
        transform_named(self.transform)
        if self.library_size is not None:
            check_range("library_size", self.library_size, above=0.0)


def check_scale(config: EffectsConfig, likelihood: str) -> None:
    """Raises: InputError for a scale of counts under a likelihood of continuous values."""
    if config.transform != "counts" and not models_counts(likelihood):
        raise InputError(
            f"effects in {config.transform!r} need counts, and likelihood {likelihood!r} is one of continuous values; "
            "use transform 'counts', the data's own scale (--evaluation.effects.transform counts)"
        )


class _Arms(NamedTuple):
    """Conditions to decode: control first, then treatments."""

    perturbation_index: Int[Array, "arm slot"]
    dosage: Float[Array, "arm slot"]
    number: Int[Array, " arm"]
    """Distinguishes the arms' keys when draws are independent."""


class _Moments(NamedTuple):
    """Running mean of control, mean of differences, and their summed squared deviations."""

    n: Array
    control: Float[Array, " gene"]
    difference: Float[Array, "treatment gene"]
    deviation: Float[Array, "treatment gene"]


def model_effects(
    key: jax.Array,
    fitted: Fitted,
    labels: np.ndarray,
    perturbation_index: np.ndarray,
    dosage: np.ndarray,
    config: EffectsConfig | None = None,
    *,
    values_in_flight: int = VALUES_IN_FLIGHT,
) -> AverageEffects:
    """Predicted effect of each treatment against control.

    Args:
        key: decides all draws.
        fitted: the model.
        labels: (treatment,) names to carry along.
        perturbation_index: int (treatment, slot) into the model's perturbations.
        dosage: (treatment, slot), 0 for empty slots.
        config: particles, scale, library size.
        values_in_flight: bound on memory; smaller = more, smaller chunks (and other draws).

    Raises:
        InputError: for no treatment at all, combinations under a model of single perturbations, a scale of counts
            under a likelihood of continuous values, or covariates or levels the model does not know.

    Returns:
        Effects in the units of `config.transform`; `standard_error` is the Monte-Carlo error of the posterior mean.
    """
    config = config or EffectsConfig()
    if len(labels) == 0:
        raise InputError("no treatment to predict: no cell or label names a perturbation")
    check_composition(fitted.config, dosage)
    check_scale(config, fitted.config.likelihood)
    n_genes = fitted.statistics.n_genes
    n_treatments, n_slots = perturbation_index.shape
    treatment_chunk = max(1, min(n_treatments, values_in_flight // (16 * n_genes)))
    particle_chunk = max(1, min(config.n_particles, values_in_flight // (treatment_chunk * n_genes)))
    own_totals = has_own_totals(fitted)
    model = (fitted.params, fitted.statistics)
    technical = technical_of(fitted, config.library_size, config.covariates)
    parts = []
    for start in range(0, n_treatments, treatment_chunk):
        # The last chunk is filled up with control arms, so that all chunks share one compilation.
        places = np.arange(start, start + treatment_chunk)
        inside = places < n_treatments
        place = np.where(inside, places, 0)
        arms = _Arms(
            jnp.asarray(np.concatenate([np.zeros((1, n_slots), int), perturbation_index[place]]), dtype=jnp.int32),
            jnp.asarray(np.concatenate([np.zeros((1, n_slots)), dosage[place] * inside[:, None]]), dtype=jnp.float32),
            jnp.asarray(np.concatenate([[0], places + 1]), dtype=jnp.int32),
        )
        result = jax.device_get(
            _moments(key, *model, technical, arms, fitted.build, config, own_totals, particle_chunk)
        )
        parts.append((result, int(inside.sum())))
    n = float(parts[0][0].n)
    deviation = np.concatenate([part.deviation[:count] for part, count in parts])
    return AverageEffects(
        labels=np.asarray(labels),
        ate=np.concatenate([part.difference[:count] for part, count in parts]),
        standard_error=np.sqrt(deviation / (n - 1) / n),
        control_mean=parts[0][0].control,
        transform=config.transform,
    )


@partial(jax.jit, static_argnums=(5, 6, 7, 8))
def _moments(
    key: jax.Array,
    params: Params,
    statistics: DataStatistics,
    technical: Technical,
    arms: _Arms,
    build: Build,
    config: EffectsConfig,
    own_totals: bool,  # noqa: FBT001 (jit wants static arguments by position)
    particle_chunk: int,
) -> _Moments:
    """Moments over all particles, drawn chunk by chunk."""
    model_guide = build(statistics)
    n_chunks = -(-config.n_particles // particle_chunk)
    n_last = config.n_particles - (n_chunks - 1) * particle_chunk

    def add(total: _Moments, step: tuple[jax.Array, Array]) -> tuple[_Moments, None]:
        values = _draw_chunk(model_guide, config, own_totals, particle_chunk, step[0], params, technical, arms)
        return _merge(total, _chunk_moments(values, jnp.arange(particle_chunk) < step[1])), None

    shape = (arms.dosage.shape[0] - 1, model_guide.n_genes)
    nothing = _Moments(jnp.zeros(()), jnp.zeros(model_guide.n_genes), jnp.zeros(shape), jnp.zeros(shape))
    n_used = jnp.full(n_chunks, particle_chunk).at[-1].set(n_last)
    return jax.lax.scan(add, nothing, (jax.random.split(key, n_chunks), n_used))[0]


def _draw_chunk(
    model_guide: ModelGuide,
    config: EffectsConfig,
    own_totals: bool,  # noqa: FBT001
    n_particles: int,
    key: jax.Array,
    params: Params,
    technical: Technical,
    arms: _Arms,
) -> Float[Array, "particle arm gene"]:
    """Transformed expression of every arm under fresh particles."""
    shared_key, local_key = jax.random.split(key)
    everything = empty_batch(model_guide)
    shared = draw_shared(shared_key, model_guide, params, n_particles, everything)

    def one_arm(cell_key: jax.Array, draws: dict[str, Array], index: Array, dosage: Array, number: Array) -> Array:
        arm_key = cell_key if config.paired else jax.random.fold_in(cell_key, number)
        library_key, model_key = jax.random.split(arm_key)
        total, covariates = drawn(library_key, technical, 1)
        batch = everything._replace(
            x=None,
            library_size=total,
            perturbation_index=index[None],
            dosage=dosage[None],
            covariates=covariates,
        )
        site = forward_trace(model_guide, model_key, params, draws, batch)["x"]
        x = site["fn"].mean if config.noise == "mean" else site["value"]
        return in_scale(x, batch.library_size, config.transform, own_totals)[0]

    over_arms = jax.vmap(one_arm, in_axes=(None, None, 0, 0, 0))
    over_particles = jax.vmap(over_arms, in_axes=(0, 0, None, None, None))
    return over_particles(jax.random.split(local_key, n_particles), shared, *arms)


def _chunk_moments(values: Float[Array, "particle arm gene"], used: Array) -> _Moments:
    n = used.sum().astype(jnp.float32)
    weight = used[:, None, None] / n
    difference = values[:, 1:] - values[:, :1]
    mean = (weight * difference).sum(axis=0)
    deviation = (used[:, None, None] * (difference - mean) ** 2).sum(axis=0)
    return _Moments(n, (weight[:, 0] * values[:, 0]).sum(axis=0), mean, deviation)


def _merge(a: _Moments, b: _Moments) -> _Moments:
    """Moments of two disjoint sets of particles (Chan's update, stable in float32)."""
    n = a.n + b.n
    delta = b.difference - a.difference
    return _Moments(
        n=n,
        control=a.control + (b.control - a.control) * (b.n / n),
        difference=a.difference + delta * (b.n / n),
        deviation=a.deviation + b.deviation + delta**2 * (a.n * b.n / n),
    )
