"""What a folder of results says of the quality of cells: which criteria, which shares fail, whether perturbations do.

Nothing is written for cells without quality labels.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments import output
from samsjax.data import PerturbationData, QualityRule, confounding
from samsjax.data.quality.confounding import ANY
from samsjax.errors import InputError

QUALITY = "quality.csv"
CONFOUNDING = "confounding.csv"
RULE = "quality_rule.json"
_OF_RULE = ("side", "threshold", "median", "mad", "source")


def write_quality(folder: Path, data: PerturbationData) -> None:
    """quality.csv and confounding.csv, and quality_rule.json where a rule made the labels.

    quality.csv has a row for each criterion: the side on which cells fail, the threshold, median and median absolute
    deviation (mad) it was learnt from and the source of its values, all empty for labels that came ready; and the
    shares of the training cells and of all cells that fail it. With several criteria the first row is "any", for cells
    that fail at least one. confounding.csv compares treatments, see `samsjax.data.confounding`.
    """
    if data.failed is None:
        return
    output.write_rows(folder / QUALITY, quality_rows(data))
    output.write_rows(folder / CONFOUNDING, [_confounding_row(row._asdict()) for row in confounding(data)])
    if data.quality_rule is not None:
        output.write_json(folder / RULE, data.quality_rule.as_json())


def quality_rows(data: PerturbationData) -> list[dict[str, Any]]:
    """The rows of quality.csv; None where something is not known, such as a share of no cells."""
    assert data.failed is not None
    known = {} if data.quality_rule is None else {c.name: c._asdict() for c in data.quality_rule.criteria}
    flags = dict(zip(data.criteria, data.failed.T, strict=True))
    if len(flags) > 1:
        flags = {ANY: data.is_failed, **flags}
    train = data.split == "train"
    return [
        {
            "criterion": name,
            **{key: known.get(name, {}).get(key) for key in _OF_RULE},
            "failed_train": _share(failed[train]),
            "failed_all": _share(failed),
        }
        for name, failed in flags.items()
    ]


def stored_rule(run: Path) -> QualityRule | None:
    """The rule that labelled the cells of a run; None for labels that came ready, or none.

    Raises:
        InputError: if its file is damaged.
    """
    path = run / RULE
    if not path.is_file():
        return None
    try:
        return QualityRule.from_json(json.loads(path.read_text()))
    except ValueError as error:  # InputError is one
        raise InputError(f"{path} is damaged: {error}") from error


def _share(failed: np.ndarray) -> float | None:
    return float(failed.mean()) if len(failed) else None


def _confounding_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in row.items()}  # NaN is not itself
