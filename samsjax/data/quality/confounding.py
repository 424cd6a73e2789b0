"""Are quality labels confounded with perturbations? Then what a label marks may be the effect of a perturbation."""

import warnings
from typing import NamedTuple

import numpy as np

from samsjax.data.dataset import PerturbationData
from samsjax.data.encoding import treatments
from samsjax.errors import InputError, listing

MAX_Q = 0.01
"""Warn below this false discovery rate, ..."""
MIN_DIFFERENCE = 0.1
"""... and only of shares that differ by more than this: with many cells, negligible differences are significant."""

ANY = "any"
HAEMOGLOBIN = "percent_hb"


class Confounding(NamedTuple):
    """How often the cells of one treatment fail, beside all other cells."""

    treatment: str
    """Canonical label, or the name of controls."""
    criterion: str
    """A criterion of the data, or "any" for cells that fail at least one."""
    n_cells: int
    """Cells of the treatment."""
    failed: float
    """Share of them that fails, 0 to 1."""
    failed_others: float
    """Share of all other cells, controls included, that fails."""
    difference: float
    """`failed` - `failed_others`."""
    odds_ratio: float
    """Odds to fail, the treatment's over the others'; 0 or infinite where a group has one outcome only, NaN where no
    cell fails or all do."""
    p_value: float
    """Two-sided Fisher test: twice the smaller tail of the hypergeometric distribution, at most 1."""
    q_value: float
    """Benjamini and Hochberg over the treatments of one criterion."""

    @property
    def is_confounded(self) -> bool:
        """Whether this row is worth a warning: q < .01, and shares that differ by more than .1."""
        return self.q_value < MAX_Q and abs(self.difference) > MIN_DIFFERENCE


def confounding(data: PerturbationData) -> tuple[Confounding, ...]:
    """Each treatment and the controls against all other cells, by "any" criterion and by each.

    Of a label that does not depend on the perturbation all shares are equal. A difference is either technical, such as
    a batch in which some perturbations were measured, or biology that looks like poor quality: a toxic perturbation
    leaves cells with few counts, and a differentiating one changes the share of a gene set. Labels cannot tell which. A
    model that explains failed cells by an artefact takes such a part of an effect for the artefact's.

    Args:
        data: cells with quality labels; all splits count.

    Returns:
        One row per treatment and criterion. With several criteria "any" comes first; within one, the smallest
        `q_value`, then the largest difference.

    Raises:
        InputError: for cells without quality labels.
    """
    if data.failed is None:
        raise InputError("these cells carry no quality labels: name quality_criteria or a quality_key")
    known = treatments(data)
    names = np.append(known.labels, data.control_name)
    code = np.where(known.assignment < 0, len(known.labels), known.assignment)
    columns = {name: data.failed[:, column] for column, name in enumerate(data.criteria)}
    if len(columns) > 1:
        columns = {ANY: data.is_failed, **columns}
    return tuple(row for name, failed in columns.items() for row in _rows(names, code, name, failed))


def _rows(names: np.ndarray, code: np.ndarray, criterion: str, failed: np.ndarray) -> list[Confounding]:
    """One criterion; treatments without cells, or with all of them, say nothing."""
    from scipy.stats import false_discovery_control, hypergeom

    n = np.bincount(code, minlength=len(names))
    k = np.bincount(code, weights=failed, minlength=len(names)).astype(int)
    kept = (n > 0) & (n < len(code))
    names, n, k = names[kept], n[kept], k[kept]
    if not len(names):
        return []
    n_rest, k_rest = len(code) - n, failed.sum() - k
    tails = np.minimum(hypergeom.cdf(k, len(code), failed.sum(), n), hypergeom.sf(k - 1, len(code), failed.sum(), n))
    p = np.clip(2 * tails, 0, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = (k * (n_rest - k_rest)) / ((n - k) * k_rest)
    share, rest = k / n, k_rest / n_rest
    table = np.stack([n, share, rest, share - rest, odds, p, false_discovery_control(p)], axis=1)
    order = np.lexsort([-np.abs(share - rest), table[:, -1]])
    return [Confounding(str(names[row]), criterion, int(n[row]), *map(float, table[row, 1:])) for row in order]


def warn_confounded(data: PerturbationData) -> None:
    """Warn of treatments whose cells fail far more or less often than others, and of haemoglobin where it is biology.

    Says nothing unless a row of `confounding` has q < .01 and a difference of shares above .1. Haemoglobin is named
    apart, because in blood-forming cells such as K562 it is a programme that perturbations switch on.
    """
    rows = [row for row in confounding(data) if row.is_confounded]
    overall = [row for row in rows if row.criterion == (ANY if len(data.criteria) > 1 else data.criteria[0])]
    haemoglobin = [row for row in rows if row.criterion == HAEMOGLOBIN]
    if overall:
        text = (
            f"quality labels are confounded with perturbations: {_listed(overall)}. What looks like poor quality may "
            "be their effect, and a model with artefacts would take it for an artefact; samsjax.data.confounding(data) "
            "lists all"
        )
        warnings.warn(text, UserWarning, stacklevel=3)
    if haemoglobin:
        rest = [name for name in data.criteria if name != HAEMOGLOBIN]
        flags = f"--data.quality-criteria {' '.join(rest)}" if rest else "label cells by other criteria"
        text = (
            f"the quality criterion {HAEMOGLOBIN!r} differs between perturbations: {_listed(haemoglobin)}. In "
            f"blood-forming cells, such as K562, haemoglobin is biology and no artefact: leave it out ({flags})"
        )
        warnings.warn(text, UserWarning, stacklevel=3)


def _listed(rows: list[Confounding]) -> str:
    return listing(
        [
            f"{row.treatment} ({row.failed:.0%} of {row.n_cells} cells fail, {row.failed_others:.0%} of others)"
            for row in sorted(rows, key=lambda row: -abs(row.difference))
        ],
        limit=4,
    )
