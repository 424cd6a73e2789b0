"""Groups of perturbations, so that alike ones are held out together: from a table, or as clusters of features.

A table is a CSV whose first column names perturbations, one row each. Perturbations that no cell carries may stand in
it too; one that is missing is an error, never a group or a feature of zeros.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samsjax.data.dataset import check_unique
from samsjax.errors import InputError, check_range, listing, nearest

if TYPE_CHECKING:
    import pandas as pd


def load_groups(path: Path | str) -> dict[str, str]:
    """The group of each perturbation, from a CSV with two columns: perturbation and group.

    Raises:
        InputError: if the file cannot be read or has other columns, a perturbation repeats, or has no group.
    """
    table = _read(path)
    if table.shape[1] != 1:
        raise InputError(
            f"{path} must have two columns, perturbation and group; it has {table.shape[1] + 1}: "
            f"{listing([str(table.index.name), *table.columns])}"
        )
    groups = {str(name): str(group).strip() for name, group in table.iloc[:, 0].items()}
    empty = [name for name, group in groups.items() if not group]
    if empty:
        raise InputError(f"{len(empty)} perturbations of {path} have no group: {listing(empty)}")
    return groups


def load_features(path: Path | str, names: Sequence[str] | np.ndarray) -> np.ndarray:
    """Features of the perturbations `names`, from a CSV with a column of perturbations and columns of numbers.

    Returns:
        float64 (perturbation, feature).

    Raises:
        InputError: if the file cannot be read, a perturbation is missing or repeats, or a feature is no finite number
            or the same for all `names`.
    """
    table = _read(path)
    missing = [str(name) for name in names if name not in table.index]
    if missing:
        close = nearest(missing[0], table.index)
        hint = f" The names nearest to {missing[0]!r} are {listing(close)}." if close else ""
        raise InputError(f"{len(missing)} perturbations of the cells are not in {path}: {listing(missing)}.{hint}")
    chosen = table.loc[list(names)]
    features = _numbers(chosen)
    bad = np.argwhere(~np.isfinite(features))
    if len(bad):
        row, column = bad[0]
        raise InputError(
            f"{len(bad)} features of {path} are no finite numbers, the first {chosen.iat[row, column]!r} in column "
            f"{chosen.columns[column]!r} of perturbation {chosen.index[row]!r}"
        )
    constant = chosen.columns[(features == features[:1]).all(axis=0)]
    if len(constant):
        raise InputError(
            f"{len(constant)} features of {path} are the same for all {len(chosen)} perturbations of the cells: "
            f"{listing(constant)}; leave these columns out"
        )
    return features


def cluster_perturbations(
    names: Sequence[str] | np.ndarray, features: np.ndarray, n_clusters: int | None = None
) -> dict[str, str]:
    """Clusters of perturbations with like features, as the group of each.

    Features are standardised and clustered by Ward's method. That needs no seed: clusters belong to the features, and
    only which of them are held out is random. Memory grows with the square of the number of perturbations.

    Args:
        names: of the perturbations, (perturbation,).
        features: finite, none of them constant, (perturbation, feature).
        n_clusters: at most so many clusters (fewer if perturbations have equal features), 2 to the number of
            perturbations; by default its square root, and at least 2.

    Raises:
        InputError: for fewer than two perturbations, more clusters than perturbations, or features that cannot be
            standardised.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    n = len(names)
    if n < 2:
        raise InputError(f"{n} perturbation cannot be clustered: hold it out by name")
    n_clusters = max(2, round(n**0.5)) if n_clusters is None else n_clusters
    check_range("n_feature_clusters", n_clusters, low=2, high=n)
    with np.errstate(all="ignore"):
        standardised = (features - features.mean(axis=0)) / features.std(axis=0)
    # The mean of equal numbers may differ from them by rounding, so that a standard deviation of 0 is not enough.
    bad = np.flatnonzero((features == features[:1]).all(axis=0) | ~np.isfinite(standardised).all(axis=0))
    if len(bad):
        raise InputError(f"features in columns {listing(map(str, bad))} are constant, not finite, or too large")
    # Ties are decided by the order of rows, so this must not depend on how the caller found the names.
    order = np.argsort(np.asarray(names, dtype=str))
    n_clusters = min(n_clusters, len(np.unique(standardised, axis=0)))
    cluster = fcluster(linkage(standardised[order], method="ward"), n_clusters, criterion="maxclust")
    return {str(names[row]): f"cluster {number}" for row, number in zip(order, cluster.tolist(), strict=True)}


def _read(path: Path | str) -> "pd.DataFrame":
    """All entries as text, with the perturbations as index; a perturbation may be called NA."""
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
    check_unique(f"perturbations in {path}", table.index.to_numpy())
    return table


def _numbers(table: "pd.DataFrame") -> np.ndarray:
    """What is no number becomes NaN, for the caller to refuse."""
    import pandas as pd

    return table.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
