"""What a model with a graph is trained on: cells by context, and what is known of edges and targets."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from samsjax.causal.graphs import check_graph, is_acyclic
from samsjax.data.dataset import PerturbationData
from samsjax.errors import InputError
from samsjax.types import ConstrainedTraining, KnownStructure


class CellSets(NamedTuple):
    """What a model made of training cells, and of held-out ones (None without any)."""

    train: Any
    held_out: Any | None


def cell_sets(data: PerturbationData, training: ConstrainedTraining) -> CellSets:
    """Training and validation cells as the model wants them."""

    def of_split(split: str) -> Any | None:
        cells = data.cells(split)
        if not len(cells):
            return None
        x = data.x[cells]
        dense = x if isinstance(x, np.ndarray) else x.toarray()
        slot = (data.dosage[cells] != 0).argmax(axis=1)
        row = np.take_along_axis(data.perturbation_index[cells], slot[:, None], axis=1)[:, 0]
        return training.summarise(dense, np.where((data.dosage[cells] != 0).any(axis=1), row, -1))

    return CellSets(of_split("train"), of_split("val"))


def check_whole_contexts(data: PerturbationData) -> None:
    """Raises: InputError for counts, combinations, doses that are no perturbations of their own, or no control."""
    if ((data.dosage != 0).sum(axis=1) > 1).any():
        raise InputError(
            "a model with a graph takes every combination as a perturbation of its own: "
            "give --data.combinations-as-unique"
        )
    doses = np.unique(data.dosage[data.dosage != 0])
    if (doses != 1).any():
        raise InputError(
            f"a model with a graph takes every dose as a perturbation of its own, and the cells carry "
            f"{len(doses)} doses ({doses[:4]}): give --data.doses-as-unique"
        )
    if np.issubdtype(data.x.dtype, np.integer):
        raise InputError(
            "a model with a graph takes continuous values, and the data are counts: log-normalise them, better those "
            "of metacells (sums over some twenty cells of one treatment)"
        )
    if not data.is_control[data.cells("train")].any():
        raise InputError("a model with a graph needs control cells among the training cells, and there are none")


def known_structure(
    n_genes: int, n_perturbations: int, graph: np.ndarray | None, targets: np.ndarray | None
) -> KnownStructure:
    """What is known, checked; NaN counts as open.

    Args:
        n_genes: of the model.
        n_perturbations: of the model.
        graph: (gene, gene) 0, 1 or NaN; None: nothing is known.
        targets: (perturbation, gene) 0, 1 or NaN; None: nothing is known.

    Raises:
        InputError: for other shapes or values, or known edges that close a cycle.
    """

    def checked(kind: str, values: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
        if values is None:
            return np.full(shape, 0.5)
        values = np.asarray(values, dtype=np.float64)
        if values.shape != shape:
            raise InputError(f"known {kind} have shape {values.shape}, expected {shape}")
        values = np.where(np.isnan(values), 0.5, values)
        if not np.isin(values, (0, 0.5, 1)).all():
            raise InputError(f"known {kind} must be 0, 1, or NaN where they are open")
        return values

    edges = checked("edges", graph, (n_genes, n_genes))
    np.fill_diagonal(edges, 0.0)
    check_graph(edges == 1)
    if not is_acyclic(edges == 1):
        raise InputError("the known edges close a cycle")
    known_targets = checked("targets", targets, (n_perturbations, n_genes))
    return KnownStructure(jnp.asarray(edges, jnp.float32), jnp.asarray(known_targets, jnp.float32))
