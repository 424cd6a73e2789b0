"""`score`: models and baselines beside each other on held-out cells, with ceilings, intervals and verdicts."""

from collections.abc import Iterator, Sequence
from itertools import chain

import jax
import numpy as np

from samsjax.data.dataset import PerturbationData, check_unique
from samsjax.data.encoding import Treatments
from samsjax.errors import InputError
from samsjax.evaluation.baselines import TrainingEffects, fit_baselines, training_effects
from samsjax.evaluation.cell_distances import CELL_METRICS, CellMetric
from samsjax.evaluation.differential_expression import differentially_expressed
from samsjax.evaluation.metrics import METRICS, Metric
from samsjax.evaluation.noise import (
    bootstrap_effects,
    bootstrap_weights,
    half_effects,
    half_weights,
    measured_effects,
)
from samsjax.evaluation.predictors import Predictor
from samsjax.evaluation.scores import Scores, Verdict
from samsjax.evaluation.scoring.cell_scores import cell_scores
from samsjax.evaluation.scoring.comparisons import (
    Comparisons,
    Prediction,
    comparisons,
    evaluate_runs,
    half_against_half,
    predict,
)
from samsjax.evaluation.scoring.config import ScoringConfig
from samsjax.evaluation.scoring.intervals import DRAWS_PER_CELL, interval, mean_of_known
from samsjax.evaluation.scoring.measured import Measurement, measure


def score(
    key: jax.Array,
    predictors: Sequence[Predictor],
    data: PerturbationData,
    treated: Treatments,
    transform: str = "log2_cp10k",
    config: ScoringConfig | None = None,
    *,
    split: str = "test",
    training: TrainingEffects | None = None,
) -> Scores:
    """Score predictors, and baselines fitted to the training cells, against effects measured on held-out cells.

    No control cell is on both sides, see `measure`. Every treatment with enough cells is scored by every metric. A
    bootstrap over the measured cells, the same for all predictors, gives intervals; predictions stay what they are, so
    intervals say nothing about other training cells or other fits. Ceilings are scores of one random half of the
    measured cells as a prediction of the other: what an experiment with half the cells would have reached. A predictor
    with less noise than that may be above.

    Args:
        key: decides all draws.
        predictors: the first is the model that verdicts are about.
        data: cells with a split, in the vocabulary of the predictors.
        treated: its treatments, `samsjax.data.treatments(data)`.
        transform: scale of the effects; predictors must state theirs in it.
        config: metrics, baselines, numbers of draws.
        split: "test" or "val", whose cells measure the effects.
        training: what baselines learn from where the data name no training cells, such as that of a stored run.

    Raises:
        InputError: for no predictor, equal names, effects in another scale than `transform`, a split without a
            treatment of enough cells, or data without control cells.
    """
    config = config or ScoringConfig()
    halves_key, weights_key, divide_key, cells_key = jax.random.split(key, 4)
    measurement = measure(halves_key, data, treated, split, transform, config.min_cells, training)
    everyone = _with_baselines(predictors, data, treated, measurement, transform, config, training)
    weights = bootstrap_weights(weights_key, measurement.cells, config.n_bootstrap, DRAWS_PER_CELL)
    halves = half_weights(divide_key, measurement.cells, config.n_halves)
    predictions, plan = _predictions(everyone, data, treated, measurement, transform)
    values = _effect_values(predictions, plan, measurement, weights, config)
    ceiling = _ceilings(measurement, halves, config)
    metrics: tuple[Metric | CellMetric, ...] = tuple(METRICS[name] for name in config.metrics)
    if config.cell_metrics:
        drawn = cell_scores(cells_key, everyone, measurement, weights, halves, config)
        metrics = (*metrics, *CELL_METRICS.values())
        by_run = [np.where(run.among, drawn.values[:, run.predictor], np.nan) for run in plan.runs]
        values = np.concatenate([values, np.stack(by_run, axis=1)], axis=2)
        ceiling = np.concatenate([ceiling, drawn.ceiling], axis=1)
    return _summary(measurement, everyone, metrics, plan, values, mean_of_known(ceiling, axis=0), transform)


def _with_baselines(
    predictors: Sequence[Predictor],
    data: PerturbationData,
    treated: Treatments,
    measurement: Measurement,
    transform: str,
    config: ScoringConfig,
    training: TrainingEffects | None,
) -> list[Predictor]:
    if not predictors:
        raise InputError("no predictor to score: give at least one, such as a ModelPredictor")
    if len(measurement.training_cells):
        training = training_effects(data, treated, transform, measurement.training_cells)
    elif training is not None and training.transform != transform:
        raise InputError(f"training effects are in {training.transform!r}, scores are in {transform!r}")
    baselines = [] if training is None else fit_baselines(training, config.baselines)
    everyone = [*predictors, *baselines]
    check_unique("predictor names", np.array([predictor.name for predictor in everyone]))
    return everyone


def _predictions(
    everyone: Sequence[Predictor],
    data: PerturbationData,
    treated: Treatments,
    measurement: Measurement,
    transform: str,
) -> tuple[list[Prediction], Comparisons]:
    trained = np.unique(treated.assignment[data.cells("train")])
    asked = (treated, measurement.rows, trained[trained >= 0], transform)
    predictions = [predict(predictor, *asked) for predictor in everyone]
    return predictions, comparisons(predictions)


def _effect_values(
    predictions: Sequence[Prediction],
    plan: Comparisons,
    measurement: Measurement,
    weights: np.ndarray,
    config: ScoringConfig,
) -> np.ndarray:
    """(1 + replicate, run, metric, treatment): of all cells, then of the replicates.

    Which genes are significant is decided once, on all cells: replicates have too much noise to decide it anew.
    """
    metrics = [METRICS[name] for name in config.metrics]
    measured = measured_effects(measurement.cells)
    assert measured.standard_error is not None
    significant = differentially_expressed(measured.effect, measured.standard_error, config.significance_level)
    values = np.empty((1 + len(weights), len(plan.runs), len(metrics), len(significant)))
    for place, effects in enumerate(chain([measured], bootstrap_effects(measurement.cells, weights))):
        values[place] = evaluate_runs(metrics, plan.runs, predictions, effects, significant)
    return values


def _ceilings(measurement: Measurement, halves: np.ndarray, config: ScoringConfig) -> np.ndarray:
    """(half, metric, treatment)."""
    metrics, level = [METRICS[name] for name in config.metrics], config.significance_level
    pairs = half_effects(measurement.cells, halves)
    return np.stack([half_against_half(metrics, first, second, level) for first, second in pairs])


def _summary(
    measurement: Measurement,
    everyone: Sequence[Predictor],
    metrics: tuple[Metric | CellMetric, ...],
    plan: Comparisons,
    values: np.ndarray,
    ceiling: np.ndarray,
    transform: str,
) -> Scores:
    own = values[:, plan.own]
    bounds = np.array([metric.bounds for metric in metrics]).T
    low, high = interval(own[0], own[1:], (bounds[0][:, None], bounds[1][:, None]))
    means = _mean_over_treatments(own)
    mean_low, mean_high = interval(means[0], means[1:], (bounds[0], bounds[1]))
    n_silent = int((~plan.runs[plan.own[0]].among).sum())
    silent = f"{everyone[0].name} says nothing about {n_silent} of {own.shape[-1]} scored treatments."
    return Scores(
        split=measurement.split,
        n_controls=measurement.n_controls,
        transform=transform,
        predictors=tuple(predictor.name for predictor in everyone),
        predictor_descriptions=tuple(predictor.description for predictor in everyone),
        metrics=metrics,
        labels=measurement.treated.labels,
        seen=measurement.seen,
        n_cells=measurement.cells.sizes[:-1],
        value=own[0],
        low=low,
        high=high,
        ceiling=ceiling,
        mean=means[0],
        mean_low=mean_low,
        mean_high=mean_high,
        n_scored=(~np.isnan(own[0])).sum(axis=-1),
        ceiling_mean=mean_of_known(ceiling, axis=-1),
        verdicts=tuple(_verdicts([predictor.name for predictor in everyone], metrics, plan, values)),
        unscored=measurement.unscored,
        caveats=(*measurement.caveats, *([silent] if n_silent else [])),
    )


def _verdicts(
    names: Sequence[str], metrics: Sequence[Metric | CellMetric], plan: Comparisons, values: np.ndarray
) -> Iterator[Verdict]:
    """The first predictor against each other one, metric by metric, on the same replicates of the cells."""
    sign = np.array([1.0 if metric.higher_is_better else -1.0 for metric in metrics])[:, None]
    for name, (first, other) in zip(names[1:], plan.pairs, strict=True):
        better_by = sign * (values[:, first] - values[:, other])
        means = _mean_over_treatments(better_by)
        low, high = interval(means[0], means[1:], (np.array(-np.inf), np.array(np.inf)))
        n_treatments = (~np.isnan(better_by[0])).sum(axis=-1)
        for m, metric in enumerate(metrics):
            numbers = float(means[0, m]), float(low[m]), float(high[m])
            yield Verdict(name, metric.name, int(n_treatments[m]), *numbers)


def _mean_over_treatments(values: np.ndarray) -> np.ndarray:
    """Means (1 + replicate, ...) over the treatments whose first value, that of all cells, is defined."""
    return mean_of_known(np.where(np.isnan(values[0]), np.nan, values), axis=-1)
