"""Which perturbations are held out: whole groups of them, in shuffled order, until a share is reached."""

import warnings
from collections.abc import Mapping

import numpy as np

from samsjax.errors import InputError, listing, names_nearest_to


def group_of(carried: np.ndarray, groups: Mapping[str, str]) -> np.ndarray:
    """The group of each perturbation, str (perturbation,).

    Raises:
        InputError: naming perturbations without one.
    """
    missing = [name for name in carried.tolist() if not groups.get(name)]
    if missing:
        hint = names_nearest_to(missing[0], groups)
        raise InputError(
            f"{len(missing)} perturbations of the cells have no group: {listing(missing)}.{hint} Every perturbation "
            "needs one; those of no pathway can share a group of their own"
        )
    return np.array([groups[name] for name in carried.tolist()], dtype=str)


def drawn(group: np.ndarray, among: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which perturbations are of the first groups in shuffled order that hold a share of those in `among`.

    Groups are wholly among them or not at all. Rounding asks for none too many.
    """
    names, sizes = np.unique(group, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.isin(names[order], group[among])]
    reached = np.cumsum(sizes[order]) >= (share - 1e-9) * among.sum()
    return np.isin(group, names[order[: int(reached.argmax()) + 1]]) if len(order) else among


def warn_of_large_groups(n_held: int, n: int, share: float, purpose: str = "") -> None:
    """Say so where groups hold out more than half of the perturbations, unasked."""
    if n_held > n / 2 >= share * n:
        warnings.warn(
            f"{n_held} of {n} perturbations are held out{purpose}, not {share:.0%}, because groups are held out whole: "
            "use smaller groups, or name those to hold out",
            UserWarning,
            stacklevel=3,
        )
