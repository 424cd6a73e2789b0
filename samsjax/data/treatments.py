"""The distinct conditions of a data set: what each cell received, once for all cells that received the same.

Equal conditions are equal rows: within a row slots ascend by index, and empty slots come last with index 0, dosage 0.
"""

from dataclasses import dataclass

import numpy as np

from samsjax.data.dataset import PerturbationData, check_unique
from samsjax.data.labels import write_label


@dataclass(frozen=True, eq=False)
class Treatments:
    """The distinct non-control conditions of a data set, ascending by label."""

    labels: np.ndarray
    """str (treatment,): canonical, such as `A@0.5+B`."""
    perturbation_index: np.ndarray
    """int32 (treatment, slot)."""
    dosage: np.ndarray
    """float32 (treatment, slot); 0 = empty slot."""
    assignment: np.ndarray
    """int (cell,): row of each cell's condition, -1 for controls."""


def treatments(data: PerturbationData) -> Treatments:
    """List the conditions the cells of `data` received; each differs in a perturbation or a dose.

    Raises:
        InputError: if two conditions get the same label because a name contains the separator or `@`.
    """
    index, dosage = canonical_slots(data.perturbation_index, data.dosage)
    # float64 holds every index and every float32 dosage exactly, so that one row is one comparable condition.
    rows, code = np.unique(np.hstack([index, dosage]).astype(np.float64), axis=0, return_inverse=True)
    index, dosage = rows[:, : index.shape[1]].astype(np.int32), rows[:, index.shape[1] :].astype(np.float32)
    texts = [
        write_label({str(data.perturbation_names[i]): float(d) for i, d in zip(*row, strict=True) if d}, data.separator)
        for row in zip(index, dosage, strict=True)
    ]
    order = np.array([row for row in np.argsort(texts, kind="stable") if texts[row]], dtype=int)
    labels = np.array([texts[row] for row in order], dtype=str)
    check_unique("treatment labels (rename perturbations whose names contain the separator or '@')", labels)
    place = np.full(len(rows), -1)
    place[order] = np.arange(len(order))
    return Treatments(labels, index[order], dosage[order], place[code.reshape(-1)])


def canonical_slots(index: np.ndarray, dosage: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slots of each row ascending by index, empty ones last with index 0."""
    order = np.argsort(np.where(dosage != 0, index, np.iinfo(np.int32).max), axis=1, kind="stable")
    index, dosage = np.take_along_axis(index, order, axis=1), np.take_along_axis(dosage, order, axis=1)
    return np.where(dosage != 0, index, 0).astype(np.int32), dosage
