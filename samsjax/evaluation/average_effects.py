"""`AverageEffects`: mean differences to control by treatment and gene, whether measured in cells or predicted."""

from typing import NamedTuple

import numpy as np


class AverageEffects(NamedTuple):
    """Mean difference to control per treatment and gene, in the units of the named transform."""

    labels: np.ndarray
    """(treatment,)."""
    ate: np.ndarray
    """float32 (treatment, gene). A row of NaN: this predictor can say nothing about the treatment."""
    standard_error: np.ndarray
    """float32 (treatment, gene): of `ate`."""
    control_mean: np.ndarray
    """float32 (gene,): mean transformed expression of controls."""
    transform: str
    """Name in `samsjax.evaluation.transforms.TRANSFORMS`."""
    sd: np.ndarray | None = None
    """float32 (treatment, gene): posterior standard deviation of the effect; None where no posterior was computed."""
    low: np.ndarray | None = None
    """float32 (treatment, gene): lower end of the 90 % posterior interval."""
    high: np.ndarray | None = None
    """float32 (treatment, gene): upper end of the 90 % posterior interval."""

    def of(self, labels: np.ndarray) -> np.ndarray:
        """`ate` for these treatments, in their order."""
        position = {label: i for i, label in enumerate(self.labels)}
        return self.ate[[position[label] for label in labels]]
