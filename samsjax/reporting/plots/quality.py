"""Quality of cells: who fails, which cells pass, what gives quality away, and what failing does to genes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from samsjax.errors import InputError
from samsjax.reporting.plots.base import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    MARKS,
    MUTED,
    SMALL,
    VERMILION,
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

NAMED_TREATMENTS = 12
NAMED_GENES = 8
"""In each direction."""
BAND = 2.576
"""Standard errors to each side that hold 99 of 100 shares."""
SOURCE_MARKS = (("D", BLUE, BLUE), ("o", INK, "white"), ("^", GREEN, GREEN), ("s", MUTED, MUTED))
"""Marker, colour and filling of up to four sources of cells; the first is the model."""


def failed_shares(
    n_cells: np.ndarray,
    share: np.ndarray,
    overall: float,
    names: Names,
    stands_out: np.ndarray,
    *,
    ax: "Axes | None" = None,
) -> "Axes":
    """Share of cells that fail by treatment, against the number of its cells; those that stand out are marked, named.

    Args:
        n_cells: int (treatment,).
        share: (treatment,) from 0 to 1.
        overall: share of all cells, the dashed line. The grey band holds 99 of 100 treatments if all fail that often.
        names: (treatment,).
        stands_out: bool (treatment,); up to 12 of these, the farthest from the line, are named.
        ax: where to draw; by default a new figure.

    Raises:
        InputError: unless all are of the same length, and there is a treatment.
    """
    check_same_shape(n_cells=n_cells, share=share, stands_out=stands_out)
    check_names(names, len(n_cells), "shares", "treatments")
    if not len(n_cells):
        raise InputError("there is no treatment to show")
    ax = new_axes(6.5, 3.6) if ax is None else ax
    place = np.log10(n_cells.astype(float))
    limits = place.min() - 0.2, place.max() + 0.2
    sizes = np.linspace(*limits, 100)
    width = BAND * np.sqrt(overall * (1 - overall) / 10**sizes)
    ax.fill_between(sizes, np.maximum(overall - width, 0), np.minimum(overall + width, 1), color=FAINT, linewidth=0)
    ax.axhline(overall, color=MUTED, linestyle="--", linewidth=1)
    for chosen, marker, colour, label in (
        (~stands_out, "o", BLUE, "like others"),
        (stands_out, "D", VERMILION, "stands out"),
    ):
        if chosen.any():
            ax.plot(place[chosen], share[chosen], marker, color=colour, markersize=4, linestyle="none", label=label)
    ticks = [t for t in np.outer(10 ** np.arange(9), [1, 2, 3, 5]).ravel() if limits[0] <= np.log10(t) <= limits[1]]
    ax.set_xticks(np.log10(ticks), [f"{t:,}" for t in ticks])
    ax.set(xlim=limits, ylim=(-0.03, min(1.03, share.max() * 1.15 + 0.05)))
    ax.set_xlabel("cells of the treatment", fontsize=SMALL + 1)
    ax.set_ylabel("share that fails", fontsize=SMALL + 1)
    ax.tick_params(labelsize=SMALL + 1)
    tidy(ax)
    _legend(ax)
    found = np.flatnonzero(stands_out)
    named = found[np.argsort(-np.abs(share[found] - overall), kind="stable")][:NAMED_TREATMENTS]
    write_names(ax, place[named], share[named], [shortened(str(names[t])) for t in named])
    return ax


def rate_dots(rates: Mapping[str, np.ndarray], rows: Names, label: str, *, ax: "Axes | None" = None) -> "Axes":
    """Shares from 0 to 1 of up to four sources of cells, row by row from top to bottom; NaN has no mark.

    Args:
        rates: source -> (row,), the model first.
        rows: names.
        label: of the axis of shares.
        ax: where to draw; by default a new figure.

    Raises:
        InputError: for no source or more than four, or lengths that differ.
    """
    if not 1 <= len(rates) <= len(SOURCE_MARKS):
        raise InputError(f"rates of 1 to {len(SOURCE_MARKS)} sources can be drawn, got {list(rates)}")
    ax = new_axes(6.5, 1.5 + 0.3 * len(rows)) if ax is None else ax
    for place, (source, values) in enumerate(rates.items()):
        check_names(rows, len(values), source, "rates")
        marker, colour, filling = SOURCE_MARKS[place]
        shift = 0.13 * (place - (len(rates) - 1) / 2)
        style = {"marker": marker, "color": colour, "markerfacecolor": filling, "linestyle": "none", "markersize": 6}
        ax.plot(values, np.arange(len(rows)) + shift, label=source, **style)  # type: ignore[arg-type]
    _rows(ax, rows, label)
    ax.set_xlim(-0.02, 1.02)
    _legend(ax)
    return ax


def probe_dots(
    auroc: np.ndarray, spread: np.ndarray, chance_error: np.ndarray, rows: Names, *, ax: "Axes | None" = None
) -> "Axes":
    """How well probes tell failed cells from others; filled marks are above chance, open ones are not.

    Args:
        auroc: (row,) areas under the curve; NaN has no mark, and its row says so.
        spread: (row,) standard deviations over folds, drawn as lines to both sides.
        chance_error: (row,) standard errors under chance. Grey bands end where 19 of 20 areas by chance do.
        rows: names.
        ax: where to draw; by default a new figure.

    Raises:
        InputError: if lengths differ.
    """
    check_same_shape(auroc=auroc, spread=spread, chance_error=chance_error)
    check_names(rows, len(auroc), "areas", "probes")
    ax = new_axes(6.5, 1.2 + 0.3 * len(rows)) if ax is None else ax
    limit = 1.645 * chance_error
    ax.axvline(0.5, color=MUTED, linestyle="--", linewidth=1)
    for row, value in enumerate(auroc):
        if np.isnan(value):
            ax.text(0.505, row, "not defined", fontsize=SMALL, color=MUTED, va="center")
            continue
        above = value > 0.5 + limit[row]
        ax.barh(row, 2 * limit[row], 0.8, 0.5 - limit[row], color=FAINT)
        ax.plot([value - spread[row], min(value + spread[row], 1)], [row, row], color=INK, linewidth=1)
        ax.plot([value], [row], "D", color=VERMILION if above else BLUE, markerfacecolor=None if above else "white")
    _rows(ax, rows, "area under the curve (.5 = chance)")
    ax.set_xlim(min(0.4, auroc[~np.isnan(auroc)].min(initial=0.45) - 0.05), 1.02)
    return ax


def distance_dots(distances: Mapping[str, np.ndarray], label: str, *, ax: "Axes | None" = None) -> "Axes":
    """A dot for every condition, a row for every source of cells from top to bottom, and a line at its mean.

    Args:
        distances: source -> (condition,), the model first; NaN has no mark, and a row of nothing else says so.
        label: of the axis, with unit.
        ax: where to draw; by default a new figure.

    Raises:
        InputError: if there is no source.
    """
    if not distances:
        raise InputError("there are no distances to show")
    ax = new_axes(6.5, 1.2 + 0.36 * len(distances)) if ax is None else ax
    ax.axvline(0, color=MUTED, linestyle="--", linewidth=1)
    for row, values in enumerate(distances.values()):
        known = values[~np.isnan(values)]
        if not len(known):
            ax.text(0.02, row, "not defined", transform=ax.get_yaxis_transform(), fontsize=SMALL, color=MUTED)
            continue
        marker, colour, filling = SOURCE_MARKS[row % len(SOURCE_MARKS)]
        ax.plot(known, np.full(len(known), row), marker, color=colour, markerfacecolor=filling, markersize=4, alpha=0.5)
        ax.vlines(known.mean(), row - 0.35, row + 0.35, color=INK, linewidth=2)
    _rows(ax, list(distances), f"{label} (a line: mean)")
    return ax


def artifact_changes(
    mean: np.ndarray,
    change: np.ndarray,
    gene_names: Names,
    titles: Sequence[str],
    sets: Mapping[str, np.ndarray],
    label: str,
) -> "Figure":
    """A panel for each artefact: the change of every gene when cells carry it, against its expression when they do not.

    Args:
        mean: (gene,) expression of good cells.
        change: (artefact, gene), in the same scale.
        gene_names: (gene,); the eight genes that rise and the eight that fall most are named.
        titles: (artefact,).
        sets: name of a set (at most three) -> columns of its genes, which have marks of their own.
        label: unit of both axes.

    Raises:
        InputError: if shapes or names do not fit, or for more than three sets.
    """
    if np.shape(change) != (len(titles), len(mean)) or not len(titles):
        raise InputError(f"changes have shape {np.shape(change)} for {len(titles)} artefacts and {len(mean)} genes")
    check_names(gene_names, len(mean), "changes", "genes")
    if len(sets) > len(MARKS):
        raise InputError(f"at most {len(MARKS)} sets of genes can be marked, got {list(sets)}")
    figure, axes = panels(len(titles), 6.5 if len(titles) == 1 else 4.2, 3.8, most_columns=2)
    for ax, title, values in zip(axes, titles, change, strict=True):
        ax.axhline(0, color=MUTED, linewidth=0.8)
        ax.plot(mean, values, ".", color=MUTED, markersize=3, label="other genes")
        for (name, columns), (marker, colour) in zip(sets.items(), MARKS, strict=False):
            ax.plot(mean[columns], values[columns], marker, color=colour, markersize=4, label=name)
        ax.set_title(title, fontsize=SMALL + 2)
        ax.tick_params(labelsize=SMALL)
        ax.margins(x=0.15, y=0.08)
        tidy(ax)
        order = np.argsort(values, kind="stable")
        named = [g for g in order[:NAMED_GENES] if values[g] < 0]
        named += [g for g in order[::-1][:NAMED_GENES] if values[g] > 0]
        write_names(ax, mean[named], values[named], [str(gene_names[g]) for g in named])
    if any(len(columns) for columns in sets.values()):
        axes[0].legend(fontsize=SMALL, frameon=False)
    figure.supxlabel(f"in good cells, {label}", fontsize=SMALL + 1)
    figure.supylabel("change in cells that fail", fontsize=SMALL + 1)
    return figure


def _rows(ax: "Axes", rows: Names, label: str) -> None:
    """Names of rows, the first on top, and of the axis of values."""
    ax.set_xlabel(label, fontsize=SMALL + 1)
    ax.set_yticks(range(len(rows)), [shortened(str(row), 40) for row in rows], fontsize=SMALL + 1)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(axis="y", color=FAINT, linewidth=0.6)
    ax.tick_params(axis="x", labelsize=SMALL + 1)
    tidy(ax)


def _legend(ax: "Axes") -> None:
    """Above the axes, in one line."""
    ax.legend(fontsize=SMALL + 1, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2)
