"""Linear baselines: ridge regression on dosages, and a bilinear model that knows which gene a perturbation targets."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import svds

from samsjax.evaluation.baselines.training import Condition, Predicted, Rule, TrainingEffects, multi_hot

PENALTIES = 10.0 ** np.arange(-3.0, 3.5, 0.5)
"""Candidates of the ridge, in units of one treatment with the mean number of cells."""
N_COMPONENTS = 10
"""Components of the bilinear model."""
BILINEAR_PENALTY = 0.1
DENSE_UP_TO = 500
"""Treatments or genes up to which all singular vectors are computed; above, only the leading ones."""


class _Block(NamedTuple):
    """Training treatments that share perturbations, as eigenvectors of their weighted Gram matrix."""

    rows: np.ndarray
    """int (treatment,)."""
    vectors: np.ndarray
    """(treatment, component)."""
    values: np.ndarray
    """(component,), not negative."""
    projected: np.ndarray
    """(component, gene): weighted effects in the basis of the vectors."""


def fit_ridge(training: TrainingEffects) -> Rule:
    """Weighted ridge regression of effects on dosages, without intercept: an effect at dose 0 is 0.

    Treatments count by their number of training cells; one penalty for all genes is that of `PENALTIES` with the
    smallest weighted squared error when each treatment in turn is left out. Perturbations that no training treatment
    has get no effect, as the penalty says.
    """
    n_perturbations = len(training.perturbation_names)
    root = np.sqrt(training.n_cells / training.n_cells.mean())
    design = sp.diags(root) @ multi_hot(training.conditions, n_perturbations)
    blocks = _blocks(design, root[:, None] * training.effect)
    penalty = best_penalty([leave_one_out(blocks, candidate) for candidate in PENALTIES])
    dual = np.zeros_like(training.effect)
    for block in blocks:
        dual[block.rows] = block.vectors @ (block.projected / (block.values + penalty)[:, None])
    coefficients = design.T @ dual

    def rule(conditions: list[Condition]) -> Predicted:
        return Predicted(multi_hot(conditions, n_perturbations) @ coefficients)

    return rule


def leave_one_out(blocks: list[_Block], penalty: float) -> float:
    """Summed weighted squared error of every treatment predicted from the others, in closed form.

    The error of a left-out row is its residual divided by 1 - leverage, as for any linear smoother.
    """
    total = 0.0
    for block in blocks:
        shrunk = penalty / (block.values + penalty)
        residual = block.vectors @ (shrunk[:, None] * block.projected)
        total += float(((residual / (block.vectors**2 @ shrunk)[:, None]) ** 2).sum())
    return total


def best_penalty(errors: list[float]) -> float:
    """The penalty with the smallest error; the smallest of equals.

    Where no two treatments share a perturbation nothing can be learned from the others: all penalties have the same
    error, and effects are shrunk least.
    """
    near = np.asarray(errors) <= min(errors) * (1 + 1e-9)
    return float(PENALTIES[np.flatnonzero(near)[0]])


def _blocks(design: sp.csr_matrix, weighted: np.ndarray) -> list[_Block]:
    """Groups of treatments that share no perturbation with others are solved apart: singles cost next to nothing."""
    gram = (design @ design.T).tocsr()
    n_blocks, member = connected_components(gram, directed=False)
    order = np.argsort(member, kind="stable")
    blocks = []
    for rows in np.split(order, np.cumsum(np.bincount(member, minlength=n_blocks))[:-1]):
        values, vectors = np.linalg.eigh(gram[rows][:, rows].toarray())
        blocks.append(_Block(rows, vectors, np.maximum(values, 0.0), vectors.T @ weighted[rows]))
    return blocks


def fit_low_rank(training: TrainingEffects) -> Rule:
    """Y = G W P' + mean: G spans the training effects of genes, P holds the rows of G of the genes a treatment targets.

    Y is (gene, treatment). G are the `N_COMPONENTS` leading left singular vectors of the centred training effects, P of
    a treatment is the sum over its perturbations of dose times row of G of the gene of that name, and W is fitted with
    ridge `BILINEAR_PENALTY` on both sides to the treatments that target genes of the panel. NaN for other treatments,
    and for all if fewer than two training treatments are left.

    Source: the linear model of Ahlmann-Eltze, Huber & Anders (Nature Methods 2025). Differs: effects take the place of
    mean profiles; doses; combinations.
    """
    mean = training.mean_effect()
    genes = _target_genes(training)
    usable = [row for row, condition in enumerate(training.conditions) if all(genes[i] >= 0 for i, _ in condition)]
    if len(usable) < 2:
        return lambda conditions: Predicted(np.full((len(conditions), len(mean)), np.nan))
    centred = (training.effect - mean).T
    loadings = _leading(centred, N_COMPONENTS)
    targets = np.where(genes[:, None] >= 0, loadings[genes], np.nan)

    def embedded(conditions: list[Condition]) -> np.ndarray:
        rows = np.zeros((len(conditions), loadings.shape[1]))
        for row, condition in enumerate(conditions):
            for part, dose in condition:
                rows[row] += dose * targets[part]
        return rows

    places = embedded([training.conditions[row] for row in usable])
    penalty = BILINEAR_PENALTY * np.eye(loadings.shape[1])
    left = np.linalg.solve(loadings.T @ loadings + penalty, loadings.T @ centred[:, usable] @ places)
    weights = np.linalg.solve(places.T @ places + penalty, left.T).T
    return lambda conditions: Predicted(embedded(conditions) @ weights.T @ loadings.T + mean)


def _target_genes(training: TrainingEffects) -> np.ndarray:
    """Column of the gene of that name, int (perturbation,), -1 for perturbations that are no gene of the panel."""
    column = {gene: place for place, gene in enumerate(training.gene_names.tolist())}
    return np.array([column.get(name, -1) for name in training.perturbation_names.tolist()], dtype=int)


def _leading(matrix: np.ndarray, n_components: int) -> np.ndarray:
    """The leading left singular vectors, without those of singular value 0, (gene, component)."""
    if min(matrix.shape) > DENSE_UP_TO:
        start = np.ones(min(matrix.shape))  # a fixed start makes the iteration repeatable
        vectors, values, _ = svds(matrix, k=n_components, v0=start)
        vectors, values = vectors[:, ::-1], values[::-1]
    else:
        vectors, values, _ = np.linalg.svd(matrix, full_matrices=False)
        vectors, values = vectors[:, :n_components], values[:n_components]
    return vectors[:, values > 1e-10 * values.max(initial=0.0)]
