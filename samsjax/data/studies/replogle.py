"""Replogle et al. 2022, filtered: 722 pairs of guides against 681 genes with strong effects in K562 (CRISPRi).

Each pair of guides (`sgID_AB`) is one perturbation, so that two pairs against one gene can be compared; ids that
contain "non-targeting" are controls. Cells are split at random, 64/16/20, whatever their perturbation. Library sizes
are sums over the genes of the file.

The filtered file has 118,641 cells and 1,187 genes. It was made from the genome-wide raw counts (1,989,578 cells) by
keeping the cells of 681 target genes, 2,000 cells with non-targeting guides, and 1,187 genes. Files with the column
`sgID_AB`, such as the genome-wide one, are read by the same rule.

Source:
    Data and split of SAMS-VAE (Bereket & Karaletsos 2023).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from samsjax.data.studies.base import Annotated, Remote, Study, StudyConfig, complete_labels, one_per_cell

if TYPE_CHECKING:
    import anndata

CONTROL_MARK = "non-targeting"


@dataclass(frozen=True)
class ReplogleConfig(StudyConfig):
    """How to read the filtered Replogle file."""

    perturbation_key: str = "sgID_AB"
    """Column of obs with the pair of guides of each cell."""
    control: tuple[str, ...] = (CONTROL_MARK,)
    """Name for cells whose id contains "non-targeting"."""
    separator: str = "&"
    """Sign that joins perturbations to predict together; ids of this study contain + and |."""


def annotate(adata: "anndata.AnnData", config: ReplogleConfig, *, genes_given: bool) -> Annotated:
    """Every distinct id is a perturbation, in sorted order.

    Raises:
        InputError: if the column is missing, or a cell has no id.
    """
    del genes_given
    labels = complete_labels(adata, config.perturbation_key)
    return Annotated(adata, one_per_cell(labels, np.char.find(labels, CONTROL_MARK) >= 0))


REPLOGLE = Study(
    name="replogle",
    citation="Replogle et al., Cell 2022; filtered as in SAMS-VAE (Bereket & Karaletsos 2023)",
    layout="whole counts in X (118,641 cells x 1,187 genes) and obs['sgID_AB'] with the pair of guides",
    remote=Remote(
        source=(
            "the filtered file is distributed with SAMS-VAE; it derives from the genome-wide K562 raw single-cell "
            "counts of Replogle et al. 2022"
        ),
        filename="replogle.h5ad",
    ),
    settings=ReplogleConfig,
    annotate=annotate,
)
