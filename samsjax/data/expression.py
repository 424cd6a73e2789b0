"""Expression and exposure out of an AnnData: which matrix, which genes, and how many counts each cell can spend."""

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from samsjax.data.config import DataConfig
from samsjax.data.counts import Matrix, cells_per_gene, check_values, describe_matrices, in_memory, row_sums
from samsjax.data.dataset import check_unique
from samsjax.errors import InputError, check_range, listing, unknown_name

if TYPE_CHECKING:
    import anndata

USUAL_COLUMNS = (
    *("perturbation", "perturbations", "condition", "target_gene", "gene", "guide_identity", "perturbation_name"),
    *("sm_name", "genetic_perturbation_id", "gene_target", "target", "treatment", "drug", "sgRNA", "guide_id"),
)
"""obs columns that hold perturbation labels in public data sets; suggested, never used unasked."""

TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
"""Texts of a yes/no column, in any case."""


def unique_names(kind: str, names: Any, remedy: str) -> np.ndarray:
    """Names as str; Raises: InputError naming the repeated ones and what to call."""
    names = np.asarray(names, dtype=str)
    try:
        check_unique(kind, names)
    except InputError as error:
        raise InputError(f"{error}; rename them, for example with {remedy}") from None
    return names


def obs_column(adata: "anndata.AnnData", key: str, kind: str) -> Any:
    """A column of obs; Raises: InputError with the nearest columns, and for labels also the usual ones."""
    if key in adata.obs.columns:
        return adata.obs[key]
    columns = [str(column) for column in adata.obs.columns]
    error = unknown_name(f"{kind} in adata.obs", key, columns)
    likely = [column for column in USUAL_COLUMNS if column in columns]
    if kind == "perturbation_key" and likely:
        raise InputError(f"{error} Columns that usually hold perturbations: {listing(likely)}.")
    raise error


def number_column(adata: "anndata.AnnData", key: str, kind: str, what: str) -> np.ndarray:
    """A column of obs as float64 (cell,), NaN where it is missing; Raises: InputError if `what` is no numbers."""
    column = obs_column(adata, key, kind)
    try:
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        raise InputError(f"{what} {key!r} are not numbers but {column.dtype}") from None


def flag_column(adata: "anndata.AnnData", key: str, kind: str, meaning: Mapping[str, bool] = TRUTH) -> np.ndarray:
    """A yes/no column of obs as bool (cell,); Raises: InputError naming what else it holds.

    Args:
        adata: the cells.
        key: column: booleans, 0 and 1, or texts.
        kind: what names the column, for messages.
        meaning: of the texts, in any case; values are looked at as texts.
    """
    code, values = obs_column(adata, key, kind).factorize()
    texts = [str(value).strip().casefold() for value in values]
    wrong = [text for text in texts if text not in meaning] + ["missing values"] * bool((code < 0).any())
    if wrong:
        known = "0 and 1" if set(meaning) == set(TRUTH) else listing(meaning, limit=20)
        raise InputError(f"column {key!r} of adata.obs should hold only {known}, but holds {listing(wrong, 3)}.")
    return np.array([meaning[text] for text in texts], dtype=bool)[code]


def expression(
    adata: "anndata.AnnData", config: DataConfig, cells: np.ndarray, gene_names: Sequence[str] | None, *, counts: bool
) -> tuple[Matrix, np.ndarray]:
    """The checked matrix of the kept genes (cell, gene) and their names.

    Genes of `gene_names` are matched by name; without it, genes seen in too few cells (of all splits) are left out.

    Raises:
        InputError: for a missing layer, values that are not what `counts` says, and missing or repeated genes.
    """
    matrix, names, what = _select(adata, config.layer)
    genes = unique_names("gene names", names, "adata.var_names_make_unique()")
    x = in_memory(matrix)
    if gene_names is not None:
        columns = _match_genes(genes, np.asarray(gene_names, dtype=str))
        x, genes = x[:, columns], genes[columns]
    check_values(x, what, cells, genes, counts=counts, advice=lambda: _advice(adata, config.layer, counts=counts))
    if gene_names is not None:
        return x, genes
    kept = cells_per_gene(x) >= config.min_cells_per_gene
    if kept.all():
        return x, genes
    text = f"{(~kept).sum()} of {len(kept)} genes have counts in fewer than {config.min_cells_per_gene} cells"
    if not kept.any():
        raise InputError(f"no gene is left: {text} (min_cells_per_gene)")
    warnings.warn(f"{text} and are left out: {listing(genes[~kept], limit=5)}", UserWarning, stacklevel=3)
    return x[:, kept], genes[kept]


def _select(adata: "anndata.AnnData", layer: str | None) -> tuple[Any, Any, str]:
    if layer is None and adata.X is not None:
        return adata.X, adata.var_names, "adata.X"
    if layer is None:
        raise InputError(f"adata.X is empty: name the layer that holds raw counts; {_others(adata, layer)}")
    if layer in adata.layers:
        return adata.layers[layer], adata.var_names, f"adata.layers[{layer!r}]"
    if layer == "raw" and adata.raw is not None:
        return adata.raw.X, adata.raw.var_names, "adata.raw.X"
    raise unknown_name("layer", layer, [*adata.layers.keys(), *(["raw"] if adata.raw is not None else [])])


def _others(adata: "anndata.AnnData", used: str | None) -> str:
    candidates = [(name, matrix) for name, matrix in adata.layers.items() if name != used]
    if adata.raw is not None and used != "raw":
        candidates.append(("raw", adata.raw.X))
    return f"layers of this AnnData: {describe_matrices(candidates)}"


def _advice(adata: "anndata.AnnData", used: str | None, *, counts: bool) -> str:
    if not counts:
        return "Remove or impute these values first."
    return f"Raw counts are needed: pass the layer that holds them; other {_others(adata, used)}"


def _match_genes(genes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    position = {name: column for column, name in enumerate(genes.tolist())}
    missing = [name for name in wanted.tolist() if name not in position]
    if len(missing) == len(wanted):
        raise InputError(
            f"none of the {len(wanted)} genes of the model is in the data: the model knows {listing(wanted, limit=3)}, "
            f"the data have {listing(genes, limit=3)}. Are these two kinds of names, Ensembl ids against symbols?"
        )
    if missing:
        raise InputError(
            f"{len(missing)} of the {len(wanted)} genes of the model are not in the data: {listing(missing)}. A gene "
            "that was not measured is not 0; use data with all genes, or train on the genes both have"
        )
    extra = len(genes) - len(wanted)
    if extra:
        warnings.warn(f"{extra} genes of the data are unknown to the model and left out", UserWarning, stacklevel=4)
    return np.array([position[name] for name in wanted.tolist()])


def exposure(
    adata: "anndata.AnnData",
    config: DataConfig,
    cells: np.ndarray,
    x: Matrix,
    split: np.ndarray,
    scale: float | None,
    *,
    counts: bool,
) -> tuple[np.ndarray, str, float]:
    """Library sizes (cell,), where they are from, and the constant they were scaled by; ones for continuous values.

    Raises:
        InputError: for cells without counts, and totals that are not positive numbers.
    """
    if not counts:
        return np.ones(len(cells)), "ones", 1.0
    sums = row_sums(x)
    empty = np.flatnonzero(sums == 0)
    if len(empty):
        raise InputError(
            f"{len(empty)} cells have no counts in the {x.shape[1]} genes used: {listing(cells[empty], limit=5)}. "
            "Remove them first, for example adata = adata[np.asarray(adata.X.sum(axis=1)).ravel() > 0].copy()"
        )
    if config.library_size_key is None:
        if scale not in (None, 1.0):
            raise InputError(f"exposure_scale {scale} scales the totals of library_size_key, which is not given")
        return sums, "row_sum", 1.0
    totals = _totals(adata, config.library_size_key)
    train = split == "train"
    if scale is None and not train.any():
        raise InputError(f"no training cells to scale {config.library_size_key!r} by: pass exposure_scale")
    scale = float(sums[train].sum() / totals[train].sum()) if scale is None else float(scale)
    check_range("exposure_scale", scale, above=0, below=np.inf)
    return totals * scale, config.library_size_key, scale


def _totals(adata: "anndata.AnnData", key: str) -> np.ndarray:
    totals = number_column(adata, key, "library_size_key", "library sizes")
    bad = np.flatnonzero(~(np.isfinite(totals) & (totals > 0)))
    if len(bad):
        raise InputError(
            f"library sizes {key!r} must be positive and finite; {len(bad)} are not, the first is {totals[bad[0]]} "
            f"in row {bad[0]}"
        )
    return totals
