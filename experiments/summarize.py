"""One table from many runs: mean and standard deviation over seeds, beside what was published.

    python -m experiments.summarize runs/grid
    python -m experiments.summarize runs/grid runs/more --metrics test/predictive_iwelbo ate/test/r2 \
        --relative-to arm=cpa_vae data.train_combinations=0 --out table.csv

Every folder with metrics.json and config.json, however deep, is a run. Runs that differ only in their seeds (seed and
data.split_seed) make one row: arm or model, the settings that tell rows apart, the number of runs, and for every metric
the mean and the sample standard deviation; a metric that a model does not have stays empty. --relative-to adds the
difference of the test bound to a reference row, paired by seed. Runs of a preset stand beside the published numbers,
and a line below the table says in which settings they differ from the preset.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments import output
from experiments.cli import parse, run
from experiments.finished import find_runs
from experiments.grid import setting_name
from experiments.summary import Summary, summarize
from samsjax.errors import InputError, check_choice

FORMATS = (".md", ".csv")


@dataclass(frozen=True, kw_only=True)
class SummarizeCommand:
    """Which runs, and what of them."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Folders in and below which runs are."""
    metrics: tuple[str, ...] = ()
    """Names in metrics.json, one column each; by default bounds, effects, masks, time, and what presets publish."""
    relative_to: tuple[str, ...] = ()
    """Columns and values of the reference row, such as arm=cpa_vae; by default that of the preset."""
    out: Path | None = None
    """File for the table, .md or .csv; must not exist."""
    overwrite: bool = False
    """Replace an existing file."""


def main(argv: Sequence[str]) -> None:
    """Parse flags, print the table, and write it if a file is named."""
    command = parse(SummarizeCommand, argv, program="python -m experiments.summarize", description=__doc__ or "")
    if not command.folders:
        raise InputError("name at least one folder of runs")
    if command.out is not None:
        check_table_file(command.out, overwrite=command.overwrite)
    summary = summarize(find_runs(command.folders), command.metrics, _reference(command.relative_to))
    print(summary.markdown(), end="")
    if command.out is not None:
        write_table(summary, command.out)
        print(f"\nwritten to {command.out}")


def _reference(pairs: Sequence[str]) -> dict[str, str]:
    """What `--relative-to COLUMN=VALUE ...` says."""
    for pair in pairs:
        if "=" not in pair:
            raise InputError(f"--relative-to {pair} should read COLUMN=VALUE, such as arm=cpa_vae")
    split = [pair.partition("=") for pair in pairs]
    return {name if name == "model" else setting_name(name): value for name, _, value in split}


def check_table_file(path: Path, *, overwrite: bool) -> None:
    """Raises: InputError for a file of another format, one that exists, or a place that is no folder."""
    if path.suffix not in FORMATS:
        raise InputError(f"--out {path} must end in {' or '.join(FORMATS)}")
    if path.exists() and not (overwrite and path.is_file()):
        raise InputError(f"{path} exists; choose another --out or add --overwrite")
    if not path.absolute().parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}")


def write_table(summary: Summary, path: Path) -> None:
    """Write the table as Markdown or CSV, as the name of the file says."""
    check_choice("format", path.suffix, FORMATS)
    if path.suffix == ".md":
        path.write_text(summary.markdown())
    else:
        output.write_rows(path, summary.records())


if __name__ == "__main__":
    run(main)
