"""Which cells train, validate and test: rules that return one label per cell, and halves of the training cells.

Rules that hold out whole perturbations or doses are in `held_out`, and `split_rules` picks one by its name.

Labels are "train", "val", "test" and "none" (held back). The random rules reproduce the published splits of the
Replogle and Norman studies bit for bit, which are those of scikit-learn's `train_test_split` with a seed; here they are
two lines on NumPy's legacy generator. The same seed gives the same split on every machine.
"""

from collections.abc import Sequence
from math import ceil, floor
from typing import Any

import numpy as np

from samsjax.data.dataset import SPLITS, UNUSED, PerturbationData
from samsjax.data.encoding import Encoding, combination_names
from samsjax.errors import InputError, check_range, listing

ACCEPTED = {**{name: name for name in (*SPLITS, UNUSED)}, "valid": "val", "validation": "val"}
"""Texts of a split column and what they mean; upper and lower case count as equal."""


def random_split(n_cells: int, *, seed: int, train_fraction: float = 0.8) -> np.ndarray:
    """Split cells at random, whatever their perturbation: first test cells are set aside, then validation cells.

    Args:
        n_cells: how many cells there are.
        seed: of the shuffle; both steps use it.
        train_fraction: kept at each of the two steps, so .8 gives 64 % train, 16 % val, 20 % test.

    Returns:
        str (cell,) of "train", "val", "test".

    Raises:
        InputError: if no training cell would be left.

    Source:
        The rule of the filtered Replogle K562 data of SAMS-VAE (Bereket & Karaletsos 2023).
    """
    check_range("train_fraction", train_fraction, above=0, high=1)
    train, val, test = _three_ways(n_cells, seed, train_fraction)
    return _checked(_labels(n_cells, train=train, val=val, test=test))


def held_out_combinations(
    labels: np.ndarray, n_parts: np.ndarray, *, train_fraction: float, test_fraction: float = 0.25, seed: int
) -> np.ndarray:
    """Hold combinations out of training: the test cells are of combinations a model may never have seen together.

    The distinct combinations are sorted and shuffled; the first `train_fraction` may train, the last `test_fraction`
    are tested (above 1 - `test_fraction` the two overlap: a combination that is tested then trains too). Cells of
    combinations are split 64/16/20; train and val cells count only if their combination may train, test cells only if
    it is tested, and the others are "none". Cells with no or one perturbation are split 80/20 into train and val. For
    one seed the training sets are nested in `train_fraction`, and the test set stays the same.

    Args:
        labels: str (cell,), equal for cells of the same combination. Their sort order decides the shuffle, so the
            published split of a study needs its own labels.
        n_parts: int (cell,), number of perturbations; 2 and more are combinations.
        train_fraction: share of the combinations that may train, 0 to 1.
        test_fraction: share of the combinations that are tested, 0 to 1.
        seed: of all shuffles.

    Returns:
        str (cell,) of "train", "val", "test", "none".

    Raises:
        InputError: if there is no combination, or no training cell would be left.

    Source:
        The out-of-distribution rule of the Norman study in SAMS-VAE (Bereket & Karaletsos 2023).
    """
    check_range("train_fraction", train_fraction, low=0, high=1)
    check_range("test_fraction", test_fraction, low=0, high=1)
    labels = np.asarray(labels, dtype=str)
    combination_cells, split = _split_of_singles(n_parts, seed)
    if labels.shape != split.shape:
        raise InputError(f"{len(labels)} labels for {len(split)} cells")
    combinations = np.unique(labels[combination_cells])
    np.random.default_rng(seed).shuffle(combinations)
    n_train, n_test = int(train_fraction * len(combinations)), ceil(test_fraction * len(combinations))
    may_train = np.isin(labels, combinations[:n_train])
    tested = np.isin(labels, combinations[len(combinations) - n_test :])
    parts = zip(SPLITS, _three_ways(len(combination_cells), seed, 0.8), (may_train, may_train, tested), strict=True)
    for name, rows, allowed in parts:
        cells = combination_cells[rows]
        split[cells[allowed[cells]]] = name
    return _checked(split)


def held_out_combination_cells(n_parts: np.ndarray, *, fraction: float, seed: int) -> np.ndarray:
    """Train on a share of the cells of combinations: how many cells of combinations does a model need?

    Cells of combinations are split 64/16/20, and training keeps the first `fraction` of its part in shuffled order;
    the rest is "none". Validation and test keep all combinations (also at fraction 0). Cells with no or one
    perturbation are split 80/20 into train and val.

    Args:
        n_parts: int (cell,), number of perturbations; 2 and more are combinations.
        fraction: share of the training cells of combinations that is kept, 0 to 1.
        seed: of all shuffles.

    Returns:
        str (cell,) of "train", "val", "test", "none".

    Raises:
        InputError: if there is no combination, or no training cell would be left.

    Source:
        The data-efficiency rule of the Norman study in SAMS-VAE (Bereket & Karaletsos 2023).
    """
    check_range("fraction", fraction, low=0, high=1)
    combination_cells, split = _split_of_singles(n_parts, seed)
    train, val, test = _three_ways(len(combination_cells), seed, 0.8)
    for name, rows in zip(SPLITS, (train[: int(fraction * len(train))], val, test), strict=True):
        split[combination_cells[rows]] = name
    return _checked(split)


def hold_out_cells(tested: np.ndarray, *, seed: int) -> np.ndarray:
    """Test the given cells and no others; these are split 80/20 into train and val at random.

    Args:
        tested: bool (cell,).
        seed: of the shuffle.

    Returns:
        str (cell,) of "train", "val", "test".

    Raises:
        InputError: if no training cell would be left.
    """
    tested = np.asarray(tested, dtype=bool)
    rows = _train_and_val(np.flatnonzero(~tested), seed)
    return _checked(_labels(len(tested), **rows, test=np.flatnonzero(tested)))


def column_split(values: Any, key: str, *, require_train: bool = True) -> np.ndarray:
    """Read a split from a column: train, val (valid, validation), test, none, in any case.

    Args:
        values: (cell,) of text, a pandas column included.
        key: name of the column, for messages.
        require_train: whether a split without training cells is an error; cells only to be scored need none.

    Raises:
        InputError: listing the values that mean nothing here, or if no cell trains.
    """
    texts, code = np.unique(np.array([str(value) for value in values]), return_inverse=True)
    unknown = [text for text in texts.tolist() if text.strip().casefold() not in ACCEPTED]
    if unknown:
        raise InputError(
            f"column {key!r} holds {listing(map(repr, unknown))}, which name no split; legal: {listing(ACCEPTED)} "
            f"({UNUSED} = in no split)"
        )
    split = np.array([ACCEPTED[text.strip().casefold()] for text in texts.tolist()], dtype="U5")[code]
    return _checked(split, f" in column {key!r}") if require_train else split


def halves(data: PerturbationData, *, seed: int | Sequence[int]) -> tuple[PerturbationData, PerturbationData]:
    """Divide the training cells at random into two halves, as equal as can be for every set of perturbations.

    Halves differ by at most one cell, in all and within each set of perturbations. Cells of validation and test stay.

    Args:
        data: cells with a split.
        seed: of the shuffle.

    Returns:
        The same cells twice; each has one half of the training cells as "train" and the other as "none".
    """
    names = combination_names(
        Encoding(data.perturbation_index, data.dosage, data.perturbation_names), data.separator, data.control_name
    )
    train = np.random.default_rng(seed).permutation(data.cells("train"))
    # Equal conditions stand together, so that every other cell is half of each, and leftovers change sides.
    train = train[np.argsort(names[train], kind="stable")]
    return _without(data, train[1::2]), _without(data, train[::2])


def _without(data: PerturbationData, cells: np.ndarray) -> PerturbationData:
    split = np.array(data.split, dtype="U5")
    split[cells] = UNUSED
    return data.with_split(split)


def _shuffled(n: int, seed: int, n_held: int) -> tuple[np.ndarray, np.ndarray]:
    """Kept and held-out row numbers in shuffled order: what scikit-learn's `train_test_split` returns for a seed."""
    order = np.random.RandomState(seed).permutation(n)
    return order[n_held:], order[:n_held]


def _three_ways(n: int, seed: int, kept: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers of train, val and test in shuffled order; the share `kept` survives each of two steps."""
    rest, test = _shuffled(n, seed, n - floor(kept * n))
    train, val = _shuffled(len(rest), seed, len(rest) - floor(kept * len(rest)))
    return rest[train], rest[val], test


def _split_of_singles(n_parts: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the cells of combinations, and labels with all other cells split 80/20 and these still "none"."""
    n_parts = np.asarray(n_parts)
    combination_cells, others = np.flatnonzero(n_parts >= 2), np.flatnonzero(n_parts < 2)
    if not len(combination_cells):
        raise InputError("no cell carries two or more perturbations: there is no combination to hold out")
    return combination_cells, _labels(len(n_parts), **_train_and_val(others, seed))


def _train_and_val(cells: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    train, val = _shuffled(len(cells), seed, ceil(0.2 * len(cells)))
    return {"train": cells[train], "val": cells[val]}


def _labels(n_cells: int, **rows: np.ndarray) -> np.ndarray:
    split = np.full(n_cells, UNUSED, dtype="U5")
    for name, cells in rows.items():
        split[cells] = name
    return split


def _checked(split: np.ndarray, where: str = "") -> np.ndarray:
    if not (split == "train").any():
        raise InputError(f"no training cell is left among {len(split)} cells{where}: use more cells or a larger share")
    return split
