"""Figures: agreement of fits with each other, and effects as a map. They need matplotlib, the extra `plot`.

    axes = effect_map(effects.mean, fitted.vocabulary.perturbation_names)
    save_figure(axes.figure, "effects.svg")

Functions draw into the Axes they are given, or make a Figure of their own; no global state and no display is touched.
matplotlib is imported when a figure is made. Colours tell apart under all common kinds of colour blindness, and no
distinction rests on them alone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samsjax.errors import InputError, check_choice
from samsjax.evaluation.stability import Stability, worst_first

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Names = Sequence[str] | np.ndarray
FORMATS: dict[str, dict[str, Any]] = {".png": {"Software": None}, ".svg": {"Date": None}}
"""Endings of figure files, and what matplotlib would write into them that changes from run to run."""
MARKS = (("o", "#0072B2"), ("D", "#D55E00"), ("^", "#009E73"))
"""Marker and colour of each kind of pairs (Okabe & Ito)."""
MOST_NAMES = 100
"""Most perturbations whose names are written; text for more cannot be read."""
MOST_NUMBERS = 12
"""Most fits whose agreement is written as numbers."""
ROW_INCHES, SMALL = 0.155, 7
"""Height of a row with a name, and its font size in points."""


def require_matplotlib() -> None:
    """Raises: InputError if matplotlib is not installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise InputError("plots need matplotlib, which is not installed: pip install 'samsjax[plot]'") from error


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
    ax = _new_axes(2.0 + 0.5 * n, 1.5 + 0.45 * n) if ax is None else ax
    image = ax.imshow(f1, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(n), labels, rotation=90, fontsize=SMALL + 1)
    ax.set_yticks(range(n), labels, fontsize=SMALL + 1)
    for row, column in np.ndindex(n, n) if n <= MOST_NUMBERS else ():
        value = f1[row, column]
        colour = "black" if value > 0.5 else "white"
        ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=SMALL + 1)
    ax.set_title("Agreement of masks between fits")
    _colour_bar(ax, image, "F1 of active entries, latents matched")
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
        _check_names(perturbation_names, values.shape[1], f"agreement over {kind}")
    order = worst_first(perturbation_f1)[:MOST_NAMES]
    ax = _new_axes(5.0, _height(len(order))) if ax is None else ax
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
        loc="upper center", bbox_to_anchor=(0.5, -0.6 / _height(len(order))), ncols=len(MARKS), fontsize=SMALL + 1
    )
    return ax


def effect_map(
    effects: np.ndarray,
    perturbation_names: Names | None = None,
    *,
    order: bool = True,
    limit: float | None = None,
    title: str = "Effects of perturbations",
    ax: "Axes | None" = None,
) -> "Axes":
    """A heat map of effects in latent space: rows are perturbations, columns latent dimensions, white is no effect.

    Args:
        effects: (perturbation, latent), in standard deviations of the basal state's prior.
        perturbation_names: str (perturbation,); written for at most 100 perturbations.
        order: show perturbations in the order of `row_order`, else as given.
        limit: effect at the ends of the colour scale, which is symmetric about 0; by default the largest in size. Give
            two maps the same to compare them.
        title: of the Axes.
        ax: where to draw; by default a new figure.

    Raises:
        InputError: if names do not fit the effects, or for a limit that is not positive.
    """
    n_perturbations, n_latent = effects.shape
    if perturbation_names is not None:
        _check_names(perturbation_names, n_perturbations, "effects")
    if limit is not None and not limit > 0:
        raise InputError(f"limit must be > 0, got {limit}")
    limit = limit or float(np.abs(effects).max(initial=0.0)) or 1.0
    rows = row_order(effects) if order else np.arange(n_perturbations)
    require_matplotlib()
    from matplotlib.ticker import MaxNLocator

    ax = _new_axes(2.5 + min(0.2 * n_latent, 8.0), _height(n_perturbations)) if ax is None else ax
    image = ax.imshow(effects[rows], cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    if perturbation_names is not None and n_perturbations <= MOST_NAMES:
        ax.set_yticks(range(n_perturbations), np.asarray(perturbation_names)[rows], fontsize=SMALL)
    else:
        ax.set_yticks([])
        ax.set_ylabel(f"{n_perturbations} perturbations")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="latent dimension", title=title)
    _colour_bar(ax, image, "effect, sd of the basal state")
    return ax


def effect_maps(maps: Mapping[str, np.ndarray], *, limit: float | None = None) -> "Figure":
    """Several maps of the same perturbations side by side, rows in the order of the first, on one colour scale.

    Args:
        maps: title -> effects (perturbation, latent) in standard deviations of the basal state's prior; numbers of
            latents may differ.
        limit: effect at the ends of the colour scale; by default the largest in size of the first map.

    Raises:
        InputError: if the maps differ in their numbers of perturbations.
    """
    (first, *_) = maps.values()
    for title, effects in maps.items():
        if len(effects) != len(first):
            raise InputError(f"{title!r} has {len(effects)} perturbations, and the first map {len(first)}")
    limit = limit or float(np.abs(first).max(initial=0.0)) or 1.0
    widths = [effects.shape[1] for effects in maps.values()]
    figure = _new_figure(2.0 * len(maps) + 0.14 * sum(widths), 5.5)
    order = row_order(first)
    axes = figure.subplots(1, len(maps), width_ratios=widths, squeeze=False)[0]
    for ax, (title, effects) in zip(axes, maps.items(), strict=True):
        effect_map(effects[order], order=False, limit=limit, title=title, ax=ax)
    return figure


def score_dots(scores: Mapping[str, Mapping[str, Sequence[float]]], label: str, *, ax: "Axes | None" = None) -> "Axes":
    """A dot for every score in [0, 1], and a line at the mean of each group and case, from top to bottom.

    Args:
        scores: group (at most three) -> case -> its scores, such as one for each seed. Cases stand in the order in
            which they first occur.
        label: of the axis of scores.
        ax: where to draw; by default a new figure.

    Raises:
        InputError: if there is no group or more than three.
    """
    if not 1 <= len(scores) <= len(MARKS):
        raise InputError(f"scores of 1 to {len(MARKS)} groups can be drawn, got {list(scores)}")
    cases = list(dict.fromkeys(case for group in scores.values() for case in group))
    ax = _new_axes(6.5, 1.4 + 0.28 * len(cases)) if ax is None else ax
    for (group, of_case), (marker, colour) in zip(scores.items(), MARKS, strict=False):
        rows = [cases.index(case) for case, values in of_case.items() for _ in values]
        values = [value for values in of_case.values() for value in values]
        means = [np.mean(of_one) for of_one in of_case.values()]
        places = np.array([cases.index(case) for case in of_case])
        ax.plot(values, rows, marker, color=colour, markersize=5, linestyle="none", alpha=0.8, label=group)
        ax.vlines(means, places - 0.3, places + 0.3, color=colour)
    ax.set_yticks(range(len(cases)), cases, fontsize=SMALL + 1)
    ax.set(ylim=(len(cases) - 0.4, -0.6), xlim=(0, 1.03), xlabel=f"{label} (a line: mean)")
    ax.grid(axis="y", linewidth=0.3)
    ax.legend(loc="upper left", fontsize=SMALL + 1)
    return ax


def row_order(effects: np.ndarray) -> np.ndarray:
    """Perturbations by the latent dimension of their largest effect, then by that effect, positive ones first.

    Args:
        effects: (perturbation, latent). Rows of zeros come last.

    Returns:
        int (perturbation,): row numbers in the order to show them.
    """
    dominant = np.abs(effects).argmax(axis=1)
    strongest = effects[np.arange(len(effects)), dominant]
    return np.lexsort((-strongest, dominant, strongest == 0))


def stability_figure(stability: Stability) -> "Figure":
    """Both views of the agreement of fits: between fits on the left, by perturbation on the right."""
    n_rows = min(len(stability.perturbation_names), MOST_NAMES)
    n_fits = len(stability.members)
    side = min(2.0 + 0.42 * n_fits, 8.0)
    height = max(_height(n_rows), side)
    figure = _new_figure(side + 6.0, height)
    # The heat map keeps its size however many perturbations there are.
    rest = max(height - side, 0.01)
    grid = figure.add_gridspec(2, 2, width_ratios=(side + 1.2, 4.8), height_ratios=(side, rest))
    labels = [member.label for member in stability.members]
    agreement_matrix(stability.matrix, labels, ax=figure.add_subplot(grid[0, 0]))
    perturbation_agreement(stability.perturbation_f1, stability.perturbation_names, ax=figure.add_subplot(grid[:, 1]))
    return figure


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


def _new_figure(width: float, height: float) -> "Figure":
    """A figure of this size in inches that belongs to no window."""
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _new_axes(width: float, height: float) -> "Axes":
    return _new_figure(width, height).add_subplot()


def _height(n_rows: int) -> float:
    """Inches for so many rows with names, and what stands above and below them."""
    return 1.6 + ROW_INCHES * min(max(n_rows, 8), MOST_NAMES)


def _colour_bar(ax: "Axes", image: Any, label: str) -> None:
    assert ax.figure is not None
    ax.figure.colorbar(image, ax=ax, label=label, aspect=30)


def _check_names(names: Names, n: int, what: str) -> None:
    if len(names) != n:
        raise InputError(f"{len(names)} names for {what} of {n} perturbations")
