"""Predicted contexts beside measured ones: every metric with an interval, in one table by predictor and group.

Metrics are means over contexts, intervals a bootstrap over contexts: what other contexts of the same kind would give.
Errors of means and of spreads are relative to the predictor that says nothing changes, sums over contexts divided by
sums over contexts, so that contexts without effect do not decide.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from samsjax.errors import InputError, check_range
from samsjax.evaluation.interventions.distances import cell_distances
from samsjax.evaluation.interventions.prediction import LEVELS, Prediction, covered, possible_means
from samsjax.evaluation.interventions.targets import TargetAgreement, target_agreement

COVERAGE = 0.9
"""Of the intervals over contexts."""


class MetricOfContexts(NamedTuple):
    """One line of the table of metrics."""

    description: str
    best: float
    """Value of a perfect prediction; for coverage the nominal level, NaN where it is not known."""


METRICS: dict[str, MetricOfContexts] = {
    "mean_error": MetricOfContexts("distance of predicted from measured mean, relative to predicting no effect", 0.0),
    "sd_error": MetricOfContexts(
        "distance of predicted from measured standard deviations, relative to predicting those of the control", 0.0
    ),
    "energy": MetricOfContexts("energy distance of predicted and measured cells", 0.0),
    "mmd": MetricOfContexts("squared maximum mean discrepancy, mean over six Gaussian kernels", 0.0),
    "mmd_median": MetricOfContexts("squared maximum mean discrepancy at the median distance", 0.0),
    "wasserstein2": MetricOfContexts("root mean squared distance under the best assignment of cells", 0.0),
    "wasserstein1": MetricOfContexts("mean over variables of the distance of sorted values", 0.0),
    "nll": MetricOfContexts("minus log density of measured cells, nats per cell and variable", float("nan")),
    **{
        f"coverage_{round(100 * level)}": MetricOfContexts(
            f"share of measured means inside the {level:.0%} predictive interval", level
        )
        for level in LEVELS
    },
}
"""By name."""


class ContextScores(NamedTuple):
    """Metrics of every context: a value is the sum of numerators divided by the sum of denominators."""

    numerator: dict[str, np.ndarray]
    """(context,) by metric."""
    denominator: dict[str, np.ndarray]
    """(context,) by metric: 1 for plain means."""


class Score(NamedTuple):
    """One entry of the table."""

    value: float
    low: float
    """Ends of the interval of `COVERAGE` over contexts; NaN for fewer than two contexts."""
    high: float


class InterventionScores(NamedTuple):
    """Everything that is said of predictors on groups of contexts."""

    scores: dict[tuple[str, str], dict[str, Score]]
    """Metrics by (predictor, group)."""
    targets: dict[tuple[str, str], TargetAgreement]
    """By (predictor, group), for predictors that know targets, where the true ones are known."""

    def rows(self) -> list[dict[str, Any]]:
        """One row per predictor, group and metric, for CSV."""
        found = [
            {"predictor": predictor, "group": group, "metric": metric, **score._asdict()}
            for (predictor, group), metrics in self.scores.items()
            for metric, score in metrics.items()
        ]
        nan = float("nan")
        return found + [
            {
                "predictor": predictor,
                "group": group,
                "metric": f"target_{name}",
                "value": value,
                "low": nan,
                "high": nan,
            }
            for (predictor, group), agreement in self.targets.items()
            for name, value in agreement._asdict().items()
        ]


def score_contexts(
    measured: Sequence[np.ndarray], predictions: Sequence[Prediction], control: np.ndarray
) -> ContextScores:
    """All metrics of contexts.

    Args:
        measured: cells of each context, (cell, variable).
        predictions: of the same contexts, with as many drawn cells.
        control: training controls, (cell, variable).

    Raises:
        InputError: for another number of predictions than contexts.
    """
    if len(measured) != len(predictions) or not measured:
        raise InputError(f"{len(predictions)} predictions for {len(measured)} contexts")
    numerators: dict[str, list[float]] = {}
    denominators: dict[str, list[float]] = {}
    for cells, prediction in zip(measured, predictions, strict=True):
        for name, (top, bottom) in _metrics_of(cells, prediction, control).items():
            numerators.setdefault(name, []).append(top)
            denominators.setdefault(name, []).append(bottom)
    return ContextScores(*({name: np.array(v) for name, v in part.items()} for part in (numerators, denominators)))


def _metrics_of(cells: np.ndarray, prediction: Prediction, control: np.ndarray) -> dict[str, tuple[float, float]]:
    """Numerator and denominator of each metric of one context."""
    mean, spread = cells.mean(axis=0), cells.std(axis=0, ddof=1)
    found = {
        "mean_error": (_norm(mean - prediction.mean), _norm(mean - control.mean(axis=0))),
        "sd_error": (_norm(spread - prediction.sd), _norm(spread - control.std(axis=0, ddof=1))),
    }
    distances = cell_distances(cells, prediction.cells[: len(cells)])._asdict()
    found |= {name: (value, 1.0) for name, value in distances.items()}
    if prediction.log_likelihood is not None:
        found["nll"] = (-prediction.log_likelihood(cells) / cells.size, 1.0)
    inside = covered(prediction, mean, len(cells)).mean(axis=1)
    coverage = {f"coverage_{round(100 * level)}": float(v) for level, v in zip(LEVELS, inside, strict=True)}
    return found | {name: (value, 1.0) for name, value in coverage.items()}


def summarise(scores: ContextScores, *, seed: int, n_bootstrap: int = 1000) -> dict[str, Score]:
    """Values with percentile intervals of a bootstrap over contexts, by metric.

    Args:
        scores: of contexts.
        seed: of the bootstrap; the same contexts are drawn for all metrics.
        n_bootstrap: replicates.
    """
    check_range("n_bootstrap", n_bootstrap, low=10)
    n = len(next(iter(scores.numerator.values())))
    draws = np.random.default_rng(seed).integers(n, size=(n_bootstrap, n))
    found = {}
    for name, top in scores.numerator.items():
        bottom = scores.denominator[name]
        replicates = top[draws].sum(axis=1) / bottom[draws].sum(axis=1)
        tail = (1 - COVERAGE) / 2
        low, high = np.quantile(replicates, (tail, 1 - tail)) if n > 1 else (np.nan, np.nan)
        found[name] = Score(float(top.sum() / bottom.sum()), float(low), float(high))
    return found


def score_table(
    groups: Mapping[str, Sequence[np.ndarray]],
    predictions: Mapping[tuple[str, str], Sequence[Prediction]],
    control: np.ndarray,
    *,
    targets: Mapping[str, np.ndarray] | None = None,
    seed: int,
    n_bootstrap: int = 1000,
) -> InterventionScores:
    """The table of all predictors on all groups of contexts.

    Args:
        groups: measured cells of the contexts of each group.
        predictions: by (predictor, group), of the same contexts in the same order.
        control: training controls.
        targets: true ones, bool (context, variable) by group; None where they are not known.
        seed: of the bootstrap.
        n_bootstrap: replicates.
    """
    scores, agreements = {}, {}
    for (predictor, group), predicted in predictions.items():
        found = score_contexts(groups[group], predicted, control)
        scores[predictor, group] = summarise(found, seed=seed, n_bootstrap=n_bootstrap)
        guesses = [p.target_scores for p in predicted if p.target_scores is not None]
        if targets is not None and len(guesses) == len(predicted):
            agreements[predictor, group] = target_agreement(targets[group], np.array(guesses))
    return InterventionScores(scores, agreements)


def noise_floor(measured: Sequence[np.ndarray], seed: int) -> tuple[list[np.ndarray], list[Prediction]]:
    """Half of the cells of each context as measured, the other half as its prediction.

    What no predictor can be expected to beat, but from half as many cells: distances that do not vanish between samples
    of one distribution (Wasserstein's) are larger than between all of them.
    """
    rng = np.random.default_rng(seed)
    halves, predictions = [], []
    for cells in measured:
        order, n = rng.permutation(len(cells)), len(cells) // 2
        other = cells[order[n : 2 * n]]
        halves.append(cells[order[:n]])
        mean, sd = other.mean(axis=0), other.std(axis=0, ddof=1)
        means = possible_means(mean, sd / np.sqrt(n))
        predictions.append(Prediction(other, means, np.broadcast_to(sd, means.shape)))
    return halves, predictions


def marginal_scores(measured: Sequence[np.ndarray], control: np.ndarray) -> np.ndarray:
    """Target scores without causality: the size of the shift of each mean from the control's, (context, variable).

    In standard deviations of the control.
    """
    shift = np.array([cells.mean(axis=0) for cells in measured]) - control.mean(axis=0)
    return np.abs(shift) / control.std(axis=0, ddof=1)


def _norm(values: np.ndarray) -> float:
    return float(np.linalg.norm(values))
