"""Norman et al. 2019: 105 genes activated singly and in pairs in K562; the study of unseen combinations.

A cell's perturbations are its `guide_GENE` columns (names here are the genes), cells without any are controls. Two
splits are published: `split="combinations"` holds pairs of genes out of training (share that trains:
`train_combinations`, tested: `test_combinations`), `split="combination_cells"` trains on a share of the cells of pairs.

Source:
    Data and split rules of SAMS-VAE (Bereket & Karaletsos 2023) on the file of Norman et al. 2019.

Differs:
    Treatments are sets of genes. The published analysis took `guide_identity`, whose 290 texts name 237 sets (a gene
    beside the first or the second control guide), for treatments and for `combinations_as_unique`. The split still goes
    by `guide_identity`, so that the same pairs are held out.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from samsjax.data.config import SplitRule
from samsjax.data.encoding import encode_matrix
from samsjax.data.studies.base import Annotated, Remote, Study, StudyConfig, complete_labels, flag_columns
from samsjax.errors import InputError, listing

if TYPE_CHECKING:
    import anndata

GUIDE = "guide_"
"""Part of the name of every column that says whether a cell received one guide."""
NOT_GUIDES = ("guide_identity", "guide_ids")
VARIABLE = "highly_variable"


@dataclass(frozen=True)
class NormanConfig(StudyConfig):
    """How to read the Norman file.

    Raises:
        InputError: as for `StudyConfig`, and for highly variable genes of the layer "raw", which has others.
    """

    perturbation_key: str = "guide_identity"
    """Column of obs with the pair of guides of each cell; its order decides which combinations are held out."""
    control: tuple[str, ...] = ("non-targeting",)
    """Name for cells that carry no targeting guide."""
    layer: str | None = "counts"
    """Layer that holds raw counts."""
    split: SplitRule = "combinations"
    """Which cells train: "combinations" holds pairs out, "combination_cells" takes a share of the cells of pairs."""
    train_combinations: float = 0.75
    """Share of the combinations (or of their training cells) that train, 0 to 1."""
    highly_variable: bool = True
    """Use only the genes that var marks as highly variable."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.highly_variable and self.layer == "raw":
            raise InputError("layer 'raw' has genes of its own, which are not marked: give highly_variable=False")


def annotate(adata: "anndata.AnnData", config: NormanConfig, *, genes_given: bool) -> Annotated:
    """Guide columns become perturbations; the split goes by the study's own labels.

    Raises:
        InputError: if there are no guide columns, they hold anything but 0 and 1, or a needed column is missing.
    """
    guides = [str(name) for name in adata.obs.columns if GUIDE in name and name not in NOT_GUIDES]
    if not guides:
        raise InputError(
            f"adata.obs has no column per guide, such as {GUIDE}KLF1; its columns: {listing(adata.obs.columns)}."
        )
    applied = flag_columns(adata, guides)
    encoding = encode_matrix(applied, [name.removeprefix(GUIDE) for name in guides])
    labels = np.where(applied.any(axis=1), complete_labels(adata, config.perturbation_key), config.control[0])
    if config.highly_variable and not genes_given:
        adata = adata[:, _variable_genes(adata)]
    return Annotated(adata, encoding, labels)


def _variable_genes(adata: "anndata.AnnData") -> np.ndarray:
    if VARIABLE not in adata.var.columns:
        raise InputError(
            f"adata.var has no column {VARIABLE!r} (it has {listing(adata.var.columns)}): give highly_variable=False "
            "to use all genes."
        )
    marked = adata.var[VARIABLE].to_numpy()
    if marked.dtype != bool or not marked.any():
        raise InputError(f"adata.var[{VARIABLE!r}] should be True for some genes and False for others.")
    return marked


NORMAN = Study(
    name="norman",
    citation="Norman et al., Science 2019, doi 10.1126/science.aax4438",
    layout=(
        "whole counts in layers['counts'], one 0/1 column of obs per gene such as guide_KLF1 (105 of them), "
        "obs['guide_identity'] with the pair of guides, and var['highly_variable']"
    ),
    # pertpy downloads from this address. Hash and size are left out: they were not verified.
    remote=Remote(
        source="the processed .h5ad of the sc-pert collection (theislab), figshare file 34027562",
        filename="norman.h5ad",
        address="https://figshare.com/ndownloader/files/34027562",
    ),
    settings=NormanConfig,
    annotate=annotate,
)
