"""The runs of a grid as jobs: all understood before the first is done, finished ones recognised, each written whole.

Jobs on the same data follow each other, so that every screen is read or drawn once and one at a time is in memory.
"""

import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax

import samsjax
from experiments import output, screens
from experiments.cli import say
from experiments.finished import METRICS, differences, flat, read_object
from experiments.fit_checks import check_command
from experiments.fit_command import FitCommand, command_from, settings_of
from experiments.grid import Run
from experiments.run_files import write_run
from samsjax.data import PerturbationData, Truth
from samsjax.errors import InputError
from samsjax.inference.fitted import Fitted
from samsjax.inference.training import DivergenceError
from samsjax.likelihoods import models_counts

Failure = InputError | DivergenceError
KEPT_COMPILATIONS = 32
"""Runs after which compiled evaluations are forgotten. Runs of equal shapes share them; others take 100 MB each."""


class Job(NamedTuple):
    """A run and what its flags mean."""

    run: Run
    command: FitCommand
    config: dict[str, Any]
    """What its config.json will hold."""


class Outcome(NamedTuple):
    """What became of a job."""

    job: Job
    error: Failure | None
    """None if its results are written."""


def understood(runs: Sequence[Run]) -> list[FitCommand]:
    """The flags of every run, parsed; a mistake names the run.

    Raises:
        InputError: for settings that cannot be used. Other mistakes end the process with status 2.
    """
    commands = []
    for run in runs:
        try:
            with _naming(run):
                commands.append(command_from(run.argv))
        except SystemExit:
            say(f"in the run {run.label}: {shlex.join(run.argv)}")
            raise
    return commands


@contextmanager
def _naming(run: Run) -> Iterator[None]:
    """Put the run's label before what is wrong with it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{run.label}: {error}") from None


def jobs_of(runs: Sequence[Run], commands: Sequence[FitCommand], preset: str | None) -> list[Job]:
    """Runs with their checked commands; files of studies are downloaded where that is asked for, each once.

    Raises:
        InputError: for what cannot work whatever the data hold.
    """
    files: dict[tuple[type, Path], Path] = {}
    jobs = []
    for run, command in zip(runs, commands, strict=True):
        with _naming(run):
            check_command(command)
            if command.fetch is not None:
                wanted = (type(command.data), command.fetch)
                if wanted not in files:
                    files[wanted] = screens.fetched(command).data.path
                command = replace(command, fetch=None, data=replace(command.data, path=files[wanted]))
        labels = {} if preset is None else {"preset": preset, "arm": run.arm}
        settings = output.plain(labels | settings_of(command))
        jobs.append(Job(run, command, json.loads(json.dumps(settings))))
    return jobs


def is_finished(job: Job, *, everything: bool) -> bool:
    """Whether the folder of a job holds its results; `everything`: the model, too.

    Raises:
        InputError: if it holds those of other settings, and they are not to be replaced.
    """
    folder = job.run.folder
    if not (folder / output.CONFIG).is_file():
        return False
    changed = differences(flat(read_object(folder / output.CONFIG)), flat(job.config), ("out", "overwrite"))
    if changed and not job.command.overwrite:
        name, (there, wanted) = next(iter(changed.items()))
        raise InputError(
            f"{folder} holds a run with {name} {there or 'absent'}, and this one has {wanted or 'none'}; choose "
            "another --out, or add --overwrite to replace it"
        )
    return not changed and (folder / METRICS).is_file() and (not everything or (folder / "model").is_dir())


def check_folders(jobs: Sequence[Job]) -> None:
    """Raises: InputError for a folder that cannot be written, is not one of results, or holds what is to be read."""
    for job in jobs:
        output.check_folder(job.run.folder, overwrite=True, inputs=[job.command.data.path, job.command.features.path])


def outcomes(jobs: Sequence[Job], *, everything: bool, together: bool) -> Iterator[Outcome]:
    """Do the jobs; each one's outcome comes as soon as it is known. `together`: seeds as members of one program."""
    number = 0
    for group in _grouped(jobs, _data_of):
        for outcome in _outcomes_on_one_screen(group, everything=everything, together=together):
            yield outcome
            number += 1
            if number % KEPT_COMPILATIONS == 0:
                jax.clear_caches()


def _outcomes_on_one_screen(jobs: Sequence[Job], *, everything: bool, together: bool) -> Iterator[Outcome]:
    try:
        data, truth = screens.load_data(jobs[0].command)
    except InputError as error:
        yield from (Outcome(job, error) for job in jobs)
        return
    say(screens.describe(data))
    for alike in _grouped(jobs, _settings_of):
        fits = _fits_together if together else _fits_alone
        for job, fitted in zip(alike, fits([job.command for job in alike], data), strict=True):
            yield Outcome(job, _write(job, fitted, data, truth, everything=everything))


def _fits_alone(commands: Sequence[FitCommand], data: PerturbationData) -> Iterator[Fitted | Failure]:
    """Fit commands that differ in their seeds alone, one after the other, each to a model or its error."""
    for command in commands:
        try:
            yield samsjax.fit(data, command.model, command.train, seed=command.seed)
        except (InputError, DivergenceError) as error:
            yield error


def _fits_together(commands: Sequence[FitCommand], data: PerturbationData) -> Iterator[Fitted | Failure]:
    """The same as members of one program. Their numbers agree with those of single fits closely, not to the bit."""
    seeds = [command.seed for command in commands]
    try:
        yield from samsjax.fit_many(data, commands[0].model, commands[0].train, seeds=seeds)
    except InputError as error:
        yield from (error for _ in commands)


def _write(
    job: Job, fitted: Fitted | Failure, data: PerturbationData, truth: Truth | None, *, everything: bool
) -> Failure | None:
    """Evaluate and write one run. Returns the error that kept it from that."""
    if not isinstance(fitted, Fitted):
        return fitted
    try:
        with output.output_folder(job.run.folder, overwrite=True) as folder:
            write_run(job.command, fitted, data, truth, folder, everything=everything)
            output.write_json(folder / output.CONFIG, job.config)
    except InputError as error:
        return error
    return None


def _grouped(jobs: Sequence[Job], key: Callable[[Job], str]) -> list[list[Job]]:
    """Jobs of equal keys together, in the order in which keys first occur."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(key(job), []).append(job)
    return list(groups.values())


def _data_of(job: Job) -> str:
    """Equal for jobs on the same data: what is read, and whether as counts; or what is drawn, its seed; features."""
    source = {name: job.config[name] for name in ("study", "simulation_name", "data", "simulation", "features")}
    counts = models_counts(job.command.model.likelihood)
    return json.dumps([source, counts, None if job.config["simulation_name"] is None else job.command.seed])


def _settings_of(job: Job) -> str:
    """Equal for jobs that differ in their seeds alone."""
    return json.dumps({name: value for name, value in job.config.items() if name not in ("seed", "out", "overwrite")})
