"""Average treatment effects read off the data: mean transformed expression of a treatment minus that of controls.

Source: SAMS-VAE, specification 7.1. Differs: the reference cells are an explicit argument (the paper's code uses all
cells, training included), standard errors are reported, and counts stay sparse.
"""

import numpy as np
import scipy.sparse as sp

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
    control_mean, control_var = _group_moments(data, controls, np.zeros(len(controls), int), 1, transform)
    chosen = cells[assigned >= 0]
    group = np.searchsorted(present, assigned[assigned >= 0])
    mean, var = _group_moments(data, chosen, group, len(present), transform)
    return AverageEffects(
        labels=treated.labels[present],
        ate=(mean - control_mean).astype(np.float32),
        standard_error=np.sqrt(var + control_var).astype(np.float32),
        control_mean=control_mean[0].astype(np.float32),
        transform=transform,
    )


def _group_moments(
    data: PerturbationData, cells: np.ndarray, group: np.ndarray, n_groups: int, transform: str
) -> tuple[np.ndarray, np.ndarray]:
    """(mean, variance of the mean) of transformed expression per group, both (group, gene), in float64."""
    values = _transformed(data.x[cells], data.library_size[cells], transform)
    member = sp.csr_matrix((np.ones(len(cells)), (group, np.arange(len(cells)))), shape=(n_groups, len(cells)))
    n = np.asarray(member.sum(axis=1))
    squares = values.multiply(values) if sp.issparse(values) else values**2
    mean, second = (_dense(member @ v) / n for v in (values, squares))
    spread = np.maximum(second - mean**2, 0.0) * n / np.maximum(n - 1, 1)
    return mean, np.where(n > 1, spread / n, np.nan)


def _transformed(x, total: np.ndarray, transform: str):
    """Transformed expression, sparse if `x` is: every transform maps zero to zero."""
    of = transform_named(transform).of
    if not sp.issparse(x):
        return np.asarray(of(x.astype(np.float32), total), dtype=np.float64)
    values = x.tocsr().astype(np.float64)
    per_entry = np.repeat(total, np.diff(values.indptr))
    values.data = np.asarray(of(values.data[:, None].astype(np.float32), per_entry))[:, 0].astype(np.float64)
    return values


def _dense(matrix) -> np.ndarray:
    return matrix.toarray() if sp.issparse(matrix) else np.asarray(matrix)
