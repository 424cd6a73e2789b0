"""`PerturbationData`: cells, counts and perturbations as plain arrays, checked once, with no trace of AnnData.

Everything that trains or evaluates takes this object; `samsjax.data.anndata` makes it from files and
`samsjax.data.simulate` from a seed. Perturbations are indices with dosages, never one-hot columns, so memory does not
grow with the number of perturbations.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse as sp

from samsjax.data.features.table import PerturbationFeatures
from samsjax.data.quality.rule import QualityRule
from samsjax.errors import InputError, listing

SPLITS = ("train", "val", "test")
UNUSED = "none"
"""Split label of cells that belong to no split (held back by a split rule)."""


@dataclass(frozen=True, eq=False)
class PerturbationData:
    """Cells under perturbation. Arrays are never modified; `subset` and `with_split` return new objects.

    Raises:
        InputError: if shapes disagree, names repeat, or an index, dosage or library size is impossible.
    """

    x: sp.csr_matrix | np.ndarray
    """Counts or continuous values, (cell, gene)."""
    perturbation_index: np.ndarray
    """int32 (cell, slot): position in `perturbation_names`; 0 where the dosage is 0."""
    dosage: np.ndarray
    """float32 (cell, slot): 1 = applied; 0 = empty slot. Control cells have only zeros."""
    library_size: np.ndarray
    """float32 (cell,): exposure on the scale of the kept genes, see `library_size_source`."""
    gene_names: np.ndarray
    perturbation_names: np.ndarray
    cell_names: np.ndarray
    split: np.ndarray
    """(cell,) of "train", "val", "test" or "none"."""
    control_name: str = "control"
    separator: str = "+"
    covariates: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Categorical covariates by key, (cell,) of str; carried along."""
    library_size_source: str = "row_sum"
    """"row_sum", "ones" (continuous values), or the key of the totals the exposures were scaled from."""
    exposure_scale: float = 1.0
    """The constant the totals of `library_size_source` were multiplied by (1 for row sums)."""
    failed: np.ndarray | None = None
    """bool (cell, criterion): which quality criteria each cell fails; None for cells without quality labels."""
    criteria: tuple[str, ...] = ()
    """Names of the quality criteria."""
    quality_rule: QualityRule | None = None
    """What gave the labels; None for labels that came with the data, or none."""
    features: PerturbationFeatures | None = None
    """Of the perturbations, in the order of `perturbation_names`; None for perturbations without."""

    def __post_init__(self) -> None:
        n_cells, n_genes = self.x.shape
        for name in ("library_size", "cell_names", "split"):
            if getattr(self, name).shape != (n_cells,):
                raise InputError(f"{name} has shape {getattr(self, name).shape}, expected ({n_cells},)")
        if self.gene_names.shape != (n_genes,):
            raise InputError(f"{len(self.gene_names)} gene names for {n_genes} genes")
        if self.perturbation_index.shape != self.dosage.shape or self.dosage.ndim != 2 or len(self.dosage) != n_cells:
            raise InputError(
                f"perturbation_index {self.perturbation_index.shape} and dosage {self.dosage.shape} must both be "
                f"(cell, slot) with {n_cells} cells"
            )
        for kind in ("gene_names", "cell_names", "perturbation_names"):
            check_unique(kind.replace("_", " "), getattr(self, kind))
        self._check_features()
        if self.perturbation_index.size and not (
            self.perturbation_index.min() >= 0 and self.perturbation_index.max() < max(1, self.n_perturbations)
        ):
            raise InputError(f"perturbation_index must lie in 0..{self.n_perturbations - 1}")
        if not np.isfinite(self.dosage).all() or (self.dosage < 0).any():
            raise InputError("dosages must be finite and not negative")
        if not np.isfinite(self.library_size).all() or (self.library_size <= 0).any():
            raise InputError("library sizes must be finite and positive")
        self._check_quality()
        unknown = sorted(set(np.unique(self.split)) - {*SPLITS, UNUSED})
        if unknown:
            raise InputError(f"unknown split labels {listing(unknown)}; legal: {listing([*SPLITS, UNUSED])}")

    @property
    def n_cells(self) -> int:
        """Cells, of all splits."""
        return self.x.shape[0]

    @property
    def n_genes(self) -> int:
        """Genes kept."""
        return self.x.shape[1]

    @property
    def n_perturbations(self) -> int:
        """Perturbations in the vocabulary."""
        return len(self.perturbation_names)

    @property
    def is_control(self) -> np.ndarray:
        """Bool (cell,): no perturbation at any dose."""
        return ~(self.dosage != 0).any(axis=1)

    @property
    def is_failed(self) -> np.ndarray:
        """Bool (cell,): fails at least one quality criterion; all False for cells without quality labels."""
        return np.zeros(self.n_cells, bool) if self.failed is None else np.asarray(self.failed.any(axis=1))

    def cells(self, split: str) -> np.ndarray:
        """Row numbers of the cells of one split, ascending."""
        return np.flatnonzero(self.split == split)

    def subset(self, cells: np.ndarray) -> "PerturbationData":
        """The cells of an index or boolean array, with all names and vocabularies kept."""
        rows = np.flatnonzero(cells) if np.asarray(cells).dtype == bool else np.asarray(cells)
        return replace(
            self,
            x=self.x[rows],
            perturbation_index=self.perturbation_index[rows],
            dosage=self.dosage[rows],
            library_size=self.library_size[rows],
            cell_names=self.cell_names[rows],
            split=self.split[rows],
            covariates={key: values[rows] for key, values in self.covariates.items()},
            failed=None if self.failed is None else self.failed[rows],
        )

    def with_split(self, split: np.ndarray) -> "PerturbationData":
        """The same cells under other split labels."""
        return replace(self, split=split)

    def of_good_quality(self) -> "PerturbationData":
        """The same cells, with those that fail a quality criterion in no split."""
        return self.with_split(np.where(self.is_failed, UNUSED, self.split))

    def _check_features(self) -> None:
        if self.features is not None and len(self.features.values) != self.n_perturbations:
            raise InputError(f"features of {len(self.features.values)} perturbations for {self.n_perturbations}")

    def _check_quality(self) -> None:
        if self.failed is None:
            if self.criteria or self.quality_rule is not None:
                raise InputError(
                    f"quality criteria {listing(self.criteria)} are named, but no cell is labelled by them"
                )
            return
        if self.failed.dtype != bool or self.failed.shape != (self.n_cells, len(self.criteria)) or not self.criteria:
            raise InputError(
                f"failed is {self.failed.dtype} {self.failed.shape}, expected bool (cell, criterion) "
                f"({self.n_cells}, {len(self.criteria)}) with at least one criterion"
            )
        check_unique("quality criteria", np.asarray(self.criteria))
        judged = self.criteria if self.quality_rule is None else self.quality_rule.names
        if judged != self.criteria:
            raise InputError(f"quality criteria {listing(self.criteria)}, but the rule judges by {listing(judged)}")


def check_unique(kind: str, names: np.ndarray) -> None:
    """Raises: InputError naming the repeated entries."""
    values, counts = np.unique(np.asarray(names, dtype=str), return_counts=True)
    if (counts > 1).any():
        raise InputError(f"duplicated {kind}: {listing(values[counts > 1])}")
