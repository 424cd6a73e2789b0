"""Adamson et al. 2016: the screen of the unfolded protein response in K562 (CRISPRi), one perturbation per cell.

Labels of the file name a target and a plasmid, `CREB1_pDS269`; the perturbation is the text before the first `_`.
Plasmids with "(mod)", such as `63(mod)_pBA580`, are controls. Cells labelled `*`, and cells with a missing value in any
column of obs, are left out. Cells are split at random, 64/16/20, whatever their perturbation.

Source:
    Data and split of CRADLE-VAE (arXiv 2409.05484) on the scPerturb file of the experiment.

Differs:
    Genes seen in fewer than 20 cells are left out after the cells, counting only cells that are used.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from samsjax.data.studies.base import Annotated, Remote, Study, StudyConfig, keep_cells, label_column, one_per_cell
from samsjax.errors import listing

if TYPE_CHECKING:
    import anndata

CONTROL_MARK = "(mod)"
UNASSIGNED = "*"


@dataclass(frozen=True)
class AdamsonConfig(StudyConfig):
    """How to read the Adamson file."""

    perturbation_key: str = "perturbation"
    """Column of obs with target and plasmid of each cell."""
    control: tuple[str, ...] = ("control",)
    """Name for cells whose plasmid contains "(mod)"."""
    min_cells_per_gene: int = 20
    """Genes with counts in fewer cells than this are left out, with a warning; 0 keeps all."""


def annotate(adata: "anndata.AnnData", config: AdamsonConfig, *, genes_given: bool) -> Annotated:
    """The target of each cell is its perturbation.

    Raises:
        InputError: if the column is missing, or no cell is left.
    """
    del genes_given
    labels, missing = label_column(adata, config.perturbation_key)
    incomplete = adata.obs.isna().to_numpy().any(axis=1) | missing
    unassigned = labels == UNASSIGNED
    columns = adata.obs.columns[adata.obs.isna().to_numpy().any(axis=0)]
    kept = ~(incomplete | unassigned)
    reason = (
        f"{unassigned.sum()} are labelled {UNASSIGNED!r}, {incomplete.sum()} have missing values (columns of obs: "
        f"{listing(columns)})"
    )
    adata, labels = keep_cells(adata, kept, reason), labels[kept]
    targets = np.char.partition(labels, "_")[:, 0]
    return Annotated(adata, one_per_cell(targets, np.char.find(labels, CONTROL_MARK) >= 0))


ADAMSON = Study(
    name="adamson",
    citation="Adamson et al., Cell 2016, doi 10.1016/j.cell.2016.11.048",
    layout="whole counts in X and obs['perturbation'] with target and plasmid, such as CREB1_pDS269 and 63(mod)_pBA580",
    # The address of the file inside the record is not on file here: name, hash and size were not verified.
    remote=Remote(
        source="scPerturb, Zenodo record 7041849, the file of Adamson 2016, experiment GSM2406681_10X010",
        filename="adamson.h5ad",
        address=None,
    ),
    settings=AdamsonConfig,
    annotate=annotate,
)
