"""What raw counts say of the quality of a cell. Sparse counts stay sparse."""

import re
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from samsjax.data.counts import Matrix, row_sums
from samsjax.errors import InputError

GENE_SETS = {
    "percent_mito": re.compile(r"MT-", re.IGNORECASE),
    "percent_ribo": re.compile(r"RP[SL]", re.IGNORECASE),
    "percent_hb": re.compile(r"HB[^(P)]", re.IGNORECASE),
}
"""Starts of the gene symbols of each set, human or mouse: mitochondrially encoded, ribosomal proteins, haemoglobins.

The usual patterns of single-cell analyses, with their usual strays: RPS6KA1 and its kin are kinases; HBEGF and HBS1L
are no haemoglobins."""


def cell_statistics(x: Matrix, gene_names: Sequence[str] | np.ndarray) -> dict[str, np.ndarray]:
    """Quality statistics of cells, each float64 (cell,), by name.

    "n_counts", the total; "n_genes", how many genes have counts; "percent_mito", "percent_ribo", "percent_hb", the
    share of the total that a gene set has, 0 to 100. A set of which `gene_names` holds no gene was not measured and is
    left out: its share is unknown, not 0. In a panel all of these are relative to the panel.

    A cell without counts, as a model may generate, has no count in any set: its shares are 0. Such a cell fails by its
    total and its number of genes, unless these thresholds lie below 0, where no cell can fail.

    Args:
        x: raw counts (cell, gene), sparse or dense; not checked to be counts.
        gene_names: symbols (gene,), in upper or lower case.

    Raises:
        InputError: if names and columns differ in number.

    Source:
        The criteria of CRADLE-VAE (AAAI 2025, doi 10.1609/AAAI.V39I15.33695), without doublets.

    Differs:
        Symbols are matched whatever their case, so that mouse genes (mt-Nd1, Rps2, Hba-a1) are found.
    """
    x = x if sp.issparse(x) else np.asarray(x)
    if x.ndim != 2 or x.shape[1] != len(gene_names):
        raise InputError(f"{len(gene_names)} gene names for counts of shape {x.shape}, expected (cell, gene)")
    total = row_sums(x)
    statistics = {"n_counts": total, "n_genes": row_sums(x > 0)}
    for name, columns in gene_sets(gene_names).items():
        if len(columns):
            part = row_sums(x[:, columns])
            statistics[name] = np.divide(100 * part, total, out=np.zeros_like(total), where=total > 0)
    return statistics


def gene_sets(gene_names: Sequence[str] | np.ndarray) -> dict[str, np.ndarray]:
    """Columns of the genes of each set, ascending; empty where there is none."""
    return {
        name: np.array([column for column, gene in enumerate(gene_names) if pattern.match(str(gene))], dtype=int)
        for name, pattern in GENE_SETS.items()
    }
