"""Effects of perturbations in latent space: maps, and a plane of perturbations."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from samsjax.errors import InputError
from samsjax.reporting.plots.base import (
    BLUE,
    FAINT,
    INK,
    MOST_NAMES,
    SMALL,
    Names,
    check_names,
    colour_bar,
    new_axes,
    new_figure,
    require_matplotlib,
    rows_height,
    shortened,
    tidy,
    write_names,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LATENT_NAMES = 60
"""Most latent dimensions whose names are written."""
MOST_CLUSTERED = 3000
"""Most rows whose tree is built; it takes the distances of all pairs."""


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
        check_names(perturbation_names, n_perturbations, "effects")
    if limit is not None and not limit > 0:
        raise InputError(f"limit must be > 0, got {limit}")
    limit = limit or float(np.abs(effects).max(initial=0.0)) or 1.0
    rows = row_order(effects) if order else np.arange(n_perturbations)
    require_matplotlib()
    from matplotlib.ticker import MaxNLocator

    ax = new_axes(2.5 + min(0.2 * n_latent, 8.0), rows_height(n_perturbations)) if ax is None else ax
    image = ax.imshow(effects[rows], cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    if perturbation_names is not None and n_perturbations <= MOST_NAMES:
        ax.set_yticks(range(n_perturbations), np.asarray(perturbation_names)[rows], fontsize=SMALL)
    else:
        ax.set_yticks([])
        ax.set_ylabel(f"{n_perturbations} perturbations")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="latent dimension", title=title)
    colour_bar(ax, image, "effect, sd of the basal state")
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
    figure = new_figure(2.0 * len(maps) + 0.14 * sum(widths), 5.5)
    order = row_order(first)
    axes = figure.subplots(1, len(maps), width_ratios=widths, squeeze=False)[0]
    for ax, (title, effects) in zip(axes, maps.items(), strict=True):
        effect_map(effects[order], order=False, limit=limit, title=title, ax=ax)
    return figure


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


def mask_map(
    inclusion_probability: np.ndarray,
    names: Names,
    *,
    latent_names: Names | None = None,
    clustered: bool = True,
    ax: "Axes | None" = None,
) -> "Axes":
    """A heat map of the probability that a perturbation acts on a latent dimension; white is no, dark is yes.

    Latent dimensions on which nothing is likely to act (probability above one half) are left out, and the axis says how
    many there are.

    Args:
        inclusion_probability: (perturbation, latent) in [0, 1].
        names: str (perturbation,); written for at most 100 perturbations.
        latent_names: str (latent,); written for at most 60 dimensions, else numbers.
        clustered: order rows and columns so that similar ones are neighbours; else as given.
        ax: where to draw; by default a new figure.

    Raises:
        InputError: if names do not fit, or for probabilities outside [0, 1].
    """
    n_perturbations, n_latent = inclusion_probability.shape
    check_names(names, n_perturbations, "probabilities")
    if latent_names is not None:
        check_names(latent_names, n_latent, "probabilities", "latent dimensions")
    if not ((inclusion_probability >= 0) & (inclusion_probability <= 1)).all():
        raise InputError("inclusion probabilities must be from 0 to 1")
    used = np.flatnonzero((inclusion_probability > 0.5).any(axis=0))
    shown = inclusion_probability[:, used]
    rows = cluster_order(shown) if clustered else np.arange(n_perturbations)
    columns = cluster_order(shown.T) if clustered else np.arange(len(used))
    ax = new_axes(2.8 + min(0.2 * max(len(used), 8), 7.0), rows_height(n_perturbations)) if ax is None else ax
    image = ax.imshow(
        shown[np.ix_(rows, columns)], cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest"
    )
    written = [shortened(str(names[int(t)])) for t in rows] if n_perturbations <= MOST_NAMES else []
    ax.set_yticks(range(len(written)), written, fontsize=SMALL)
    if not len(written):
        ax.set_ylabel(f"{n_perturbations} perturbations")
    labels = used[columns] if latent_names is None else [f"{shortened(latent_names[k])}  {k}" for k in used[columns]]
    if len(used) <= MOST_LATENT_NAMES:
        ax.set_xticks(range(len(used)), labels, fontsize=SMALL, rotation=90)
    else:
        ax.set_xticks([])
    ax.set_xlabel(f"latent dimension ({len(used)} of {n_latent} in use)")
    colour_bar(ax, image, "inclusion probability")
    return ax


def cluster_order(values: np.ndarray) -> np.ndarray:
    """Rows in the order of the leaves of their average-linkage tree, int (row,); neighbours are similar."""
    if len(values) < 3 or values.shape[1] == 0:
        return np.arange(len(values))
    if len(values) > MOST_CLUSTERED:
        return row_order(values)
    from scipy.cluster.hierarchy import leaves_list, linkage

    few = len(values) <= MOST_NAMES  # turning branches so that neighbours fit best takes long for many
    return leaves_list(linkage(values, method="average", optimal_ordering=few))


def effects_plane(effects: np.ndarray, names: Names, *, n_labels: int = 20, ax: "Axes | None" = None) -> "Axes":
    """Perturbations in the plane that holds most of their effects; no effect is the cross at the origin.

    The plane of the two largest singular values of the effects, not centred: distance from the origin is strength, and
    perturbations in the same direction do the same. The axes say which share of the squared effects they hold.

    Args:
        effects: (perturbation, latent) posterior means.
        names: str (perturbation,).
        n_labels: perturbations to name, those farthest from the origin.
        ax: where to draw; by default a new figure.

    Raises:
        InputError: if names do not fit, or there are fewer than two latent dimensions or perturbations.
    """
    check_names(names, len(effects), "effects")
    if min(effects.shape) < 2:
        raise InputError(f"a plane needs at least 2 perturbations and 2 latent dimensions, got shape {effects.shape}")
    places, share = plane(effects)
    ax = new_axes(6.0, 5.0) if ax is None else ax
    ax.axhline(0, color=FAINT, linewidth=0.8)
    ax.axvline(0, color=FAINT, linewidth=0.8)
    ax.plot(*places.T, "o", color=BLUE, markersize=4, markeredgecolor="white", markeredgewidth=0.5, linestyle="none")
    ax.plot([0], [0], "+", color=INK, markersize=10)
    strongest = np.argsort(-np.linalg.norm(places, axis=1), kind="stable")[:n_labels]
    ax.set(xlabel=f"first direction ({share[0]:.0%} of squared effects)", ylabel=f"second direction ({share[1]:.0%})")
    ax.margins(0.18, 0.12)
    tidy(ax)
    ax.set(xlim=ax.get_xlim(), ylim=ax.get_ylim())  # names must not move the frame
    x, y = places[strongest].T
    write_names(ax, x, y, [shortened(str(names[int(t)])) for t in strongest], outward=True)
    return ax


def plane(effects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (row, 2) in the plane of the two largest singular values, and the shares (2,) of squares they hold.

    The sign of a direction is such that its largest coordinate is positive. Shares of zeros are 0.
    """
    left, size, _ = np.linalg.svd(np.asarray(effects, dtype=float), full_matrices=False)
    places = left[:, :2] * size[:2]
    largest = places[np.abs(places).argmax(axis=0), [0, 1]]
    total = (size**2).sum()
    return np.where(largest < 0, -places, places), size[:2] ** 2 / total if total else np.zeros(2)
