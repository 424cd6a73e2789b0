"""Settings of quality labels: their legal values and what contradicts what."""

from typing import TYPE_CHECKING, Literal, get_args

from samsjax.data.quality.rule import SIDES
from samsjax.errors import InputError, check_choice, check_range, listing

if TYPE_CHECKING:
    from samsjax.data.config import DataConfig

AUTO = "auto"
"""All criteria that the counts of a file allow, and those that have a column; predicts no doublets."""

QualityCriterion = Literal["auto", "n_counts", "n_genes", "percent_mito", "percent_ribo", "percent_hb", "doublet"]
QualitySplit = Literal["train", "all"]
"""Cells that medians are taken of."""


def check_quality(config: "DataConfig") -> None:
    """Refuse settings of quality labels that are out of range or contradict each other.

    Raises:
        InputError: naming them.
    """
    for name in config.quality_criteria:
        check_choice("quality criterion", name, get_args(QualityCriterion))
    check_range("quality_mads", config.quality_mads, above=0)
    check_choice("quality_split", config.quality_split, get_args(QualitySplit))
    for column in config.quality_columns:
        check_choice("quality criterion of quality_columns", column, list(SIDES))
    if config.quality_key and (config.quality_criteria or config.quality_columns):
        raise InputError(
            f"quality_key {listing(config.quality_key)} holds ready labels: leave out quality_criteria and "
            "quality_columns, which make them"
        )
    asked = set(SIDES) if AUTO in config.quality_criteria else set(config.quality_criteria)
    idle = [name for name in config.quality_columns if name not in asked]
    if idle:
        raise InputError(
            f"quality_columns gives values of {listing(idle)}, which quality_criteria does not ask for: name these "
            f"criteria, or {AUTO}"
        )
