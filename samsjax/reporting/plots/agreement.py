"""Agreement of fits with each other."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from samsjax.errors import InputError
from samsjax.evaluation.stability import Stability, worst_first
from samsjax.reporting.plots.base import (
    MARKS,
    MOST_NAMES,
    MOST_NUMBERS,
    SMALL,
    Names,
    check_names,
    colour_bar,
    new_axes,
    new_figure,
    rows_height,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def agreement_matrix(f1: np.ndarray, labels: Names, *, ax: "Axes | None" = None) -> "Axes":
    """A heat map of the agreement of fits, with the numbers if there are at most 12 fits.

    Args:
        f1: (fit, fit) in [0, 1], as `Stability.matrix`.
        labels: str (fit,).
        ax: where to draw; by default a new figure.

    Raises:
        InputError: if there is not one label for each row and column.
    """
    n = len(labels)
    if f1.shape != (n, n):
        raise InputError(f"{n} labels for a matrix of shape {f1.shape}")
    ax = new_axes(2.0 + 0.5 * n, 1.5 + 0.45 * n) if ax is None else ax
    image = ax.imshow(f1, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(n), labels, rotation=90, fontsize=SMALL + 1)
    ax.set_yticks(range(n), labels, fontsize=SMALL + 1)
    for row, column in np.ndindex(n, n) if n <= MOST_NUMBERS else ():
        value = f1[row, column]
        colour = "black" if value > 0.5 else "white"
        ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=SMALL + 1)
    ax.set_title("Agreement of masks between fits")
    colour_bar(ax, image, "F1 of active entries, latents matched")
    return ax


def perturbation_agreement(
    perturbation_f1: Mapping[str, np.ndarray], perturbation_names: Names, *, ax: "Axes | None" = None
) -> "Axes":
    """How well fits agree on each perturbation's own mask, worst on top: the mean, and a line from lowest to highest.

    Args:
        perturbation_f1: (pair, perturbation) for each kind of pairs, as `Stability.perturbation_f1`; shown in the
            order of `worst_first`.
        perturbation_names: str (perturbation,). Of more than 100 those that agree least are shown, and the title says
            so.
        ax: where to draw; by default a new figure.

    Raises:
        InputError: if there is no kind or more than three, or names do not fit the values.
    """
    if not 1 <= len(perturbation_f1) <= len(MARKS):
        raise InputError(f"agreement of 1 to {len(MARKS)} kinds of pairs can be drawn, got {list(perturbation_f1)}")
    for kind, values in perturbation_f1.items():
        check_names(perturbation_names, values.shape[1], f"agreement over {kind}")
    order = worst_first(perturbation_f1)[:MOST_NAMES]
    ax = new_axes(5.0, rows_height(len(order))) if ax is None else ax
    shift = 0.18 if len(perturbation_f1) > 1 else 0.0
    places = np.linspace(-shift, shift, len(perturbation_f1))
    for (kind, values), (marker, colour), place in zip(perturbation_f1.items(), MARKS, places, strict=False):
        shown, rows = values[:, order], np.arange(len(order)) + place
        ax.hlines(rows, shown.min(axis=0), shown.max(axis=0), color=colour, linewidth=1)
        label = f"{kind} ({len(values)} pair{'s' if len(values) > 1 else ''})"
        ax.plot(shown.mean(axis=0), rows, marker, color=colour, markersize=3.5, linestyle="none", label=label)
    ax.set_yticks(range(len(order)), np.asarray(perturbation_names)[order], fontsize=SMALL)
    ax.set(ylim=(len(order) - 0.4, -0.6), xlim=(-0.03, 1.03), xlabel="F1 of the perturbation's mask (1 = same)")
    ax.grid(axis="y", linewidth=0.3)
    rest = len(perturbation_names) - len(order)
    ax.set_title(
        f"Perturbations that agree least, {len(order)} of {len(order) + rest}"
        if rest
        else "Perturbations, worst agreement first"
    )
    ax.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.6 / rows_height(len(order))), ncols=len(MARKS), fontsize=SMALL + 1
    )
    return ax


def stability_figure(stability: Stability) -> "Figure":
    """Both views of the agreement of fits: between fits on the left, by perturbation on the right."""
    n_rows = min(len(stability.perturbation_names), MOST_NAMES)
    n_fits = len(stability.members)
    side = min(2.0 + 0.42 * n_fits, 8.0)
    height = max(rows_height(n_rows), side)
    figure = new_figure(side + 6.0, height)
    # The heat map keeps its size however many perturbations there are.
    rest = max(height - side, 0.01)
    grid = figure.add_gridspec(2, 2, width_ratios=(side + 1.2, 4.8), height_ratios=(side, rest))
    labels = [member.label for member in stability.members]
    agreement_matrix(stability.matrix, labels, ax=figure.add_subplot(grid[0, 0]))
    perturbation_agreement(stability.perturbation_f1, stability.perturbation_names, ax=figure.add_subplot(grid[:, 1]))
    return figure
