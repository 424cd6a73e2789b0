"""Doublets: droplets with two cells. Predicted by Scrublet, which compares each cell with sums of pairs of cells."""

import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp

from samsjax.data.counts import Matrix
from samsjax.errors import InputError

EXPECTED_RATE = 0.05


def predicted_doublets(x: Matrix, seed: int) -> np.ndarray:
    """Which cells look like doublets, bool (cell,); the same seed gives the same cells.

    Twice as many doublets as there are cells are simulated as sums of random pairs; cells whose neighbours are mostly
    such sums are doublets. The threshold is Scrublet's own. Cells should be of one sample, and of all their genes: in a
    panel of a few hundred genes doublets are not seen. A simulated or generated cell has no such label.

    Args:
        x: raw counts (cell, gene), sparse or dense.
        seed: of the pairs and the projection.

    Raises:
        InputError: if Scrublet is not installed, or cannot work with so few cells or genes.

    Source:
        Wolock, Lopez and Klein, Cell Systems 2019; rate and number of simulated doublets as in scanpy.

    Differs:
        Neighbours are exact. Approximate ones depend on the number of cores; they would save minutes with 100,000
        cells.
    """
    scrublet = _scrublet()
    counts = sp.csc_matrix(x, dtype=np.float64)
    state = np.random.get_state()  # Scrublet seeds NumPy's global generator
    try:
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # logarithms of genes without variance
            found = scrublet.Scrublet(counts, expected_doublet_rate=EXPECTED_RATE, random_state=seed)
            _, called = found.scrub_doublets(use_approx_neighbors=False, verbose=False)
    except (ValueError, IndexError) as error:
        raise InputError(
            f"doublets cannot be predicted from {x.shape[0]} cells and {x.shape[1]} genes (Scrublet: {error}); leave "
            "the quality criterion 'doublet' out, or name a column that holds it: quality_columns"
        ) from error
    finally:
        np.random.set_state(state)
    if called is None:
        raise InputError(
            "Scrublet found no threshold between doublets and other cells: leave the quality criterion 'doublet' out"
        )
    return np.asarray(called, dtype=bool)


def _scrublet() -> Any:
    try:
        import scrublet
    except ImportError as error:
        raise InputError(
            f"the quality criterion 'doublet' needs Scrublet ({error}): pip install 'samsjax[doublets]', or name "
            "a column of obs that holds doublets: quality_columns doublet COLUMN"
        ) from None
    return scrublet
