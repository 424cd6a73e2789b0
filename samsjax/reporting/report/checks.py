"""Uncertainty, predictive checks, interactions and doses: parts of a report that not every run has."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from samsjax.evaluation.posterior_effects import PosteriorEffects
from samsjax.evaluation.predictive_checks import PredictiveCheck
from samsjax.evaluation.uncertainty import Uncertainty
from samsjax.reporting.page import Block, Column, Figure, Section, Table, Text
from samsjax.reporting.plots import DoseCurve, calibration_curve, dose_curves, predictive_check
from samsjax.reporting.report.frames import frame_table

if TYPE_CHECKING:
    import pandas as pd


KINDS_DRAWN = 3
"""Most kinds of intervals in one figure."""
GENERAL = "Uncertainty and checks"


def uncertainty_section(
    uncertainty: Uncertainty | None, check: PredictiveCheck | None, effects: PosteriorEffects | None = None
) -> Section:
    """Whether intervals hold what they claim, and whether drawn cells look like measured ones."""
    blocks: list[Block] = []
    if uncertainty is not None:
        blocks += _coverage(uncertainty)
    if effects is not None and effects.widened_by is not None:
        blocks.append(Text(_widened(effects.widened_by)))
    if check is not None:
        blocks += _predictive(check)
    return Section(GENERAL, blocks)


def _widened(factor: float) -> str:
    return (
        f"Effects in latent space have {factor:.2f} times the spread that the fit states for active ones: fits to "
        "screens drawn from the model, whose effects are known, erred by that much more than they said."
        if factor > 1
        else "Fits to screens drawn from the model, whose effects are known, erred by no more than they said: effects "
        "in latent space keep the spread that the fit states."
    )


def _coverage(uncertainty: Uncertainty) -> list[Block]:
    learned, found = uncertainty.network_error, uncertainty.calibrations
    said = (
        "Intervals of predicted effects are those of the posterior of masks and embeddings; encoder and decoder are "
        "point estimates, so these alone are too narrow."
    )
    if learned is None:
        said += (
            " There are too few validation cells and controls to learn how much the networks err: do not trust them."
        )
    else:
        said += (
            f" They were widened by what {learned.n_values:,} effects measured in validation cells show: the networks "
            f"err by {learned.share:.3f} of a gene's standard deviation between cells."
        )
    blocks: list[Block] = [Text(said)]
    shown = {name: c for name, c in found.items() if c.n_values}
    if not shown:
        return blocks
    drawn = dict(list(shown.items())[:KINDS_DRAWN])
    nominal = next(iter(drawn.values())).nominal
    caption = (
        "How often intervals hold the measured effect (in test cells, their own error added) or the true one (in "
        "simulations), against how often they claim to. Below the dotted line: too sure."
    )
    observed = {name: c.observed for name, c in drawn.items()}
    alt = f"Observed against claimed coverage. {'; '.join(f'{n}: {c.at(0.9):.0%} at 90%' for n, c in drawn.items())}."
    blocks.append(Figure(partial(calibration_curve, nominal, observed, label="share inside"), caption, alt))
    columns = [Column("intervals"), Column("values", "number", 0)]
    columns += [Column(f"{level:.0%}", "number", 3, hint="claimed") for level in nominal]
    rows = [(name, c.n_values, *map(float, c.observed)) for name, c in shown.items()]
    return [*blocks, Table(columns, rows, "Share of values inside the intervals, by what the intervals claim.")]


def _predictive(check: PredictiveCheck) -> list[Block]:
    n_cells = len(check.measured)
    caption = (
        f"{n_cells:,} held-out cells and the same cells drawn anew from the model: gene means, variance and share of "
        "zeros against the mean, and library sizes. Where the two part, draws should not be taken for cells."
    )
    figure = Figure(
        partial(predictive_check, check.measured, check.replicate), caption, f"Four comparisons of {n_cells} cells."
    )
    rows = [(s.name, s.unit, len(s.measured), s.inside) for s in check.statistics]
    columns = [Column("statistic"), Column("unit"), Column("values", "number", 0), Column("inside", "number", 3)]
    caption = (
        f"Share of statistics of held-out cells inside the 90 % band of {check.n_replicates} replicates; about .9 if "
        "the model were true."
    )
    return [figure, Table(columns, rows, caption)]


def interactions_section(interactions: "pd.DataFrame | None") -> Section:
    """Combinations whose effect is not the sum of the single ones."""
    if interactions is None:
        return Section("Interactions", [])
    text = (
        "How far the effect of a combination departs from the sum of its parts' effects, in size over genes (norms): "
        "predicted, measured, and what noise alone would give the measured side. A measured size near that of noise "
        "shows no interaction; `significant` is the share of genes that depart, at a false discovery rate of 5 %."
    )
    return Section("Interactions", [Text(text), frame_table(interactions, "Departures from additivity.")])


def doses_section(
    curves: Mapping[str, Mapping[str, DoseCurve]] | None, table: "pd.DataFrame | None", label: str
) -> Section:
    """Effects along the doses of perturbations that were given at several."""
    blocks: list[Block] = []
    if curves:
        caption = (
            "Effects along dose: what the model says, with 50 % and 90 % intervals given its networks, and what was "
            "measured, with intervals from standard errors. Where no dose was measured the curve is a prediction."
        )
        draw = partial(dose_curves, curves, label)
        blocks.append(Figure(draw, caption, f"Effects along dose of {', '.join(curves)}."))
    if table is not None:
        blocks.append(frame_table(table, "Effects by dose."))
    return Section("Doses", blocks)
