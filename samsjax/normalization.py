"""What encoders see instead of raw counts: per-gene standardisation with statistics of the training cells.

Source: SAMS-VAE, specification 1.6. Differs: a gene that is constant among the training cells is centred but not scaled
(the reference divides by zero; a tiny floor would turn one count in another cell into a huge input), and statistics are
computed in chunks so that sparse counts are never made dense as a whole.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from samsjax.errors import check_choice

NORMALIZATIONS = ("log_standardize", "standardize", "control_standardize", "none")
CONSTANT_BELOW = 1e-6
"""Standard deviation under which a gene counts as constant."""
_CHUNK = 4096


class GeneStatistics(NamedTuple):
    """Mean and standard deviation per gene of x ("standardize", "control_standardize") or log(1 + x)
    ("log_standardize"); those of "control_standardize" are to be computed on control cells.
    """

    mean: Float[Array | np.ndarray, " gene"]
    std: Float[Array | np.ndarray, " gene"]


def gene_statistics(x, normalization: str) -> GeneStatistics:
    """Statistics of a (cell, gene) matrix, dense or scipy sparse, with ddof = 1, accumulated in float64.

    Raises:
        InputError: for an unknown normalization.
    """
    check_choice("normalization", normalization, NORMALIZATIONS)
    n_cells, n_genes = x.shape
    if normalization == "none":
        return GeneStatistics(np.zeros(n_genes, np.float32), np.ones(n_genes, np.float32))
    total = np.zeros(n_genes)
    for chunk in _transformed_chunks(x, normalization):
        total += chunk.sum(axis=0)
    mean = total / n_cells
    squares = np.zeros(n_genes)
    for chunk in _transformed_chunks(x, normalization):
        squares += ((chunk - mean) ** 2).sum(axis=0)
    std = np.sqrt(squares / max(n_cells - 1, 1))
    return GeneStatistics(mean.astype(np.float32), np.where(std > CONSTANT_BELOW, std, 1.0).astype(np.float32))


def _transformed_chunks(x, normalization: str):
    for start in range(0, x.shape[0], _CHUNK):
        rows = x[start : start + _CHUNK]
        dense = np.asarray(rows if isinstance(rows, np.ndarray) else rows.toarray(), dtype=np.float64)
        yield np.log1p(dense) if normalization == "log_standardize" else dense


def normalize(
    x: Float[Array | np.ndarray, "cell gene"], statistics: GeneStatistics, normalization: str
) -> Float[Array | np.ndarray, "cell gene"]:
    """Encoder input for `x` under the named normalization."""
    if normalization == "none":
        return x
    values = jnp.log1p(x) if normalization == "log_standardize" else x
    return (values - statistics.mean) / statistics.std
