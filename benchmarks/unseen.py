"""What features of perturbations are worth: effects of perturbations that no training cell carries, against the truth.

    python -m benchmarks unseen

On the built-in simulation with features, a quarter of whose perturbations is held out. Errors are relative: 1 is that
of predicting no effect. Beside SAMS-VAE with a prior from features stand the same model without, which predicts the
mean of its prior for what it has not seen, baselines on the same features, and the mean training effect. With features
of other perturbations, or with random numbers, nothing should be left of what features are worth. Rows of unseen
perturbations in combinations stand apart: models know the other perturbation by its cells.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import numpy as np

from samsjax.data import PerturbationData, Truth, treatments
from samsjax.data.encoding import Treatments
from samsjax.data.feature_simulation import FeatureSimulationConfig, simulate_features
from samsjax.data.features import FeaturesConfig, with_features
from samsjax.errors import check_choice, check_range
from samsjax.evaluation import EffectsConfig, fit_baselines, training_effects, true_effects
from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.predictors import ModelPredictor
from samsjax.evaluation.recalibration import SEEN_IN
from samsjax.evaluation.uncertainty import uncertainty
from samsjax.inference.config import TrainConfig
from samsjax.inference.fitted import fit
from samsjax.models import SAMSVAEConfig
from samsjax.reporting import markdown_table

SCREEN = FeatureSimulationConfig()
MODEL = SAMSVAEConfig()
DRAWN = EffectsConfig(n_particles=300, untrained=True)
"""A model without features is asked for the mean of its prior."""

FEATURES: dict[str, FeaturesConfig] = {
    "features": FeaturesConfig(),
    "shuffled": FeaturesConfig(shuffled=True),
    "random": FeaturesConfig(source="random"),
}
"""Features by kind: those of the simulation, those of other perturbations, and numbers that say nothing."""


class Arm(NamedTuple):
    """One row: a model or a baseline, and the features it is given."""

    predictor: SAMSVAEConfig | str
    features: str = "features"


BASELINES = ("training_mean", "own_training_mean", "feature_nearest", "feature_ridge")


def arms() -> dict[str, Arm]:
    """All rows by name."""
    learned = replace(MODEL, feature_prior=True)
    return {
        "sams_vae": Arm(MODEL),
        **{f"sams_vae, {kind}": Arm(learned, kind) for kind in FEATURES},
        **{name: Arm(name) for name in BASELINES},
        **{f"{name}, shuffled": Arm(name, "shuffled") for name in BASELINES if name.startswith("feature")},
    }


@dataclass(frozen=True)
class UnseenBenchmark:
    """Error, correlation and coverage of effects for unseen and seen perturbations, by model, baseline and features."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Each another screen and fit."""
    arms: tuple[str, ...] = tuple(arms())
    """Rows of the table."""
    n_steps: int = 2500
    """Of every fit."""

    def __post_init__(self) -> None:
        check_range("n_steps", self.n_steps, low=1)
        for arm in self.arms:
            check_choice("arm", arm, list(arms()))


class _Screen(NamedTuple):
    data: PerturbationData
    treated: Treatments
    true: AverageEffects
    kinds: dict[str, np.ndarray]
    """Bool (treatment,) by name: unseen perturbations alone and in combinations, and treatments without any."""


def measure(command: UnseenBenchmark) -> list[dict[str, Any]]:
    """Fit every arm to every screen and print one table: means and, in brackets, the range over seeds."""
    by_arm: dict[str, list[dict[str, float]]] = {name: [] for name in command.arms}
    for seed in command.seeds:
        screen = _screen(*simulate_features(SCREEN, seed=seed))
        for name in command.arms:
            effects = _predicted(arms()[name], screen, command.n_steps, seed)
            by_arm[name].append(_numbers(effects, screen))
            print(f"seed {seed}, {name}: {_words(by_arm[name][-1])}", flush=True)
    rows = [{"predictor": name, **_summary(found)} for name, found in by_arm.items()]
    print(markdown_table(rows))
    return rows


def _screen(data: PerturbationData, truth: Truth) -> _Screen:
    treated = treatments(data)
    train = data.cells("train")
    trained = np.unique(data.perturbation_index[train][data.dosage[train] > 0])
    unseen = (~np.isin(treated.perturbation_index, trained) & (treated.dosage > 0)).any(axis=1)
    alone = (treated.dosage > 0).sum(axis=1) == 1
    kinds = {"unseen": unseen & alone, "combined": unseen & ~alone, "seen": ~unseen}
    return _Screen(data, treated, true_effects(data, treated, truth), kinds)


def _predicted(arm: Arm, screen: _Screen, n_steps: int, seed: int) -> AverageEffects:
    """Effects of all treatments; those of a model with intervals, recalibrated on validation cells."""
    data, treated = with_features(screen.data, FEATURES[arm.features]), screen.treated
    if isinstance(arm.predictor, str):
        (baseline,) = fit_baselines(training_effects(data, treated, DRAWN.transform), [arm.predictor])
        return baseline.effects(treated)
    fitted = fit(data, arm.predictor, TrainConfig(n_steps=n_steps), seed=seed, progress=False)
    effect_key, interval_key = jax.random.split(jax.random.key(seed))
    effects = ModelPredictor(effect_key, fitted, DRAWN).effects(treated)
    return uncertainty(interval_key, fitted, data, treated, effects, DRAWN).effects


def _numbers(predicted: AverageEffects, screen: _Screen) -> dict[str, float]:
    """All numbers of one arm on one screen."""
    true, found = screen.true.ate, {}
    controls = screen.data.x[screen.data.is_control]
    genes = np.asarray((controls > 0).mean(axis=0)).ravel() >= SEEN_IN  # as where intervals are recalibrated
    for kind, rows in screen.kinds.items():
        found[f"{kind}: error"] = relative_error(predicted.ate[rows], true[rows])
        found[f"{kind}: correlation"] = mean_correlation(predicted.ate[rows], true[rows])
        found[f"{kind}: coverage"] = np.nan
        if predicted.low is not None and predicted.high is not None:
            inside = (predicted.low[rows] <= true[rows]) & (true[rows] <= predicted.high[rows])
            found[f"{kind}: coverage"] = float(inside[:, genes].mean())
    return found


def relative_error(predicted: np.ndarray, true: np.ndarray) -> float:
    """Root of the summed squared error over that of no effect; 0 is best, 1 what no effect has."""
    error, nothing = (np.square(values, dtype=np.float64).sum() for values in (predicted - true, true))
    return float(np.sqrt(error / nothing))


def mean_correlation(predicted: np.ndarray, true: np.ndarray) -> float:
    """Mean over treatments of the correlation over genes, each counted by the size of its true effect.

    A perturbation that does nothing has no effect to correlate with, but for the error of the truth.
    """
    centred = [values - values.mean(axis=1, keepdims=True) for values in (predicted, true)]
    product = (centred[0] * centred[1]).sum(axis=1)
    lengths = [np.linalg.norm(values, axis=1) for values in centred]
    correlation = product / np.maximum(lengths[0] * lengths[1], 1e-12)
    return float(np.average(correlation, weights=lengths[1] ** 2))


def _words(found: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in found.items())


def _summary(found: list[dict[str, float]]) -> dict[str, str]:
    """Mean over seeds, and the smallest and largest; a dash where there is none."""
    table = {name: np.array([numbers[name] for numbers in found]) for name in found[0]}
    return {
        name: "-" if np.isnan(v).any() else f"{v.mean():.2f} ({v.min():.2f}-{v.max():.2f})" for name, v in table.items()
    }
