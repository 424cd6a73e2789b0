"""Quality labels of the cells of an AnnData: by criteria whose thresholds are learnt or stored, or ready-made."""

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from samsjax.data.config import DataConfig
from samsjax.data.counts import Matrix
from samsjax.data.expression import TRUTH, flag_column, number_column
from samsjax.data.quality.doublets import predicted_doublets
from samsjax.data.quality.rule import COUNTS, DOUBLET, PREDICTED, SIDES, QualityRule, learn_rule
from samsjax.data.quality.settings import AUTO
from samsjax.data.quality.statistics import cell_statistics
from samsjax.errors import InputError, listing

if TYPE_CHECKING:
    import anndata

DOUBLET_SEED = 0
"""One for all runs, so that labels do not change with the seeds of split and training."""

VERDICTS = {
    **TRUTH,
    **dict.fromkeys(("fail", "failed", "bad"), True),
    **dict.fromkeys(("pass", "passed", "good"), False),
}
"""Texts of ready-made labels and whether they say that a cell failed."""

AMBIGUOUS = re.compile(r"pass|good|keep|(?<!in)valid", re.IGNORECASE)
"""In the name of a column of True and False: does True mean that the cell is fine?"""


class Labels(NamedTuple):
    """What is known of the quality of cells; nothing, by default."""

    failed: np.ndarray | None = None
    """bool (cell, criterion)."""
    criteria: tuple[str, ...] = ()
    rule: QualityRule | None = None


def quality_labels(
    adata: "anndata.AnnData",
    config: DataConfig,
    x: Matrix,
    gene_names: np.ndarray,
    split: np.ndarray,
    stored: QualityRule | None,
    *,
    counts: bool,
) -> Labels:
    """The labels that `config` asks for, or those by a stored rule.

    Args:
        adata: the cells, for columns of obs.
        config: which criteria, or which columns hold labels.
        x: values of the kept genes (cell, gene), checked.
        gene_names: of the kept genes.
        split: str (cell,); thresholds are learnt from "train" unless the configuration says from all.
        stored: rule of a model, which then replaces learning.
        counts: whether `x` holds counts.

    Raises:
        InputError: for criteria that cannot be measured, columns that are missing or hold something else, or a stored
            rule beside other labels.
    """
    if config.quality_key:
        if stored is not None:
            raise InputError(
                f"a stored quality rule ({listing(stored.names)}) and ready labels (quality_key "
                f"{listing(config.quality_key)}) exclude each other: leave one of them out"
            )
        return _ready_made(adata, config.quality_key, split)
    if stored is None and not config.quality_criteria:
        return Labels()
    measured = cell_statistics(x, gene_names) if counts else {}
    sources = _stored_sources(config, stored) if stored is not None else _sources(config, measured)
    _check_measured(sources, measured, gene_names, counts=counts)
    values = {name: _values(adata, name, source, measured, x) for name, source in sources.items()}
    rule = _learnt(values, sources, config, split) if stored is None else stored
    failed = rule.failed(values)
    if stored is None:
        _warn_idle(failed, [f"{c.name} (threshold {c.threshold:.4g})" for c in rule.criteria], split)
    return Labels(failed, rule.names, rule)


def _sources(config: DataConfig, measured: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Where the values of each wanted criterion come from, in the order of the table of criteria."""
    wanted = {str(name) for name in config.quality_criteria} - {AUTO}
    if AUTO in config.quality_criteria:
        wanted |= {*measured, *config.quality_columns}
    if not wanted:
        raise InputError("quality_criteria auto finds none: values are no counts, and quality_columns names no column")
    return {
        name: config.quality_columns.get(name, PREDICTED if name == DOUBLET else COUNTS)
        for name in SIDES
        if name in wanted
    }


def _stored_sources(config: DataConfig, rule: QualityRule) -> dict[str, str]:
    """Where a stored rule takes its values from; columns may have other names in another file."""
    asked = set(config.quality_criteria) - {AUTO}
    if asked and (asked != set(rule.names)):
        raise InputError(
            f"quality_criteria {listing(config.quality_criteria)} is not what the stored quality rule judges by: "
            f"{listing(rule.names)}; leave it out, or train with these criteria"
        )
    for criterion in rule.criteria:
        if criterion.source == COUNTS and criterion.name in config.quality_columns:
            raise InputError(
                f"the stored threshold of {criterion.name!r} belongs to counts of the model's genes, and cannot judge "
                f"the column {config.quality_columns[criterion.name]!r}: leave it out of quality_columns"
            )
    return {c.name: config.quality_columns.get(c.name, c.source) for c in rule.criteria}


def _check_measured(
    sources: Mapping[str, str], measured: Mapping[str, np.ndarray], gene_names: np.ndarray, *, counts: bool
) -> None:
    if not counts and not {COUNTS, PREDICTED}.isdisjoint(sources.values()):
        wanted = [name for name, source in sources.items() if source in (COUNTS, PREDICTED)]
        raise InputError(
            f"quality criteria {listing(wanted)} need raw counts, and these are continuous values: name columns of obs "
            "that hold them (quality_columns), or ready labels (quality_key)"
        )
    missing = [name for name, source in sources.items() if source == COUNTS and name not in measured]
    if missing:
        raise InputError(
            f"quality criteria {listing(missing)} cannot be measured: none of the {len(gene_names)} genes used belongs "
            f"to these sets by its symbol (the first: {listing(gene_names, limit=3)}). Leave them out, or name columns "
            f"of obs that hold them, such as quality_columns {missing[0]} COLUMN"
        )


def _values(
    adata: "anndata.AnnData", name: str, source: str, measured: Mapping[str, np.ndarray], x: Matrix
) -> np.ndarray:
    if source == COUNTS:
        return measured[name]
    if source == PREDICTED:
        return predicted_doublets(x, DOUBLET_SEED).astype(np.float64)
    if name == DOUBLET:
        return flag_column(adata, source, "quality_columns").astype(np.float64)
    values = number_column(adata, source, "quality_columns", f"values of {name!r} in the column")
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise InputError(
            f"quality column {source!r} must be finite; {len(bad)} values are not, the first is {values[bad[0]]} in "
            f"row {bad[0]}"
        )
    return values


def _learnt(
    values: Mapping[str, np.ndarray], sources: Mapping[str, str], config: DataConfig, split: np.ndarray
) -> QualityRule:
    chosen = (split == "train") | (config.quality_split == "all")
    if not chosen.any():
        raise InputError(
            "no training cells to learn thresholds of quality criteria from: pass the quality_rule of the stored "
            'model, or quality_split "all"'
        )
    return learn_rule({name: of[chosen] for name, of in values.items()}, config.quality_mads, sources)


def _ready_made(adata: "anndata.AnnData", keys: tuple[str, ...], split: np.ndarray) -> Labels:
    columns = []
    for key in keys:
        column = flag_column(adata, key, "quality_key", VERDICTS)
        texts = {str(value).strip().casefold() for value in adata.obs[key].unique()}
        if AMBIGUOUS.search(key) and texts <= set(TRUTH):
            raise InputError(
                f"quality_key {key!r} holds True and False or 1 and 0, of which True and 1 mean that a cell fails; by "
                f"its name they seem to mean that it passes. Add a column that says so, such as adata.obs['failed'] = "
                f"~adata.obs[{key!r}].astype(bool), or one with the texts pass and fail"
            )
        columns.append(column)
    failed = np.stack(columns, axis=1)
    _warn_idle(failed, keys, split)
    return Labels(failed, keys)


def _warn_idle(failed: np.ndarray, criteria: Sequence[str], split: np.ndarray) -> None:
    """Where counts spread widely, thresholds a few MADs below the median lie below 0, and the criterion is idle."""
    train = split == "train"
    idle = [text for text, flags in zip(criteria, failed[train].T, strict=True) if not flags.any()]
    if train.any() and idle:
        text = f"no training cell fails the quality criteria {listing(idle)}: a model learns nothing of them"
        warnings.warn(text, UserWarning, stacklevel=4)
