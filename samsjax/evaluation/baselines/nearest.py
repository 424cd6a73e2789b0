"""The baseline that answers with another treatment: how much of a score is resemblance?"""

import numpy as np

from samsjax.evaluation.baselines.training import Condition, Predicted, Rule, TrainingEffects, components


def fit_nearest(training: TrainingEffects) -> Rule:
    """The training effect of the nearest other treatment; NaN where none is near.

    - A treatment without training cells: the treatment with the largest Jaccard similarity of perturbations. Ties: the
      smallest sum of differences of dose over shared perturbations, then the most cells, then the label. None is near
      if no training treatment shares a perturbation.
    - A treatment with training cells: the other one whose training effect correlates most with its own.
    """
    places = training.places()
    rows: dict[int, list[int]] = {}
    for row, condition in enumerate(training.conditions):
        for part in components(condition):
            rows.setdefault(part, []).append(row)
    directions = _directions(training.effect)

    def neighbour(condition: Condition) -> int | None:
        if condition in places:
            return _most_correlated(directions, places[condition])
        sharing = sorted({row for part in components(condition) for row in rows.get(part, [])})
        return min(sharing, key=lambda row: _distance(condition, training, row), default=None)

    def rule(conditions: list[Condition]) -> Predicted:
        effect = np.full((len(conditions), training.effect.shape[1]), np.nan)
        for row, condition in enumerate(conditions):
            found = neighbour(condition)
            if found is not None:
                effect[row] = training.effect[found]
        return Predicted(effect)

    return rule


def _distance(condition: Condition, training: TrainingEffects, row: int) -> tuple[float, float, int, str]:
    """Sorts treatments by nearness to `condition`; the smallest is the nearest."""
    doses, others = dict(condition), dict(training.conditions[row])
    shared = doses.keys() & others.keys()
    jaccard = len(shared) / len(doses.keys() | others.keys())
    apart = sum(abs(doses[part] - others[part]) for part in sorted(shared))
    return -jaccard, apart, -int(training.n_cells[row]), str(training.labels[row])


def _directions(effect: np.ndarray) -> np.ndarray:
    """Effects centred over genes with length 1, so that products are correlations; NaN for a constant effect."""
    centred = effect - effect.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.where(length > 0, length, np.nan)


def _most_correlated(directions: np.ndarray, row: int) -> int | None:
    correlation = directions @ directions[row]
    correlation[row] = np.nan
    return None if np.isnan(correlation).all() else int(np.nanargmax(correlation))
