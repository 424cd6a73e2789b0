"""Grids of runs as data: what is common, the arms that are compared, what is varied, and the seeds.

A `Grid` becomes runs, one for every arm, every combination of varied settings and every seed. A run is a command line
of `experiments.fit` and a folder. Where a flag is given more than once the later one counts: common flags, then the
arm's, then the varied ones, then those of the user.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import NamedTuple

from samsjax.errors import InputError, check_choice

PRESETS = (
    *("norman_ood", "norman_data_efficiency", "replogle", "simulation", "unseen", "gim_synthetic", "sciplex"),
    *("cradle_norman", "cradle_dixit", "cradle_replogle", "cradle_adamson"),
)
"""Modules of this package that hold a `GRID`, the experiment of a paper or one of ours."""

PublishedValue = tuple[float, float] | None
"""Mean and sample standard deviation over seeds; None where nothing is published."""


@dataclass(frozen=True)
class Grid:
    """Which runs belong to an experiment, and what its paper reports."""

    preset: str | None = None
    """Name in `PRESETS`; None for a grid from the command line."""
    common: str = ""
    """Flags of experiments.fit for every run."""
    arms: Mapping[str, str] = field(default_factory=dict)
    """What is compared: label, usable as a file name, and flags. Empty: one arm without a label."""
    vary: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Flags without dashes, such as data.train-combinations, and the values each takes."""
    seeds: tuple[int, ...] = (0,)
    """Of the fit, and of a simulation."""
    published: Mapping[str, Mapping[str, tuple[PublishedValue, ...]]] = field(default_factory=dict)
    """Metric, arm, and the published values in the order of the first varied setting."""
    relative_to: Mapping[str, str] = field(default_factory=dict)
    """Columns of the summary and the values of the reference that paired differences are taken to."""

    def flags(self, arm: str) -> tuple[str, ...]:
        """The common flags, then those of an arm; those of an unknown arm are none."""
        return (*shlex.split(self.common), *shlex.split(self.arms.get(arm, "")))


class Run(NamedTuple):
    """One fit of a grid."""

    arm: str
    """Label of the arm, empty without arms."""
    varied: Mapping[str, str]
    """The varied flags and this run's values."""
    seed: int
    argv: tuple[str, ...]
    """Command line of experiments.fit."""
    folder: Path
    """Where its results go."""

    @property
    def label(self) -> str:
        """The run in words."""
        return ", ".join([*_parts(self.arm, self.varied), f"seed {self.seed}"])


def preset(name: str) -> Grid:
    """The grid of a preset.

    Raises:
        InputError: for a name outside `PRESETS`.
    """
    check_choice("preset", name, PRESETS)
    return import_module(f"experiments.{name}").GRID  # late: presets import the sweep, which asks for them by name


def narrowed(grid: Grid, *, arms: Sequence[str], vary: Sequence[str], seeds: Sequence[int]) -> Grid:
    """The grid with only these arms, other or further varied settings (NAME=V1,V2), and these seeds; empty = its own.

    Raises:
        InputError: for an unknown arm, or a setting that cannot be varied.
    """
    if arms and not grid.arms:
        raise InputError(f"--arms {' '.join(arms)}: this grid has no arms; use --vary model={','.join(arms)}")
    for name in arms:
        check_choice("arm", name, list(grid.arms))
    return replace(
        grid,
        arms={name: grid.arms[name] for name in arms or grid.arms},
        vary={**grid.vary, **_varied(vary)},
        seeds=tuple(seeds) or grid.seeds,
    )


def _varied(entries: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """What `--vary NAME=V1,V2` says, once for each name."""
    varied: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        left, sign, right = entry.partition("=")
        name, values = _flag_name(left), tuple(value.strip() for value in right.split(","))
        if not (name and sign and all(values)):
            raise InputError(f"--vary {entry} should read NAME=V1,V2, such as --vary train.n-steps=500,1000")
        if name in ("seed", "out", "overwrite", "fetch"):
            hint = "; use --seeds" if name == "seed" else ""
            raise InputError(f"--vary {entry}: {name} is the same for a whole grid{hint}")
        if name in varied:
            raise InputError(f"--vary {name} is given twice; give all its values at once, {name}=V1,V2")
        varied[name] = values
    return varied


def expand(grid: Grid, flags: Sequence[str], out: Path) -> list[Run]:
    """All runs of a grid below the folder `out`; `flags` are the user's for every run.

    Raises:
        InputError: for a flag that the grid sets itself, or two runs that would be the same.
    """
    _check_flags(grid, flags)
    runs = [
        _run(grid, arm, dict(zip(grid.vary, values, strict=True)), seed, flags, out)
        for values in product(*grid.vary.values())
        for seed in grid.seeds
        for arm in grid.arms or {"": ""}
    ]
    seen: dict[Path, Run] = {}
    for run in runs:
        if run.folder in seen:
            raise InputError(f"two runs have the folder {run.folder}: {seen[run.folder].label}; and {run.label}")
        seen[run.folder] = run
    return runs


def _check_flags(grid: Grid, flags: Sequence[str]) -> None:
    for token in flags:
        if not token.startswith("--"):
            continue
        name = _flag_name(token.partition("=")[0])
        if name == "seed":
            raise InputError(f"{token} is one seed; a grid takes --seeds, such as --seeds 0 1 2")
        for varied in grid.vary.keys() & {name, re.sub(r"(^|\.)no-", r"\1", name)}:
            raise InputError(f"{token}: this grid varies {varied}; give its values with --vary {varied}=V1,V2")


def _run(grid: Grid, arm: str, varied: Mapping[str, str], seed: int, flags: Sequence[str], out: Path) -> Run:
    # A name is read by people and by every file system: signs that are neither letter, digit nor one of these give way.
    name = re.sub(r"[^A-Za-z0-9._+=,-]", "_", ",".join(_parts(arm, varied)))
    folder = out / name / f"seed-{seed}"
    argv = (
        *grid.flags(arm),
        *(token for item in varied.items() for token in _tokens(*item)),
        *flags,
        *("--seed", str(seed), "--out", str(folder)),
    )
    return Run(arm, varied, seed, argv, folder)


def _tokens(name: str, value: str) -> tuple[str, ...]:
    """One varied setting as the command line has it: yes and no are two forms of a flag."""
    if value.casefold() == "true":
        return (f"--{name}",)
    if value.casefold() == "false":
        group, dot, last = name.rpartition(".")
        return (f"--{group}{dot}no-{last}",)
    return (f"--{name}", value)


def _parts(arm: str, varied: Mapping[str, str]) -> list[str]:
    return [*([arm] if arm else []), *(f"{name}={value}" for name, value in varied.items())]


def _flag_name(text: str) -> str:
    return text.strip().lstrip("-").replace("_", "-")


def setting_name(flag: str) -> str:
    """Where config.json holds what a flag says, with dots between levels."""
    names = {"model": "model_name", "simulation": "simulation_name"}
    return names.get(flag, flag.replace("-", "_"))
