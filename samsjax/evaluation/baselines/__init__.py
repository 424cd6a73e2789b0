"""Simple predictors that a model must beat, learned from training cells alone: the table `BASELINES`.

To add one, write `fit(training) -> rule` and a line here; a rule maps treatments to effects, with rows of NaN where it
can say nothing. What a rule may learn from is `TrainingEffects`, nothing else, so that no held-out cell can leak in.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from samsjax.errors import check_choice
from samsjax.evaluation.baselines.additive import fit_additive
from samsjax.evaluation.baselines.features import fit_feature_nearest, fit_feature_ridge
from samsjax.evaluation.baselines.linear import fit_low_rank, fit_ridge
from samsjax.evaluation.baselines.means import (
    fit_matching_mean,
    fit_no_effect,
    fit_own_training_mean,
    fit_training_mean,
)
from samsjax.evaluation.baselines.nearest import fit_nearest
from samsjax.evaluation.baselines.stored import load_training_effects, save_training_effects
from samsjax.evaluation.baselines.training import Baseline, Rule, TrainingEffects, training_effects
from samsjax.evaluation.predictors import Predictor


class BaselineEntry(NamedTuple):
    """One line of the table."""

    description: str
    """One sentence, as reports print it."""
    fit: Callable[[TrainingEffects], Rule]
    needs_features: bool = False
    """Whether it knows perturbations by their features, and has nothing to learn from where they have none."""


BASELINES: dict[str, BaselineEntry] = {
    "no_effect": BaselineEntry("predicts that nothing changes: zero effect on every gene", fit_no_effect),
    "training_mean": BaselineEntry(
        "predicts the mean effect of all training treatments for every treatment", fit_training_mean
    ),
    "own_training_mean": BaselineEntry(
        "predicts what the training cells of the same treatment show; silent without any", fit_own_training_mean
    ),
    "additive": BaselineEntry(
        "adds the effects the treatment's perturbations had alone in training, as log changes for counts; silent if "
        "one was never measured alone",
        fit_additive,
    ),
    "matching_mean": BaselineEntry(
        "averages the training treatments that share a perturbation, for each perturbation and then over them",
        fit_matching_mean,
    ),
    "nearest": BaselineEntry(
        "predicts the effect of the most similar other training treatment; silent if no perturbation is shared",
        fit_nearest,
    ),
    "ridge": BaselineEntry(
        "ridge regression of training effects on dosages, its penalty chosen by leaving treatments out", fit_ridge
    ),
    "low_rank": BaselineEntry(
        "bilinear model in the main components of training effects, placing a perturbation by the gene it targets; "
        "silent if that gene is not measured",
        fit_low_rank,
    ),
    "feature_ridge": BaselineEntry(
        "ridge regression of training effects on features of perturbations, its penalty chosen by leaving "
        "perturbations out; adds for combinations",
        fit_feature_ridge,
        needs_features=True,
    ),
    "feature_nearest": BaselineEntry(
        "predicts the effect of the other training perturbation with the nearest features; adds for combinations",
        fit_feature_nearest,
        needs_features=True,
    ),
}


def fit_baselines(training: TrainingEffects, names: Sequence[str] | None = None) -> list[Predictor]:
    """Fit baselines to what training cells show.

    Args:
        training: effects in training cells against training controls, `training_effects`.
        names: which of `BASELINES`, in this order; all by default. Those that need features are left out where
            perturbations have none.

    Raises:
        InputError: for an unknown name.
    """
    names = list(BASELINES) if names is None else names
    for name in names:
        check_choice("baseline", name, list(BASELINES))
    usable = [name for name in names if training.features is not None or not BASELINES[name].needs_features]
    return [Baseline(name, BASELINES[name].description, training, BASELINES[name].fit(training)) for name in usable]


__all__ = [
    "BASELINES",
    "Baseline",
    "BaselineEntry",
    "TrainingEffects",
    "fit_baselines",
    "load_training_effects",
    "save_training_effects",
    "training_effects",
]
