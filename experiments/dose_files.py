"""dose_response.csv of a run: curves of perturbations that were given at several doses."""

from pathlib import Path

import jax

from samsjax import reporting
from samsjax.evaluation.dose_response import DoseResponse, dose_responses
from samsjax.evaluation.evaluate import Evaluation
from samsjax.evaluation.model_effects import EffectsConfig
from samsjax.inference.fitted import Fitted

DOSE_RESPONSE = "dose_response.csv"


def write_dose_responses(
    folder: Path, fitted: Fitted, scores: Evaluation, config: EffectsConfig, *, seed: int
) -> list[DoseResponse]:
    """Compute the curves and write them; no file for a screen without perturbations at several doses."""
    key = jax.random.fold_in(jax.random.key(seed), 4)
    found = dose_responses(key, fitted, scores.treatments, scores.model, scores.data, config)
    if found:
        reporting.dose_response_table(found).to_csv(folder / DOSE_RESPONSE, index=False)
    return found
