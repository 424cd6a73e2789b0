"""Reading tables about perturbations: a CSV whose first column names them, or an AnnData whose `obs_names` do.

Perturbations that no cell carries may stand in a table. One that repeats is an error, and so is a file of another kind.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samsjax.data.counts import in_memory
from samsjax.data.features.keyed import FeatureTable
from samsjax.data.files import opened
from samsjax.errors import InputError, listing, unknown_name

if TYPE_CHECKING:
    import pandas as pd

ANNDATA = ".h5ad"


def read_features(path: Path | str, obsm_key: str | None = None) -> FeatureTable:
    """All features of a file. What is no number becomes NaN, for the caller to refuse where it is needed.

    Args:
        path: CSV with a column of perturbations and columns of numbers, or AnnData with perturbations as observations.
        obsm_key: entry of obsm to read instead of X.

    Raises:
        InputError: if the file cannot be read, a perturbation repeats, or `obsm_key` is not in it.
    """
    path = Path(path).expanduser()
    if path.suffix == ANNDATA:
        return _of_anndata(path, obsm_key)
    if obsm_key is not None:
        raise InputError(f"obsm_key {obsm_key!r} is for an {ANNDATA} file, not for {path}")
    table = read_texts(path)
    return FeatureTable(
        tuple(table.index), tuple(map(str, table.columns)), _numbers(table), str(path), table.to_numpy(dtype=object)
    )


def read_texts(path: Path | str) -> "pd.DataFrame":
    """All entries of a CSV as text, with the perturbations as index; a perturbation may be called NA.

    Raises:
        InputError: if the file cannot be read or is no such table, or a perturbation repeats.
    """
    import pandas as pd

    try:
        table = pd.read_csv(Path(path).expanduser(), dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:  # what pandas raises for text that is no table is a ValueError
        raise InputError(f"cannot read a table of perturbations from {path}: {error}") from error
    if table.shape[1] < 2 or not len(table):
        raise InputError(
            f"{path} must have a column of perturbations and at least one more, joined by commas, and rows; it has "
            f"{len(table)} rows of columns {listing(table.columns)}"
        )
    if not isinstance(table.index, pd.RangeIndex):  # pandas would take the first column for row labels
        raise InputError(f"rows of {path} have more entries than its header names columns: {listing(table.columns)}")
    table = table.set_index(table.columns[0])
    table.index = table.index.str.strip()
    _check_unique(table.index, path)
    return table


def read_column(path: Path | str, column: str | None, usual: str) -> dict[str, str]:
    """One column of a CSV by perturbation.

    Args:
        path: the file.
        column: its name; by default `usual` in any case, or the only one.
        usual: what such a column is called.

    Raises:
        InputError: as `read_texts`, or if it is not clear which column is meant.
    """
    table = read_texts(path)
    columns = [str(name) for name in table.columns]
    if column is not None and column not in columns:
        raise unknown_name(f"column of {path}", column, columns)
    likely = [name for name in columns if name.strip().casefold() == usual]
    if column is None and not likely and len(columns) > 1:
        raise InputError(f"{path} has columns {listing(columns)}: name the one that holds {usual} as column")
    chosen = column if column is not None else (likely or columns)[0]
    return {str(name): str(text).strip() for name, text in table[chosen].items()}


def _of_anndata(path: Path, obsm_key: str | None) -> FeatureTable:
    with opened(path, lazy=True, obsm=() if obsm_key is None else (obsm_key,)) as adata:
        _check_unique(adata.obs_names, path)
        names, matrix = adata.var_names, adata.X
        if obsm_key is not None:
            if obsm_key not in adata.obsm:
                raise unknown_name(f"obsm_key in {path}", obsm_key, _entries_of_obsm(path))
            matrix = adata.obsm[obsm_key]
            names = getattr(matrix, "columns", [f"{obsm_key}_{column}" for column in range(matrix.shape[1])])
        if matrix is None:
            raise InputError(f"X of {path} is empty: name the entry of obsm that holds features as obsm_key")
        values = _dense(matrix, path)
    return FeatureTable(tuple(map(str, adata.obs_names)), tuple(map(str, names)), values, str(path))


def _dense(matrix: Any, path: Path) -> np.ndarray:
    matrix = in_memory(matrix.to_numpy() if hasattr(matrix, "columns") else matrix)
    try:
        return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"features of {path} are not numbers but {matrix.dtype}") from None


def _entries_of_obsm(path: Path) -> list[str]:
    import h5py

    with h5py.File(path, "r") as file:
        return list(file.get("obsm", ()))


def _check_unique(names: "pd.Index", path: Path | str) -> None:
    repeated = sorted(set(names[names.duplicated()]))
    if repeated:
        raise InputError(f"duplicated perturbations in {path}: {listing(repeated)}")


def _numbers(table: "pd.DataFrame") -> np.ndarray:
    """What is no number becomes NaN; pandas says what is one, and Python reads it without rounding."""
    import pandas as pd

    rough = table.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    exact = np.full(rough.shape, np.nan)
    known = ~np.isnan(rough)
    exact[known] = table.to_numpy(dtype=object)[known].astype(np.float64)
    return exact
