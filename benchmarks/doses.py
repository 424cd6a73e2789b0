"""What curves of doses are worth: errors of effects at doses that nobody trained on.

    python -m benchmarks doses --seeds 0 1 2

On the built-in simulation with doses, where true effects are known: the average over the same simulated control cells
with and without a treatment, so that no sampling is left in what errors are measured against. Of every perturbation one
dose is held out, between the others (interpolation) or above them (extrapolation). An error is a root mean square over
genes and treatments in log2 CP10k, relative to that of the true effects: 1 = as wrong as predicting no effect. Errors
at the other doses, which trained, show what cells and networks allow.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import numpy as np

from samsjax.data.dose_simulation import CurvesOf, DosedScreen, DoseSimulationConfig, HeldOutDose, draw_dosed_screen
from samsjax.data.encoding import Treatments, treatments
from samsjax.errors import check_choice, check_range
from samsjax.evaluation import EffectsConfig, fit_baselines, model_effects, training_effects, true_effects
from samsjax.evaluation.baselines.training import Condition, TrainingEffects, conditions_of
from samsjax.inference.config import TrainConfig
from samsjax.inference.fitted import Fitted, fit
from samsjax.models import SAMSVAEConfig
from samsjax.reporting import markdown_table

SCREEN = DoseSimulationConfig(
    n_genes=300, n_perturbations=30, n_doubles=15, n_control_cells=3000, cells_per_single=500, cells_per_double=100
)
"""A hundred cells for each perturbation and dose: fewer than published screens of drugs have."""
SCALE = "log2_cp10k"
ARMS = ("linear", "hill", "hill_shared")
BASELINES = ("training_mean", "matching_mean", "nearest", "additive", "ridge")
INTERPOLATION = "log-dose interpolation"
N_REFERENCE_CELLS = 200
"""Control cells over which true effects are averages."""


@dataclass(frozen=True)
class DosesBenchmark:
    """Errors of effects at held-out doses, by model and baseline."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Each another screen and fit."""
    places: tuple[HeldOutDose, ...] = ("inside", "highest")
    """Which dose is held out: one fit of every arm for each."""
    arms: tuple[str, ...] = ARMS
    """How the model's effects grow with dose."""
    curves_of: CurvesOf = "perturbations"
    """Whether the true curves are those of perturbations or of each of their mechanisms."""
    n_steps: int = 2500
    """Of every fit."""
    screen: DoseSimulationConfig = SCREEN
    """The simulated screen."""

    def __post_init__(self) -> None:
        check_range("n_steps", self.n_steps, low=1)
        for place in self.places:
            check_choice("place", place, ["inside", "highest"])
        for arm in self.arms:
            check_choice("arm", arm, list(ARMS))


def measure(command: DosesBenchmark) -> list[dict[str, Any]]:
    """Fit every arm to every screen and print one table: means and, in brackets, the range over seeds."""
    found: dict[str, dict[str, list[float]]] = {}
    for seed in command.seeds:
        for place in command.places:
            config = replace(command.screen, held_out_dose=place, curves_of=command.curves_of)
            errors = held_out_errors(config, command.arms, command.n_steps, seed)
            held_out = ", ".join(f"{name} {both.held_out:.2f}" for name, both in errors.items())
            print(f"seed {seed}, {place}: {held_out}", flush=True)
            for name, both in errors.items():
                for which, error in both._asdict().items():
                    found.setdefault(name, {}).setdefault(f"{place}: {which}", []).append(error)
    rows = [{"predictor": name, **{p: _summary(v) for p, v in places.items()}} for name, places in found.items()]
    print(markdown_table(rows))
    return rows


class Errors(NamedTuple):
    """Relative errors of one predictor on single perturbations."""

    held_out: float
    """At the doses held out of training."""
    trained: float
    """At the other doses."""


def held_out_errors(config: DoseSimulationConfig, arms: tuple[str, ...], n_steps: int, seed: int) -> dict[str, Errors]:
    """Errors of each predictor, by name."""
    screen = draw_dosed_screen(config, seed=seed)
    data = screen.drawn.data
    treated = treatments(data)
    alone, held = (treated.dosage != 0).sum(axis=1) == 1, _held_out(screen, treated)
    parts = [_of(treated, np.flatnonzero(alone & chosen)) for chosen in (held, ~held)]
    true = [exact_effects(screen, part) for part in parts]
    training = training_effects(data, treated, SCALE)
    predicted = {b.name: [b.effects(part).ate for part in parts] for b in fit_baselines(training, BASELINES)}
    predicted[INTERPOLATION] = [interpolated(training, conditions_of(part)) for part in parts]
    for arm in arms:
        model = SAMSVAEConfig(dose=arm)  # type: ignore[arg-type]
        fitted = fit(data, model, TrainConfig(n_steps=n_steps), seed=seed, progress=False)
        predicted[f"SAMS-VAE, {arm}"] = [_predicted(fitted, part, seed) for part in parts]
    return {name: Errors(*map(relative_error, effects, true)) for name, effects in predicted.items()}


def _predicted(fitted: Fitted, treated: Treatments, seed: int) -> np.ndarray:
    asked = treated.labels, treated.perturbation_index, treated.dosage
    return model_effects(jax.random.key(seed), fitted, *asked, EffectsConfig(n_particles=200)).ate


def _held_out(screen: DosedScreen, treated: Treatments) -> np.ndarray:
    """Bool (treatment,): without cells outside the test cells."""
    split, assigned = screen.drawn.data.split, treated.assignment
    seen = np.isin(np.arange(len(treated.labels)), assigned[(split != "test") & (assigned >= 0)])
    return ~seen


def _of(treated: Treatments, rows: np.ndarray) -> Treatments:
    places = np.full(len(treated.labels) + 1, -1)
    places[rows] = np.arange(len(rows))
    columns = (treated.labels[rows], treated.perturbation_index[rows], treated.dosage[rows])
    return Treatments(*columns, places[treated.assignment])


def exact_effects(screen: DosedScreen, treated: Treatments) -> np.ndarray:
    """True effects: the same control cells under no treatment and under each, (treatment, gene)."""
    drawn = screen.drawn
    controls = np.flatnonzero((drawn.data.dosage == 0).all(axis=1))[:N_REFERENCE_CELLS]
    gate = screen.curves.gate(treated.perturbation_index, treated.dosage.astype(float))
    shifts = (gate * drawn.truth.effect[treated.perturbation_index]).sum(axis=1)
    states, totals = drawn.truth.z_basal[controls], drawn.library_size[controls, None]
    arms = [totals * drawn.shares(states + shift) for shift in (np.zeros_like(shifts[0]), *shifts)]
    assignment = np.repeat(np.arange(-1, len(shifts)), len(controls))
    truth = drawn.truth._replace(mean=np.concatenate(arms).astype(np.float32))
    return true_effects(drawn.data, replace(treated, assignment=assignment), truth, SCALE).ate


def interpolated(training: TrainingEffects, conditions: list[Condition]) -> np.ndarray:
    """Training effects of each perturbation, linear in log dose between its doses, constant beyond; sums of parts."""
    alone: dict[int, list[tuple[float, int]]] = {}
    for row, condition in enumerate(training.conditions):
        if len(condition) == 1:
            alone.setdefault(condition[0][0], []).append((np.log(condition[0][1]), row))

    def of_part(part: int, dose: float) -> np.ndarray:
        log_doses, rows = (np.array(values) for values in zip(*sorted(alone[part]), strict=True))
        weights = [np.interp(np.log(dose), log_doses, one) for one in np.eye(len(rows))]
        return np.asarray(weights) @ training.effect[rows]

    return np.array([sum(of_part(part, dose) for part, dose in condition) for condition in conditions])


def relative_error(predicted: np.ndarray, true: np.ndarray) -> float:
    """Root of the summed squared errors over that of the true effects."""
    return float(np.sqrt(np.square(predicted - true).sum() / np.square(true).sum()))


def _summary(values: list[float]) -> str:
    v = np.array(values)
    return "-" if np.isnan(v).any() else f"{v.mean():.2f} ({v.min():.2f}-{v.max():.2f})"
