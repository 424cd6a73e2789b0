"""Baselines that say the same of many treatments: nothing happens, the mean effect, a treatment's own past effect."""

import numpy as np

from samsjax.evaluation.baselines.training import Condition, Predicted, Rule, TrainingEffects, components


def fit_no_effect(training: TrainingEffects) -> Rule:
    """Zero for every treatment and gene: treated cells look like controls."""
    return lambda conditions: Predicted(np.zeros((len(conditions), len(training.control_mean))))


def fit_training_mean(training: TrainingEffects) -> Rule:
    """The mean effect of the training treatments, each counted once, for every treatment."""
    mean = training.mean_effect()
    return lambda conditions: Predicted(np.tile(mean, (len(conditions), 1)))


def fit_own_training_mean(training: TrainingEffects) -> Rule:
    """The effect of the same treatment in the training cells; NaN for a treatment without any.

    Its standard error is that of the training effect.
    """
    places = training.places()

    def rule(conditions: list[Condition]) -> Predicted:
        effect = np.full((len(conditions), len(training.control_mean)), np.nan)
        error = effect.copy()
        for row, condition in enumerate(conditions):
            if condition in places:
                effect[row] = training.effect[places[condition]]
                error[row] = training.standard_error[places[condition]]
        return Predicted(effect, error)

    return rule


def fit_matching_mean(training: TrainingEffects) -> Rule:
    """For each perturbation of a treatment the mean effect of the training treatments with it; then the mean of these.

    Doses play no part. A perturbation that no training treatment has counts as the mean of all training treatments. A
    treatment with training cells is among its own matches.

    Source: the matching mean of Systema (Nature Biotechnology 2025). Differs: effects against control take the place
    of mean profiles, which is the same up to the control mean.
    """
    rows: dict[int, list[int]] = {}
    for row, condition in enumerate(training.conditions):
        for part in components(condition):
            rows.setdefault(part, []).append(row)
    everything = training.mean_effect()
    of_part = {part: training.effect[matches].mean(axis=0) for part, matches in rows.items()}

    def one(condition: Condition) -> np.ndarray:
        return np.mean([of_part.get(part, everything) for part in sorted(components(condition))], axis=0)

    return lambda conditions: Predicted(_stacked([one(condition) for condition in conditions], len(everything)))


def _stacked(rows: list[np.ndarray], n_genes: int) -> np.ndarray:
    return np.reshape(rows, (len(rows), n_genes))
