"""Average treatment effects read off the data: mean transformed expression of a treatment minus that of controls.

Source: SAMS-VAE, specification 7.1. Differs: the reference cells are an explicit argument (the paper's code uses all
cells, training included), standard errors are reported, and counts stay sparse.
"""

import numpy as np
import scipy.sparse as sp

from samsjax.data.counts import Matrix
from samsjax.data.dataset import PerturbationData
from samsjax.data.encoding import Treatments
from samsjax.errors import InputError
from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.transforms import transform_named


def data_effects(
    data: PerturbationData, treated: Treatments, cells: np.ndarray, transform: str = "log2_cp10k"
) -> AverageEffects:
    """Effects of the treatments that occur among `cells`, against the controls among `cells`.

    Where `cells` hold no control (held-out combinations), all controls of the data set are the reference.

    Args:
        data: the data set.
        treated: its treatments, `samsjax.data.treatments(data)`.
        cells: row numbers of the reference cells.
        transform: name in `TRANSFORMS`.

    Raises:
        InputError: no control cell in the whole data set.
    """
    controls = cells[treated.assignment[cells] < 0]
    if len(controls) == 0:
        controls = np.flatnonzero(treated.assignment < 0)
    if len(controls) == 0:
        raise InputError("the data have no control cells: effects have no reference")
    assigned = treated.assignment[cells]
    present = np.unique(assigned[assigned >= 0])
    control_mean, control_var = group_moments(transformed(data, controls, transform), np.zeros(len(controls), int), 1)
    chosen = cells[assigned >= 0]
    group = np.searchsorted(present, assigned[assigned >= 0])
    mean, var = group_moments(transformed(data, chosen, transform), group, len(present))
    return AverageEffects(
        labels=treated.labels[present],
        ate=(mean - control_mean).astype(np.float32),
        standard_error=np.sqrt(var + control_var).astype(np.float32),
        control_mean=control_mean[0].astype(np.float32),
        transform=transform,
    )


def transformed(data: PerturbationData, cells: np.ndarray, transform: str) -> Matrix:
    """Transformed expression of some cells, float64 (cell, gene); sparse if the data are, as transforms keep zeros."""
    x, total = data.x[cells], data.library_size[cells]
    of = transform_named(transform).of
    if not sp.issparse(x):
        return np.asarray(of(x.astype(np.float32), total), dtype=np.float64)
    values = x.tocsr().astype(np.float64)
    per_entry = np.repeat(total, np.diff(values.indptr))
    values.data = np.asarray(of(values.data[:, None].astype(np.float32), per_entry))[:, 0].astype(np.float64)
    return values


def group_moments(values: Matrix, group: np.ndarray, n_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean, and variance of the mean, of every group of cells, both float64 (group, gene).

    Args:
        values: (cell, gene), sparse or dense.
        group: int (cell,) in 0 .. `n_groups` - 1; every group has a cell.
        n_groups: how many groups.

    Returns:
        The variance of the mean is NaN for groups of one cell.
    """
    member = sp.csr_matrix((np.ones(len(group)), (group, np.arange(len(group)))), shape=(n_groups, len(group)))
    n = np.asarray(member.sum(axis=1))
    squares = values.multiply(values) if sp.issparse(values) else values**2
    mean, second = (dense(member @ v) / n for v in (values, squares))
    spread = np.maximum(second - mean**2, 0.0) * n / np.maximum(n - 1, 1)
    return mean, np.where(n > 1, spread / n, np.nan)


def dense(matrix: Matrix) -> np.ndarray:
    """The same values as an array."""
    return matrix.toarray() if sp.issparse(matrix) else np.asarray(matrix)
