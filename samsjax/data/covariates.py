"""Categorical covariates of cells, such as batch, donor or cell type, as one-hot columns that a model can see.

The levels of a covariate are those of the training cells, in sorted order: a model knows nothing of others, so cells
of another level are refused and never guessed.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from samsjax.data.dataset import PerturbationData
from samsjax.errors import InputError, listing, unknown_name

Levels = Mapping[str, tuple[str, ...]]
"""The known levels of each covariate, by name; columns of one-hots follow this order."""


def covariate_levels(data: PerturbationData, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Levels of the named covariates among the training cells.

    Raises:
        InputError: for a covariate the data do not carry.
    """
    cells = data.cells("train")
    return {name: tuple(np.unique(_column(data, name)[cells]).tolist()) for name in names}


def n_levels(levels: Levels) -> int:
    """Columns of the one-hots of all covariates side by side."""
    return sum(len(known) for known in levels.values())


def codes(data: PerturbationData, levels: Levels) -> np.ndarray:
    """Each cell's level of each covariate, int32 (cell, covariate): position in `levels[name]`.

    Raises:
        InputError: for a covariate the data do not carry, or cells of a level that no training cell has.
    """
    table = np.zeros((data.n_cells, len(levels)), dtype=np.int32)
    for place, (name, known) in enumerate(levels.items()):
        values = _column(data, name)
        position = np.minimum(np.searchsorted(known, values), len(known) - 1)
        unknown = np.asarray(known)[position] != values
        if unknown.any():
            raise InputError(
                f"{unknown.sum()} cells have levels of the covariate {name!r} that no training cell has: "
                f"{listing(np.unique(values[unknown]))}; known: {listing(known)}. Leave these cells out, merge levels, "
                "or train without the covariate"
            )
        table[:, place] = position
    return table


def one_hot(level_codes: np.ndarray, levels: Levels) -> np.ndarray:
    """`codes` as uint8 (cell, level), the covariates' columns side by side."""
    blocks = [np.arange(len(known)) == level_codes[:, [k]] for k, known in enumerate(levels.values())]
    return np.concatenate(blocks, axis=1).astype(np.uint8)


def chosen_codes(values: Mapping[str, str], levels: Levels) -> np.ndarray:
    """Codes of levels given by name, int32 (covariate,); -1 where none is given.

    Raises:
        InputError: for an unknown covariate or level.
    """
    for name, value in values.items():
        if not levels:
            raise InputError(f"covariate {name}={value!r} is given, but the model was trained without covariates")
        if name not in levels:
            raise unknown_name("covariate", name, list(levels))
        if value not in levels[name]:
            raise unknown_name(f"level of the covariate {name!r}", value, levels[name])
    return np.array([known.index(values[name]) if name in values else -1 for name, known in levels.items()], np.int32)


def _column(data: PerturbationData, name: str) -> np.ndarray:
    if name not in data.covariates:
        raise InputError(
            f"{unknown_name('covariate', name, list(data.covariates))} Covariates must be read from the file: "
            f"--data.covariate-keys {name}"
        )
    return np.asarray(data.covariates[name], dtype=str)
