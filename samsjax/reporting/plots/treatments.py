"""Predicted against measured effects of treatments, gene by gene, and effects along doses."""

from collections.abc import Mapping
from textwrap import fill
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from samsjax.errors import InputError
from samsjax.reporting.plots.base import (
    BLUE,
    FAINT,
    MARKS,
    MUTED,
    SMALL,
    Names,
    check_names,
    check_same_shape,
    new_axes,
    panels,
    shortened,
    tidy,
    write_names,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE_RANGE = 20
"""Ratio of the largest to the smallest dose from which the axis of doses is logarithmic."""
LETTERS_PER_PANEL = 30
"""That fit in a line along the height of a panel."""


def effect_scatter(
    measured: np.ndarray,
    predicted: np.ndarray,
    label: str,
    gene_names: Names,
    *,
    measured_error: np.ndarray | None = None,
    predicted_error: np.ndarray | None = None,
    n_labels: int = 6,
    ax: "Axes | None" = None,
) -> "Axes":
    """One treatment: predicted against measured effect of every gene. On the dotted line both agree.

    Genes with the largest measured effects are filled and named.

    Args:
        measured: (gene,) mean differences to control.
        predicted: (gene,) in the same scale.
        label: the treatment, as title.
        gene_names: str (gene,).
        measured_error: (gene,) standard errors, drawn as one standard error to either side of the named genes.
        predicted_error: (gene,) the same of the prediction.
        n_labels: how many genes to name.
        ax: where to draw; by default a new figure.

    Raises:
        InputError: if shapes differ, or names do not fit.
    """
    given = {"measured_error": measured_error, "predicted_error": predicted_error}
    errors = {name: values for name, values in given.items() if values is not None}
    check_same_shape(measured=measured, predicted=predicted, **errors)
    check_names(gene_names, len(measured), "effects", "genes")
    ax = new_axes(4.0, 4.0) if ax is None else ax
    named = np.argsort(-np.abs(np.nan_to_num(measured)), kind="stable")[:n_labels]
    rest = np.setdiff1d(np.arange(len(measured)), named)
    _guides(ax, np.concatenate([measured, predicted]))
    ax.plot(measured[rest], predicted[rest], "o", color=MUTED, markersize=2.5, markeredgewidth=0, alpha=0.6)
    ax.errorbar(
        measured[named],
        predicted[named],
        xerr=None if measured_error is None else measured_error[named],
        yerr=None if predicted_error is None else predicted_error[named],
        fmt="o",
        color=BLUE,
        markersize=4,
        elinewidth=0.8,
    )
    write_names(ax, measured[named], predicted[named], [str(gene_names[g]) for g in named])
    ax.set_title(shortened(label), fontsize=SMALL + 2)
    ax.set_xlabel("measured", fontsize=SMALL + 1)
    ax.set_ylabel("predicted", fontsize=SMALL + 1)
    ax.tick_params(labelsize=SMALL)
    tidy(ax)
    return ax


def effect_scatters(
    measured: np.ndarray,
    predicted: np.ndarray,
    labels: Names,
    gene_names: Names,
    *,
    n_shown: int = 12,
    n_labels: int = 4,
) -> "Figure":
    """Small multiples of `effect_scatter` for the first treatments given.

    Args:
        measured: (treatment, gene), in the order in which to show.
        predicted: (treatment, gene).
        labels: str (treatment,).
        gene_names: str (gene,).
        n_shown: most treatments to show.
        n_labels: genes to name in each.

    Raises:
        InputError: if shapes differ, names do not fit, or there is no treatment.
    """
    check_same_shape(measured=measured, predicted=predicted)
    check_names(labels, len(measured), "effects", "treatments")
    if not len(measured):
        raise InputError("there is no treatment to show")
    n = min(len(measured), n_shown)
    figure, axes = panels(n, 2.25, 2.25)
    for t, ax in enumerate(axes):
        effect_scatter(measured[t], predicted[t], str(labels[t]), gene_names, n_labels=n_labels, ax=ax)
        ax.set(xlabel="", ylabel="")
    figure.supxlabel("measured effect", fontsize=SMALL + 2)
    figure.supylabel("predicted effect", fontsize=SMALL + 2)
    return figure


class DoseCurve(NamedTuple):
    """Effects along doses; NaN where nothing is known."""

    dose: np.ndarray
    """(dose,), rising."""
    effect: np.ndarray
    """(dose,)."""
    low: np.ndarray
    """(dose,): lower end of the interval."""
    high: np.ndarray
    """(dose,): upper end."""
    inner_low: np.ndarray | None = None
    """(dose,): lower end of a narrower interval; None for one interval alone."""
    inner_high: np.ndarray | None = None
    """(dose,): its upper end."""
    points: bool = False
    """Known at these doses only: drawn as points with bars, not as a line with a band."""


def dose_curves(curves: Mapping[str, Mapping[str, DoseCurve]], label: str) -> "Figure":
    """A panel for each perturbation: effects along dose, with intervals.

    Args:
        curves: perturbation -> line (at most three, such as "model" and "measured") -> its values.
        label: of the axis of effects, with unit.

    Raises:
        InputError: if there is no perturbation, more than three lines, or arrays of a curve differ in shape.
    """
    if not curves:
        raise InputError("there is no perturbation with several doses to show")
    names = list(dict.fromkeys(line for lines in curves.values() for line in lines))
    if not 1 <= len(names) <= len(MARKS):
        raise InputError(f"1 to {len(MARKS)} lines can be drawn, got {names}")
    figure, axes = panels(len(curves), 2.6, 2.3, most_columns=3)
    for ax, (perturbation, lines) in zip(axes, curves.items(), strict=True):
        ax.axhline(0, color=MUTED, linewidth=0.6)
        for name, curve in lines.items():
            check_same_shape(**_arrays(curve))
            (_draw_points if curve.points else _draw_line)(ax, curve, name, *MARKS[names.index(name)])
        given = np.concatenate([curve.dose for curve in lines.values()])
        if given.min() > 0 and given.max() >= WIDE_RANGE * given.min():
            ax.set_xscale("log")
        ax.set_title(shortened(perturbation), fontsize=SMALL + 2)
        ax.tick_params(labelsize=SMALL)
        ax.grid(color=FAINT, linewidth=0.6)
        tidy(ax)
    axes[0].legend(fontsize=SMALL, frameon=False)
    figure.supxlabel("dose", fontsize=SMALL + 2)
    figure.supylabel(fill(label, LETTERS_PER_PANEL * -(-len(curves) // 3)), fontsize=SMALL + 1)
    return figure


def _arrays(curve: DoseCurve) -> dict[str, np.ndarray]:
    return {name: values for name, values in curve._asdict().items() if isinstance(values, np.ndarray)}


def _draw_line(ax: "Axes", curve: DoseCurve, name: str, marker: str, colour: str) -> None:
    """A line with its band, and a darker one inside if a narrower interval is known."""
    ax.fill_between(curve.dose, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
    if curve.inner_low is None or curve.inner_high is None:
        ax.plot(curve.dose, curve.effect, color=colour, marker=marker, markersize=4, linewidth=1.2, label=name)
        return
    ax.fill_between(curve.dose, curve.inner_low, curve.inner_high, color=colour, alpha=0.25, linewidth=0)
    ax.plot(curve.dose, curve.effect, color=colour, linewidth=1.2, label=name)


def _draw_points(ax: "Axes", curve: DoseCurve, name: str, marker: str, colour: str) -> None:
    """Points with bars of their intervals, the narrower one thick."""
    for low, high, width in ((curve.low, curve.high, 0.8), (curve.inner_low, curve.inner_high, 2.2)):
        if low is not None and high is not None:
            ax.vlines(curve.dose, low, high, color=colour, linewidth=width)
    ax.plot(curve.dose, curve.effect, color=colour, marker=marker, markersize=4, linestyle="none", label=name)


def _guides(ax: "Axes", values: np.ndarray) -> None:
    """Zero on both axes, the line of agreement, and equal limits."""
    limit = 1.12 * float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    ax.axhline(0, color=FAINT, linewidth=0.8)
    ax.axvline(0, color=FAINT, linewidth=0.8)
    ax.plot([-limit, limit], [-limit, limit], ":", color=MUTED, linewidth=1)
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
