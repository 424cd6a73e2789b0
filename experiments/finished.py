"""Finished runs as a table sees them: their settings, flat, and their metrics; and which runs are repetitions."""

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.output import CONFIG
from samsjax.errors import InputError

METRICS = "metrics.json"
SEEDS = ("seed", "data.split_seed")
"""Settings whose values make repetitions."""
NO_SETTINGS = ("out", "overwrite", "fetch", *SEEDS)
"""What may differ between repetitions."""
ABSENT: Any = object()
"""Value of a setting that a run does not have."""


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """What is in a run folder."""

    folder: Path
    settings: Mapping[str, Any]
    """Of config.json, with dots between levels, such as train.n_steps."""
    metrics: Mapping[str, float | None]

    @property
    def label(self) -> str:
        """The arm; without arms the model; empty for a stored model scored on other cells."""
        return str(self.settings.get("arm") or self.settings.get("model_name") or "")

    @property
    def preset(self) -> str:
        """The preset it belongs to, or empty."""
        return str(self.settings.get("preset") or "")

    @property
    def seed(self) -> tuple[Any, ...]:
        """What tells it from other repetitions."""
        return tuple(self.settings.get(name) for name in SEEDS)

    @cached_property
    def identity(self) -> str:
        """Equal for repetitions of the same settings."""
        kept = {name: value for name, value in self.settings.items() if name not in NO_SETTINGS}
        return json.dumps(kept, sort_keys=True)


def find_runs(folders: Iterable[Path]) -> list[FinishedRun]:
    """All runs in and below the folders, in the order of their paths.

    Raises:
        InputError: for a folder that does not exist or holds no run, or a damaged file.
    """
    found: dict[Path, FinishedRun] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"no folder at {folder}")
        runs = [path.parent for path in sorted(folder.rglob(METRICS)) if _is_run(path, folder)]
        if not runs:
            raise InputError(f"no finished run in {folder}: nowhere in it is {METRICS} beside {CONFIG}")
        found |= {path.resolve(): _read(path) for path in runs if path.resolve() not in found}
    return _once(list(found.values()))


def _is_run(metrics: Path, below: Path) -> bool:
    """Whether a metrics.json is that of a run, and not of one that is being written in a hidden folder."""
    hidden = any(part.startswith(".") for part in metrics.relative_to(below).parts)
    return not hidden and (metrics.parent / CONFIG).is_file()


def _read(folder: Path) -> FinishedRun:
    return FinishedRun(folder, flat(read_object(folder / CONFIG)), read_object(folder / METRICS))


def _once(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Runs without doubles: the same settings and seed give the same result, and must not count twice."""
    known: dict[tuple[Any, ...], FinishedRun] = {}
    for run in runs:
        first = known.setdefault((run.identity, run.seed), run)
        if first is not run:
            text = f"{run.folder} has the settings and the seed of {first.folder}, and is left out"
            warnings.warn(text, stacklevel=3)
    return list(known.values())


def read_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        InputError: if it holds no such thing.
    """
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} is damaged: it holds {type(value).__name__}, not an object")
    return value


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings with dots between levels; an empty group stays an entry."""
    entries: dict[str, Any] = {}
    for name, value in settings.items():
        inside = isinstance(value, Mapping) and len(value) > 0
        entries |= flat(value, f"{prefix}{name}.") if inside else {f"{prefix}{name}": value}
    return entries


def differences(one: Mapping[str, Any], two: Mapping[str, Any], ignored: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Flat settings that differ, with both values in words."""
    names = [name for name in {**one, **two} if name not in set(ignored)]
    pairs = {name: (one.get(name, ABSENT), two.get(name, ABSENT)) for name in names}
    return {name: (in_words(a), in_words(b)) for name, (a, b) in pairs.items() if a != b}


def in_words(value: Any) -> str:
    """A setting as one types it: 0 for 0.0, None, True; empty if it is absent."""
    if value is ABSENT:
        return ""
    if isinstance(value, float):
        return f"{value:.15g}"
    return " ".join(map(in_words, value)) if isinstance(value, list) else str(value)


def as_typed(text: str) -> str:
    """The words for a value that someone typed: a number as `in_words` writes it, other text as it is."""
    try:
        return in_words(float(text))
    except ValueError:
        return text.strip()
