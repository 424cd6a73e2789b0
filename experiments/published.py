"""What was published beside what was run: reading the numbers, finding those of a run, and what the run does otherwise.

The Markdown tables in the docstring of a preset state the numbers once, for readers and programs. The first cell of
such a table names the metric, and the others the values of the first varied setting; below stand the arms with mean and
sample standard deviation:

    | test/predictive_iwelbo | 0 | 0.25 |
    |---|---|---|
    | cpa_vae | -1780.03 (17.73) | -1776.52 (17.83) |
"""

import re
from collections.abc import Mapping, Sequence

from experiments.finished import ABSENT, NO_SETTINGS, FinishedRun, as_typed, differences, flat, in_words
from experiments.fit_command import command_from, settings_of
from experiments.grid import Grid, PublishedValue, setting_name
from samsjax.errors import listing

RELATIVE = "test/predictive_iwelbo relative"
"""Paired difference of the predictive bound of test cells to a reference, nats per cell."""
_VALUE = re.compile(r"(-?\d+(?:\.\d+)?) \((\d+(?:\.\d+)?)\)")


def published_tables(text: str | None) -> dict[str, dict[str, tuple[PublishedValue, ...]]]:
    """Metric -> arm -> published values, of every table whose first cell is a metric; an empty cell is None.

    `text` is None where Python strips docstrings (-OO): nothing is known then.

    Raises:
        ValueError: for a cell that is neither empty nor `mean (sd)`.
    """
    tables: dict[str, dict[str, tuple[PublishedValue, ...]]] = {}
    rows: dict[str, tuple[PublishedValue, ...]] | None = None
    for line in (text or "").splitlines():
        cells = table_cells(line)
        if not cells:
            rows = None
        elif "/" in cells[0]:
            rows = tables.setdefault(cells[0], {})
        elif rows is not None and not set(line) <= set("|-: "):
            rows[cells[0]] = tuple(_value(cell) for cell in cells[1:])
    return tables


def table_cells(line: str) -> list[str]:
    """The cells of a line of a Markdown table; none for other lines."""
    line = line.strip()
    return [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []


def _value(cell: str) -> PublishedValue:
    if not cell:
        return None
    found = _VALUE.fullmatch(cell)
    if found is None:
        raise ValueError(f"{cell!r} is not of the form `mean (sd)`")
    return float(found[1]), float(found[2])


def published_value(run: FinishedRun, metric: str, grids: Mapping[str, Grid]) -> PublishedValue:
    """What the preset of a run publishes for its arm and its value of the first varied setting."""
    grid = grids.get(run.preset, Grid())
    values = grid.published.get(metric, {}).get(run.label)
    if values is None:
        return None
    flag, typed = next(iter(grid.vary.items()))
    by_value = dict(zip(map(as_typed, typed), values, strict=True))
    return by_value.get(in_words(run.settings.get(setting_name(flag), ABSENT)))


def departures(runs: Sequence[FinishedRun], grids: Mapping[str, Grid]) -> list[str]:
    """A line for each preset: in which settings runs differ from it, since published numbers are not about those."""
    notes = []
    for name, grid in grids.items():
        found: dict[tuple[str, str], dict[str, None]] = {}
        for run in runs:
            if run.preset == name:
                for setting, (value, expected) in _changed(run, grid).items():
                    found.setdefault((setting, expected), {})[value or "nothing"] = None
        changes = [f"{key} {listing(values)} instead of {old or 'nothing'}" for (key, old), values in found.items()]
        notes.append(f"Settings that differ from the preset {name}: {'; '.join(changes) or 'none'}.")
    return notes


def _changed(run: FinishedRun, grid: Grid) -> dict[str, tuple[str, str]]:
    """Settings that are not the preset's, with both values; seeds, files and varied settings aside."""
    path = run.settings.get("data.path")
    flags = grid.flags(run.label) + (() if path is None else ("--data.path", str(path)))
    expected = flat(settings_of(command_from([*flags, "--out", "."])))
    ignored = (*NO_SETTINGS, "data.path", "preset", "arm", *(setting_name(flag) for flag in grid.vary))
    return differences(run.settings, expected, ignored)
