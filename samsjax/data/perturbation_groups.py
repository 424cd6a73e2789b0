"""Groups of perturbations, so that alike ones are held out together: from a table, or as clusters of features.

A table is a CSV whose first column names perturbations, one row each. Perturbations that no cell carries may stand in
it too; one that is missing is an error, never a group or a feature of zeros.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from samsjax.data.features.reading import read_features, read_texts
from samsjax.data.features.table import constant_columns
from samsjax.errors import InputError, check_range, listing


def load_groups(path: Path | str) -> dict[str, str]:
    """The group of each perturbation, from a CSV with two columns: perturbation and group.

    Raises:
        InputError: if the file cannot be read or has other columns, a perturbation repeats, or has no group.
    """
    table = read_texts(path)
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
    table = read_features(path)
    features = table.of([str(name) for name in names])
    constant = constant_columns(features)
    if len(constant):
        raise InputError(
            f"{len(constant)} features of {path} are the same for all {len(features)} perturbations of the cells: "
            f"{listing(table.names[column] for column in constant)}; leave these columns out"
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
