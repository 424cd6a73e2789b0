"""One-hot features: which genes a perturbation acts on. The name of a perturbation is its gene, or a file says.

In a model with weights by feature, this is one free effect per target gene, which perturbations of that gene share.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from samsjax.data.features.config import FeaturesConfig
from samsjax.data.features.keyed import FeatureTable, base_of, entries_of
from samsjax.data.features.reading import read_column
from samsjax.data.labels import split_dose
from samsjax.errors import InputError, listing, nearest

if TYPE_CHECKING:
    from samsjax.data.dataset import PerturbationData

BETWEEN_GENES = re.compile("[;|]")


def target_features(config: FeaturesConfig, data: "PerturbationData") -> FeatureTable:
    """A column for each target gene of a perturbation that trains: 1 where it is a target, else 0.

    Targets of no perturbation that trains have no column, which a warning says: nothing can be learned of them.

    Raises:
        InputError: as `targets_of`.
    """
    targets = targets_of(config, data)
    trained = entries_of(trained_names(data), targets, where_of(config))
    of_trained = {gene for name in trained for gene in targets[name]}
    genes = sorted({gene for found in targets.values() for gene in found})
    lost = [gene for gene in genes if gene not in of_trained]
    if lost:
        warnings.warn(
            f"{len(lost)} target genes have no feature, because no perturbation that trains acts on them: "
            f"{listing(lost)}. Perturbations of these genes alone are all alike to a model",
            UserWarning,
            stacklevel=4,
        )
    kept = tuple(gene for gene in genes if gene in of_trained)
    values = np.array([[float(gene in found) for gene in kept] for found in targets.values()])
    return FeatureTable(tuple(targets), kept, values.reshape(len(targets), len(kept)), where_of(config))


def targets_of(config: FeaturesConfig, data: "PerturbationData") -> dict[str, tuple[str, ...]]:
    """Target genes by perturbation: of those that cells carry, and of all others of the file, if there is one.

    Raises:
        InputError: naming perturbations of the cells without target, or whose target is not among the genes.
    """
    genes = set(data.gene_names.tolist())
    names = data.perturbation_names.tolist()
    if config.path is None:
        known = dict.fromkeys(base_of(name, genes) for name in names)
        found = {name: _genes_of_name(name, data.separator, genes) for name in known}
    else:
        column = read_column(config.path, config.column, "targets")
        found = {name: _genes_of_text(text) for name, text in column.items()}
    _check_known({name: found[name] for name in entries_of(names, found, where_of(config))}, genes)
    unknown = [name for name, targets in found.items() if not targets or not genes.issuperset(targets)]
    if unknown:
        warnings.warn(
            f"{len(unknown)} perturbations of {config.path} that no cell carries act on genes that are not among the "
            f"{len(genes)} genes, or on none, and are left out: {listing(unknown)}",
            UserWarning,
            stacklevel=4,
        )
    return {name: targets for name, targets in found.items() if name not in set(unknown)}


def trained_names(data: "PerturbationData") -> list[str]:
    """Perturbations that training cells carry."""
    train = data.split == "train"
    used = np.unique(data.perturbation_index[train][data.dosage[train] != 0])
    return data.perturbation_names[used].tolist()


def where_of(config: FeaturesConfig) -> str:
    """What messages call the targets."""
    return "the genes" if config.path is None else str(config.path)


def _genes_of_name(name: str, separator: str, genes: set[str]) -> tuple[str, ...]:
    """One gene, or those of a combination that is a perturbation of its own."""
    return (name,) if name in genes else tuple(split_dose(part.strip())[0] for part in name.split(separator))


def _genes_of_text(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in BETWEEN_GENES.split(text) if part.strip()))


def _check_known(targets: Mapping[str, Sequence[str]], genes: set[str]) -> None:
    without = sorted(name for name, found in targets.items() if not found)
    if without:
        raise InputError(f"{len(without)} perturbations of the cells have no target gene: {listing(without)}")
    unknown = sorted({gene for found in targets.values() for gene in found} - genes)
    if unknown:
        close = nearest(unknown[0], genes)
        hint = f" The genes nearest to {unknown[0]!r} are {listing(close)}." if close else ""
        raise InputError(
            f"{len(unknown)} target genes of perturbations are not among the {len(genes)} genes of the cells: "
            f"{listing(unknown)}.{hint} Perturbations are named as their genes unless features.path says which genes "
            "they act on"
        )
