"""Tables of features, one row per perturbation, and how they are standardised.

Features are never invented: a perturbation without features is an error that names it, not a row of zeros. Location and
scale are those of the perturbations that train, so that nothing of a held-out perturbation enters a model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from samsjax.errors import InputError, listing


@dataclass(frozen=True, eq=False)
class PerturbationFeatures:
    """Features of perturbations, on the scales they came in.

    Raises:
        InputError: if shapes disagree, names repeat, or a value is not finite.
    """

    names: tuple[str, ...]
    """Of the features."""
    values: np.ndarray
    """float64 (perturbation, feature)."""
    others: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Features (feature,) of perturbations that no cell carries, by name: what can be predicted all the same."""

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.names) or not self.names:
            raise InputError(
                f"features are an array {self.values.shape} with {len(self.names)} names, expected (perturbation, "
                "feature) with at least one feature"
            )
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated:
            raise InputError(f"duplicated features: {listing(repeated)}")
        bad = np.flatnonzero(~np.isfinite(self.values).all(axis=0))
        if len(bad):
            raise InputError(f"features that are not finite: {listing(self.names[column] for column in bad)}")
        wrong = [
            name for name, row in self.others.items() if row.shape != (len(self.names),) or not np.isfinite(row).all()
        ]
        if wrong:
            raise InputError(
                f"features of perturbations that no cell carries must be {len(self.names)} finite numbers each; not "
                f"so: {listing(wrong)}"
            )


class FeatureScale(NamedTuple):
    """What features are standardised by."""

    loc: np.ndarray
    """float64 (feature,)."""
    scale: np.ndarray
    """float64 (feature,), positive."""

    def standardise(self, values: np.ndarray) -> np.ndarray:
        """float32 (perturbation, feature) of mean 0 and deviation 1 over the perturbations that train."""
        return ((values - self.loc) / self.scale).astype(np.float32)

    def as_json(self) -> dict[str, Any]:
        """For `from_json`."""
        return {"loc": self.loc.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "FeatureScale":
        """What `as_json` gave."""
        return cls(np.asarray(stored["loc"], dtype=np.float64), np.asarray(stored["scale"], dtype=np.float64))


def feature_scale(features: PerturbationFeatures, trained: np.ndarray) -> FeatureScale:
    """Mean and standard deviation over the perturbations that train, bool (perturbation,).

    Raises:
        InputError: if no perturbation trains, or a feature is the same for all that do.
    """
    values = features.values[trained]
    constant = constant_columns(values)
    if len(constant):
        raise constant_error([features.names[column] for column in constant], len(values))
    return FeatureScale(values.mean(axis=0), values.std(axis=0))


def constant_columns(values: np.ndarray) -> np.ndarray:
    """Columns that are the same for all perturbations that train, from their features (perturbation, feature).

    Raises:
        InputError: if no perturbation trains.
    """
    if not len(values):
        raise InputError("no perturbation has training cells: features cannot be standardised")
    return np.flatnonzero((values == values[:1]).all(axis=0))


def constant_error(names: list[str], n_trained: int) -> InputError:
    """The error for features that are the same for all perturbations that train."""
    return InputError(
        f"{len(names)} features are the same for all {n_trained} perturbations that train, so nothing can be learned "
        f"from them: {listing(names)}; leave these out (--features.constant drop)"
    )
