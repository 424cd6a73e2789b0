"""A figure of estimators: how their error falls with the number of draws. It needs matplotlib, the extra `plot`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from samsjax.errors import InputError
from samsjax.reporting.plots.base import MARKS, SMALL, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def error_by_draws(
    errors: Mapping[str, Mapping[int, float]], label: str, *, floor: float | None = None, ax: "Axes | None" = None
) -> "Axes":
    """Error against number of draws, both logarithmic, a line for each estimator with its name at the right end.

    Args:
        errors: estimator (at most three) -> number of draws -> positive error.
        label: of the axis of errors.
        floor: error of the reference the errors were taken against; drawn as a dashed line.
        ax: where to draw; by default a new figure.

    Raises:
        InputError: if there is no estimator or more than three.
    """
    if not 1 <= len(errors) <= len(MARKS):
        raise InputError(f"errors of 1 to {len(MARKS)} estimators can be drawn, got {list(errors)}")
    ax = new_axes(5.5, 4.0) if ax is None else ax
    for (name, of_draws), (marker, colour) in zip(errors.items(), MARKS, strict=False):
        draws, values = list(of_draws), list(of_draws.values())
        ax.plot(draws, values, marker=marker, color=colour, markersize=5)
        end = (draws[-1], values[-1])
        ax.annotate(name, end, (7, 0), textcoords="offset points", va="center", color=colour, fontsize=SMALL + 2)
    if floor is not None:
        ax.axhline(floor, color="grey", linewidth=0.8, linestyle="--")
        ax.text(
            0.02,
            floor,
            "error of the reference",
            transform=ax.get_yaxis_transform(),
            va="bottom",
            color="grey",
            fontsize=SMALL,
        )
    ax.set(xscale="log", yscale="log", xlabel="particles", ylabel=label)
    ax.margins(x=0.22)
    ax.grid(which="major", linewidth=0.3)
    return ax
