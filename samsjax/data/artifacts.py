"""Quality labels as numbers a model can see: one indicator for any failed criterion, or one for each."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from samsjax.data.dataset import PerturbationData
from samsjax.errors import InputError, check_choice, listing, unknown_name

Indicators = Literal["any", "each", "none"]
ANY = "failed"
"""Name of the indicator of cells that fail at least one criterion."""


def artifact_names(data: PerturbationData, indicators: Indicators) -> tuple[str, ...]:
    """Names of the indicators a model wants of these data.

    Raises:
        InputError: for data without quality labels, unless no indicator is wanted.
    """
    if indicators == "none":
        return ()
    if data.failed is None:
        raise InputError(
            "the model needs to know which cells failed quality control, and the data carry no such labels: name "
            "criteria (--data.quality-criteria) or a column that holds the labels (--data.quality-key)"
        )
    return (ANY,) if indicators == "any" else data.criteria


def artifact_indicators(data: PerturbationData, names: Sequence[str]) -> np.ndarray:
    """Which artefacts each cell carries, float32 (cell, artifact) of 0 and 1, columns in the order of `names`.

    Raises:
        InputError: for data without quality labels, or without a criterion of that name.
    """
    if data.failed is None:
        raise InputError(
            f"the model was trained with quality labels ({listing(names)}), and these cells carry none: label them by "
            "the rule of the model (PerturbationData.quality_rule), or name the column that holds the labels"
        )
    columns = []
    for name in names:
        if name != ANY and name not in data.criteria:
            raise unknown_name("quality criterion of the model", name, list(data.criteria))
        columns.append(data.is_failed if name == ANY else data.failed[:, data.criteria.index(name)])
    return np.stack(columns, axis=1).astype(np.float32)


def chosen_artifacts(fails: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Indicators of cells that fail the criteria `fails` and pass all others, float32 (artifact,).

    Raises:
        InputError: for an indicator the model does not know.
    """
    if fails and not names:
        raise InputError(f"cells that fail {listing(fails)} cannot be predicted: the model knows no quality of cells")
    for name in fails:
        check_choice("quality indicator of the model", name, list(names))
    return np.isin(np.asarray(names, dtype=str), np.asarray(fails, dtype=str)).astype(np.float32)
