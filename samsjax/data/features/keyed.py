"""Features by name of perturbation, as a file or a rule gives them, and what they say of labels such as `A@0.5`.

A label is looked up as it is written first. Only a label that is not there is read as a dose of a perturbation: its
features are those of the perturbation, and the logarithm of the dose is a feature of its own, `log_dose`. So a dose
that nobody measured has features, too.
"""

import warnings
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from samsjax.data.features.table import PerturbationFeatures
from samsjax.data.labels import read_dose, split_dose
from samsjax.errors import InputError, listing, names_nearest_to

LOG_DOSE = "log_dose"
"""The feature that holds the natural logarithm of the dose of a label such as `A@0.5`; 0 for `A`."""


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Features of named perturbations, more than cells carry perhaps. What is no number is NaN."""

    perturbations: tuple[str, ...]
    names: tuple[str, ...]
    """Of the features."""
    values: np.ndarray
    """float64 (perturbation, feature)."""
    where: str
    """What messages call the table, such as its path."""
    entries: np.ndarray | None = None
    """The values as they were written, for messages."""

    def rows(self, labels: Iterable[str]) -> np.ndarray:
        """The row that holds the features of each label, int (label,).

        Raises:
            InputError: naming perturbations that are not in the table.
        """
        position = {name: row for row, name in enumerate(self.perturbations)}
        return np.array([position[name] for name in entries_of(labels, position, self.where)], dtype=int)

    def of(self, labels: Sequence[str]) -> np.ndarray:
        """Features of the labels without their doses, float64 (label, feature).

        Raises:
            InputError: naming perturbations that are not in the table, or the first feature that is no finite number.
        """
        rows = self.rows(labels)
        values = self.values[rows]
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            row, column = rows[bad[0][0]], bad[0][1]
            written = float(values[tuple(bad[0])]) if self.entries is None else self.entries[row, column]
            raise InputError(
                f"{len(bad)} features of {self.where} are no finite numbers, the first {written!r} in column "
                f"{self.names[column]!r} of perturbation {self.perturbations[row]!r}"
            )
        return values

    def finite_for(self, labels: Sequence[str]) -> "FeatureTable":
        """Without perturbations that no label names and some feature of which is no number, which a warning counts.

        Raises:
            InputError: as `of`.
        """
        self.of(labels)
        kept = np.isfinite(self.values).all(axis=1)
        if kept.all():
            return self
        lost = [name for name, finite in zip(self.perturbations, kept, strict=True) if not finite]
        warnings.warn(
            f"{len(lost)} perturbations of {self.where} that no cell carries have features that are no finite numbers, "
            f"and are left out: {listing(lost)}",
            UserWarning,
            stacklevel=3,
        )
        names = tuple(name for name, finite in zip(self.perturbations, kept, strict=True) if finite)
        return replace(self, perturbations=names, values=self.values[kept], entries=None)

    def columns(self, kept: np.ndarray) -> "FeatureTable":
        """With these features only, int (feature,)."""
        return replace(
            self, names=tuple(self.names[column] for column in kept), values=self.values[:, kept], entries=None
        )


def base_of(label: str, known: Collection[str]) -> str:
    """The perturbation that a label gives a dose of, `A` of `A@0.5`, if it is known; the label itself if it is not."""
    base, dose = split_dose(label)
    return base if dose is not None and base in known else label


def entries_of(labels: Iterable[str], known: Collection[str], where: str) -> list[str]:
    """The known name under which each label stands: its own, or else that of the perturbation it gives a dose of.

    Raises:
        InputError: naming labels that stand under none; `where` is what was searched.
    """
    found = [label if label in known else base_of(label, known) for label in labels]
    missing = [name for name in found if name not in known]
    if missing:
        hint = names_nearest_to(missing[0], known)
        raise InputError(f"{len(missing)} perturbations of the cells are not in {where}: {listing(missing)}.{hint}")
    return found


def with_log_dose(table: FeatureTable, labels: Iterable[str]) -> FeatureTable:
    """The table with a feature `log_dose`, where some label names a dose of one of its perturbations."""
    known = set(table.perturbations)
    if LOG_DOSE in table.names or all(label in known or base_of(label, known) == label for label in labels):
        return table
    column = [_log_dose(name) if base_of(name, known) != name else 0.0 for name in table.perturbations]
    values = np.column_stack([table.values, np.array(column)])
    return replace(table, names=(*table.names, LOG_DOSE), values=values, entries=None)


def features_of_labels(table: FeatureTable, labels: Sequence[str]) -> PerturbationFeatures:
    """Features of perturbations, also at doses that the table does not hold: `A@0.25` has those of `A` and log(0.25).

    Args:
        table: features by name, such as `samsjax.data.features.feature_table` makes of a data set.
        labels: names of perturbations, each with an optional `@dose`.

    Raises:
        InputError: naming perturbations without features; for a dose that is not positive, or any dose that is not in
            the table where it has no feature `log_dose`.
    """
    values, known = table.of(labels), set(table.perturbations)
    dosed = [row for row, label in enumerate(labels) if label not in known]
    if dosed and LOG_DOSE not in table.names:
        label = labels[dosed[0]]
        raise InputError(
            f"{table.where} has no feature {LOG_DOSE!r}, so there are no features of {label!r}: ask for those of "
            f"{base_of(label, known)!r}, and give the dose to a model that knows doses"
        )
    for row in dosed:
        values[row, table.names.index(LOG_DOSE)] = _log_dose(labels[row])
    return PerturbationFeatures(table.names, values)


def _log_dose(label: str) -> float:
    return float(np.log(read_dose(split_dose(label)[1], f"label {label!r}")))
