"""Srivatsan et al. 2020, sci-Plex 3: 188 drugs at four doses in three cancer cell lines.

Each cell received one drug (`product_name`) at one dose in nM, or the vehicle, which is the control. Three cell lines
respond differently: by default cells of one, A549, are used. Cells with few counts are left out, then conditions (drug
and dose) of few cells; conditions of many cells are cut to a random choice of them, since a few hundred tell their mean
and spread. Doses are divided by `dose_unit`, so that the highest, 10,000 nM, is the dosage 1; `doses_as_unique` makes a
perturbation of every drug and dose.

The default split holds out a dose of every drug. Names of columns differ between the public versions of the file; give
those of yours.

Source:
    Data of Srivatsan et al.; the filters follow common practice (specification 8.3), not one publication.
"""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from samsjax.data.config import SplitRule
from samsjax.data.counts import in_memory, row_sums
from samsjax.data.encoding import Encoding, encode_matrix
from samsjax.data.expression import flag_column, number_column, obs_column
from samsjax.data.studies.base import Annotated, Remote, Study, StudyConfig, keep_cells, label_column
from samsjax.errors import InputError, check_range, listing, unknown_name

if TYPE_CHECKING:
    import anndata

ALL_LINES = "all"


@dataclass(frozen=True)
class SciPlexConfig(StudyConfig):
    """How to read a sci-Plex 3 file.

    Raises:
        InputError: as for `StudyConfig`, and for limits that exclude each other.
    """

    perturbation_key: str = "product_name"
    """Column of obs with the drug of each cell."""
    control: tuple[str, ...] = ("vehicle",)
    """Name for cells that received the vehicle."""
    separator: str = "&"
    """Sign that joins perturbations to predict together; names of drugs contain +."""
    split: SplitRule = "doses"
    """Which cells train; "doses" holds out one dose of each drug."""
    dose_key: str = "dose"
    """Column of obs with doses in nM."""
    dose_unit: float = 10_000.0
    """Dose, in the unit of that column, that counts as dosage 1."""
    vehicle_key: str = "vehicle"
    """Column of obs that says which cells received the vehicle."""
    cell_line_key: str = "cell_line"
    """Column of obs with the cell line."""
    cell_line: str = "A549"
    """The line to use; all = all lines together."""
    umis_key: str | None = None
    """Column of obs with total counts; by default sums over the genes of the file."""
    min_umis: int = 500
    """Cells with fewer counts are left out."""
    min_cells: int = 50
    """Conditions (drug and dose) with fewer cells are left out."""
    max_cells: int = 300
    """Most cells of a condition, chosen at random by the seed of the split; vehicle cells are all kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("dose_unit", self.dose_unit, above=0.0)
        check_range("min_umis", self.min_umis, low=0)
        check_range("min_cells", self.min_cells, low=1)
        check_range("max_cells", self.max_cells, low=self.min_cells)


def annotate(adata: "anndata.AnnData", config: SciPlexConfig, *, genes_given: bool) -> Annotated:
    """Drugs at doses; cells of other lines, with few counts, of rare conditions or in excess are left out.

    Raises:
        InputError: if a column is missing or holds something else, the line is unknown, a dose of a drug is not
            positive, or no cell is left.
    """
    adata = _of_line(adata, config)
    totals = (
        row_sums(in_memory(_matrix(adata, config)))
        if config.umis_key is None
        else number_column(adata, config.umis_key, "umis_key", "total counts")
    )
    few = ~(totals >= config.min_umis)  # a missing total is few
    adata = keep_cells(adata, ~few, f"{few.sum()} have fewer than {config.min_umis} counts")
    drug, dose, is_vehicle = _received(adata, config)
    condition = np.where(is_vehicle, "", np.char.add(np.char.add(drug, " at "), dose.astype(str)))
    kept, reason = _chosen(condition, config, every=genes_given)
    adata, drug, dose, is_vehicle = keep_cells(adata, kept, reason), drug[kept], dose[kept], is_vehicle[kept]
    return Annotated(adata, _encoding(drug, dose / config.dose_unit, is_vehicle))


def _matrix(adata: "anndata.AnnData", config: SciPlexConfig):
    if config.layer == "raw":
        return adata.raw.X
    return adata.X if config.layer is None else adata.layers[config.layer]


def _of_line(adata: "anndata.AnnData", config: SciPlexConfig) -> "anndata.AnnData":
    if config.cell_line == ALL_LINES:
        return adata
    lines = obs_column(adata, config.cell_line_key, "cell_line_key").astype(str).to_numpy().astype(str)
    if config.cell_line not in lines:
        raise unknown_name("cell line", config.cell_line, [*np.unique(lines).tolist(), ALL_LINES])
    rows = np.flatnonzero(lines == config.cell_line)  # asked for by name: nothing to warn of
    return adata[rows]


def _received(adata: "anndata.AnnData", config: SciPlexConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Drug, dose and whether it was the vehicle, each (cell,)."""
    is_vehicle = flag_column(adata, config.vehicle_key, "vehicle_key")
    drug, missing = label_column(adata, config.perturbation_key)
    dose = number_column(adata, config.dose_key, "dose_key", "doses")
    if (missing & ~is_vehicle).any():
        raise InputError(f"{(missing & ~is_vehicle).sum()} cells have no drug in {config.perturbation_key!r}.")
    wrong = ~is_vehicle & ~(np.isfinite(dose) & (dose > 0))
    if wrong.any():
        raise InputError(
            f"{wrong.sum()} cells of drugs have no positive dose in {config.dose_key!r}, such as {dose[wrong][0]} of "
            f"{str(drug[wrong][0])!r}; mark vehicle cells in {config.vehicle_key!r}."
        )
    return drug, dose, is_vehicle


def _chosen(condition: np.ndarray, config: SciPlexConfig, *, every: bool) -> tuple[np.ndarray, str]:
    """Which cells are kept, and why others are not; `every` for a stored model, whose cells are not chosen again."""
    names, code, n_cells = np.unique(condition, return_inverse=True, return_counts=True)
    if every:
        return np.ones(len(condition), dtype=bool), ""
    rare = (n_cells < config.min_cells) & (names != "")
    order = np.random.default_rng(config.split_seed).permutation(len(condition))
    by_condition = order[np.argsort(code[order], kind="stable")]
    place = np.empty(len(condition), dtype=int)
    place[by_condition] = np.arange(len(condition)) - np.repeat(np.cumsum(n_cells) - n_cells, n_cells)
    excess = (place >= config.max_cells) & (condition != "")
    if rare.any():
        warnings.warn(
            f"{rare.sum()} conditions have fewer than {config.min_cells} cells and are left out: "
            f"{listing(names[rare], limit=5)}",
            UserWarning,
            stacklevel=4,
        )
    reason = f"{rare[code].sum()} of rare conditions, {excess.sum()} beyond {config.max_cells} cells of a condition"
    return ~(rare[code] | excess), reason


def _encoding(drug: np.ndarray, dose: np.ndarray, is_vehicle: np.ndarray) -> Encoding:
    names, code = np.unique(drug[~is_vehicle], return_inverse=True)
    entries = (dose[~is_vehicle].astype(np.float32), (np.flatnonzero(~is_vehicle), code.reshape(-1)))
    return encode_matrix(sp.csr_matrix(entries, shape=(len(drug), len(names))), names)


SCIPLEX = Study(
    name="sciplex",
    citation="Srivatsan et al., Science 2020",
    layout=(
        "whole counts in X and, in obs, product_name, dose (nM), vehicle (yes or no) and cell_line; other names of "
        "columns are settings"
    ),
    # Accession number and address are not on file here, nor are name, hash and size of a published file: none of them
    # was verified.
    remote=Remote(
        source="the data that the authors deposited with the publication; public collections have it as .h5ad",
        filename="sciplex3.h5ad",
    ),
    settings=SciPlexConfig,
    annotate=annotate,
)
