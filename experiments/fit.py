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

A model that tells effects of perturbations from artefacts of cells of poor quality, which are labelled by criteria
(or by a column of the file, --data.quality-key) and stay in the data; and a simulation that has such cells:

    python -m experiments.fit --model cradle_vae --data.path screen.h5ad --data.quality-criteria auto --out runs/cradle
    python -m experiments.fit --model cradle_vae --simulation artifacts --out runs/artifacts

Features of perturbations, such as descriptors of drugs, from a file with one row for each: effects are then learned
from features, too, and perturbations without cells can be predicted. Random and shuffled ones are built-in controls:

    python -m experiments.fit --data.path screen.h5ad --data.split perturbations --features.source table \
        --features.path drugs.csv --out runs/drugs

Networks are point estimates, which leaves intervals of effects in latent space too narrow. With --refits 1 a screen is
drawn from the fitted model and fitted anew, at the price of one more fit, and intervals are widened as its errors ask.

Writes report.html (one page with everything; figures need the extra `plot`), config.json (all settings), metrics.json
(all scores), scores.csv and treatment_scores.csv (model and baselines by metric), history.csv (bounds by epoch),
rotations.csv (what each rotation of latent space found, for models with masks), effects.csv and effects.h5ad
(perturbation x latent: inclusion probability, effect mean, sd, interval), mechanisms.csv (latents: name, perturbations
that act on it, genes up and down), interactions.csv (combinations), dose_response.csv (perturbations given at several
doses), ate.h5ad (treatments x genes: model, its interval, data), latents.h5ad (cells x latents, and the split),
training.npz (what baselines learned from), model/ (the fitted model), environment.json (versions); for simulations
also simulation.h5ad (values and truth); with features of perturbations features.csv (those of all that the source
names); for cells with quality labels quality.csv (criteria, thresholds, shares that fail), quality_rule.json (the
thresholds, for other cells) and confounding.csv (treatments whose cells fail more or less often than others). Where a
flag is repeated, the last one counts.
"""

from collections.abc import Sequence
from pathlib import Path

from experiments import output
from experiments.cli import run, say
from experiments.fit_checks import check_command, check_fails
from experiments.fit_command import command_from
from experiments.report import REPORT
from experiments.run_files import MECHANISMS, write_run
from experiments.screens import describe, fetched, load_data
from samsjax import reporting
from samsjax.inference.fitted import fit


def main(argv: Sequence[str]) -> None:
    """Parse flags, then do everything; results appear in the output folder only when all is done."""
    command = command_from(argv, description=__doc__)
    check_command(command)
    output.check_folder(
        command.out, overwrite=command.overwrite, inputs=[command.data.path, command.fetch, command.features.path]
    )
    command = fetched(command)
    data, truth = load_data(command)
    check_fails(command, data)
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


def say_mechanisms(path: Path) -> None:
    """Print the mechanisms.csv of a run in short, if it has one."""
    import pandas as pd  # late: only this needs it

    if path.is_file():
        table = pd.read_csv(path, keep_default_na=False)  # a gene may be called NA
        print(reporting.mechanisms_summary(table))


if __name__ == "__main__":
    run(main)
