"""Which cells the metrics of quality look at: measured ones by quality and treatment, and those drawn to compare."""

from dataclasses import replace
from zlib import crc32

import jax
import numpy as np

from samsjax.data.artifacts import ANY
from samsjax.data.dataset import PerturbationData
from samsjax.data.encoding import Treatments, treatments
from samsjax.errors import InputError
from samsjax.inference.fitted import Fitted, library_quantiles

HELD_OUT = ("test", "val")
"""Splits that a model is judged by, the preferred one first."""


def check_labelled(data: PerturbationData) -> None:
    """Raises: InputError for cells without quality labels."""
    if data.failed is None:
        raise InputError("the cells have no quality labels (data.failed is None): label them when the data are read")


def held_out(data: PerturbationData) -> np.ndarray:
    """Row numbers of the cells of the first split in `HELD_OUT` that has any; none if neither has."""
    return next((cells for cells in map(data.cells, HELD_OUT) if len(cells)), np.zeros(0, dtype=int))


def of_quality(data: PerturbationData, fails: tuple[str, ...]) -> np.ndarray:
    """Which cells are of the quality that `EffectsConfig.fails` asks for, bool (cell,).

    Those that fail nothing for no names; all failed cells for the indicator of any failure; else those that fail the
    criteria named and no others.
    """
    check_labelled(data)
    if ANY in fails:
        return data.is_failed
    return (np.asarray(data.failed) == np.isin(data.criteria, fails)).all(axis=1)


def with_totals_of(fitted: Fitted, data: PerturbationData, wanted: np.ndarray, fails: tuple[str, ...]) -> Fitted:
    """The same model, whose predicted cells have the library sizes of the training cells among `wanted`, bool (cell,).

    Failed cells often have low totals. Good cells drawn with such totals would fail by what they were given. The model
    stays as it is if there are no such training cells.
    """
    totals = data.library_size[wanted & (data.split == "train")]
    if not len(totals):
        return fitted
    sizes = library_quantiles(totals)
    return replace(fitted, failed_library_sizes=sizes) if fails else replace(fitted, library_sizes=sizes)


def conditions(key: jax.Array, data: PerturbationData, n_most: int) -> Treatments:
    """Control, then the treatments of `data` by label, a random `n_most` of them if there are more.

    `assignment` is the row of each cell, 0 for controls and -1 for cells of a treatment left out.
    """
    treated = treatments(data)
    rows = np.sort(generator(key).permutation(len(treated.labels))[:n_most])
    place = np.full(len(treated.labels) + 1, -1)
    place[rows], place[-1] = np.arange(1, len(rows) + 1), 0
    n_slots = data.dosage.shape[1]
    return Treatments(
        labels=np.append([data.control_name], treated.labels[rows]),
        perturbation_index=np.vstack([np.zeros((1, n_slots), np.int32), treated.perturbation_index[rows]]),
        dosage=np.vstack([np.zeros((1, n_slots), np.float32), treated.dosage[rows]]),
        assignment=place[treated.assignment],
    )


def condition_key(key: jax.Array, compared: Treatments, row: int) -> jax.Array:
    """A key for one condition, the same whichever others are compared."""
    return jax.random.fold_in(key, crc32(str(compared.labels[row]).encode()))


def generator(key: jax.Array) -> np.random.Generator:
    """NumPy's generator seeded by a key."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel().tolist())


def some(rng: np.random.Generator, rows: np.ndarray, n_most: int) -> np.ndarray:
    """Ascending, a random `n_most` of them if there are more."""
    return np.sort(rng.choice(rows, n_most, replace=False)) if len(rows) > n_most else rows
