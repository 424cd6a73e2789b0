"""Scores: dots by case, and predictors beside each other with intervals and ceilings."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from samsjax.errors import InputError, unknown_name
from samsjax.evaluation.scores import Scores
from samsjax.reporting.plots.base import BLUE, FAINT, INK, MARKS, MUTED, SMALL, new_axes, panels, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def score_comparison(scores: Scores, metrics: Sequence[str] | None = None) -> "Figure":
    """A panel for each metric: the mean score of every predictor with its 90 % interval, beside ceilings.

    The model is the filled diamond on top, baselines are open circles. A predictor without a score has no mark, and
    its row says "not defined". The axis says which way is better. Dashed: one half of the measured cells against the
    other; dotted: what a perfect prediction would score, where that is known.

    Args:
        scores: of predictors, the model first.
        metrics: names of those to show, in this order; by default all.

    Raises:
        InputError: for a metric that was not computed, or no metric.
    """
    known = [metric.name for metric in scores.metrics]
    shown = known if metrics is None else list(metrics)
    for name in shown:
        if name not in known:
            raise unknown_name("metric", name, known)
    if not shown:
        raise InputError("there is no metric to show")
    n_predictors = len(scores.predictors)
    figure, axes = panels(len(shown), 3.0, 1.15 + 0.24 * n_predictors, most_columns=3)
    for place, (name, ax) in enumerate(zip(shown, axes, strict=True)):
        _metric_panel(scores, known.index(name), ax)
        if place % 3 == 0:
            ax.set_yticks(range(n_predictors), scores.predictors, fontsize=SMALL + 1)
            ax.get_yticklabels()[0].set_fontweight("bold")
    return figure


def _metric_panel(scores: Scores, m: int, ax: "Axes") -> None:
    metric = scores.metrics[m]
    for row, (mean, low, high) in enumerate(
        zip(scores.mean[:, m], scores.mean_low[:, m], scores.mean_high[:, m], strict=True)
    ):
        if np.isnan(mean):
            ax.text(
                0.5, row, "not defined", transform=ax.get_yaxis_transform(), fontsize=SMALL, color=MUTED, va="center"
            )
            continue
        colour = BLUE if row == 0 else INK
        ax.plot([low, high], [row, row], color=colour, linewidth=1.8 if row == 0 else 1.1)
        face, marker = (colour, "D") if row == 0 else ("white", "o")
        ax.plot([mean], [row], marker, color=colour, markerfacecolor=face, markersize=5.5)
    lines = (("halves", scores.ceiling_mean[m], (0, (4, 2))), ("perfect", scores.perfect[m], (0, (1, 1.5))))
    for name, value, style in lines:
        if not np.isnan(value):
            ax.axvline(value, color=MUTED, linestyle=style, linewidth=1)
            ax.text(value, 1.0, name, transform=ax.get_xaxis_transform(), fontsize=SMALL, color=MUTED, ha="center")
    ax.set_yticks(range(len(scores.predictors)), [])
    ax.set_ylim(len(scores.predictors) - 0.5, -0.5)
    ax.set_xlabel("better \u2192" if metric.higher_is_better else "\u2190 better", fontsize=SMALL + 1)
    ax.set_title(metric.name, fontsize=SMALL + 2, pad=12)
    ax.tick_params(axis="x", labelsize=SMALL)
    ax.grid(axis="y", color=FAINT, linewidth=0.6)
    ax.margins(x=0.12)
    tidy(ax)


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
    ax = new_axes(6.5, 1.4 + 0.28 * len(cases)) if ax is None else ax
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
