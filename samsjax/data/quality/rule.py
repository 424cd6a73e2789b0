"""Thresholds of quality criteria, learnt on some cells and applied to any, measured or generated."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from samsjax.errors import InputError, check_choice, check_range, listing

Side = Literal["below", "above"]

DOUBLET = "doublet"
SIDES: dict[str, Side] = {
    "n_counts": "below",
    "n_genes": "below",
    "percent_mito": "above",
    "percent_ribo": "above",
    "percent_hb": "above",
    DOUBLET: "above",
}
"""The criteria and the side on which cells fail: too few counts or genes, too much of a gene set, two cells in one."""

COUNTS = "counts"
"""Source of statistics of the genes that a model sees, which generated cells have too."""
PREDICTED = "predicted"
"""Source of doublets, which are predicted from all cells together."""


class Criterion(NamedTuple):
    """One reason for which a cell can fail."""

    name: str
    """Statistic it looks at, such as "n_counts" or "percent_mito"."""
    side: Side
    """On which side of the threshold a cell fails."""
    threshold: float
    """Cells exactly at it pass."""
    median: float | None = None
    """Of the cells it was learnt from; None where it was not learnt."""
    mad: float | None = None
    """Their median absolute deviation from the median, not scaled; None where the threshold was not learnt."""
    source: str = COUNTS
    """Where values came from: "counts" of the kept genes, "predicted", or the column of obs."""


@dataclass(frozen=True)
class QualityRule:
    """The criteria by which cells pass or fail."""

    criteria: tuple[Criterion, ...]
    n_mads: float | None = None
    """How many median absolute deviations from the median the thresholds are; None for thresholds given by hand."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the criteria."""
        return tuple(criterion.name for criterion in self.criteria)

    def failed(self, statistics: Mapping[str, np.ndarray]) -> np.ndarray:
        """Which criteria each cell fails, bool (cell, criterion); inequalities are strict.

        Args:
            statistics: (cell,) for every criterion, `cell_statistics` of measured or generated cells; a doublet is 1,
                any other cell 0. Statistics without a criterion are not looked at.

        Raises:
            InputError: for a statistic that is missing or not finite. `measurable` leaves criteria out.
        """
        _check_statistics(statistics, self.names)
        flags = [
            statistics[c.name] < c.threshold if c.side == "below" else statistics[c.name] > c.threshold
            for c in self.criteria
        ]
        n_cells = max((len(values) for values in statistics.values()), default=0)
        return np.stack(flags, axis=1) if flags else np.zeros((n_cells, 0), dtype=bool)

    def measurable(self, statistics: Mapping[str, np.ndarray]) -> "QualityRule":
        """The criteria that can be judged by these statistics of counts; perhaps none.

        Left out are doublets and thresholds that belong to a column of obs, such as the total of a whole transcriptome,
        on whose scale counts of a panel cannot be judged.
        """
        kept = tuple(c for c in self.criteria if c.source == COUNTS and c.name in statistics)
        return QualityRule(kept, self.n_mads)

    def as_json(self) -> dict[str, Any]:
        """Plain numbers, texts and lists; `from_json` reads them."""
        return {"criteria": [criterion._asdict() for criterion in self.criteria], "n_mads": self.n_mads}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "QualityRule":
        """The rule that `as_json` wrote.

        Raises:
            InputError: for anything else.
        """
        try:
            criteria = tuple(Criterion(**entry) for entry in stored["criteria"])
            for criterion in criteria:
                check_choice("side", criterion.side, ("below", "above"))
                check_range(f"threshold of {criterion.name!r}", criterion.threshold)
            return cls(criteria, stored.get("n_mads"))
        except (KeyError, TypeError, AttributeError, InputError) as error:
            raise InputError(f"this is not a stored quality rule: {type(error).__name__}: {error}") from None


def learn_rule(
    statistics: Mapping[str, np.ndarray], n_mads: float, sources: Mapping[str, str] | None = None
) -> QualityRule:
    """Thresholds `n_mads` median absolute deviations (MAD) below or above the medians of these cells.

    With m the median and MAD = median |v - m|, without the factor 1.4826 that would make it a standard deviation of
    normal values, a cell fails "n_counts" and "n_genes" where v < m - n_mads MAD, the shares where v > m + n_mads MAD.
    Cells at the threshold pass. Where more than half of the cells are equal, MAD is 0 and the threshold the median, so
    that every cell beyond it fails. A threshold below 0 fails no cell. "doublet" has nothing to learn: values are 0, 1.

    Args:
        statistics: (cell,) by name of the criterion, of the cells to learn from: those that train.
        n_mads: how far from the median a cell may be; smaller fails more cells.
        sources: where values came from, for criteria not measured from counts of the kept genes.

    Raises:
        InputError: for an unknown criterion, no cells, values that are not finite, or `n_mads` not above 0.

    Source:
        Label of CRADLE-VAE (AAAI 2025, doi 10.1609/AAAI.V39I15.33695), with `n_mads` 3, 4 or 5.

    Differs:
        Its thresholds are those of all cells and all genes of a file. Here a caller chooses the cells, by default those
        that train, so that held-out cells decide nothing; and the genes are those of the model, so that one rule holds
        for measured and generated cells.
    """
    check_range("n_mads", n_mads, above=0)
    for name in statistics:
        check_choice("quality criterion", name, list(SIDES))
    _check_statistics(statistics, list(statistics))
    if not all(len(values) for values in statistics.values()):
        raise InputError(f"no cells to learn thresholds of quality criteria ({listing(statistics)}) from")
    sources = sources or {}
    criteria = [_learnt(name, values, n_mads, sources.get(name)) for name, values in statistics.items()]
    return QualityRule(tuple(criteria), float(n_mads))


def _learnt(name: str, values: np.ndarray, n_mads: float, source: str | None) -> Criterion:
    if name == DOUBLET:
        return Criterion(name, SIDES[name], 0.5, source=source or PREDICTED)
    median = float(np.median(values))
    mad = float(np.median(np.abs(values - median)))
    threshold = median + (n_mads if SIDES[name] == "above" else -n_mads) * mad
    return Criterion(name, SIDES[name], threshold, median, mad, source or COUNTS)


def _check_statistics(statistics: Mapping[str, np.ndarray], names: Any) -> None:
    missing = [name for name in names if name not in statistics]
    if missing:
        raise InputError(f"quality criteria {listing(missing)} were not measured; measured: {listing(statistics)}")
    for name in names:
        bad = np.flatnonzero(~np.isfinite(statistics[name]))
        if len(bad):
            raise InputError(
                f"{name!r} must be finite to be judged; {len(bad)} cells are not, the first is "
                f"{statistics[name][bad[0]]} in row {bad[0]}"
            )
