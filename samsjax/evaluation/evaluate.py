"""One evaluation of a fitted model: bounds, effects beside baselines and ceilings, uncertainty, checks, the truth.

Where cells carry quality labels, effects can be measured on good cells alone: it is their effects that models of
quality predict, and a perturbation whose cells fail more often than controls would seem to cause what failing does.
Bounds and predictive checks are always of all held-out cells, under the quality they have.
"""

from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import jax
import numpy as np

from samsjax.data.dataset import SPLITS, PerturbationData
from samsjax.data.encoding import Treatments, treatments
from samsjax.data.simulate import Truth
from samsjax.errors import InputError, check_choice, check_range
from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.baselines import TrainingEffects
from samsjax.evaluation.bounds import predictive_iwelbo
from samsjax.evaluation.calibration import Calibration
from samsjax.evaluation.data_effects import data_effects
from samsjax.evaluation.interactions import Interactions, interactions
from samsjax.evaluation.masks import mask_agreement, mask_average_precision
from samsjax.evaluation.metrics import effect_scores
from samsjax.evaluation.model_effects import EffectsConfig
from samsjax.evaluation.posterior_effects import PosteriorEffects, posterior_effects
from samsjax.evaluation.predictive_checks import PredictiveCheck, predictive_check
from samsjax.evaluation.predictors import ModelPredictor, Remembered
from samsjax.evaluation.quality import Quality, QualityConfig, quality_report
from samsjax.evaluation.quality.cells import HELD_OUT
from samsjax.evaluation.scores import Scores
from samsjax.evaluation.scoring import ScoringConfig, score
from samsjax.evaluation.scoring.intervals import mean_of_known
from samsjax.evaluation.scoring.measured import NEW_PERTURBATION
from samsjax.evaluation.uncertainty import N_CELLS, N_DRAWS, Uncertainty, uncertainty
from samsjax.inference.fitted import Fitted

EXTENTS = ("published", "scores", "full")
QUALITIES = ("auto", "all", "good")


@dataclass(frozen=True)
class EvaluationConfig:
    """How much to compute and draw when scoring a model."""

    iwelbo_particles: int = 100
    """Draws per cell of the predictive bound."""
    effects: EffectsConfig = field(default_factory=EffectsConfig)
    """Treatment effects: draws, scale, library size."""
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    """Scores beside baselines: metrics, noise, limits."""
    quality: Literal["auto", "all", "good"] = "auto"
    """Cells on which effects are measured: all, or those that pass quality control; auto = good ones for a model that
    knows quality."""
    quality_report: QualityConfig = field(default_factory=QualityConfig)
    """Quality of generated cells, and what the basal state tells of it, where cells carry quality labels."""
    extent: Literal["published", "scores", "full"] = "full"
    """published = bounds and the pooled scores of the papers; scores = also baselines, ceilings and intervals of
    scores; full = also intervals of effects, predictive checks, interactions and the quality of cells."""

    def __post_init__(self) -> None:
        check_range("iwelbo_particles", self.iwelbo_particles, low=1)
        check_choice("extent", self.extent, EXTENTS)
        check_choice("quality", self.quality, QUALITIES)


class Evaluation(NamedTuple):
    """Scores and the tables behind them."""

    metrics: dict[str, float]
    """Flat: `test/predictive_iwelbo`, `scores/<predictor>/<metric>` (means over treatments; among the
    predictors `half_split`, one half of the measured cells against the other, and `perfect`, what the truth would
    score), `unseen/<predictor>/<metric>` and `trained/<predictor>/<metric>` (the same over treatments with a
    perturbation that no training cell carries, and over the others, where there are of the former),
    `ate/<reference>/pearson`, `coverage/<what>`, `check/<statistic>`,
    `mask/f1`, ... The reference of `ate` says which cells measure the effects: those of a split, `all`, or
    `published`: treatments with test cells, measured on all cells."""
    treatments: Treatments
    model: AverageEffects
    """Predicted effects of every treatment of the data; with intervals if the extent is full. Rows of NaN where the
    model can say nothing."""
    data: AverageEffects
    """Measured effects with all cells as reference."""
    effects: PosteriorEffects | None
    """None for a model without effects in latent space."""
    scores: Scores | None = None
    """None if no held-out treatment has enough cells, or was not asked for."""
    held_out: AverageEffects | None = None
    """Effects measured in the cells of the split that `scores` is about."""
    uncertainty: Uncertainty | None = None
    check: PredictiveCheck | None = None
    interactions: Interactions | None = None
    quality: Quality | None = None
    """Of cells drawn from the model and of its basal state; None without quality labels."""
    of_good_cells: bool = False
    """Whether effects were measured on cells of good quality alone."""


class _Screen(NamedTuple):
    """Cells on which effects are measured, with rows of treatments as in the whole data."""

    data: PerturbationData
    treated: Treatments
    truth: Truth | None


def evaluate(
    fitted: Fitted,
    data: PerturbationData,
    config: EvaluationConfig | None = None,
    *,
    seed: int = 0,
    truth: Truth | None = None,
    training: TrainingEffects | None = None,
) -> Evaluation:
    """Score a model on data encoded in its vocabulary; the same seed gives the same bits.

    Args:
        fitted: the model.
        data: cells with a split; splits without cells are left out of the metrics.
        config: what to compute, and numbers of draws.
        seed: decides all draws.
        truth: of a simulation; rows in the order of the model's perturbations.
        training: what baselines learn from where the data hold no training cells, such as that of a stored run.

    Raises:
        InputError: for effects on good cells of data without quality labels, or without any good cell.
    """
    config = config or EvaluationConfig()
    key = jax.random.key(seed)
    bound_key, effect_key, latent_key = jax.random.split(key, 3)
    score_key, check_key = (jax.random.fold_in(key, place) for place in (101, 102))
    treated = treatments(data)
    predictor = Remembered.of(ModelPredictor(effect_key, fitted, config.effects), treated)
    predicted = predictor.effects(treated)
    screen = _measured_on(fitted, _Screen(data, treated, truth), config.quality)
    measured = data_effects(screen.data, screen.treated, np.arange(screen.data.n_cells), predicted.transform)
    effects = posterior_effects(latent_key, fitted)
    result = Evaluation({}, treated, predicted, measured, effects, of_good_cells=screen.data is not data)
    metrics = _bounds(bound_key, fitted, data, config.iwelbo_particles)
    metrics |= _pooled_scores(screen.data, screen.treated, predicted, measured)
    if config.extent != "published":
        result = _scored(score_key, result, predictor, screen, config, training)
    if config.extent == "full":
        result = _checked(check_key, result, fitted, data, screen, config)
    metrics |= _flat(result) | _mask_scores(effects, truth)
    return result._replace(metrics=metrics)


def _measured_on(fitted: Fitted, screen: _Screen, quality: str) -> _Screen:
    """The cells on which effects are measured."""
    if quality == "all" or (quality == "auto" and not fitted.vocabulary.artifacts):
        return screen
    if screen.data.failed is None:
        raise InputError(
            "effects on good cells need quality labels, and the cells carry none: label them (--data.quality-criteria, "
            "--data.quality-key) or measure on all cells (--evaluation.quality all)"
        )
    good = ~screen.data.is_failed
    if not good.any():
        raise InputError(f"none of {screen.data.n_cells} cells passes quality control: no effect can be measured")
    treated = replace(screen.treated, assignment=screen.treated.assignment[good])
    truth = None if screen.truth is None else screen.truth.subset(good)
    return _Screen(screen.data.subset(good), treated, truth)


def _bounds(key: jax.Array, fitted: Fitted, data: PerturbationData, n_particles: int) -> dict[str, float]:
    metrics = {}
    for split in HELD_OUT:
        cells = data.cells(split)
        if len(cells):
            bound = predictive_iwelbo(key, fitted, data, cells, n_particles)
            metrics[f"{split}/predictive_iwelbo"] = float(bound.mean(dtype=np.float64))
    return metrics


def _pooled_scores(
    data: PerturbationData, treated: Treatments, predicted: AverageEffects, measured: AverageEffects
) -> dict[str, float]:
    """`ate/<reference>/...` as the SAMS-VAE paper scores effects, treatments and genes pooled."""
    metrics: dict[str, float] = {}
    for name in SPLITS:
        cells = data.cells(name)
        if (treated.assignment[cells] >= 0).any():
            of_split = data_effects(data, treated, cells, predicted.transform)
            metrics |= _pooled(of_split, predicted, name, of_split.labels)
    metrics |= _pooled(measured, predicted, "all", measured.labels)
    tested = np.unique(treated.assignment[data.cells("test")])
    return metrics | _pooled(measured, predicted, "published", treated.labels[tested[tested >= 0]])


def _pooled(
    measured: AverageEffects, predicted: AverageEffects, reference: str, labels: np.ndarray
) -> dict[str, float]:
    """Over the treatments `labels` that the model can predict."""
    known = predicted.labels[~np.isnan(predicted.ate).any(axis=1)]
    labels = labels[np.isin(labels, known)]
    if not len(labels):
        return {}
    scores = effect_scores(measured.of(labels), predicted.of(labels))
    return {f"ate/{reference}/{name}": value for name, value in scores.items()}


def _scored(
    key: jax.Array,
    result: Evaluation,
    predictor: Remembered,
    screen: _Screen,
    config: EvaluationConfig,
    training: TrainingEffects | None,
) -> Evaluation:
    """With scores on the first held-out split in which a treatment has enough cells, if there is one."""
    data, treated, transform = screen.data, screen.treated, result.model.transform
    for split in HELD_OUT:
        cells = data.cells(split)
        n_cells = np.bincount(treated.assignment[cells][treated.assignment[cells] >= 0])
        if n_cells.max(initial=0) >= config.scoring.min_cells:
            scores = score(key, [predictor], data, treated, transform, config.scoring, split=split, training=training)
            return result._replace(scores=scores, held_out=data_effects(data, treated, cells, transform))
    return result


def _checked(
    key: jax.Array,
    result: Evaluation,
    fitted: Fitted,
    data: PerturbationData,
    screen: _Screen,
    config: EvaluationConfig,
) -> Evaluation:
    """With intervals of effects, checks on held-out cells, interactions of combinations, and the quality of cells."""
    interval_key, check_key, interaction_key = jax.random.split(key, 3)
    treated = screen.treated
    sure = uncertainty(
        interval_key, fitted, screen.data, treated, result.model, config.effects, result.effects, screen.truth
    )
    result = result._replace(uncertainty=sure, model=sure.effects)
    held_out = next((cells for cells in map(data.cells, HELD_OUT) if len(cells) > 1), None)
    if held_out is not None:
        result = result._replace(check=predictive_check(check_key, fitted, data, held_out))
    if fitted.config.composes and ((screen.data.dosage != 0).sum(axis=1) > 1).any():
        departures = interactions(
            interaction_key, fitted, screen.data, config=config.effects, n_draws=N_DRAWS, n_cells=N_CELLS
        )
        result = result._replace(interactions=departures)
    if data.failed is not None:
        report = quality_report(jax.random.fold_in(key, 1), fitted, data, config.quality_report, config.effects)
        result = result._replace(quality=report)
    return result


def _flat(result: Evaluation) -> dict[str, float]:
    """Numbers of the parts that were computed."""
    metrics: dict[str, float] = {}
    if result.scores is not None:
        metrics |= _flat_scores(result.scores)
    if result.uncertainty is not None:
        found: dict[str, Calibration] = result.uncertainty.calibrations
        metrics |= {f"coverage/{name}": calibration.at(0.9) for name, calibration in found.items()}
        if result.uncertainty.network_error is not None:
            metrics["coverage/network_error_share"] = result.uncertainty.network_error.share
    if result.quality is not None:
        metrics |= result.quality.metrics()
    if result.check is not None:
        metrics |= {f"check/{statistic.name}": statistic.inside for statistic in result.check.statistics}
    return metrics


def _flat_scores(scores: Scores) -> dict[str, float]:
    ceilings = ("half_split", scores.ceiling_mean), ("perfect", scores.perfect)
    metrics = _named("scores", scores, [*zip(scores.predictors, scores.mean, strict=True), *ceilings])
    unseen = scores.seen == NEW_PERTURBATION
    for kind, rows in (("unseen", unseen), ("trained", ~unseen)):
        if unseen.any() and rows.any():
            means = mean_of_known(scores.value[..., rows], axis=-1)
            half = "half_split", mean_of_known(scores.ceiling[:, rows], axis=-1)
            metrics |= _named(kind, scores, [*zip(scores.predictors, means, strict=True), half])
    return metrics


def _named(kind: str, scores: Scores, rows: list[tuple[str, np.ndarray]]) -> dict[str, float]:
    """Means (metric,) by predictor, flat."""
    names = [metric.name for metric in scores.metrics]
    return {
        f"{kind}/{predictor}/{name}": float(value)
        for predictor, means in rows
        for name, value in zip(names, means, strict=True)
    }


def _mask_scores(effects: PosteriorEffects | None, truth: Truth | None) -> dict[str, float]:
    if truth is None or effects is None or not effects.sparse:
        return {}
    agreement = mask_agreement(truth.mask, effects.mask)
    scores = {f"mask/{name}": getattr(agreement, name) for name in ("precision", "recall", "f1")}
    precision = mask_average_precision(truth.mask, effects.inclusion_probability, agreement)
    return scores | {"mask/average_precision": precision}
