"""Loadings of target genes: where a gene stands among the others in cells that nobody perturbed.

Principal components are those of training controls alone, so that nothing of a perturbation, held out or not, enters
its own features. Genes that vary together in controls have like loadings, and are taken to act alike when perturbed.
"""

import warnings
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, svds

from samsjax.data.features.config import FeaturesConfig
from samsjax.data.features.keyed import FeatureTable
from samsjax.data.features.target_genes import targets_of, where_of
from samsjax.errors import InputError, listing

if TYPE_CHECKING:
    from samsjax.data.dataset import PerturbationData

N_COMPONENTS = 16
"""Where no number is given; also of random features."""


def loading_features(config: FeaturesConfig, data: "PerturbationData") -> FeatureTable:
    """Loadings of each perturbation's target genes, summed; of all genes, where genes name the perturbations.

    Raises:
        InputError: as `targets_of`, or for fewer training controls or genes than components ask for.
    """
    targets = targets_of(config, data)
    loadings = gene_loadings(data, config.n_components or N_COMPONENTS)
    column = {gene: row for row, gene in enumerate(data.gene_names.tolist())}
    silent = sorted({gene for found in targets.values() for gene in found if not loadings[column[gene]].any()})
    if silent:
        warnings.warn(
            f"{len(silent)} target genes are the same in all training controls, so their loadings are 0: "
            f"{listing(silent)}",
            UserWarning,
            stacklevel=4,
        )
    if config.path is None:
        targets = {gene: (gene,) for gene in column} | targets
    values = np.stack([loadings[[column[gene] for gene in found]].sum(axis=0) for found in targets.values()])
    names = tuple(f"loading_{number + 1}" for number in range(values.shape[1]))
    return FeatureTable(tuple(targets), names, values, where_of(config))


def gene_loadings(data: "PerturbationData", n_components: int) -> np.ndarray:
    """Loadings of all genes in training controls, float64 (gene, component), components in descending order.

    Counts are scaled to the median library size of these cells, log(1 + x) transformed and centred; continuous values
    are standardised. A loading is the covariance of a gene with a component of unit variance.

    Raises:
        InputError: for fewer training controls or genes than components ask for.
    """
    cells = np.flatnonzero((data.split == "train") & data.is_control)
    if n_components >= min(len(cells), data.n_genes):
        raise InputError(
            f"{n_components} loadings need more than {n_components} training controls and genes; there are "
            f"{len(cells)} and {data.n_genes}: lower features.n_components"
        )
    values = _transformed(data, cells)
    mean = np.asarray(values.mean(axis=0)).reshape(-1)
    ones = np.ones(len(cells))
    centred = LinearOperator(
        values.shape,
        matvec=lambda v: values @ v.reshape(-1) - ones * (mean @ v.reshape(-1)),
        rmatvec=lambda u: values.T @ u.reshape(-1) - mean * u.sum(),
        dtype=np.float64,
    )
    # Any start finds the same components; one that is fixed finds them to the same bit.
    start = np.random.default_rng(0).standard_normal(min(values.shape))
    _, size, axes = svds(centred, k=n_components, v0=start)
    order = np.argsort(size)[::-1]
    if size.min() <= 1e-8 * size.max():
        raise InputError(f"training controls vary in fewer than {n_components} directions: lower features.n_components")
    loadings = axes[order].T * size[order] / np.sqrt(len(cells) - 1)
    return signed(np.where(_varies(values)[:, None], loadings, 0.0))


def signed(axes: np.ndarray) -> np.ndarray:
    """Columns with their largest entry positive, since the sign of a component means nothing."""
    largest = np.abs(axes).argmax(axis=0)
    return axes * np.where(axes[largest, np.arange(axes.shape[1])] < 0, -1.0, 1.0)


def _transformed(data: "PerturbationData", cells: np.ndarray):
    x = data.x[cells].astype(np.float64)
    if np.issubdtype(data.x.dtype, np.integer):
        library = data.library_size[cells].astype(np.float64)
        scale = np.median(library) / library
        return (sp.diags(scale) @ x).log1p().tocsr() if sp.issparse(x) else np.log1p(x * scale[:, None])
    x = np.asarray(x.toarray() if sp.issparse(x) else x)
    deviation = x.std(axis=0)
    return (x - x.mean(axis=0)) / np.where(deviation > 1e-12 * np.abs(x).max(initial=0.0), deviation, 1.0)


def _varies(values) -> np.ndarray:
    """Bool (gene,): not the same in all cells; rounding is no variation."""
    spread = values.max(axis=0) - values.min(axis=0)
    return np.asarray(spread.todense() if sp.issparse(spread) else spread).reshape(-1) > 1e-9
