"""What refits say of a run: by how much intervals of effects in latent space are widened, and where that is kept."""

import json
import warnings
from pathlib import Path

from experiments.fit_command import FitCommand
from samsjax.data import PerturbationData, Truth
from samsjax.errors import InputError
from samsjax.evaluation.calibration import coverage_of_true_effects
from samsjax.evaluation.evaluate import Evaluation
from samsjax.evaluation.tempering import tempering
from samsjax.inference.fitted import Fitted
from samsjax.inference.training import DivergenceError

TEMPERED = "true effects, latent space, tempered"
"""Coverage by intervals that refits widened."""
FACTOR = "tempering/factor"
"""The metric that keeps by how much."""


def tempered(
    command: FitCommand, fitted: Fitted, data: PerturbationData, truth: Truth | None, scores: Evaluation
) -> Evaluation:
    """With effects in latent space widened as refits ask; as they are, with a warning, if refits cannot tell."""
    assert scores.effects is not None  # checked by `check_command`
    try:
        found = tempering(fitted, data, command.train, seed=command.seed, n_refits=command.refits, progress=True)
    except (InputError, DivergenceError) as error:
        warnings.warn(f"intervals of effects in latent space are not widened: {error}", stacklevel=2)
        return scores
    effects, of_truth = scores.effects.tempered(found.factor), scores.uncertainty
    metrics = scores.metrics | {FACTOR: found.factor, "tempering/effects": float(found.n_values)}
    if truth is not None and truth.effect.shape[0] == effects.mean.shape[0]:
        coverage = coverage_of_true_effects(truth.mask, truth.effect, effects)
        metrics[f"coverage/{TEMPERED}"] = coverage.at(0.9)
        if of_truth is not None:
            of_truth = of_truth._replace(calibrations=of_truth.calibrations | {TEMPERED: coverage})
    return scores._replace(effects=effects, metrics=metrics, uncertainty=of_truth)


def widened_as(run_folder: Path, scores: Evaluation) -> Evaluation:
    """With effects in latent space as wide as refits of the run asked (`experiments.fit --refits`)."""
    path = run_folder / "metrics.json"
    factor = json.loads(path.read_text()).get(FACTOR) if path.is_file() else None
    if factor is None or scores.effects is None:
        return scores
    return scores._replace(effects=scores.effects.tempered(factor))
