"""The space that single cells are compared in: leading principal axes of measured cells."""

from typing import NamedTuple

import numpy as np

from samsjax.errors import InputError, check_range


class PrincipalAxes(NamedTuple):
    """A linear map to few coordinates; `project` applies it."""

    mean: np.ndarray
    """float64 (gene,)."""
    components: np.ndarray
    """float64 (axis, gene): orthonormal rows, most variance first, the largest loading of each positive."""


def principal_axes(values: np.ndarray, n_axes: int = 50) -> PrincipalAxes:
    """Leading principal axes of cells in one scale of `TRANSFORMS`; fewer than `n_axes` if the cells span fewer.

    The covariance, or the products of cells where these are fewer than genes, is decomposed in float64: the time is
    that of one (small x large x small) product, with small and large the numbers of cells and genes.

    Args:
        values: (cell, gene), dense.
        n_axes: most axes.

    Raises:
        InputError: for fewer than two cells, values that are not finite, or cells that are all equal.
    """
    from scipy.linalg import eigh

    check_range("n_axes", n_axes, low=1)
    values = cell_table("values", np.asarray(values, dtype=np.float64))
    if len(values) < 2:
        raise InputError(f"principal axes need two or more cells, got {len(values)}")
    mean = values.mean(axis=0)
    centred = values - mean
    by_gene = centred.shape[1] <= centred.shape[0]
    product = centred.T @ centred if by_gene else centred @ centred.T
    n = min(n_axes, len(product))
    variance, vectors = (v[..., ::-1] for v in eigh(product, subset_by_index=(len(product) - n, len(product) - 1)))
    # Squares of singular values: what rounding leaves of an empty direction is about 1e-16 of the largest.
    spanned = variance > max(1e-12 * variance[0], 1e-24 * (values**2).sum())
    if not spanned.any():
        raise InputError(f"principal axes need cells that differ, all {len(values)} are equal")
    components = vectors[:, spanned].T
    if not by_gene:
        components = components @ centred / np.sqrt(variance[spanned])[:, None]
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    return PrincipalAxes(mean, components * np.sign(largest))


def project(axes: PrincipalAxes, values: np.ndarray) -> np.ndarray:
    """Coordinates of cells (cell, gene), float32 (cell, axis), in the units of the values.

    Raises:
        InputError: for values that are not finite or have another number of genes.
    """
    values = cell_table("values", values)
    if values.shape[1] != len(axes.mean):
        raise InputError(f"values have {values.shape[1]} genes, the principal axes {len(axes.mean)}")
    return ((values - axes.mean) @ axes.components.T).astype(np.float32)


def cell_table(name: str, values: np.ndarray) -> np.ndarray:
    """`values` as a (cell, value) array. Raises: InputError if they are none, or not finite."""
    values = np.asarray(values)
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(f"{name} must be a table of cells, (cell, value), got shape {values.shape}")
    if not np.isfinite(values).all():
        raise InputError(f"{name}: {(~np.isfinite(values)).any(axis=1).sum()} cells hold values that are not finite")
    return values
