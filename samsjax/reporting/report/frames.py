"""Data frames and nested settings as tables of a page."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from samsjax.reporting.page import Column, Table

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 5000
"""Most rows of a table; a page with more is slow to open, and files hold them all."""


def frame_table(frame: "pd.DataFrame", caption: str, *, decimals: Mapping[str, int] | None = None) -> Table:
    """A data frame as a searchable table; its columns of numbers are numbers, all others text.

    Args:
        frame: its index is not shown. Of more than 5,000 rows the first are shown, and the caption says so. Columns
            `name`, `name_low` and `name_high` become one column of intervals.
        caption: of the table.
        decimals: by column; others have none if all values are whole, else three.
    """
    shown, ends = frame.head(MOST_ROWS), {}
    for name in map(str, frame.columns):
        if {f"{name}_low", f"{name}_high"} <= set(frame.columns):
            ends[name] = (f"{name}_low", f"{name}_high")
    inside = {end for pair in ends.values() for end in pair}
    columns, values = [], []
    for name in (str(name) for name in frame.columns if name not in inside):
        kind = "interval" if name in ends else "number" if frame[name].dtype.kind in "iuf" else "text"
        columns.append(Column(name.replace("_", " "), kind, (decimals or {}).get(name)))
        arrays = [shown[part].tolist() for part in (name, *ends.get(name, ()))]
        values.append(list(zip(*arrays, strict=True)) if name in ends else arrays[0])
    rows = list(zip(*values, strict=True))
    return Table(columns, rows, cut_caption(caption, len(frame)), searchable=True)


def cut_caption(caption: str, n_rows: int) -> str:
    """A caption that says if there are more rows than are shown."""
    return caption if n_rows <= MOST_ROWS else f"{caption} The first {MOST_ROWS:,} of {n_rows:,} rows are shown."


def settings_table(settings: Mapping[str, Any]) -> Table:
    """Nested settings, a row for each, by the names that flags have: `train.batch_size`."""
    rows = [(name, "none" if value is None else str(value)) for name, value in _flat(settings)]
    return Table([Column("setting"), Column("value")], rows, "All settings of the run.", searchable=True, shown=500)


def column(values: np.ndarray) -> list[Any]:
    """An array as plain numbers or words."""
    return np.asarray(values).tolist()


def interval_rows(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[tuple[float, float, float]]:
    """Arrays of equal length as intervals."""
    return list(zip(column(value), column(low), column(high), strict=True))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            yield f"{prefix}{name}", ", ".join(map(str, value)) or "none"
        else:
            yield f"{prefix}{name}", value
