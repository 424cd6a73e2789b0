"""Contexts: the cells of one perturbation each, with its features, as predictors of interventions see them."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from samsjax.data.dataset import PerturbationData
from samsjax.data.features.table import feature_scale
from samsjax.errors import InputError, listing


class Contexts(NamedTuple):
    """Perturbations that have cells in one split, and the training controls."""

    numbers: np.ndarray
    """int (context,): positions among the data's perturbations."""
    names: np.ndarray
    """str (context,)."""
    features: np.ndarray
    """float64 (context, feature), standardised over the perturbations that train."""
    cells: list[np.ndarray]
    """float64 (cell, variable) of each context."""
    control: np.ndarray
    """float64 (cell, variable): training controls."""

    @property
    def means(self) -> np.ndarray:
        """Of the cells, (context, variable)."""
        return np.array([cells.mean(axis=0) for cells in self.cells])

    @property
    def covariances(self) -> np.ndarray:
        """Of the cells, (context, variable, variable)."""
        return np.array([np.cov(cells, rowvar=False) for cells in self.cells])

    def subset(self, rows: np.ndarray) -> "Contexts":
        """Some of the contexts, by an index or boolean array."""
        rows = np.arange(len(self.names))[rows]
        cells = [self.cells[row] for row in rows]
        return Contexts(self.numbers[rows], self.names[rows], self.features[rows], cells, self.control)


def contexts_of(data: PerturbationData, split: str) -> Contexts:
    """The perturbations with cells in a split.

    Args:
        data: cells with at most one perturbation each, at dosage 1, and features of perturbations.
        split: "train", "val" or "test".

    Raises:
        InputError: without features, for combinations or doses, or contexts or controls with fewer than two cells.
    """
    if data.features is None:
        raise InputError("contexts are known by features of their perturbations, and the data hold none")
    if ((data.dosage != 0).sum(axis=1) > 1).any() or not np.isin(data.dosage, (0, 1)).all():
        raise InputError("a context is one perturbation at dosage 1: cells hold combinations or other dosages")
    carried = np.where(data.is_control, -1, (data.perturbation_index * (data.dosage != 0)).sum(axis=1))
    trained = np.isin(np.arange(data.n_perturbations), carried[data.split == "train"])
    features = feature_scale(data.features, trained).standardise(data.features.values).astype(np.float64)
    x = np.asarray(data.x.todense() if sp.issparse(data.x) else data.x, dtype=np.float64)  # type: ignore[union-attr]
    here = data.split == split
    numbers = np.unique(carried[here & (carried >= 0)])
    cells = [x[here & (carried == number)] for number in numbers]
    control = x[(data.split == "train") & (carried < 0)]
    few = [str(data.perturbation_names[n]) for n, own in zip(numbers, cells, strict=True) if len(own) < 2]
    if few or len(control) < 2:
        raise InputError(f"contexts need two or more cells each; fewer have: {listing(few or ['training controls'])}")
    return Contexts(numbers, data.perturbation_names[numbers], features[numbers], cells, control)
