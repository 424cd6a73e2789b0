"""`Scores`: predictors beside each other on the same treatments and metrics, with noise ceilings and intervals."""

from typing import NamedTuple

import numpy as np

from samsjax.evaluation.ceilings import perfect_score
from samsjax.evaluation.cell_distances import CellMetric
from samsjax.evaluation.metrics import Metric


class Unscored(NamedTuple):
    """A treatment that is reported, not scored."""

    label: str
    n_cells: int
    reason: str


class Verdict(NamedTuple):
    """Whether the first predictor (the model) is better than another by one metric, on treatments both can predict."""

    predictor: str
    metric: str
    n_treatments: int
    difference: float
    """Mean over treatments of model minus other, with the sign turned so that positive is better."""
    low: float
    high: float
    """90 % bootstrap interval over cells of the difference."""

    @property
    def says(self) -> str:
        """One of "better", "worse" and "undecided"."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "undecided"


class Scores(NamedTuple):
    """Scores of predictors on the cells of one split. Arrays have axes (predictor, metric, treatment).

    NaN: the predictor cannot say anything about the treatment, or the metric is not defined there.
    """

    split: str
    """Name of the split whose cells measure the effects."""
    n_controls: int
    """Control cells of the measured side; no predictor has seen them, unless `caveats` says so."""
    transform: str
    predictors: tuple[str, ...]
    """Names; the model comes first, then the baselines."""
    predictor_descriptions: tuple[str, ...]
    metrics: tuple[Metric | CellMetric, ...]
    labels: np.ndarray
    """str (treatment,): those scored."""
    seen: np.ndarray
    """str (treatment,): "seen", "new combination", "new dose" or "new perturbation", as to the training cells;
    "unknown" if the data name no training cells."""
    n_cells: np.ndarray
    """int (treatment,): cells that measure each treatment."""
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    """90 % bootstrap interval over the measured cells."""
    ceiling: np.ndarray
    """(metric, treatment): score of one half of the measured cells against the other half, mean over random halves."""
    mean: np.ndarray
    mean_low: np.ndarray
    mean_high: np.ndarray
    """(predictor, metric): mean over the treatments where it is defined, with interval."""
    n_scored: np.ndarray
    """int (predictor, metric): treatments in that mean."""
    ceiling_mean: np.ndarray
    """(metric,)."""
    verdicts: tuple[Verdict, ...]
    unscored: tuple[Unscored, ...]
    caveats: tuple[str, ...]
    """Sentences that a reader of the scores must know, in plain words."""

    @property
    def perfect(self) -> np.ndarray:
        """(metric,): expected mean score of the true effects against those measured (`ceilings`); NaN if unknown."""
        halves = zip(self.metrics, self.ceiling_mean, strict=True)
        return np.array([perfect_score(metric.name, float(half)) for metric, half in halves])
