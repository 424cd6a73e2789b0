"""Principal components of features, those of the perturbations that train."""

from dataclasses import replace

import numpy as np

from samsjax.data.features.keyed import FeatureTable
from samsjax.data.features.loadings import signed
from samsjax.errors import InputError


def principal_components(table: FeatureTable, trained: np.ndarray, n: int) -> FeatureTable:
    """Each perturbation's place on `n` components of the standardised features.

    Args:
        table: finite features, none of them constant over the perturbations that train.
        trained: rows of the perturbations that train; location, scale and components are theirs.
        n: how many components.

    Raises:
        InputError: if these perturbations vary in fewer directions.
    """
    own = table.values[trained]
    standardised = (table.values - own.mean(axis=0)) / own.std(axis=0)
    _, size, axes = np.linalg.svd(standardised[trained], full_matrices=False)
    rank = int((size > 1e-9 * size.max(initial=1.0)).sum())
    if n > rank:
        raise InputError(
            f"the features of the {len(own)} perturbations that train have {rank} principal components, not {n}: lower "
            "features.n_components"
        )
    values = standardised @ signed(axes[:n].T)
    return replace(table, names=tuple(f"component_{number + 1}" for number in range(n)), values=values, entries=None)
