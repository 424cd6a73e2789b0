"""Quality labels of the cells: what made them, how many cells fail, and whether perturbations do so unequally."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from samsjax.data.dataset import PerturbationData
from samsjax.data.quality.confounding import ANY, HAEMOGLOBIN, MAX_Q, MIN_DIFFERENCE, Confounding, confounding
from samsjax.data.quality.rule import COUNTS, PREDICTED, Criterion
from samsjax.errors import listing
from samsjax.reporting.page import Block, Column, Figure, Notice, Section, Table, Text
from samsjax.reporting.plots import failed_shares

LABELS = "Quality of cells"
SOURCES = {COUNTS: "counts of the kept genes", PREDICTED: "predicted from all cells"}
ROWS_OF_CRITERION = 15
"""Treatments that the table shows of each criterion."""
NAMED = 4
"""Treatments named in a sentence."""
MEASURE = f"q < {MAX_Q:g}, and shares that differ by more than {MIN_DIFFERENCE:g}"


def quality_section(data: PerturbationData | None, *, of_good_cells: bool | None = None) -> Section:
    """The labels of cells that carry any.

    Args:
        data: the cells.
        of_good_cells: whether effects were measured on good cells alone; None if that is not known.
    """
    if data is None or data.failed is None:
        return Section(LABELS, [])
    return Section(LABELS, [*_criteria(data), *_confounding(data, of_good_cells=of_good_cells)])


def labels_of(data: PerturbationData) -> dict[str, np.ndarray]:
    """Which cells fail, bool (cell,): "any" criterion first if there are several, then each."""
    assert data.failed is not None
    each = dict(zip(data.criteria, data.failed.T, strict=True))
    return each if len(each) == 1 else {ANY: data.is_failed, **each}


def _criteria(data: PerturbationData) -> list[Block]:
    """Where labels are from, the table of criteria, and those that fail no cell."""
    failed, unused = data.is_failed, data.is_failed & (data.split == "none")
    text = f"{failed.sum():,} of {data.n_cells:,} cells ({failed.mean():.1%}) fail quality control. {_origin(data)}"
    if unused.any():
        text += f" {unused.sum():,} cells that fail are in no split: they neither train the model nor are held out."
    return [Text(text), _criteria_table(data), *_idle(data)]


def _origin(data: PerturbationData) -> str:
    rule, n = data.quality_rule, len(data.criteria)
    if rule is None:
        columns = ", ".join(f"`{name}`" for name in data.criteria)
        return f"Labels came ready with the data ({columns}); by which thresholds is not known here."
    judged = "one criterion" if n == 1 else f"{n} criteria"
    if rule.n_mads is None:
        return f"Cells are judged by {judged} with given thresholds."
    return (
        f"Cells are judged by {judged} with thresholds {rule.n_mads:g} median absolute deviations (MAD, not scaled) "
        "from the median of the cells they were learnt from; cells at a threshold pass."
    )


def _criteria_table(data: PerturbationData) -> Table:
    known = {} if data.quality_rule is None else {c.name: c for c in data.quality_rule.criteria}
    held_out = np.isin(data.split, ["val", "test"])
    parts = {"training": data.split == "train", "held-out": held_out, "all": np.ones(data.n_cells, bool)}
    columns = [Column("criterion")]
    if known:
        columns += [Column("fails"), Column("threshold", "number", 2), Column("median", "number", 2)]
        columns += [Column("MAD", "number", 2), Column("from")]
    columns += [Column(f"{part} cells", "number", 3, hint="share that fails") for part in parts]
    rows = []
    for name, failed in labels_of(data).items():
        shares = [float(failed[cells].mean()) if cells.any() else None for cells in parts.values()]
        rows.append((name, *(_thresholds(known.get(name)) if known else ()), *shares))
    several = f"; `{ANY}` is at least one" if len(rows) > 1 else ""
    return Table(columns, rows, f"Quality criteria and the shares of cells that fail them{several}.")


def _thresholds(criterion: Criterion | None) -> tuple[Any, ...]:
    if criterion is None:
        return (None,) * 5
    source = SOURCES.get(criterion.source, f"column {criterion.source}")
    return criterion.side, float(criterion.threshold), criterion.median, criterion.mad, source


def _idle(data: PerturbationData) -> list[Block]:
    """Notices of criteria that fail no cell, or none that trains."""
    assert data.failed is not None
    trained = data.split == "train"
    nowhere = [name for name, failed in zip(data.criteria, data.failed.T, strict=True) if not failed.any()]
    only_held_out = [
        name
        for name, failed in zip(data.criteria, data.failed.T, strict=True)
        if failed.any() and trained.any() and not failed[trained].any()
    ]
    found: list[Block] = []
    if nowhere:
        rule = () if data.quality_rule is None else data.quality_rule.criteria
        below = [c.name for c in rule if c.name in nowhere and c.side == "below" and c.threshold <= 0]
        why = f" The threshold of {listing(below)} is not above 0, and no value lies below 0." if below else ""
        found.append(Notice(f"No cell fails {listing(nowhere)}: nothing can be learnt of it.{why}"))
    if only_held_out:
        found.append(Notice(f"No training cell fails {listing(only_held_out)}: a model learns nothing of it."))
    return found


def _confounding(data: PerturbationData, *, of_good_cells: bool | None) -> list[Block]:
    """Whether treatments fail unequally: in words, as a figure, and as a table."""
    rows = confounding(data)
    first = next(iter(labels_of(data)))
    overall = [row for row in rows if row.criterion == first]
    if len(overall) < 2:
        return []
    said = _verdict(rows, overall, of_good_cells=of_good_cells)
    return [said, *_haemoglobin(rows), _shares(overall, float(data.is_failed.mean())), _confounding_table(rows)]


def _verdict(rows: Sequence[Confounding], overall: Sequence[Confounding], *, of_good_cells: bool | None) -> Block:
    found = [row for row in overall if row.is_confounded]
    by_criterion = Counter(row.criterion for row in rows if row.is_confounded and row.criterion != ANY)
    if not found and not by_criterion:
        return Text(f"No treatment fails clearly more or less often than all other cells ({MEASURE}).")
    counted = listing(f"{name} ({n})" for name, n in by_criterion.most_common())
    effects = {
        None: "Effects measured on all cells contain what failing does, as if such a treatment caused it.",
        False: "Effects on this page were measured on all cells: those of such treatments contain what failing does.",
        True: "Effects on this page were measured on good cells, which leaves that out; but the cells of such a "
        "treatment that pass may not stand for all of its cells.",
    }[of_good_cells]
    text = (
        f"Quality labels are confounded with perturbations: {len(found)} of {len(overall)} treatments, controls "
        f"counted, fail clearly more or less often than all other cells ({MEASURE}){_listed(found)}."
        + (f" Such treatments by criterion: {counted}." if by_criterion else "")
        + " This may be technical, such as a batch, or biology that looks like poor quality, such as dying cells; "
        f"labels cannot tell. {effects} A model with artefacts takes that part of an effect for the artefact's."
    )
    return Notice(text, "warning")


def _haemoglobin(rows: Sequence[Confounding]) -> list[Block]:
    found = [row for row in rows if row.criterion == HAEMOGLOBIN and row.is_confounded]
    if not found:
        return []
    text = (
        f"The criterion `{HAEMOGLOBIN}` differs between perturbations{_listed(found)}. In blood-forming cells, such as "
        "K562, haemoglobin is biology that perturbations switch on, and no artefact: leave this criterion out."
    )
    return [Notice(text, "warning")]


def _listed(rows: Sequence[Confounding]) -> str:
    """Those that differ most, as `: A (60.0% of its 50 cells, 10.0% of others)`; nothing without rows."""
    if not rows:
        return ""
    strongest = sorted(rows, key=lambda row: -abs(row.difference))
    texts = [
        f"{r.treatment} ({r.failed:.1%} of {r.n_cells:,} cells, {r.failed_others:.1%} of others)" for r in strongest
    ]
    return f": {listing(texts, limit=NAMED)}"


def _shares(overall: Sequence[Confounding], mean: float) -> Figure:
    stands_out = np.array([row.is_confounded for row in overall])
    draw = partial(
        failed_shares,
        np.array([row.n_cells for row in overall]),
        np.array([row.failed for row in overall]),
        mean,
        [row.treatment for row in overall],
        stands_out,
    )
    caption = (
        "Share of cells that fail quality control, for each treatment and the controls, against the number of its "
        "cells. Dashed: all cells; the grey band holds 99 of 100 treatments whose cells fail that often. Diamonds: "
        f"q < {MAX_Q:g}, and a share that differs from that of all other cells by more than {MIN_DIFFERENCE:g}."
    )
    alt = f"Shares that fail of {len(overall)} treatments; {stands_out.sum()} stand out."
    return Figure(draw, caption, alt)


def _confounding_table(rows: Sequence[Confounding]) -> Table:
    shown = []
    for criterion in dict.fromkeys(row.criterion for row in rows):
        shown += [row for row in rows if row.criterion == criterion][:ROWS_OF_CRITERION]
    values = [
        (r.treatment, r.criterion, r.n_cells, r.failed, r.failed_others, r.difference, r.odds_ratio, r.q_value)
        for r in shown
    ]
    columns = [
        Column("treatment"),
        Column("criterion"),
        Column("cells", "number", 0),
        Column("share that fails", "number", 3),
        Column("of other cells", "number", 3),
        Column("difference", "number", 3, signed=True),
        Column("odds ratio", "number", 2),
        Column("q", "number", 4),
    ]
    caption = (
        "Treatments whose cells fail more or less often than all other cells, by criterion: up to "
        f"{ROWS_OF_CRITERION} of each, those with the smallest q first (false discovery rate over treatments, of "
        "Fisher's exact test)."
    )
    return Table(columns, values, caption, searchable=True, shown=ROWS_OF_CRITERION)
