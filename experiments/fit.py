r"""Fit a model to a perturbation screen, score it, and save everything.

The built-in simulated screen, and your own raw counts:

    python -m experiments.fit --out runs/simulation
    python -m experiments.fit --data.path screen.h5ad --data.perturbation-key perturbation \
        --data.control control --out runs/screen

A published screen, read by the rules of its paper, from a file you have or one to download into a folder:

    python -m experiments.fit --study norman --data.path norman.h5ad --out runs/norman
    python -m experiments.fit --study norman --fetch data --out runs/norman

The simulations of papers, "svae_plus" of counts and "sams" of continuous values, which need three flags more:

    python -m experiments.fit --simulation svae_plus --out runs/svae_plus
    python -m experiments.fit --simulation sams --model.likelihood normal --model.normalization standardize \
        --evaluation.effects.transform counts --out runs/sams

Networks are point estimates, which leaves intervals of effects in latent space too narrow. With --refits 1 a screen is
drawn from the fitted model and fitted anew, at the price of one more fit, and intervals are widened as its errors ask.

Writes report.html (one page with everything; figures need the extra `plot`), config.json (all settings), metrics.json
(all scores), scores.csv and treatment_scores.csv (model and baselines by metric), history.csv (bounds by epoch),
rotations.csv (what each rotation of latent space found, for models with masks), effects.csv and effects.h5ad
(perturbation x latent: inclusion probability, effect mean, sd, interval), mechanisms.csv (latents: name, perturbations
that act on it, genes up and down), interactions.csv (combinations), ate.h5ad (treatments x genes: model, its interval,
data), latents.h5ad (cells x latents, and the split), training.npz (what baselines learned from), model/ (the fitted
model), environment.json (versions); for simulations also simulation.h5ad (values and truth). Where a flag is repeated,
the last one counts.
"""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import jax
import numpy as np

from experiments import output
from experiments.cli import check_seed, parse, run, say, take_flag
from experiments.report import REPORT, write_report
from samsjax import reporting
from samsjax.data import DataConfig, PerturbationData, Truth, read_h5ad
from samsjax.data.simulations import SIMULATIONS, simulation, simulation_name
from samsjax.data.studies import STUDIES, Study, fetch, study, study_of
from samsjax.errors import InputError, check_range, listing
from samsjax.evaluation.baselines import save_training_effects, training_effects
from samsjax.evaluation.bounds import posterior_latents
from samsjax.evaluation.calibration import coverage_of_true_effects
from samsjax.evaluation.evaluate import Evaluation, EvaluationConfig, evaluate
from samsjax.evaluation.gene_responses import GeneResponses, gene_responses
from samsjax.evaluation.model_effects import check_scale
from samsjax.evaluation.tempering import check_model, tempering
from samsjax.inference.checkpoint import save
from samsjax.inference.config import TrainConfig
from samsjax.inference.fitted import Fitted, fit
from samsjax.inference.training import DivergenceError
from samsjax.likelihoods import models_counts
from samsjax.models import MODELS, config_class, model_name

PROGRAM = "python -m experiments.fit"
DEFAULT_MODEL = "sams_vae"
DEFAULT_SIMULATION = "screen"
LATENT_PARTICLES = 16
TRAINING = "training.npz"
"""Effects in training cells, from which baselines are made."""
TEMPERED = "true effects, latent space, tempered"
"""Coverage by intervals that refits widened."""
MECHANISMS = "mechanisms.csv"
"""Written for models with effects in latent space."""
DataSettings = TypeVar("DataSettings", bound=DataConfig)
SimulationSettings = TypeVar("SimulationSettings")
ModelSettings = TypeVar("ModelSettings")


@dataclass(frozen=True, kw_only=True)
class FitCommand(Generic[DataSettings, SimulationSettings, ModelSettings]):
    """All settings of a fit. Types of `data`, `simulation` and `model` say which study, simulation and model."""

    out: Path
    """Folder for the results; must not exist."""
    overwrite: bool = False
    """Replace the results of an earlier run in that folder."""
    seed: int = 0
    """Decides the simulation, the start, the order and all draws; the same seed gives the same result."""
    report: bool = True
    """Write report.html; drawing its figures takes some seconds."""
    refits: int = 0
    """Fits to screens drawn from the fitted model, which say by how much intervals of effects in latent space must be
    widened; each takes as long as the fit."""
    fetch: Path | None = None
    """Folder to download the study's file into, when it is not there yet; used as data.path."""
    data: DataSettings
    simulation: SimulationSettings
    model: ModelSettings
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_range("refits", self.refits, low=0)


def main(argv: Sequence[str]) -> None:
    """Parse flags, then do everything; results appear in the output folder only when all is done."""
    command = command_from(argv)
    check_command(command)
    output.check_folder(command.out, overwrite=command.overwrite, inputs=[command.data.path, command.fetch])
    command = fetched(command)
    data, truth = load_data(command)
    say(describe(data))
    with output.output_folder(command.out, overwrite=command.overwrite) as folder:
        fitted = fit(data, command.model, command.train, seed=command.seed)
        scores = write_run(command, fitted, data, truth, folder)
    print(reporting.metrics_summary(scores.metrics))
    if scores.scores is not None:
        print(reporting.scores_summary(scores.scores))
    if fitted.rotations:
        print(reporting.rotations_summary(fitted.rotations))
    say_mechanisms(command.out / MECHANISMS)
    print(f"written to {command.out}" + (f"; open {command.out / REPORT}" if command.report else ""))


def command_from(argv: Sequence[str], *, program: str = PROGRAM, description: str | None = None) -> FitCommand:
    """The command that flags describe; the last one counts where a flag is repeated.

    Raises:
        InputError: for an unknown study, simulation or model. Other mistakes end the process with status 2.
    """
    model, rest = take_flag(argv, "--model", DEFAULT_MODEL)
    study_name, rest = take_flag(rest, "--study", None)
    simulated, rest = take_flag(rest, "--simulation", DEFAULT_SIMULATION)
    data = DataConfig if study_name is None else study(study_name).settings
    command = FitCommand[data, simulation(str(simulated)).config, config_class(str(model))]  # type: ignore[misc]
    text = (__doc__ or "") if description is None else description
    return parse(command, rest, program=program, description=f"{text}\n{_name_flags()}")


def _name_flags() -> str:
    return (
        f"--model NAME chooses the model ({', '.join(MODELS)}), --study NAME the published screen that the file is "
        f"({', '.join(STUDIES)}), --simulation NAME what is drawn without a file ({', '.join(SIMULATIONS)}); their "
        "settings are below."
    )


def check_command(command: FitCommand) -> None:
    """Refuse what cannot work whatever the data hold, before any work is done.

    Raises:
        InputError: for a study without its file, flags that exclude each other or describe nothing, or settings of
            the model or the evaluation that do not suit continuous values; for refits of a model without masks.
    """
    found = study_of(command.data)
    if command.fetch is not None:
        _check_fetch(command, found)
    elif command.data.path is None and found is not None:
        raise _without_file(found)
    if not _reads_file(command):
        if command.data != DataConfig():
            raise InputError("--data.path is missing: other --data flags describe a file, and none is named")
        _check_simulation(command)
    elif command.simulation != SIMULATIONS[DEFAULT_SIMULATION].config():
        raise InputError("--simulation flags and --data.path exclude each other: give one of them")
    check_scale(command.evaluation.effects, command.model.likelihood)
    if command.refits:
        check_model(command.model)


def _reads_file(command: FitCommand) -> bool:
    return command.data.path is not None or command.fetch is not None


def _check_fetch(command: FitCommand, found: Study | None) -> None:
    if found is None:
        raise InputError(
            f"--fetch {command.fetch} downloads the file of a study: name one with --study ({listing(STUDIES)})"
        )
    if command.data.path is not None:
        raise InputError(
            f"--fetch {command.fetch} and --data.path {command.data.path} exclude each other: give one of them"
        )


def _without_file(found: Study) -> InputError:
    download = "or --fetch FOLDER to download it"
    if found.remote.address is None:
        download = "which --fetch cannot download, because no address is on record"
    return InputError(
        f"--study {found.name} needs its file: give --data.path FILE, {download}. Source: {found.remote.source}"
    )


def _check_simulation(command: FitCommand) -> None:
    name, settings = simulation_name(command.simulation), command.model
    if not command.simulation.n_control_cells:
        raise InputError("--simulation.n-control-cells 0: effects are measured against controls; give at least 1")
    unfit = [f"likelihood {settings.likelihood!r}"] if models_counts(settings.likelihood) else []
    if settings.normalization == "log_standardize":
        unfit.append(f"normalization {settings.normalization!r}")
    if unfit and not SIMULATIONS[name].counts:
        raise InputError(
            f"--simulation {name} draws continuous values, some of them negative, which {' and '.join(unfit)} cannot "
            "take: give --model.likelihood normal --model.normalization standardize "
            "--evaluation.effects.transform counts"
        )


def fetched(command: FitCommand) -> FitCommand:
    """The command with the study's file in `data.path`, downloaded if `fetch` asks for that.

    Raises:
        InputError: if the file cannot be downloaded, or is another one.
    """
    found = study_of(command.data)
    if command.fetch is None or found is None:
        return command
    return replace(command, fetch=None, data=replace(command.data, path=fetch(found, command.fetch)))


def load_data(command: FitCommand) -> tuple[PerturbationData, Truth | None]:
    """The file named by the flags, or a simulation with its truth.

    Raises:
        InputError: if the data cannot be used, or their file not downloaded.
    """
    command = fetched(command)
    if command.data.path is None:
        return SIMULATIONS[simulation_name(command.simulation)].simulate(command.simulation, seed=command.seed)
    return read_cells(command.data, counts=models_counts(command.model.likelihood)), None


def read_cells(config: DataConfig, **stored: Any) -> PerturbationData:
    """The cells of a file, by the rules of the study whose settings these are; arguments as `read_h5ad`."""
    found = study_of(config)
    return read_h5ad(config, **stored) if found is None else found.read(config, **stored)  # type: ignore[arg-type]


def describe(data: PerturbationData) -> str:
    """One line on what will be fitted."""
    counts = ", ".join(f"{len(data.cells(split))} {split}" for split in ("train", "val", "test"))
    return (
        f"{data.n_cells} cells ({counts}; {int(data.is_control.sum())} controls), {data.n_genes} genes, "
        f"{data.n_perturbations} perturbations"
    )


def settings_of(command: FitCommand) -> dict[str, Any]:
    """What config.json holds: the names of model, study and simulation, None for those not used, and every setting."""
    found = study_of(command.data)
    return {
        "model_name": model_name(command.model),
        "study": None if found is None else found.name,
        "simulation_name": None if _reads_file(command) else simulation_name(command.simulation),
        **output.plain(command),
    }


def write_run(
    command: FitCommand,
    fitted: Fitted,
    data: PerturbationData,
    truth: Truth | None,
    folder: Path,
    *,
    everything: bool = True,
) -> Evaluation:
    """Evaluate a fitted model and write the files of a run into `folder`; metrics.json comes last.

    Args:
        command: all settings; model and training settings are only recorded.
        fitted: the model, fitted to `data`.
        data: cells with a split.
        truth: of a simulation.
        folder: where files go; must exist.
        everything: False writes the settings, history.csv, rotations.csv, effects.csv and metrics.json only: no model,
            no report and no .h5ad; and an evaluation of full extent is cut down to scores of effects.

    Returns:
        The evaluation, with times and memory among its metrics.
    """
    start = time.perf_counter()
    config = command.evaluation
    if not everything and config.extent == "full":
        config = replace(config, extent="scores", scoring=replace(config.scoring, cell_metrics=False))
    scores = evaluate(fitted, data, config, seed=command.seed, truth=truth)
    seconds = {"time/evaluate_s": time.perf_counter() - start}
    if command.refits:
        scores = _tempered(command, fitted, data, truth, scores)
        seconds["time/refits_s"] = time.perf_counter() - start - seconds["time/evaluate_s"]
    metrics = scores.metrics | times(fitted) | seconds
    metrics["memory/peak_gb"] = output.peak_memory_gb()
    output.write_json(folder / output.CONFIG, settings_of(command))
    output.write_json(folder / "environment.json", output.environment())
    output.write_rows(folder / "history.csv", fitted.history)
    if fitted.rotations:
        output.write_rows(folder / "rotations.csv", [report._asdict() for report in fitted.rotations])
    if everything:
        save(fitted, folder / "model")
        write_training(folder, data, scores)
        results = write_results(folder, fitted, data, scores, command.evaluation, seed=command.seed)
        if truth is not None:
            path = folder / "simulation.h5ad"
            reporting.truth_to_anndata(data, scores.treatments, truth).write_h5ad(path, compression="gzip")
        if command.report:
            write_report(folder, title_of(command), settings_of(command), fitted, data, scores, results, metrics)
    else:
        write_effects(folder, fitted, scores)
    output.write_json(folder / "metrics.json", metrics)
    return scores._replace(metrics=metrics)


def _tempered(
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
    metrics = scores.metrics | {"tempering/factor": found.factor, "tempering/effects": float(found.n_values)}
    if truth is not None and truth.effect.shape[0] == effects.mean.shape[0]:
        coverage = coverage_of_true_effects(truth.mask, truth.effect, effects)
        metrics[f"coverage/{TEMPERED}"] = coverage.at(0.9)
        if of_truth is not None:
            of_truth = of_truth._replace(calibrations=of_truth.calibrations | {TEMPERED: coverage})
    return scores._replace(effects=effects, metrics=metrics, uncertainty=of_truth)


def title_of(command: FitCommand) -> str:
    """What a report is called."""
    if _reads_file(command):
        return f"{model_name(command.model)} on {Path(str(command.data.path)).stem}"
    return f"{model_name(command.model)} on a simulated screen"


def times(fitted: Fitted) -> dict[str, float]:
    """What the fit took."""
    if fitted.fit is None:
        return {}
    return {
        "time/compile_s": fitted.fit.compile_seconds,
        "time/train_s": fitted.fit.train_seconds,
        "time/steps": fitted.fit.n_steps,
    }


def write_training(folder: Path, data: PerturbationData, scores: Evaluation) -> None:
    """training.npz: what baselines learn from, for experiments.evaluate. Left out without training controls."""
    trained = scores.treatments.assignment[data.cells("train")]
    if (trained < 0).any() and (trained >= 0).any():
        effects = training_effects(data, scores.treatments, scores.model.transform)
        save_training_effects(effects, folder / TRAINING)


def write_results(
    folder: Path, fitted: Fitted, data: PerturbationData, scores: Evaluation, config: EvaluationConfig, *, seed: int
) -> GeneResponses | None:
    """Scores, effects, mechanisms, predicted effects and latents of an evaluation; returns the responses of genes."""
    cells_key, genes_key = (jax.random.fold_in(jax.random.key(seed), i) for i in (1, 2))
    write_scores(folder, scores)
    write_effects(folder, fitted, scores)
    responses = None
    if scores.effects is not None:
        responses = gene_responses(genes_key, fitted, scores.effects, config.effects)
        reporting.mechanisms_table(fitted, scores.effects, responses).to_csv(folder / MECHANISMS, index=False)
        table = reporting.latent_effects_to_anndata(fitted, scores.effects, responses)
        table.write_h5ad(folder / "effects.h5ad", compression="gzip")
    ate = reporting.effects_to_anndata(fitted, scores.model, scores.data, config.effects)
    ate.write_h5ad(folder / "ate.h5ad", compression="gzip")
    latents = posterior_latents(cells_key, fitted, data, np.arange(data.n_cells), LATENT_PARTICLES)
    cells = reporting.latents_to_anndata(fitted, data, scores.treatments, latents, LATENT_PARTICLES, scores.effects)
    cells.write_h5ad(folder / "latents.h5ad", compression="gzip")
    return responses


def write_scores(folder: Path, scores: Evaluation) -> None:
    """scores.csv (means), treatment_scores.csv and interactions.csv, as far as they were computed."""
    if scores.scores is not None:
        reporting.scores_table(scores.scores).to_csv(folder / "scores.csv", index=False)
        reporting.treatment_scores_table(scores.scores).to_csv(folder / "treatment_scores.csv", index=False)
    if scores.interactions is not None:
        reporting.interactions_table(scores.interactions).to_csv(folder / "interactions.csv", index=False)


def write_effects(folder: Path, fitted: Fitted, scores: Evaluation) -> None:
    """effects.csv of an evaluation, for models with effects in latent space."""
    if scores.effects is not None:
        reporting.effects_table(fitted, scores.effects).to_csv(folder / "effects.csv", index=False)


def say_mechanisms(path: Path) -> None:
    """Print the mechanisms.csv of a run in short, if it has one."""
    import pandas as pd  # late: only this needs it

    if path.is_file():
        table = pd.read_csv(path, keep_default_na=False)  # a gene may be called NA
        print(reporting.mechanisms_summary(table))


if __name__ == "__main__":
    run(main)
