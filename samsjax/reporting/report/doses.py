"""Effects along doses, for perturbations that were given alone at several."""

import numpy as np

from samsjax.data.encoding import Treatments
from samsjax.evaluation.average_effects import AverageEffects
from samsjax.inference.fitted import Vocabulary
from samsjax.reporting.plots import DoseCurve

MOST_CURVES = 9
REACH = 1.645
"""Standard errors to each side of a measured effect: a 90 % interval."""


def dose_responses(
    treated: Treatments, predicted: AverageEffects, measured: AverageEffects, words: Vocabulary
) -> dict[str, dict[str, DoseCurve]] | None:
    """Curves of the gene that responds most at the highest dose, predicted and measured; None without doses.

    Args:
        treated: all treatments.
        predicted: on all of them, with intervals if they were computed.
        measured: in the same scale, with standard errors.
        words: names.

    Returns:
        "perturbation, gene" -> "model" and "measured" -> values, for the nine perturbations with the largest effects.
    """
    places = {label: row for row, label in enumerate(measured.labels.tolist())}
    curves: list[tuple[float, str, dict[str, DoseCurve]]] = []
    alone = (treated.dosage != 0).sum(axis=1) == 1
    slot = treated.dosage.argmax(axis=1)
    index, dose = (values[np.arange(len(slot)), slot] for values in (treated.perturbation_index, treated.dosage))
    for part in np.unique(index[alone]):
        rows = np.flatnonzero(alone & (index == part))
        rows = rows[np.argsort(dose[rows], kind="stable")]
        if len(rows) < 2 or np.isnan(predicted.ate[rows]).any():
            continue
        gene = int(np.abs(predicted.ate[rows[-1]]).argmax())
        of_data = [places.get(str(treated.labels[row])) for row in rows]
        found = np.array([np.nan if row is None else measured.ate[row, gene] for row in of_data])
        error = np.array([np.nan if row is None else measured.standard_error[row, gene] for row in of_data])
        lines = {
            "model": _curve(dose[rows], predicted, rows, gene),
            "measured": DoseCurve(dose[rows], found, found - REACH * error, found + REACH * error),
        }
        name = f"{words.perturbation_names[part]}, {words.gene_names[gene]}"
        curves.append((-abs(float(predicted.ate[rows[-1], gene])), name, lines))
    return {name: lines for _, name, lines in sorted(curves, key=lambda c: c[:2])[:MOST_CURVES]} or None


def _curve(dose: np.ndarray, predicted: AverageEffects, rows: np.ndarray, gene: int) -> DoseCurve:
    effect = predicted.ate[rows, gene]
    if predicted.low is None or predicted.high is None:
        unknown = np.full(len(rows), np.nan)
        return DoseCurve(dose, effect, unknown, unknown)
    return DoseCurve(dose, effect, predicted.low[rows, gene], predicted.high[rows, gene])
