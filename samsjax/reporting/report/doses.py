"""Dose-response curves of a run: panels for the page, and everything as a table."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri

from samsjax.evaluation.dose_response import Band, DoseResponse, Observed
from samsjax.reporting.plots import DoseCurve

if TYPE_CHECKING:
    import pandas as pd

REACH_90, REACH_50 = float(ndtri(0.95)), float(ndtri(0.75))
"""Standard errors to each side of a measured effect: intervals of 90 and 50 %."""
ALL_LATENTS = "all"
"""Name of a curve that all latent dimensions share."""


def dose_panels(responses: Sequence[DoseResponse]) -> dict[str, dict[str, DoseCurve]] | None:
    """What `plots.dose_curves` draws: of each perturbation the gene that answers most; None without any.

    Returns:
        "perturbation, gene" -> "model" and "measured" -> values.
    """
    return {
        f"{one.perturbation}, {one.genes[0]}": {
            "model": _modelled(one.dose, one.effect, 0),
            "measured": _measured(one.observed, 0),
        }
        for one in responses
    } or None


def dose_response_table(responses: Sequence[DoseResponse]) -> "pd.DataFrame":
    """All curves, a row for each perturbation, quantity and dose.

    Columns: `perturbation`; `quantity`: effect (of gene `name`), gate (share of the full effect, of latent dimension
    `name`, or "all") or half_dose (the dose of half the effect, in units of dose); `source`: model or measured;
    `dose`; `value`, posterior mean or measured; ends of 90 % and 50 % intervals, of measured effects from their
    standard errors.
    """
    import pandas as pd  # late: importing samsjax stays light

    columns = ["perturbation", "quantity", "name", "source", "dose", "value", *Band._fields[1:]]
    rows = [(one.perturbation, *row) for one in responses for row in _rows(one)]
    return pd.DataFrame(rows, columns=columns)


def _rows(one: DoseResponse) -> Iterator[tuple[Any, ...]]:
    for g, gene in enumerate(one.genes.tolist()):
        yield from _of_band(("effect", gene, "model"), one.dose, Band(*(values[:, g] for values in one.effect)))
        seen = _measured(one.observed, g)
        band = Band(seen.effect, seen.low, seen.inner_low, seen.inner_high, seen.high)  # type: ignore[arg-type]
        yield from _of_band(("effect", gene, "measured"), seen.dose, band)
    if one.gate is None or one.half_dose is None:
        return
    n_curves = one.gate.mean.shape[1]
    for k in range(n_curves):
        name = ALL_LATENTS if n_curves == 1 else str(k)
        yield from _of_band(("gate", name, "model"), one.dose, Band(*(values[:, k] for values in one.gate)))
        yield from _of_band(
            ("half_dose", name, "model"), [np.nan], Band(*(values[k : k + 1] for values in one.half_dose))
        )


def _of_band(words: tuple[str, ...], doses: Iterable[float], band: Band) -> Iterator[tuple[Any, ...]]:
    for dose, *values in zip(doses, *band, strict=True):
        yield (*words, float(dose), *map(float, values))


def _modelled(dose: np.ndarray, band: Band, gene: int) -> DoseCurve:
    mean, low, inner_low, inner_high, high = (values[:, gene] for values in band)
    return DoseCurve(dose, mean, low, high, inner_low, inner_high)


def _measured(seen: Observed, gene: int) -> DoseCurve:
    effect, error = seen.effect[:, gene], seen.standard_error[:, gene]
    low, high, inner_low, inner_high = (effect + reach * error for reach in (-REACH_90, REACH_90, -REACH_50, REACH_50))
    return DoseCurve(seen.dose, effect, low, high, inner_low, inner_high, points=True)
