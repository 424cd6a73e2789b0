"""How a fit went: the bounds by epoch."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from samsjax.errors import InputError
from samsjax.reporting.plots.base import BLUE, FAINT, MUTED, SMALL, VERMILION, new_axes, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = (("train_objective", "training cells", BLUE, "-"), ("val_elbo", "validation cells", VERMILION, "--"))
EARLY = 0.1
"""Share of the epochs that may lie below the frame: the first climb is so steep that nothing else could be seen."""


def training_curves(
    history: Sequence[Mapping[str, float]], *, best_epoch: int | None = None, ax: "Axes | None" = None
) -> "Axes":
    """The bounds on training and validation cells by epoch; dotted lines where latent space was rotated.

    Args:
        history: a row for each epoch, as `Fitted.history`; a bound of NaN throughout (no validation cells) has no line.
        best_epoch: the epoch whose parameters were kept, marked by a circle on the validation line.
        ax: where to draw; by default a new figure.

    Raises:
        InputError: for an empty history, or one whose rows lack the epoch or both bounds.
    """
    rows = list(history)
    if not rows or "epoch" not in rows[0] or not any(name in rows[0] for name, *_ in LINES):
        raise InputError("history must have a row per epoch with epoch and train_objective or val_elbo")
    ax = new_axes(6.5, 3.2) if ax is None else ax
    epochs = np.array([row["epoch"] for row in rows], dtype=float)
    curves = {name: np.array([row.get(name, np.nan) for row in rows], dtype=float) for name, *_ in LINES}
    for name, label, colour, style in LINES:
        if np.isfinite(curves[name]).any():
            marker = "." if len(rows) == 1 else None
            ax.plot(epochs, curves[name], style, color=colour, label=label, linewidth=1.5, marker=marker)
    for i, epoch in enumerate(e for e, row in zip(epochs, rows, strict=True) if row.get("rotated")):
        ax.axvline(epoch, color=MUTED, linestyle=":", linewidth=1, label=None if i else "latent space rotated")
    kept = (epochs == best_epoch) & np.isfinite(curves["val_elbo"])
    if kept.any():
        ax.plot(epochs[kept], curves["val_elbo"][kept], "o", color=VERMILION, markerfacecolor="white", label="kept")
    _leave_out_the_first_climb(ax, np.concatenate(list(curves.values())))
    ax.set(xlabel="epoch", ylabel="bound, nats per cell (higher is better)")
    ax.grid(color=FAINT, linewidth=0.6)
    ax.legend(fontsize=SMALL + 1, frameon=False, loc="lower right")
    tidy(ax)
    return ax


def _leave_out_the_first_climb(ax: "Axes", values: np.ndarray) -> None:
    values = values[np.isfinite(values)]
    if not len(values):
        return
    low, high = np.quantile(values, EARLY), values.max()
    bottom = low - 0.3 * (high - low)
    if values.min() < bottom < high:
        ax.set_ylim(bottom, high + 0.08 * (high - bottom))
        ax.set_title("earlier values lie below the frame", fontsize=SMALL, color=MUTED, loc="left")
