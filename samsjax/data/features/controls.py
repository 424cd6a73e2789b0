"""Two controls that tell whether features are used: random numbers, and features of other perturbations."""

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from samsjax.data.features.config import FeaturesConfig
from samsjax.data.features.keyed import LOG_DOSE, FeatureTable
from samsjax.data.features.loadings import N_COMPONENTS
from samsjax.data.labels import split_dose

if TYPE_CHECKING:
    from samsjax.data.dataset import PerturbationData


def random_features(config: FeaturesConfig, data: "PerturbationData") -> FeatureTable:
    """Standard normal numbers, which say nothing; all doses of a perturbation share them."""
    names = sorted({split_dose(name)[0] for name in data.perturbation_names.tolist()})
    n = config.n_components or N_COMPONENTS
    values = np.random.default_rng(config.seed).standard_normal((len(names), n))
    return FeatureTable(tuple(names), tuple(f"random_{column + 1}" for column in range(n)), values, "random features")


def shuffled(table: FeatureTable, carried: Collection[int], seed: int) -> FeatureTable:
    """Every perturbation with the features of another one; those that cells carry keep to themselves.

    What features look like among perturbations that cells carry is then what it was, and nobody keeps its own. Doses
    are no features of a perturbation, and stay.

    Args:
        table: the features.
        carried: rows of the perturbations that cells carry.
        seed: decides who gets whose.
    """
    rng = np.random.default_rng(seed)
    own = np.zeros(len(table.perturbations), dtype=bool)
    own[list(carried)] = True
    source = np.arange(len(own))
    for rows in (np.flatnonzero(own), np.flatnonzero(~own)):
        circle = rng.permutation(rows)
        source[circle] = np.roll(circle, 1)
    values = table.values[source]
    if LOG_DOSE in table.names:
        column = table.names.index(LOG_DOSE)
        values[:, column] = table.values[:, column]
    return replace(table, values=values, entries=None)
