"""Fit a model to a perturbation screen, score it, and save everything.

    python -m experiments.fit --out runs/simulation                      the built-in simulated screen
    python -m experiments.fit --data.path screen.h5ad --data.perturbation-key perturbation \
        --data.control control --out runs/screen                         your own raw counts

Writes config.json (all settings), metrics.json (all scores), history.csv (bounds by epoch), effects.csv (perturbation x
latent: inclusion probability, effect mean and sd), ate.h5ad (treatments x genes: model, standard error, data),
latents.h5ad (cells x latents, and the split), model/ (the fitted model), environment.json (versions); for the built-in
data also simulation.h5ad (counts and truth).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import jax
import numpy as np

from experiments import output
from experiments.cli import check_seed, parse, run, say, take_flag
from samsjax import reporting
from samsjax.data import DataConfig, PerturbationData, SimulationConfig, Truth, read_h5ad, simulate
from samsjax.errors import InputError
from samsjax.evaluation.bounds import posterior_latents
from samsjax.evaluation.evaluate import Evaluation, EvaluationConfig, evaluate
from samsjax.inference.checkpoint import save
from samsjax.inference.config import TrainConfig
from samsjax.inference.fitted import Fitted, fit
from samsjax.likelihoods import models_counts
from samsjax.models import MODELS, config_class

DEFAULT_MODEL = "sams_vae"
LATENT_PARTICLES = 16
ModelSettings = TypeVar("ModelSettings")


@dataclass(frozen=True, kw_only=True)
class FitCommand(Generic[ModelSettings]):
    """All settings of a fit."""

    out: Path
    """Folder for the results; must not exist."""
    overwrite: bool = False
    """Replace the results of an earlier run in that folder."""
    seed: int = 0
    """Decides the simulation, the start, the order and all draws; the same seed gives the same result."""
    data: DataConfig = field(default_factory=DataConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    model: ModelSettings
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        check_seed(self.seed)


def main(argv: Sequence[str]) -> None:
    """Parse flags, then do everything; results appear in the output folder only when all is done."""
    name, rest = take_flag(argv, "--model", DEFAULT_MODEL)
    settings = config_class(str(name))
    description = f"{__doc__}\n--model NAME chooses the model ({', '.join(MODELS)}); its settings are below."
    command = parse(FitCommand[settings], rest, program="python -m experiments.fit", description=description)  # type: ignore[valid-type]
    output.check_folder(command.out, overwrite=command.overwrite, inputs=[command.data.path])
    data, truth = load_data(command)
    say(describe(data))
    with output.output_folder(command.out, overwrite=command.overwrite) as folder:
        metrics = fit_and_write(command, str(name), data, truth, folder)
    print(reporting.metrics_summary(metrics))
    print(f"written to {command.out}")


def load_data(command: FitCommand) -> tuple[PerturbationData, Truth | None]:
    """The file named by the flags, or the built-in simulation with its truth.

    Raises:
        InputError: if the data cannot be used, or flags describe a file that is not named.
    """
    if command.data.path is None:
        if command.data != DataConfig():
            raise InputError("--data.path is missing: other --data flags describe a file, and none is named")
        return simulate(command.simulation, seed=command.seed)
    if command.simulation != SimulationConfig():
        raise InputError("--simulation flags and --data.path exclude each other: give one of them")
    return read_h5ad(command.data, counts=models_counts(command.model.likelihood)), None


def describe(data: PerturbationData) -> str:
    """One line on what will be fitted."""
    counts = ", ".join(f"{len(data.cells(split))} {split}" for split in ("train", "val", "test"))
    return (
        f"{data.n_cells} cells ({counts}; {int(data.is_control.sum())} controls), {data.n_genes} genes, "
        f"{data.n_perturbations} perturbations"
    )


def fit_and_write(
    command: FitCommand, name: str, data: PerturbationData, truth: Truth | None, folder: Path
) -> dict[str, Any]:
    """Fit, evaluate and write every result into `folder`. Returns the metrics."""
    fitted = fit(data, command.model, command.train, seed=command.seed)
    start = time.perf_counter()
    true_mask = None if truth is None else truth.mask
    scores = evaluate(fitted, data, command.evaluation, seed=command.seed, true_mask=true_mask)
    metrics = scores.metrics | times(fitted) | {"time/evaluate_s": time.perf_counter() - start}
    metrics["memory/peak_gb"] = output.peak_memory_gb()
    output.write_json(folder / output.CONFIG, {"model_name": name, **output.plain(command)})
    output.write_json(folder / "environment.json", output.environment())
    output.write_rows(folder / "history.csv", fitted.history)
    save(fitted, folder / "model")
    write_results(folder, fitted, data, scores, command.evaluation, seed=command.seed)
    if truth is not None:
        path = folder / "simulation.h5ad"
        reporting.truth_to_anndata(data, scores.treatments, truth).write_h5ad(path, compression="gzip")
    output.write_json(folder / "metrics.json", metrics)
    return metrics


def times(fitted: Fitted) -> dict[str, float]:
    """What the fit took."""
    if fitted.fit is None:
        return {}
    return {
        "time/compile_s": fitted.fit.compile_seconds,
        "time/train_s": fitted.fit.train_seconds,
        "time/steps": fitted.fit.n_steps,
    }


def write_results(
    folder: Path, fitted: Fitted, data: PerturbationData, scores: Evaluation, config: EvaluationConfig, *, seed: int
) -> None:
    """effects.csv (for models with effects in latent space), ate.h5ad and latents.h5ad of an evaluation."""
    key = jax.random.fold_in(jax.random.key(seed), 1)
    latents = posterior_latents(key, fitted, data, np.arange(data.n_cells), LATENT_PARTICLES)
    if scores.effects is not None:
        reporting.effects_table(fitted, scores.effects).to_csv(folder / "effects.csv", index=False)
    ate = reporting.effects_to_anndata(fitted, scores.model, scores.data, config.effects)
    ate.write_h5ad(folder / "ate.h5ad", compression="gzip")
    cells = reporting.latents_to_anndata(data, scores.treatments, latents, LATENT_PARTICLES)
    cells.write_h5ad(folder / "latents.h5ad", compression="gzip")


if __name__ == "__main__":
    run(main)
