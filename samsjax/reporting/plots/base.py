"""What every figure shares: how it is made, marked, named and written."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samsjax.errors import InputError, check_choice

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Names = Sequence[str] | np.ndarray
FORMATS: dict[str, dict[str, Any]] = {".png": {"Software": None}, ".svg": {"Date": None}}
"""Endings of figure files, and what matplotlib would write into them that changes from run to run."""
MARKS = (("o", "#0072B2"), ("D", "#D55E00"), ("^", "#009E73"))
"""Marker and colour of up to three groups (Okabe & Ito)."""
BLUE, VERMILION, GREEN = (colour for _, colour in MARKS)
INK, MUTED, FAINT = "#24292f", "#6a737d", "#d5d9de"
"""Text, what stands behind the data, and lines that may hardly be seen."""
MOST_NAMES = 100
"""Most perturbations whose names are written; text for more cannot be read."""
MOST_NUMBERS = 12
"""Most fits whose agreement is written as numbers."""
NAME_INCHES = 0.125
"""Height that a name beside a point needs."""
ROW_INCHES, SMALL = 0.155, 7
"""Height of a row with a name, and its font size in points."""


def require_matplotlib() -> None:
    """Raises: InputError if matplotlib is not installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise InputError("plots need matplotlib, which is not installed: pip install 'samsjax[plot]'") from error


def save_figure(figure: "Figure | SubFigure", path: str | Path) -> None:
    """Write a figure as .png or .svg; the same figure gives the same bytes, as nothing in the file tells the time.

    Raises:
        InputError: for another ending.
    """
    require_matplotlib()
    from matplotlib import rc_context

    suffix = Path(path).suffix
    check_choice("figure format", suffix, list(FORMATS))
    with rc_context({"svg.hashsalt": "samsjax"}):  # else the names of an .svg's parts are drawn at random
        figure.figure.savefig(path, dpi=150, metadata=FORMATS[suffix])


def new_figure(width: float, height: float) -> "Figure":
    """A figure of this size in inches that belongs to no window."""
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def new_axes(width: float, height: float) -> "Axes":
    """The only Axes of a new figure of this size in inches."""
    return new_figure(width, height).add_subplot()


def rows_height(n_rows: int) -> float:
    """Inches for so many rows with names, and what stands above and below them."""
    return 1.6 + ROW_INCHES * min(max(n_rows, 8), MOST_NAMES)


def colour_bar(ax: "Axes", image: Any, label: str) -> None:
    """The scale of a heat map beside it."""
    assert ax.figure is not None
    ax.figure.colorbar(image, ax=ax, label=label, aspect=30)


def check_names(names: Names, n: int, what: str, of: str = "perturbations") -> None:
    """Raises: InputError unless there are `n` names."""
    if len(names) != n:
        raise InputError(f"{len(names)} names for {what} of {n} {of}")


def check_same_shape(**arrays: np.ndarray) -> None:
    """Raises: InputError, naming the first array whose shape is not that of the first of all."""
    (first, shape), *rest = ((name, np.shape(values)) for name, values in arrays.items())
    for name, other in rest:
        if other != shape:
            raise InputError(f"{name} has shape {other}, and {first} {shape}")


def panels(n: int, width: float, height: float, most_columns: int = 4) -> tuple["Figure", list["Axes"]]:
    """A figure of `n` equal panels of this size in inches, row by row; places that are left over stay empty."""
    columns = min(n, most_columns)
    rows = -(-n // columns)
    figure = new_figure(width * columns, height * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[n:]:
        ax.set_axis_off()
    return figure, list(axes[:n])


def shortened(name: str, most: int = 28) -> str:
    """A name cut to so many letters."""
    return name if len(name) <= most else f"{name[: most - 1]}\u2026"


def tidy(ax: "Axes") -> None:
    """No frame on top and on the right, and quiet lines elsewhere: the data stand out."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(MUTED)
    ax.tick_params(color=MUTED, labelcolor=INK)
    ax.set_axisbelow(True)


def write_names(ax: "Axes", x: np.ndarray, y: np.ndarray, names: Sequence[str], *, outward: bool = False) -> None:
    """Names beside their points, moved up and down so that those on one side do not cover each other.

    Args:
        ax: with its final limits.
        x: (point,).
        y: (point,); points that are not defined get no name.
        names: (point,).
        outward: write away from the middle of the frame, else towards it.
    """
    known = np.isfinite(x) & np.isfinite(y)
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    assert ax.figure is not None
    inches = ax.get_window_extent().height / ax.figure.dpi
    gap = (high - low) * NAME_INCHES / max(inches, NAME_INCHES)
    sides = np.where(x > (left + right) / 2, 1, -1) * (1 if outward else -1)
    for side in (-1, 1):
        chosen = np.flatnonzero(known & (sides == side))
        chosen = chosen[np.argsort(y[chosen], kind="stable")]
        for i, place in zip(chosen, spread(y[chosen], gap, (low + gap / 2, high - gap / 2)), strict=True):
            ax.annotate(
                names[int(i)],
                (x[i], y[i]),
                (x[i] + side * 0.025 * (right - left), place),
                fontsize=SMALL,
                color=INK,
                ha="right" if side < 0 else "left",
                va="center",
                arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2},
            )


def spread(places: np.ndarray, gap: float, limits: tuple[float, float]) -> np.ndarray:
    """Rising places moved as little as needed to keep a gap between neighbours, inside limits where they fit."""
    if not len(places):
        return places
    # With steps of one gap taken off, places must only not fall: the closest such line is the isotonic regression.
    from scipy.optimize import isotonic_regression

    steps = gap * np.arange(len(places))
    apart = isotonic_regression(places - steps).x
    return np.clip(apart, limits[0], max(limits[1] - steps[-1], limits[0])) + steps
