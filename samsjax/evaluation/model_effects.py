"""Average treatment effects predicted by a model, for any combination and dose of the perturbations it knows.

Each particle draws the shared effects from the guide, one basal state from the prior, one library size and, for models
with covariates, one combination of levels as the training cells have them, and decodes them under control and under
every treatment. By default all arms of a particle share these draws (common random numbers), so that differences are
not drowned by cell-to-cell variation. Counts are not drawn by default: `count_noise` takes their expectation exactly.
Where most counts are zero, 200 particles then leave less error than 2,500 draws of counts; what is left are basal
states, library sizes and effects, which no expectation removes. Particles and treatments are streamed: memory holds one
chunk of each.

Source: SAMS-VAE, specification 7.2. Differs: arms share draws (independent draws are an option), the noise of counts is
integrated out (draws are an option), a Monte-Carlo standard error is reported, and the library size is that of the
training cells by default (the reference fixes 10,000).
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import jax
import numpy as np
from jaxtyping import Array, Float

from samsjax.errors import InputError, check_choice, check_range
from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.forward import Arms, Readout, Technical, arms_of, expressed, has_own_totals, technical_of
from samsjax.evaluation.paired_moments import PairedMoments, paired_moments
from samsjax.evaluation.transforms import transform_named
from samsjax.inference.fitted import Fitted
from samsjax.likelihoods import models_counts
from samsjax.models.base import Build, DataStatistics, check_composition
from samsjax.types import Params

VALUES_IN_FLIGHT = 2**23
"""Most (particle, treatment, gene) values held at once by default: 32 MB per intermediate array."""


NOISES = ("marginal", "sampled", "mean")


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
    noise: Literal["marginal", "sampled", "mean"] = "marginal"
    """Of counts, as measured cells have it: marginal = expectation over it, exact; sampled = draw counts, then
    transform; mean = none, transform expected counts (biased, as measured cells are noisy)."""
    untrained: bool = False
    """Let evaluations predict treatments with perturbations that had no training cells by draws from the prior of their
    effects, as the papers' code does. By default nothing is said of them."""
    covariates: dict[str, str] = field(default_factory=dict, hash=False)
    """Levels of predicted cells, such as batch A; other covariates are averaged over the training cells' levels."""

    fails: tuple[str, ...] = ()
    """Quality criteria that predicted cells fail, in models that know them; by default cells are of good quality."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fails", (self.fails,) if isinstance(self.fails, str) else tuple(self.fails))
        check_range("n_particles", self.n_particles, low=2)
        check_choice("noise", self.noise, NOISES)
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


def check_treatments(fitted: Fitted, labels: np.ndarray, dosage: np.ndarray, config: EffectsConfig) -> None:
    """Raises: InputError for treatments or a scale that the model cannot predict, see `model_effects`."""
    if len(labels) == 0:
        raise InputError("no treatment to predict: no cell or label names a perturbation")
    check_composition(fitted.config, dosage)
    check_scale(config, fitted.config.likelihood)


def readout_of(fitted: Fitted, config: EffectsConfig) -> Readout:
    """Scale, noise and pairing, with totals of the kind the data have."""
    return Readout(config.transform, config.noise, has_own_totals(fitted), config.paired)


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
            under a likelihood of continuous values, noise "marginal" under a likelihood whose expectation in this scale
            is not known, or covariates or levels the model does not know.

    Returns:
        Effects in the units of `config.transform`; `standard_error` is the Monte-Carlo error of the posterior mean.
    """
    config = config or EffectsConfig()
    check_treatments(fitted, labels, dosage, config)
    n_genes = fitted.statistics.n_genes
    n_treatments = len(labels)
    treatment_chunk = max(1, min(n_treatments, values_in_flight // (16 * n_genes)))
    particle_chunk = max(1, min(config.n_particles, values_in_flight // (treatment_chunk * n_genes)))
    technical = technical_of(fitted, config.library_size, config.covariates, config.fails)
    static = (fitted.build, readout_of(fitted, config), config.n_particles, particle_chunk)
    parts = []
    for start in range(0, n_treatments, treatment_chunk):
        arms, n_real = arms_of(perturbation_index, dosage, start, treatment_chunk)
        result = _moments(key, fitted.params, fitted.statistics, technical, arms, *static)
        parts.append((jax.device_get(result), n_real))
    return AverageEffects(
        labels=np.asarray(labels),
        ate=np.concatenate([part.difference[:count] for part, count in parts]),
        standard_error=np.concatenate([part.standard_error[:count] for part, count in parts]),
        control_mean=parts[0][0].control,
        transform=config.transform,
    )


@partial(jax.jit, static_argnums=(5, 6, 7, 8))
def _moments(
    key: jax.Array,
    params: Params,
    statistics: DataStatistics,
    technical: Technical,
    arms: Arms,
    build: Build,
    readout: Readout,
    n_particles: int,
    particle_chunk: int,
) -> PairedMoments:
    """Moments over all particles, drawn chunk by chunk."""
    model_guide = build(statistics)

    def values(keys: jax.Array, shared: dict[str, Array]) -> Float[Array, "particle arm gene"]:
        return expressed(keys, model_guide, params, shared, technical, arms, readout)

    shape = (arms.dosage.shape[0], model_guide.n_genes)
    return paired_moments(key, model_guide, params, values, shape, n_particles, particle_chunk)
