"""Of which perturbations a fitted model can say something."""

import numpy as np

from samsjax.inference.fitted import Fitted


def known_perturbations(fitted: Fitted) -> np.ndarray:
    """Bool (perturbation,): those with training cells; all, in a model that knows perturbations by their features."""
    return (fitted.n_training_cells > 0) | fitted.config.uses_features


def known_treatments(
    fitted: Fitted, perturbation_index: np.ndarray, dosage: np.ndarray, *, untrained: bool = False
) -> np.ndarray:
    """Which treatments a model can predict, bool (treatment,); always the control.

    Args:
        fitted: the model.
        perturbation_index: int (treatment, slot).
        dosage: (treatment, slot), 0 for empty slots.
        untrained: take draws from the prior for knowledge, as `EffectsConfig.untrained`.
    """
    used = dosage != 0
    learned = known_perturbations(fitted)[perturbation_index] | ~used | untrained
    return learned.all(axis=1) & (fitted.config.composes | (used.sum(axis=1) <= 1))
