"""The sources of features by name, and the one way from settings to features beside the data.

| source | features of a perturbation | from |
|---|---|---|
| table | numbers of a file | `reading` |
| targets | one-hot target genes | `target_genes` |
| loadings | loadings of its target genes in control cells | `loadings` |
| smiles | descriptors of its molecule | `smiles` |
| random | random numbers, a control | `controls` |

To add one: write its file with a function (settings, data) -> `FeatureTable`, which may hold more perturbations than
the data; then add its name to `config.Source` and one line to `SOURCES`.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from samsjax.data.features.config import FeaturesConfig
from samsjax.data.features.controls import random_features, shuffled
from samsjax.data.features.keyed import FeatureTable, features_of_labels, with_log_dose
from samsjax.data.features.loadings import loading_features
from samsjax.data.features.principal import principal_components
from samsjax.data.features.reading import read_features
from samsjax.data.features.smiles import smiles_features
from samsjax.data.features.table import PerturbationFeatures, constant_columns, constant_error
from samsjax.data.features.target_genes import target_features, trained_names
from samsjax.errors import InputError, listing

if TYPE_CHECKING:
    from samsjax.data.dataset import PerturbationData


def _table_features(config: FeaturesConfig, data: "PerturbationData") -> FeatureTable:
    del data
    return read_features(str(config.path), config.obsm_key)


SOURCES: dict[str, Callable[[FeaturesConfig, "PerturbationData"], FeatureTable]] = {
    "table": _table_features,
    "targets": target_features,
    "loadings": loading_features,
    "smiles": smiles_features,
    "random": random_features,
}


def with_features(data: "PerturbationData", config: FeaturesConfig) -> "PerturbationData":
    """The same cells with features of their perturbations, as the settings say; as they are, if these say nothing.

    Constants, principal components and loadings go by the training cells, so the data must have the split they are
    trained with. Perturbations that are doses of others (`doses_as_unique`) have the features of these and `log_dose`.

    Raises:
        InputError: naming perturbations without features, features that are no numbers, and those that are the same
            for all perturbations that train, unless `config.constant` is "drop".
    """
    if not config.is_given:
        return data
    labels, trained = data.perturbation_names.tolist(), trained_names(data)
    table = feature_table(data) if config.source is None else SOURCES[config.source](config, data)
    table = table.finite_for(labels)
    if config.shuffled:
        table = shuffled(table, set(table.rows(labels).tolist()), config.seed)
    if config.n_components is not None and config.source in ("table", "smiles"):
        table = table.columns(_varying(table.names, table.of(trained), config))
        table = principal_components(table, np.unique(table.rows(trained)), config.n_components)
    return replace(data, features=_features(with_log_dose(table, labels), labels, trained, config))


def _features(
    table: FeatureTable, labels: Sequence[str], trained: Sequence[str], config: FeaturesConfig
) -> PerturbationFeatures:
    """Those of the labels and, beside them, of all other perturbations of the table."""
    found = features_of_labels(table, labels)
    kept = _varying(table.names, found.values[np.isin(labels, trained)], config)
    known = set(labels)
    others = {
        name: row for name, row in zip(table.perturbations, table.values[:, kept], strict=True) if name not in known
    }
    return PerturbationFeatures(tuple(table.names[column] for column in kept), found.values[:, kept], others)


def feature_table(data: "PerturbationData") -> FeatureTable:
    """The features of a data set by name of perturbation, with those that no cell carries.

    Raises:
        InputError: if the data have none.
    """
    features = data.features
    if features is None:
        raise InputError("the data have no features of perturbations: give --features.source")
    names = (*data.perturbation_names.tolist(), *features.others)
    values = np.vstack([features.values, *features.others.values()])
    return FeatureTable(names, features.names, values, "the features of the data")


def _varying(names: Sequence[str], of_trained: np.ndarray, config: FeaturesConfig) -> np.ndarray:
    """Features that are not the same for all perturbations that train, int (feature,); the others may be dropped."""
    constant = constant_columns(of_trained)
    kept = np.setdiff1d(np.arange(len(names)), constant)
    if not len(constant):
        return kept
    lost = [names[column] for column in constant]
    if config.constant == "refuse":
        raise constant_error(lost, len(of_trained))
    if not len(kept):
        raise InputError(f"no feature is left: all {len(lost)} are the same for all perturbations that train")
    warnings.warn(
        f"{len(lost)} features are the same for all {len(of_trained)} perturbations that train, and are dropped: "
        f"{listing(lost)}",
        UserWarning,
        stacklevel=4,
    )
    return kept
