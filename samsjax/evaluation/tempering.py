"""By how much intervals of effects in latent space are too narrow: a parametric bootstrap.

The posterior of effects is that given the networks, which are point estimates, and it is stated in coordinates of a
latent space that another fit would have bent otherwise. How far that leaves it from the truth cannot be read from the
fit itself, but from a fit of a screen whose effects are known: cells of the same design are drawn from the fitted model
under one draw of its effects (`redrawn_screen`), a new model is fitted to them, and its errors are held against the
spreads it states. If they are c times as large as these, so presumably are those of the original fit, and its posterior
is widened by c (`PosteriorEffects.tempered`).

What this cannot see: errors that the fitted model shares with its refits, such as noise of another kind than the
likelihood's, and effects whose mask was missed, which no widening covers.

Source: parametric bootstrap, Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 6.
Differs: it gives one factor for all effects, applied to the posterior of the fit, and not new intervals.
"""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from scipy.special import ndtri

from samsjax.data.dataset import PerturbationData
from samsjax.errors import InputError, check_range, listing
from samsjax.evaluation.calibration import Calibration, coverage_of_true_effects
from samsjax.evaluation.generated_cells import draw_effects, replicates
from samsjax.evaluation.masks import mask_agreement
from samsjax.evaluation.posterior_effects import PosteriorEffects, posterior_effects
from samsjax.inference.batching import empty_batch
from samsjax.inference.config import TrainConfig
from samsjax.inference.fitted import Fitted, fit
from samsjax.inference.log_weights import draw_shared
from samsjax.likelihoods import models_counts
from samsjax.models import DataStatistics, ModelConfig, build_model, described
from samsjax.normalization import GeneStatistics
from samsjax.types import Features

LEVELS = (0.5, 0.8, 0.9)
"""Of the intervals that the widened posterior should hold true; the factor serves the one that needs most."""
FEWEST_EFFECTS = 20
"""Effects found again below which a factor would be a guess."""
_SEED_BELOW = 2**31 - 1
_PLACE = 301
"""Sets the keys of refits apart from others of the same seed."""


class DrawnEffects(NamedTuple):
    """The effects a screen was drawn with, in the latents of the model that drew it."""

    mask: np.ndarray
    """bool (perturbation, latent)."""
    effect: np.ndarray
    """float32 (perturbation, latent): at dosage 1, in standard deviations of the basal state; zero where masked."""


class Tempering(NamedTuple):
    """What refits of screens drawn from a fitted model say about its intervals of effects in latent space."""

    factor: float
    """At least 1: by how much the posterior of effects must be widened."""
    n_values: int
    """Effects found again, over all refits, on which the factor rests."""
    n_refits: int
    coverage_before: Calibration
    """How often the intervals of the refits, as they are, hold the effects drawn; missed ones count."""
    f1: tuple[float, ...]
    """By refit: agreement of its masks with those drawn."""


def redrawn_screen(key: jax.Array, fitted: Fitted, data: PerturbationData) -> tuple[PerturbationData, DrawnEffects]:
    """A screen of the same design with cells drawn from the model under one draw of its effects, and these effects.

    Every cell keeps treatment, covariates, split and the exposure it is drawn with. Library sizes that are row sums are
    those of the new counts. As in `data.simulate`, a cell without any count is given one of its most expected gene.

    Args:
        key: decides all draws.
        fitted: a model with masks whose effects have a posterior.
        data: the cells it was fitted to, or others in its vocabulary.

    Raises:
        InputError: for a model without masks or with point estimates of effects, or data in another vocabulary.
    """
    check_model(fitted.config)
    _check_vocabulary(fitted, data)
    effects_key, cells_key = jax.random.split(key)
    effects = draw_effects(effects_key, fitted)
    drawn = replicates(cells_key, fitted, data, np.arange(data.n_cells), effects)
    mask = np.asarray(effects["mask"]) > 0.5
    truth = DrawnEffects(mask, np.where(mask, np.asarray(effects["E"]), 0.0).astype(np.float32))
    if not models_counts(fitted.config.likelihood):
        return replace(data, x=drawn.x), truth
    counts = drawn.x.astype(np.int32)
    empty = np.flatnonzero(counts.sum(axis=1) == 0)
    counts[empty, drawn.most_expected[empty]] = 1
    return _with_counts(data, counts), truth


def check_model(config: ModelConfig) -> None:
    """Raises: InputError unless the model has masks, and effects with a posterior; needs no data."""
    one_gene = GeneStatistics(np.zeros(1, np.float32), np.ones(1, np.float32))
    features = Features(jnp.zeros((1, 1)), jnp.ones(1)) if config.uses_features else None
    statistics = DataStatistics(1, 1, one_gene, len(config.covariates), features=features)
    model_guide = build_model(config, statistics)
    drawn: set[str] = set()

    def look(key: jax.Array) -> jax.Array:
        drawn.update(draw_shared(key, model_guide, {}, 1, empty_batch(model_guide)))
        return key

    jax.eval_shape(look, jax.random.key(0))
    missing = [site for site in ("mask", "E") if site not in drawn]
    if missing:
        raise InputError(
            "intervals of effects can be checked by refits only where masks and effects have a posterior; that of "
            f"{described(config)} has no draws of {' and '.join(missing)}"
        )


def _with_counts(data: PerturbationData, counts: np.ndarray) -> PerturbationData:
    library_size = data.library_size
    if data.library_size_source == "row_sum":
        library_size = counts.sum(axis=1).astype(np.float32)
    return replace(data, x=sp.csr_matrix(counts) if sp.issparse(data.x) else counts, library_size=library_size)


def _check_vocabulary(fitted: Fitted, data: PerturbationData) -> None:
    known = fitted.vocabulary
    for kind, names, own in (
        ("genes", known.gene_names, data.gene_names),
        ("perturbations", known.perturbation_names, data.perturbation_names),
    ):
        if tuple(map(str, own)) != names:
            raise InputError(
                f"{kind} of the data ({listing(own, limit=3)}) are not those of the model ({listing(names, limit=3)})"
            )


def tempering(
    fitted: Fitted,
    data: PerturbationData,
    train: TrainConfig | None = None,
    *,
    seed: int,
    n_refits: int = 1,
    progress: bool = False,
) -> Tempering:
    """By how much the posterior of effects of `fitted` must be widened; each refit costs as much as the fit did.

    Args:
        fitted: a model with masks whose effects have a posterior.
        data: the cells it was fitted to, with their split.
        train: how it was trained.
        seed: decides the screens drawn and their fits.
        n_refits: screens drawn and fitted; more make the factor less noisy.
        progress: show a bar for every fit when standard error is a terminal.

    Raises:
        InputError: as `redrawn_screen` and `widening`; for less than one refit.
        DivergenceError: if a refit diverges in its first epoch.
    """
    check_range("n_refits", n_refits, low=1)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), _PLACE), n_refits)
    errors, coverages, f1 = [], [], []
    for key in keys:
        draw_key, fit_key, effects_key = jax.random.split(key, 3)
        screen, truth = redrawn_screen(draw_key, fitted, data)
        fit_seed = int(jax.random.randint(fit_key, (), 0, _SEED_BELOW))
        effects = posterior_effects(effects_key, fit(screen, fitted.config, train, seed=fit_seed, progress=progress))
        assert effects is not None
        errors.append(standardised_errors(truth, effects))
        coverages.append(coverage_of_true_effects(truth.mask, truth.effect, effects))
        f1.append(mask_agreement(truth.mask, effects.active).f1)
    pooled = np.concatenate(errors)
    return Tempering(widening(pooled), len(pooled), n_refits, _pooled(coverages), tuple(f1))


def standardised_errors(truth: DrawnEffects, effects: PosteriorEffects) -> np.ndarray:
    """Errors of effects in their stated standard deviations, (found effect,): standard normal if these are honest.

    Of the entries that are truly active and held active; latents are matched by their masks and signs by the effects,
    as neither is identified. Mean and standard deviation are those given that the mask is 1.
    """
    agreement = mask_agreement(truth.mask, effects.active)
    mine, theirs = agreement.estimated_latents, agreement.true_latents
    true = truth.effect[:, theirs]
    centre, spread = (values[:, mine] for values in effects.given_active())
    sign = np.where((true * effects.mean[:, mine]).sum(axis=0) < 0, -1.0, 1.0)
    found = truth.mask[:, theirs] & effects.active[:, mine]
    with np.errstate(divide="ignore"):
        return ((centre * sign - true)[found]) / spread[found]


def widening(z: np.ndarray) -> float:
    """The least factor, at least 1, that makes central intervals hold what they promise at every one of `LEVELS`.

    Args:
        z: standardised errors (value,), standard normal if no widening is needed.

    Raises:
        InputError: for fewer than `FEWEST_EFFECTS` errors, or errors that are not finite: stated spreads of zero.
    """
    if len(z) < FEWEST_EFFECTS:
        raise InputError(
            f"only {len(z)} effects of the screen drawn from the model were found again by its refit; {FEWEST_EFFECTS} "
            "are needed to say by how much intervals must be widened"
        )
    if not np.isfinite(z).all():
        raise InputError(
            f"{int((~np.isfinite(z)).sum())} of {len(z)} effects have no finite error in units of their standard "
            "deviation: a point estimate cannot be widened"
        )
    levels = np.array(LEVELS)
    needed = np.quantile(np.abs(z), levels) / ndtri((1 + levels) / 2)
    return float(max(1.0, needed.max()))


def _pooled(coverages: list[Calibration]) -> Calibration:
    """Coverage over the values of all refits."""
    n_values = sum(c.n_values for c in coverages)
    inside = sum((np.nan_to_num(c.observed) * c.n_values for c in coverages), start=np.zeros(len(coverages[0].nominal)))
    observed = inside / n_values if n_values else np.full_like(inside, np.nan)
    return Calibration(coverages[0].what, n_values, coverages[0].nominal, observed)
