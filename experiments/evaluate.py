"""Score a stored model on other cells.

    python -m experiments.evaluate --run runs/screen --data.path other.h5ad --out runs/screen-on-other

Genes are matched by name and perturbations by label; how to read the file, and as which study, defaults to how the run
read its own. A run fitted with features of perturbations is also scored on perturbations that it never saw, if its own
features.csv or a further table, --features, has theirs. All cells count as test cells unless --data.split says
otherwise. The quality of cells is judged by the thresholds of the run's own training cells, or read from the columns of
--data.quality-key. Writes the same files as experiments.fit, without history, model and training.npz; baselines are
those of the run. Cells the model was trained on make scores look better than they are: a warning counts them by name.
"""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from experiments import output
from experiments.cli import check_seed, parse, run, say
from experiments.new_perturbations import KnownFeatures, read_with_new, with_new
from experiments.quality_files import write_quality
from experiments.refits import widened_as
from experiments.report import REPORT, write_report
from experiments.run_files import TRAINING, write_results
from experiments.screens import describe
from experiments.stored import inheriting, load_run
from samsjax import reporting
from samsjax.data import DataConfig, PerturbationData
from samsjax.data.expression import obs_column
from samsjax.data.files import opened
from samsjax.data.studies import study_of
from samsjax.evaluation.baselines import TrainingEffects, load_training_effects
from samsjax.evaluation.evaluate import EvaluationConfig, evaluate
from samsjax.evaluation.model_effects import check_scale


@dataclass(frozen=True, kw_only=True)
class EvaluateCommand:
    """All settings of an evaluation."""

    run: Path
    """Folder written by experiments.fit."""
    out: Path
    """Folder for the results; must not exist."""
    features: Path | None = None
    """Table with features of perturbations that the run has none of, as --features.path of the fit; for cells that
    carry such perturbations."""
    overwrite: bool = False
    """Replace the results of an earlier run in that folder."""
    seed: int = 0
    """Decides all draws."""
    report: bool = True
    """Write report.html; drawing its figures takes some seconds."""
    data: DataConfig = field(default_factory=DataConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        check_seed(self.seed)


def main(argv: Sequence[str]) -> None:
    """Parse flags with the run's own data settings as defaults, then score."""
    wanted = inheriting(EvaluateCommand, argv)
    command = parse(wanted, argv, program="python -m experiments.evaluate", description=__doc__ or "")
    output.check_folder(command.out, overwrite=command.overwrite, inputs=[command.run, command.data.path])
    fitted = load_run(command.run)
    check_scale(command.evaluation.effects, fitted.config.likelihood)
    known = KnownFeatures.of(command.run, fitted, command.features)
    fitted, data = read_with_new(command.run, fitted, command.data, known)
    _warn_of_training_cells(command.run, data)
    say(describe(data))
    with output.output_folder(command.out, overwrite=command.overwrite) as folder:
        start = time.perf_counter()
        training = stored_training(command.run, command.evaluation.effects.transform)
        training = training if training is None else with_new(training, data)
        scores = evaluate(fitted, data, command.evaluation, seed=command.seed, training=training)
        scores = widened_as(command.run, scores)
        metrics = scores.metrics | {"time/evaluate_s": time.perf_counter() - start}
        metrics["memory/peak_gb"] = output.peak_memory_gb()
        found = study_of(command.data)
        settings_read = {"study": None if found is None else found.name, **output.plain(command)}
        output.write_json(folder / output.CONFIG, settings_read)
        output.write_json(folder / "environment.json", output.environment())
        write_quality(folder, data)
        results = write_results(folder, fitted, data, scores, command.evaluation, seed=command.seed)
        title = f"{fitted.model_name} of {command.run.name} on {Path(str(command.data.path)).stem}"
        if command.report:
            told = (title, settings_read, fitted, data, scores, results.responses, metrics)
            write_report(folder, *told, config=command.evaluation.effects, seed=command.seed, doses=results.doses)
        output.write_json(folder / "metrics.json", metrics)
    print(reporting.metrics_summary(metrics))
    if scores.scores is not None:
        print(reporting.scores_summary(scores.scores))
    print(f"written to {command.out}" + (f"; open {command.out / REPORT}" if command.report else ""))


def stored_training(run_folder: Path, transform: str) -> TrainingEffects | None:
    """What baselines learn from; None, with a warning, if the run did not keep it in this scale."""
    path = run_folder / TRAINING
    if not path.is_file():
        warnings.warn(f"{run_folder} holds no {TRAINING}: the model is scored without baselines", stacklevel=2)
        return None
    training = load_training_effects(path)
    if training.transform != transform:
        warnings.warn(
            f"baselines of the run are in {training.transform!r}, not {transform!r}: the model is scored without them",
            stacklevel=2,
        )
        return None
    return training


def _warn_of_training_cells(run_folder: Path, data: PerturbationData) -> None:
    path = run_folder / "latents.h5ad"
    if not path.is_file():
        return
    with opened(path, lazy=True) as latents:
        split = obs_column(latents, "split", f"column of {path}")
        trained = set(split.index[split == "train"])
    n_known = sum(name in trained for name in data.cell_names[data.cells("test")])
    if n_known:
        warnings.warn(f"{n_known} test cells have names of cells the model was trained on", stacklevel=2)


if __name__ == "__main__":
    run(main)
