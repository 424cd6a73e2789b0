"""The baseline for combinations: the sum of the effects of the parts."""

import numpy as np

from samsjax.evaluation.baselines.training import Condition, Predicted, Rule, TrainingEffects


def fit_additive(training: TrainingEffects) -> Rule:
    """Add the effects that a treatment's perturbations had alone; NaN if one was never measured alone.

    Effects on counts multiply, so they are added as logarithms: in the scale "log2_cp10k" as they are, in the linear
    scales of counts as differences of log2(1 + mean), and the sum is turned back. Continuous values are added as they
    are. A dose that was not measured alone is the nearest one that was (of two, the smaller), scaled in proportion.

    Source: the additive baseline of Ahlmann-Eltze, Huber & Anders (Nature Methods 2025). Differs: doses; linear scales.
    """
    alone: dict[int, list[tuple[float, int]]] = {}
    for row, condition in enumerate(training.conditions):
        if len(condition) == 1:
            alone.setdefault(condition[0][0], []).append((condition[0][1], row))
    base = 1.0 + training.control_mean if _multiplies(training) else None
    effect = training.effect if base is None else np.log2(base + training.effect) - np.log2(base)

    def of_part(part: int, dose: float) -> np.ndarray:
        if part not in alone:
            return np.full(effect.shape[1], np.nan)
        measured, row = min(alone[part], key=lambda entry: (abs(entry[0] - dose), entry[0]))
        return dose / measured * effect[row]

    def rule(conditions: list[Condition]) -> Predicted:
        total = np.zeros((len(conditions), effect.shape[1]))
        for row, condition in enumerate(conditions):
            for part, dose in condition:
                total[row] += of_part(part, dose)
        return Predicted(total if base is None else base * np.exp2(total) - base)

    return rule


def _multiplies(training: TrainingEffects) -> bool:
    """Whether effects are differences of mean counts, on which single effects act as factors."""
    return training.whole_counts and training.transform != "log2_cp10k"
