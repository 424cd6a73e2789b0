"""Uncertainty, predictive checks, interactions and doses: parts of a report that not every run has."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from samsjax.reporting.page import Block, Figure, Section, Text
from samsjax.reporting.plots import DoseCurve, calibration_curve, dose_curves, predictive_check
from samsjax.reporting.report.frames import frame_table

if TYPE_CHECKING:
    import pandas as pd


class Calibration(NamedTuple):
    """Shares of intervals that hold what was measured."""

    nominal: np.ndarray
    """(level,) claimed."""
    observed: Mapping[str, np.ndarray]
    """Kind of interval, at most three -> (level,) found."""


class PredictiveCells(NamedTuple):
    """Measured cells and as many, or more, drawn from the model under the same treatment."""

    name: str
    """Of the treatment, or "control"."""
    measured: np.ndarray
    """(cell, gene) counts."""
    simulated: np.ndarray
    """(cell, gene) counts."""


def uncertainty_section(calibration: Calibration | None, cells: PredictiveCells | None) -> Section:
    """Whether intervals hold what they claim, and whether drawn cells look like measured ones."""
    blocks: list[Block] = []
    if calibration is not None:
        caption = (
            "How often intervals of predicted effects hold the measured effect, against how often they claim to. Below "
            "the dotted line the model is too sure of itself."
        )
        found = "; ".join(f"{name}: {_shares(calibration.nominal, v)}" for name, v in calibration.observed.items())
        draw = partial(calibration_curve, calibration.nominal, calibration.observed)
        blocks.append(Figure(draw, caption, f"Observed against claimed coverage. {found}."))
    if cells is not None:
        caption = (
            f"Cells drawn from the model beside measured cells ({cells.name}): gene means, variance and share of zeros "
            "against the mean, and library sizes. Where the two part, draws should not be taken for cells."
        )
        draw_cells = partial(predictive_check, cells.measured, cells.simulated)
        alt = f"Four comparisons of {len(cells.simulated)} drawn with {len(cells.measured)} measured cells."
        blocks.append(Figure(draw_cells, caption, alt))
    return Section("Uncertainty and checks", blocks)


def interactions_section(interactions: "pd.DataFrame | None") -> Section:
    """Combinations whose effect is not the sum of the single ones."""
    if interactions is None:
        return Section("Interactions", [])
    text = (
        "An interaction is what a combination does beyond the sum of its parts. Zero inside the interval: the data do "
        "not tell it from none."
    )
    return Section("Interactions", [Text(text), frame_table(interactions, "Interactions of combinations.")])


def doses_section(
    curves: Mapping[str, Mapping[str, DoseCurve]] | None, table: "pd.DataFrame | None", label: str
) -> Section:
    """Effects along the doses of perturbations that were given at several."""
    blocks: list[Block] = []
    if curves:
        caption = "Effects along dose with their intervals."
        draw = partial(dose_curves, curves, label)
        blocks.append(Figure(draw, caption, f"Effects along dose of {', '.join(curves)}."))
    if table is not None:
        blocks.append(frame_table(table, "Effects by dose."))
    return Section("Doses", blocks)


def _shares(nominal: np.ndarray, observed: np.ndarray) -> str:
    return ", ".join(f"{o:.0%} at {n:.0%}" for n, o in zip(nominal, observed, strict=True) if not np.isnan(o))
