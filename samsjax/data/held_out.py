"""Splits that hold out perturbations or doses: cells of what a model with features, or with dose curves, must predict.

Every cell that carries a held-out perturbation, or a perturbation at a held-out dose, is a test cell, also where it is
only a part of a combination: a combination with a part that nobody trained on is as unseen as that part. All other
cells, controls among them, are split 80/20 into train and val at random; or validation holds out perturbations too, so
that the parameters kept are those that predict new perturbations best. What is held out follows from the seed and the
names and doses of the screen; the order of its cells does not matter.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from samsjax.data.encoding import Encoding
from samsjax.data.group_draws import drawn, group_of, warn_of_large_groups
from samsjax.data.labels import write_dose
from samsjax.data.splits import hold_out_cells
from samsjax.errors import InputError, check_choice, check_range, listing, unknown_name

DosePlace = Literal["inside", "highest", "lowest"]
"""Where among the doses of a perturbation its held-out dose lies."""
MIN_DOSES = 3
"""Perturbations with fewer doses train whole: an inner dose needs one on each side, a curve two points."""


def carried_perturbations(encoding: Encoding) -> np.ndarray:
    """Names of the perturbations that some cell carries, str (perturbation,), ascending.

    Raises:
        InputError: if there is none.
    """
    used = np.unique(encoding.perturbation_index[encoding.dosage != 0])
    if not len(used):
        raise InputError("no cell carries a perturbation: there is nothing to hold out")
    return np.sort(encoding.perturbation_names[used])


def held_out_perturbations(
    encoding: Encoding,
    *,
    share: float = 0.2,
    names: Sequence[str] = (),
    groups: Mapping[str, str] | None = None,
    val_share: float = 0.0,
    seed: int,
) -> np.ndarray:
    """Hold perturbations out of training, one by one or in whole groups.

    Groups (or single perturbations) are taken in shuffled order until `share` of the perturbations is reached. So for
    one seed the held-out perturbations are nested in `share`, at least one group is held out, and large groups can
    hold out more than was asked for: more than half, unasked, is said in a warning.

    With `val_share`, the groups that follow are held out for validation: nobody trains on a cell that carries one of
    their perturbations. Other perturbed cells then all train; controls stay split 80/20, since effects are measured
    against those that do not train. The test cells, and the sides of controls, do not depend on `val_share`.

    Args:
        encoding: what each cell received.
        share: of the perturbations that cells carry, above 0 and below 1. Not looked at where `names` are given.
        names: perturbations to hold out instead of a random share; groups, where `groups` are given.
        groups: group of each perturbation, such as its pathway or its cluster of features. Perturbations that no cell
            carries are not looked at.
        val_share: of the perturbations that are not tested, to hold out for validation, at least one; 0 = none.
        seed: of the choice and of the split of the other cells.

    Returns:
        str (cell,) of "train", "val", "test".

    Raises:
        InputError: if no cell is perturbed, no perturbed cell would be left to train or to validate, a name is unknown,
            or a perturbation has no group.
    """
    check_range("share", share, above=0, below=1)
    check_range("val_share", val_share, low=0, below=1)
    carried = carried_perturbations(encoding)
    group = carried if groups is None else group_of(carried, groups)
    if len(names):
        kind = "perturbation to hold out" if groups is None else "group of perturbations to hold out"
        held = np.isin(group, _known(kind, names, np.unique(group).tolist()))
    else:
        held = drawn(group, np.ones(len(group), dtype=bool), share, seed)
        if groups is not None:
            warn_of_large_groups(held.sum(), len(carried), share)
    validated = drawn(group, ~held, val_share, seed) if val_share else np.zeros(len(group), dtype=bool)
    if groups is not None and val_share:
        warn_of_large_groups(validated.sum(), (~held).sum(), val_share, " for validation")
    tested = _carrying(encoding, carried[held])
    out = carried[held | validated]
    what = f"the held-out perturbations {listing(out)}"
    validating = _carrying(encoding, carried[validated]) & ~tested if val_share else None
    return _split(encoding, tested, what, out, seed, validating)


def held_out_doses(
    encoding: Encoding, *, place: DosePlace = "inside", doses: Sequence[float] = (), seed: int
) -> np.ndarray:
    """Hold one dose of every perturbation out of training, at the edge of its doses or inside.

    The doses of a perturbation are those of all cells that carry it, alone or in combinations. Perturbations with fewer
    than three train whole, which a warning counts.

    Args:
        encoding: what each cell received.
        place: "highest" and "lowest" ask a model to extrapolate; "inside" holds out a dose between these two, drawn for
            each perturbation, and asks it to interpolate.
        doses: doses to hold out wherever a perturbation has them, instead of a place.
        seed: of the draws and of the split of the other cells.

    Returns:
        str (cell,) of "train", "val", "test".

    Raises:
        InputError: if no perturbation has three doses, no perturbed cell would be left to train, or `doses` are
            nobody's or all that a perturbation has.
    """
    check_choice("place of the held-out dose", place, ["inside", "highest", "lowest"])
    carried_perturbations(encoding)
    cell, slot = np.nonzero(encoding.dosage)
    # float64 holds every index and every float32 dosage exactly, so that one row is one dose of one perturbation.
    pairs = np.stack([encoding.perturbation_index[cell, slot], encoding.dosage[cell, slot]], axis=1, dtype=np.float64)
    pair, code = np.unique(pairs, axis=0, return_inverse=True)
    owners, first, n_doses = np.unique(pair[:, 0].astype(int), return_index=True, return_counts=True)
    if n_doses.max() < MIN_DOSES:
        raise InputError(
            f"no perturbation has {MIN_DOSES} doses (most: {n_doses.max()}), so there is no dose to hold out; if a "
            "column holds doses, name it as dosage_key"
        )
    if len(doses):
        held = _at_doses(pair[:, 1], np.repeat(n_doses, n_doses), doses)
        _check_dose_left(encoding.perturbation_names[owners[np.logical_and.reduceat(held, first)]], doses)
    else:
        rank = np.arange(len(pair)) - np.repeat(first, n_doses)
        wanted = _ranks(place, n_doses, encoding.perturbation_names[owners], seed)
        held = (rank == np.repeat(wanted, n_doses)) & np.repeat(n_doses >= MIN_DOSES, n_doses)
    _warn_of_whole(held, first, n_doses)
    tested = np.zeros(len(encoding.dosage), dtype=bool)
    tested[cell[held[code.reshape(-1)]]] = True
    return _split(encoding, tested, "a perturbation at a held-out dose", np.array([], dtype=str), seed)


def _known(kind: str, names: Sequence[str], legal: Sequence[str]) -> list[str]:
    unknown = sorted(set(names) - set(legal))
    if unknown:
        raise unknown_name(kind, unknown[0], legal)
    return list(names)


def _carrying(encoding: Encoding, names: np.ndarray) -> np.ndarray:
    """Bool (cell,): carries one of these perturbations, alone or in a combination."""
    wanted = np.isin(encoding.perturbation_names, names)
    return (wanted[encoding.perturbation_index] & (encoding.dosage != 0)).any(axis=1)


def _ranks(place: DosePlace, n_doses: np.ndarray, names: np.ndarray, seed: int) -> np.ndarray:
    """Which of its ascending doses each perturbation loses, int (perturbation,); draws go by the order of names."""
    if place != "inside":
        return np.zeros_like(n_doses) if place == "lowest" else n_doses - 1
    drawn = np.empty(len(names))
    drawn[np.argsort(names)] = np.random.default_rng(seed).random(len(names))
    return 1 + np.floor(drawn * (n_doses - 2)).astype(int)


def _at_doses(dose: np.ndarray, n_doses: np.ndarray, wanted: Sequence[float]) -> np.ndarray:
    """Bool (pair,): at a wanted dose, of a perturbation with enough doses."""
    legal = np.unique(dose[n_doses >= MIN_DOSES]).astype(np.float32)
    values = np.asarray(wanted, dtype=np.float32)  # as dosages are stored, so that .1 finds .1
    unknown = values[~np.isin(values, legal)]
    if len(unknown):
        raise InputError(
            f"no perturbation with {MIN_DOSES} doses has the dose {listing(map(write_dose, unknown))}; their doses: "
            f"{listing(map(write_dose, legal))}"
        )
    return np.isin(dose.astype(np.float32), values) & (n_doses >= MIN_DOSES)


def _check_dose_left(names: np.ndarray, doses: Sequence[float]) -> None:
    if len(names):
        raise InputError(f"doses {listing(map(write_dose, doses))} are all that {listing(names)} has: hold out fewer")


def _warn_of_whole(held: np.ndarray, first: np.ndarray, n_doses: np.ndarray) -> None:
    whole = ~np.logical_or.reduceat(held, first)
    few = int((n_doses < MIN_DOSES).sum())
    others = f", {whole.sum() - few} have none of the held-out doses" if whole.sum() > few else ""
    if whole.any():
        text = f"{whole.sum()} of {len(first)} perturbations train whole: {few} have fewer than {MIN_DOSES} doses"
        warnings.warn(text + others, UserWarning, stacklevel=3)


def _split(
    encoding: Encoding,
    tested: np.ndarray,
    what: str,
    held: np.ndarray,
    seed: int,
    validated: np.ndarray | None = None,
) -> np.ndarray:
    """The labels, if some perturbed cell can train; says which other perturbations lose all their cells.

    Where perturbed cells to validate are given, no others do.
    """
    out = tested if validated is None else tested | validated
    left = (encoding.dosage != 0) & ~out[:, None]
    if not left.any():
        raise InputError(
            f"no perturbed cell would be left to train: all {int(out.sum())} carry {what}; hold out fewer "
            "perturbations or doses, or smaller groups"
        )
    trained = encoding.perturbation_names[np.unique(encoding.perturbation_index[left])]
    lost = np.setdiff1d(carried_perturbations(encoding), [*trained, *held])
    if len(lost):
        warnings.warn(
            f"{len(lost)} perturbations occur only in combinations that are held out, and have no training cell "
            f"either: {listing(lost)}",
            UserWarning,
            stacklevel=3,
        )
    split = hold_out_cells(tested, seed=seed)
    if validated is not None:
        if not validated.any():
            raise InputError(
                "no perturbed cell would be left to validate: the perturbations drawn for that occur only in "
                "combinations that are tested; hold out more of them for validation, or take another seed"
            )
        split[left.any(axis=1)] = "train"
        split[validated] = "val"
    return split
