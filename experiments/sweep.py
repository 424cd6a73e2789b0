"""Fit a grid of runs, one after the other, and make one table of them.

    python -m experiments.sweep --out runs/grid --seeds 0 1 2 --vary model=sams_vae,cpa_vae \
        --vary train.n-steps=500,1000                                    two models, two budgets, three seeds
    python -m experiments.norman_ood --data.path norman.h5ad --out runs/norman_ood --arms cpa_vae
                                                                         one arm of a preset

Every flag that is not listed below goes to each run; python -m experiments.fit --help explains those. A run is written
to its own folder, OUT/<what tells it apart>/seed-0, whole or not at all: to continue a grid that was stopped, give the
same command again, and finished runs are kept. Runs that fail are named at the end, the others are not affected.
Writes summary.md and summary.csv of all runs in OUT; experiments.summarize makes other tables of them.

Runs share one process: data are read once, and runs of equal shapes share what is compiled. A run has the bits it has
alone, except with --together, where seeds on the same data are members of one program and agree with that closely;
time/train_s is then that of all members. memory/peak_gb is the most that this or an earlier run held.
"""

import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from experiments.cli import run, say
from experiments.finished import METRICS, find_runs
from experiments.grid import Grid, expand, narrowed
from experiments.jobs import Job, Outcome, check_folders, is_finished, jobs_of, outcomes, understood
from experiments.summarize import write_table
from experiments.summary import summarize
from samsjax.errors import InputError

PROGRAM = "python -m experiments.sweep"
TABLES = ("summary.md", "summary.csv")


@dataclass(frozen=True, kw_only=True)
class SweepCommand:
    """What a grid is made of; all other flags are those of experiments.fit."""

    out: Path
    """Folder for all runs and the table; may hold finished runs of the same grid."""
    seeds: tuple[int, ...] = ()
    """Seeds, one run of every setting for each; by default those of the preset, or 0."""
    vary: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """NAME=V1,V2: a flag of experiments.fit without dashes, and its values; repeat for more flags."""
    arms: tuple[str, ...] = ()
    """Presets only: which arms to run; by default all."""
    write: Literal["scores", "all"] = "scores"
    """What each run keeps: settings, scores and effects.csv, or also the model and the .h5ad files."""
    together: bool = False
    """Train the seeds of a setting side by side in one program, for accelerators that one small model leaves idle."""
    list: bool = False
    """Print the command line of every run and stop."""


def run_preset(grid: Grid, description: str | None) -> None:
    """The door of a preset: the grid of its module, with the flags of a sweep."""
    run(lambda argv: main(argv, grid, program=f"python -m experiments.{grid.preset}", description=description))


def main(
    argv: Sequence[str], grid: Grid | None = None, *, program: str = PROGRAM, description: str | None = __doc__
) -> None:
    """Parse flags, check every run, then fit those that are not finished; ends the process with 1 if one failed."""
    command, flags = tyro.cli(
        SweepCommand, args=list(argv), prog=program, description=description, return_unknown_args=True
    )
    grid = narrowed(grid or Grid(), arms=command.arms, vary=command.vary, seeds=command.seeds)
    runs = expand(grid, flags, command.out)
    commands = understood(runs)
    if command.list:
        print("\n".join(shlex.join(["python", "-m", "experiments.fit", *planned.argv]) for planned in runs))
        return
    failed = _do(command, jobs_of(runs, commands, grid.preset))
    if len(failed) < len(runs):
        _summarize(command.out)
    if failed:
        say(f"{len(failed)} of {len(runs)} runs failed: {'; '.join(failed)}")
        sys.exit(1)


def _do(command: SweepCommand, jobs: Sequence[Job]) -> list[str]:
    """Check all jobs, then do those that are not finished. Returns the labels of those that failed."""
    everything = command.write == "all"
    todo = [job for job in jobs if not is_finished(job, everything=everything)]
    check_folders(todo)
    _check_tables(command.out)
    say(f"{len(jobs)} runs, {len(jobs) - len(todo)} of them finished before")
    try:
        return _told(outcomes(todo, everything=everything, together=command.together), len(todo))
    except KeyboardInterrupt:
        say("interrupted; finished runs are kept, and the same command continues")
        sys.exit(130)


def _told(done: Iterable[Outcome], n_jobs: int) -> list[str]:
    """Say a line about each outcome. Returns the labels of the jobs that failed."""
    failed, start = [], time.perf_counter()
    for number, (job, error) in enumerate(done, 1):
        end = time.perf_counter()
        result = f"{end - start:.0f} s" if error is None else f"error: {error}"
        say(f"{number} of {n_jobs}: {job.run.label}: {result}")
        failed += [] if error is None else [job.run.label]
        start = end
    return failed


def _check_tables(out: Path) -> None:
    """Raises: InputError for a table that is not that of a grid."""
    for table in (out / name for name in TABLES):
        if table.exists() and not _finished_folders(out):
            raise InputError(f"{table} is not the table of a grid, since {out} holds no run; choose another --out")


def _finished_folders(out: Path) -> list[Path]:
    """Folders of finished runs, of this grid and others in the same place."""
    folders = [path for pattern in ("seed-*", "*/seed-*") for path in sorted(out.glob(pattern))]
    return [path for path in folders if (path / METRICS).is_file()]


def _summarize(out: Path) -> None:
    """Print the table of all finished runs and write it beside them."""
    summary = summarize(find_runs(_finished_folders(out)))
    print(summary.markdown(), end="")
    for name in TABLES:
        write_table(summary, out / name)
    print(f"\nwritten to {out / TABLES[0]} and {TABLES[1]}")


if __name__ == "__main__":
    run(main)
