"""Whether uncertainty is honest, and whether drawn cells look like measured ones."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from samsjax.errors import InputError
from samsjax.reporting.plots.base import BLUE, FAINT, INK, MARKS, MUTED, SMALL, VERMILION, new_axes, panels, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def calibration_curve(
    nominal: np.ndarray,
    observed: Mapping[str, np.ndarray],
    *,
    label: str = "share of measured effects inside",
    ax: "Axes | None" = None,
) -> "Axes":
    """How often intervals hold what was measured, against how often they claim to. Below the dotted line: too sure.

    Args:
        nominal: (level,) claimed shares in [0, 1].
        observed: name of a kind of interval (at most three) -> (level,) shares found; NaN is left out.
        label: of the axis of shares found.
        ax: where to draw; by default a new figure.

    Raises:
        InputError: for no kind or more than three, shapes that differ, or shares outside [0, 1].
    """
    if not 1 <= len(observed) <= len(MARKS):
        raise InputError(f"1 to {len(MARKS)} kinds of intervals can be drawn, got {list(observed)}")
    for name, values in {"nominal": nominal, **observed}.items():
        if np.shape(values) != np.shape(nominal):
            raise InputError(f"{name!r} has {np.shape(values)} levels, and nominal {np.shape(nominal)}")
        if np.any((np.asarray(values) < 0) | (np.asarray(values) > 1)):
            raise InputError(f"{name!r} must hold shares from 0 to 1, got {np.nanmin(values)} to {np.nanmax(values)}")
    ax = new_axes(4.2, 4.8) if ax is None else ax
    ax.plot([0, 1], [0, 1], ":", color=MUTED, linewidth=1)
    for (name, values), (marker, colour) in zip(observed.items(), MARKS, strict=False):
        ax.plot(nominal, values, color=colour, marker=marker, markersize=4, linewidth=1.2, label=name)
    ax.text(0.97, 0.06, "too sure", ha="right", fontsize=SMALL, color=MUTED)
    ax.text(0.03, 0.92, "too careful", fontsize=SMALL, color=MUTED)
    ax.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal", xlabel="claimed share", ylabel=label)
    ax.grid(color=FAINT, linewidth=0.6)
    ax.legend(fontsize=SMALL + 1, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    tidy(ax)
    return ax


def predictive_check(measured: np.ndarray, simulated: np.ndarray) -> "Figure":
    """Cells drawn from the model beside measured ones of the same treatment: four views of the counts.

    Mean count of each gene, measured against simulated; variance against mean; share of zeros against mean; and the
    distribution of total counts. Genes never seen on a side have no place on its logarithmic axes.

    Args:
        measured: (measured cell, gene) counts.
        simulated: (simulated cell, gene) counts.

    Raises:
        InputError: unless both are matrices of the same genes with at least two cells.
    """
    for name, x in (("measured", measured), ("simulated", simulated)):
        if np.ndim(x) != 2 or len(x) < 2:
            raise InputError(f"{name} must be (cell, gene) with at least 2 cells, got shape {np.shape(x)}")
    if measured.shape[1] != simulated.shape[1]:
        raise InputError(f"measured cells have {measured.shape[1]} genes, and simulated ones {simulated.shape[1]}")
    figure, (means, variances, zeros, totals) = panels(4, 3.0, 2.7, most_columns=2)
    sides = (("simulated", simulated, "D", VERMILION, 3.2), ("measured", measured, "o", INK, 1.5))
    _means(means, measured, simulated)
    for name, x, marker, colour, size in sides:
        mean = _positive(x.mean(axis=0, dtype=float))
        style: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "markersize": size,
            "linestyle": "none",
            "label": name,
        }
        variances.plot(mean, _positive(x.var(axis=0, dtype=float)), **style)
        zeros.plot(mean, (x == 0).mean(axis=0), **style)
    variances.set(xscale="log", yscale="log", xlabel="mean count", ylabel="variance", title="Variance of genes")
    zeros.set(xscale="log", xlabel="mean count", ylabel="share of zeros", title="Zeros of genes")
    _totals(totals, measured, simulated)
    for ax in (means, variances, zeros, totals):
        ax.title.set_fontsize(SMALL + 2)
        ax.tick_params(labelsize=SMALL)
        ax.xaxis.label.set_fontsize(SMALL + 1)
        ax.yaxis.label.set_fontsize(SMALL + 1)
        tidy(ax)
    variances.legend(fontsize=SMALL, frameon=False, markerscale=1.6)
    return figure


def _means(ax: "Axes", measured: np.ndarray, simulated: np.ndarray) -> None:
    x, y = (_positive(side.mean(axis=0, dtype=float)) for side in (measured, simulated))
    ax.plot(x, y, "o", color=BLUE, markersize=2.2, alpha=0.6)
    both = np.concatenate([x, y])
    if np.isfinite(both).any():
        ends = [np.nanmin(both), np.nanmax(both)]
        ax.plot(ends, ends, ":", color=INK, linewidth=1)
    ax.set(xscale="log", yscale="log", xlabel="measured", ylabel="simulated", title="Mean count of genes")


def _totals(ax: "Axes", measured: np.ndarray, simulated: np.ndarray) -> None:
    """Distributions as steps, so that neither side needs bins of its own."""
    for name, x, colour, style in (("measured", measured, INK, "-"), ("simulated", simulated, VERMILION, "--")):
        ax.ecdf(x.sum(axis=1, dtype=float), color=colour, linestyle=style, linewidth=1.3, label=name)
    ax.set(xlabel="counts in a cell", ylabel="share of cells below", title="Library size")
    ax.legend(fontsize=SMALL, frameon=False)


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, np.nan)
