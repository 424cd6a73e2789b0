"""What a page is made of: immutable pieces that say what to show, not how. They hold plain values and check them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from samsjax.errors import InputError, check_choice, check_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

KINDS = ("text", "number", "interval")
LEVELS = ("note", "warning")


class Interval(NamedTuple):
    """A value and the ends of its interval; each may be NaN, not defined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Text:
    """A paragraph. What stands between two backticks is set as code."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: Sequence[str]


@dataclass(frozen=True)
class Notice:
    """A sentence that must not be overlooked."""

    text: str
    level: str = "note"
    """"note" or "warning"."""

    def __post_init__(self) -> None:
        check_choice("level of a notice", self.level, LEVELS)


@dataclass(frozen=True)
class Facts:
    """Names and values side by side. Numbers are written in full; None and NaN are "not defined"."""

    items: Sequence[tuple[str, Any]]


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure with its caption. It is drawn when the page is rendered, and left out where matplotlib is missing."""

    draw: "Callable[[], MatplotlibFigure | Axes] | MatplotlibFigure | Axes"
    """The figure, Axes of it, or better: a function that makes it."""
    caption: str
    alt: str
    """What the figure shows, for those who cannot see it."""

    def __post_init__(self) -> None:
        if not self.alt.strip():
            raise InputError(f"the figure {self.caption[:40]!r} needs a text (alt) for those who cannot see it")


@dataclass(frozen=True)
class Column:
    """A column of a table. Tables can be sorted by every column: text as people count, numbers by value, NaN last."""

    title: str
    kind: str = "text"
    """"text", "number" or "interval" (`Interval`, or a triple; sorted by its value)."""
    decimals: int | None = None
    """Digits after the point; by default none if all values are whole, else three."""
    signed: bool = False
    """Write the plus of positive numbers."""
    hint: str = ""
    """A few words more, below the title."""

    def __post_init__(self) -> None:
        check_choice("kind of a column", self.kind, KINDS)
        if self.decimals is not None:
            check_range("decimals", self.decimals, low=0, high=12)


@dataclass(frozen=True)
class Table:
    """Rows of values; the first column names the row."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    """One value for each column; None and NaN are not defined."""
    caption: str
    searchable: bool = False
    """A field above the table shows only rows that hold the words typed."""
    shown: int = 25
    """Rows at first, before "show all"; every row is printed."""

    def __post_init__(self) -> None:
        check_range("shown", self.shown, low=1)
        for i, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise InputError(
                    f"row {i} of the table {self.caption[:40]!r} has {len(row)} values for {len(self.columns)} columns"
                )
            for column, value in zip(self.columns, row, strict=True):
                _check_value(column, value, i)


@dataclass(frozen=True)
class Folded:
    """Blocks that are shown on a click; they are printed unfolded."""

    summary: str
    blocks: "Sequence[Block]"


Block: TypeAlias = Text | Bullets | Notice | Facts | Figure | Table | Folded


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading, and a line in the table of contents."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A whole page."""

    title: str
    subtitle: str
    sections: Sequence[Section]


def is_missing(value: Any) -> bool:
    """Whether a value is not defined: None or NaN."""
    return value is None or (isinstance(value, Real) and isnan(value))


def _check_value(column: Column, value: Any, row: int) -> None:
    if column.kind == "text" or value is None:
        return
    numbers = value if column.kind == "interval" else (value,)
    count = 3 if column.kind == "interval" else 1
    if not isinstance(numbers, tuple) or len(numbers) != count or not all(isinstance(v, Real) for v in numbers):
        wanted = "three numbers" if count == 3 else "a number"
        raise InputError(f"column {column.title!r} wants {wanted} in row {row}, got {value!r}")
