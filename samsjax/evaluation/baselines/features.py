"""Baselines that know perturbations by their features alone: what must a model of features beat?

They say something of perturbations that no training cell carries, unlike `ridge` and `nearest`, which know
perturbations by name and need training cells of theirs. Nothing in them is a perturbation's own: of one that trained
they say what its features say, as of any other. An effect of a perturbation is scaled by its dose, and those of a
combination are added, in the scale of the scores.
"""

import numpy as np

from samsjax.evaluation.baselines.training import Condition, Predicted, Rule, TrainingEffects, multi_hot
from samsjax.evaluation.ridge import Ridge

PENALTIES = 10.0 ** np.arange(-3.0, 5.5, 0.5)
"""Candidates of the ridge, in units of one treatment with the mean number of cells."""


def fit_feature_ridge(training: TrainingEffects) -> Rule:
    """Weighted ridge regression of training effects on features, with an intercept that is not shrunk.

    An effect is the sum over the treatment's perturbations of dose times (intercept + features . coefficients), with
    features standardised over the training perturbations. Treatments count by their number of training cells. One
    penalty for all genes is that of `PENALTIES` with the smallest weighted squared error when each perturbation in turn
    is left out with all treatments that carry it: it is others that must tell about it.
    """
    features = standardised(training)
    design = multi_hot(training.conditions, len(features))
    root = np.sqrt(training.n_cells / training.n_cells.mean())[:, None]
    ridge = Ridge.of(
        root * (design @ features),
        root * training.effect,
        PENALTIES,
        constant=root * (design @ np.ones((len(features), 1))),
        groups=_carrying(training),
    )
    return _adding(ridge.at(features))


def fit_feature_nearest(training: TrainingEffects) -> Rule:
    """The training effect of the other perturbation with the nearest features, among those measured alone in training.

    Features are standardised over the training perturbations and distances Euclidean; of equal ones the first in the
    data counts. The effect is that at the dose nearest to 1 (of two, the smaller), scaled to dose 1. NaN if no other
    perturbation was measured alone.
    """
    features = standardised(training)
    alone = _alone(training)
    names = np.array(sorted(alone), dtype=int)
    effects = np.array([alone[name] for name in names.tolist()]).reshape(len(names), training.effect.shape[1])
    told = np.full((len(features), effects.shape[1]), np.nan)
    for perturbation, row in enumerate(features):
        distance = np.where(names == perturbation, np.inf, ((features[names] - row) ** 2).sum(axis=1))
        if np.isfinite(distance).any():
            told[perturbation] = effects[distance.argmin()]
    return _adding(told)


def standardised(training: TrainingEffects) -> np.ndarray:
    """Features of all perturbations, float64 (perturbation, feature), mean 0 and deviation 1 over those that train.

    A feature that is the same for all that train tells nothing of effects, and is 0 for every perturbation.
    """
    assert training.features is not None
    trained = np.unique([part for condition in training.conditions for part, _ in condition])
    known = training.features[trained]
    varies = (known != known[:1]).any(axis=0)
    scale = np.where(varies, known.std(axis=0), 1.0)
    return np.where(varies, (training.features - known.mean(axis=0)) / scale, 0.0)


def _carrying(training: TrainingEffects) -> list[np.ndarray]:
    """Rows of the treatments that carry each training perturbation; none for one that all of them carry."""
    rows: dict[int, list[int]] = {}
    for row, condition in enumerate(training.conditions):
        for part, _ in condition:
            rows.setdefault(part, []).append(row)
    return [np.array(group) for group in rows.values() if len(group) < len(training.conditions)]


def _alone(training: TrainingEffects) -> dict[int, np.ndarray]:
    """Effect at dose 1 of each perturbation that was measured alone, (gene,)."""
    measured: dict[int, tuple[float, int]] = {}
    for row, condition in enumerate(training.conditions):
        if len(condition) == 1:
            part, dose = condition[0]
            known = measured.get(part, (np.inf, -1))
            measured[part] = min(known, (dose, row), key=lambda entry: (abs(entry[0] - 1), entry[0]))
    return {part: training.effect[row] / dose for part, (dose, row) in measured.items()}


def _adding(of_perturbation: np.ndarray) -> Rule:
    """Sums over a treatment's perturbations of dose times effect (perturbation, gene)."""

    def rule(conditions: list[Condition]) -> Predicted:
        return Predicted(multi_hot(conditions, len(of_perturbation)) @ of_perturbation)

    return rule
