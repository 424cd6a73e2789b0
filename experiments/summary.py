"""From finished runs to one table: a row for repetitions of the same settings, a cell for mean and spread of a metric.

The table says which settings tell its rows apart, what was published for them, and in what the runs are not those of
the publication.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, NamedTuple

from experiments.finished import ABSENT, NO_SETTINGS, SEEDS, FinishedRun, as_typed, in_words
from experiments.grid import PRESETS, Grid, preset, setting_name
from experiments.published import RELATIVE, departures, published_value
from samsjax.errors import InputError, check_choice, listing
from samsjax.reporting import markdown_table

BOUND = "test/predictive_iwelbo"
BESIDE = ("model", "training_mean", "own_training_mean", "additive", "ridge", "perfect")
"""Whose mean `pearson_delta` stands in the table: the model's, that of baselines, and what the truth would score."""
OF_UNSEEN = ("model", "training_mean", "feature_ridge", "feature_nearest", "half_split")
"""The same over treatments with a perturbation that no training cell carries, where there are any."""
SCORES = (
    BOUND,
    *(f"scores/{name}/pearson_delta" for name in BESIDE),
    *(f"unseen/{name}/pearson_delta" for name in OF_UNSEEN),
    *("ate/test/pearson", "ate/test/r2", "mask/f1"),
)
COSTS = ("time/train_s",)
RUNS = "runs"
PUBLISHED = "published "
_OWNERS = {"model": "model_name", "data": "study", "simulation": "simulation_name"}
"""Groups of settings that have a meaning only beside the name of a model, study or simulation."""


class Spread(NamedTuple):
    """One metric over repetitions."""

    mean: float
    sd: float | None = None
    """Sample standard deviation; None for one value."""
    n: int | None = None
    """Values behind it; None where it is published."""


Cell = str | int | Spread | None


@dataclass(frozen=True)
class Summary:
    """A table, and what must be known to read it."""

    rows: tuple[Mapping[str, Cell], ...]
    notes: tuple[str, ...]

    def markdown(self) -> str:
        """Rows with cells `mean (sd)`, and the notes below."""
        rows = [{name: _text(name, cell, row[RUNS]) for name, cell in row.items()} for row in self.rows]
        return "\n\n".join([markdown_table(rows), *self.notes]) + "\n"

    def records(self) -> list[dict[str, Any]]:
        """Rows of numbers for a CSV: mean, sd and number of values of a metric stand apart; None is missing."""
        spread = {name for row in self.rows for name, cell in row.items() if isinstance(cell, Spread)}
        return [
            {key: value for name, cell in row.items() for key, value in _fields(name, cell, spread).items()}
            for row in self.rows
        ]


def _text(name: str, cell: Cell, n_runs: Cell) -> str:
    if not isinstance(cell, Spread):
        return "" if cell is None else str(cell)
    digits = 3 if name.removeprefix(PUBLISHED).startswith(("ate/", "mask/")) else 2
    sd = "" if cell.sd is None else f" ({cell.sd:.{digits}f})"
    fewer = "" if cell.n in (None, n_runs) else f" [{cell.n} of {n_runs}]"
    return f"{cell.mean:.{digits}f}{sd}{fewer}"


def _fields(name: str, cell: Cell, spread: Iterable[str]) -> dict[str, Any]:
    if name not in spread:
        return {name: cell}
    parts = ("mean", "sd") if name.startswith(PUBLISHED) else ("mean", "sd", "n")
    return {f"{name} {part}": getattr(cell, part, None) for part in parts}


class _Row(NamedTuple):
    """Repetitions of the same settings."""

    label: str
    values: Mapping[str, str]
    """Of the columns, in words."""
    runs: Sequence[FinishedRun]


def summarize(
    runs: Sequence[FinishedRun], metrics: Sequence[str] = (), relative_to: Mapping[str, str] | None = None
) -> Summary:
    """The table of these runs.

    Args:
        runs: at least one.
        metrics: columns; by default bounds, effects, masks and training time, and what the presets publish.
        relative_to: column and value of the row that paired differences of the test bound are taken to; by default
            that of the preset, if all runs belong to one and its reference is among them.

    Raises:
        InputError: for an unknown metric, or a reference that no row is.
    """
    grids = {name: preset(name) for name in sorted({run.preset for run in runs} & set(PRESETS))}
    header = "arm" if any(run.settings.get("arm") for run in runs) else "model"
    rows = _rows(runs, _columns(runs, grids), grids)
    names = _metrics(runs, metrics, grids)
    wanted = _reference(rows, header, relative_to, grids)
    if wanted:
        names.insert(names.index(BOUND) + 1 if BOUND in names else len(names), RELATIVE)
    cells: list[dict[str, Cell]] = [{header: row.label, **row.values, RUNS: len(row.runs)} for row in rows]
    for row, line in zip(rows, cells, strict=True):
        for name in names:
            line[name] = _relative(row, rows, header, wanted) if name == RELATIVE else _spread(_values(row, name))
            if any(name in grid.published for grid in grids.values()):
                known = published_value(row.runs[0], name, grids)
                line[PUBLISHED + name] = None if known is None else Spread(*known)
    notes = departures([row.runs[0] for row in rows], grids)
    return Summary(tuple(cells), (*_reading(wanted), *notes))


def _columns(runs: Sequence[FinishedRun], grids: Mapping[str, Grid]) -> list[str]:
    """Settings that differ among runs for which they mean the same, and those that a preset varies."""
    varied = [setting_name(flag) for grid in grids.values() for flag in grid.vary]
    names = dict.fromkeys(name for run in runs for name in run.settings if name not in (*NO_SETTINGS, "arm"))
    return [name for name in names if (name in varied and name not in SEEDS) or _differs(runs, name)]


def _differs(runs: Sequence[FinishedRun], name: str) -> bool:
    seen: dict[Any, Any] = {}
    for run in runs:
        value = run.settings.get(name, ABSENT)
        if seen.setdefault(_scope(run, name), value) != value:
            return True
    return False


def _scope(run: FinishedRun, name: str) -> tuple[Any, ...]:
    """Runs are compared in a setting if their scopes are equal: the arm, or else what gives the setting its meaning."""
    if name in ("preset", "data.path"):
        return ()
    if run.settings.get("arm"):
        return run.preset, run.label
    scored_again = "run" in run.settings  # by experiments.evaluate, which has few settings
    if name == "model_name":
        return scored_again, run.label
    return scored_again, run.settings.get(_OWNERS.get(name.partition(".")[0], ""))


def _rows(runs: Sequence[FinishedRun], columns: Sequence[str], grids: Mapping[str, Grid]) -> list[_Row]:
    """Repetitions together; arms in the order of the preset, others by name, then by the values of the columns."""
    groups: dict[str, list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(run.identity, []).append(run)

    def place(group: list[FinishedRun]) -> tuple[Any, ...]:
        first = group[0]
        arms = list(grids[first.preset].arms) if first.preset in grids else []
        position = arms.index(first.label) if first.label in arms else len(arms)
        return first.preset, position, first.label, [_order(first.settings.get(name, ABSENT)) for name in columns]

    return [
        _Row(group[0].label, {name: in_words(group[0].settings.get(name, ABSENT)) for name in columns}, group)
        for group in sorted(groups.values(), key=place)
    ]


def _order(value: Any) -> tuple[int, float, str]:
    """Numbers by size, before text."""
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, in_words(value))


def _metrics(runs: Sequence[FinishedRun], metrics: Sequence[str], grids: Mapping[str, Grid]) -> list[str]:
    known = dict.fromkeys(name for run in runs for name, value in run.metrics.items() if value is not None)
    for name in metrics:
        check_choice("metric", name, list(known))
    published = [name for grid in grids.values() for name in grid.published]
    return [name for name in dict.fromkeys(metrics or (*SCORES, *published, *COSTS)) if name in known]


def _values(row: _Row, metric: str) -> dict[tuple[Any, ...], float]:
    """The metric by seed; repetitions without it are left out."""
    found = {run.seed: run.metrics.get(metric) for run in row.runs}
    return {seed: value for seed, value in found.items() if value is not None}


def _spread(values: Mapping[Any, float]) -> Spread | None:
    if not values:
        return None
    return Spread(fmean(values.values()), stdev(values.values()) if len(values) > 1 else None, len(values))


def _reference(
    rows: Sequence[_Row], header: str, relative_to: Mapping[str, str] | None, grids: Mapping[str, Grid]
) -> dict[str, str]:
    """What a reference row has in its columns, in words; empty for no differences."""
    if relative_to:
        wanted = {name: as_typed(value) for name, value in relative_to.items()}
        for name in wanted:
            check_choice("column", name, [header, *rows[0].values])
        if not any(_is_reference(row, header, wanted) for row in rows):
            known = {name: sorted({_column(row, header, name) for row in rows}) for name in wanted}
            values = "; ".join(f"{name}: {listing(texts)}" for name, texts in known.items())
            raise InputError(f"no row has {_pairs(wanted)}. There are {values}.")
        return wanted
    (grid,) = grids.values() if len(grids) == 1 else (Grid(),)
    wanted = {setting_name(name): as_typed(value) for name, value in grid.relative_to.items()}
    return wanted if any(_is_reference(row, header, wanted) for row in rows) else {}


def _column(row: _Row, header: str, name: str) -> str:
    return row.label if name == header else row.values.get(name, "")


def _is_reference(row: _Row, header: str, wanted: Mapping[str, str]) -> bool:
    return all(_column(row, header, name) == value for name, value in wanted.items())


def _relative(row: _Row, rows: Sequence[_Row], header: str, wanted: Mapping[str, str]) -> Spread | None:
    """Difference of the test bound to the reference, over the seeds both have.

    In columns that `wanted` says nothing of, the reference agrees with the row or has nothing.
    """
    left = [name for name in row.values if name not in wanted]
    found = [
        other
        for other in rows
        if _is_reference(other, header, wanted) and all(other.values[name] in ("", row.values[name]) for name in left)
    ]
    if len(found) != 1:
        return None
    own, reference = _values(row, BOUND), _values(found[0], BOUND)
    return _spread({seed: own[seed] - reference[seed] for seed in own if seed in reference})


def _reading(wanted: Mapping[str, str]) -> list[str]:
    notes = ["Cells are means over runs, in brackets the sample standard deviation."]
    if wanted:
        notes.append(f"{RELATIVE}: difference to {_pairs(wanted)}, paired by {' and '.join(SEEDS)}.")
    return notes


def _pairs(wanted: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in wanted.items())
