"""Effect metrics of many predictors against one measured side: made once, then evaluated on every replicate."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from samsjax.data.encoding import Treatments
from samsjax.errors import InputError
from samsjax.evaluation.differential_expression import differentially_expressed
from samsjax.evaluation.metrics import Metric, Sides
from samsjax.evaluation.noise import MeasuredEffects
from samsjax.evaluation.predictors import Predictor
from samsjax.evaluation.scoring.intervals import mean_of_known


class Prediction(NamedTuple):
    """What one predictor says; it is the same for all replicates."""

    effect: np.ndarray
    """float64 (treatment, gene); rows of NaN where it says nothing."""
    control_mean: np.ndarray
    """float64 (gene,)."""
    centroid: np.ndarray
    """float64 (gene,): mean of its effects over the training treatments it can predict."""

    @property
    def known(self) -> np.ndarray:
        """Bool (treatment,): what it can predict."""
        return ~np.isnan(self.effect).any(axis=1)


class Run(NamedTuple):
    """One predictor on some of the treatments."""

    predictor: int
    """Its number."""
    among: np.ndarray
    """Bool (treatment,)."""


class Comparisons(NamedTuple):
    """Which predictor is evaluated on which treatments.

    Metrics may rank a treatment among all those compared, so a model and a baseline that can predict fewer treatments
    are compared in runs over the treatments that both can predict.
    """

    runs: tuple[Run, ...]
    own: tuple[int, ...]
    """Number of the run of each predictor on all it can predict."""
    pairs: tuple[tuple[int, int], ...]
    """Numbers of the runs of the first predictor and of each other one, on what both can predict."""


def predict(
    predictor: Predictor, treated: Treatments, rows: np.ndarray, training_rows: np.ndarray, transform: str
) -> Prediction:
    """Ask one predictor for all treatments it is needed on, once.

    Args:
        predictor: model or baseline.
        treated: all treatments of the data.
        rows: rows of the scored treatments.
        training_rows: rows of those with training cells; where there are none, the scored ones take their place.
        transform: scale that the effects must have.

    Raises:
        InputError: for effects in another scale.
    """
    asked = np.union1d(rows, training_rows)
    found = predictor.effects(
        Treatments(
            treated.labels[asked], treated.perturbation_index[asked], treated.dosage[asked], np.zeros(0, dtype=int)
        )
    )
    if found.transform != transform:
        raise InputError(
            f"predictor {predictor.name!r} states effects in {found.transform!r}, scores are in {transform!r}"
        )
    effect = found.ate.astype(np.float64)
    centroid_rows = training_rows if len(training_rows) else rows
    return Prediction(
        effect=effect[np.searchsorted(asked, rows)],
        control_mean=found.control_mean.astype(np.float64),
        centroid=mean_of_known(effect[np.searchsorted(asked, centroid_rows)], axis=0),
    )


def comparisons(predictions: Sequence[Prediction]) -> Comparisons:
    """Plan the runs; equal ones are made once."""
    runs: list[Run] = []
    place: dict[tuple[int, bytes], int] = {}

    def run(predictor: int, among: np.ndarray) -> int:
        key = predictor, among.tobytes()
        if key not in place:
            place[key] = len(runs)
            runs.append(Run(predictor, among))
        return place[key]

    known = [prediction.known for prediction in predictions]
    own = tuple(run(p, among) for p, among in enumerate(known))
    pairs = tuple((run(0, known[0] & among), run(p, known[0] & among)) for p, among in enumerate(known) if p > 0)
    return Comparisons(tuple(runs), own, pairs)


def evaluate_runs(
    metrics: Sequence[Metric],
    runs: Sequence[Run],
    predictions: Sequence[Prediction],
    measured: MeasuredEffects,
    significant: np.ndarray,
) -> np.ndarray:
    """Values (run, metric, treatment); NaN outside a run."""
    values = np.full((len(runs), len(metrics), len(measured.effect)), np.nan)
    centroid = measured.effect.mean(axis=0)
    for number, (predictor, among) in enumerate(runs):
        prediction = predictions[predictor]
        if not among.any():
            continue
        sides = Sides(
            measured=measured.effect[among],
            predicted=prediction.effect[among],
            measured_control=measured.control_mean,
            predicted_control=prediction.control_mean,
            measured_centroid=centroid,
            predicted_centroid=prediction.centroid,
            significant=significant[among],
        )
        for m, metric in enumerate(metrics):
            values[number, m, among] = metric.function(sides)
    return values


def half_against_half(
    metrics: Sequence[Metric], first: MeasuredEffects, second: MeasuredEffects, level: float
) -> np.ndarray:
    """Values (metric, treatment) of the second half of the cells as a prediction of the first.

    Significant genes are those of the first half: chosen on all cells, they would favour genes in which both agree.
    """
    assert first.standard_error is not None
    prediction = Prediction(second.effect, second.control_mean, second.effect.mean(axis=0))
    everything = Run(0, np.ones(len(first.effect), dtype=bool))
    significant = differentially_expressed(first.effect, first.standard_error, level)
    return evaluate_runs(metrics, [everything], [prediction], first, significant)[0]
