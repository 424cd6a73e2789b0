"""What was run, on which data, and how training went."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from samsjax.data.dataset import SPLITS, PerturbationData
from samsjax.data.encoding import treatments
from samsjax.inference.fitted import Fitted
from samsjax.reporting.page import Block, Facts, Figure, Folded, Notice, Section, Text
from samsjax.reporting.plots import training_curves
from samsjax.reporting.report.frames import settings_table
from samsjax.reporting.tables import rotations_summary

FEW_CELLS = 20
"""Training cells below which a perturbation's effects rest on little."""


def run_section(facts: Mapping[str, Any], settings: Mapping[str, Any]) -> Section:
    """Names and numbers of the run, and all its settings, folded."""
    blocks: list[Block] = [Facts(list(facts.items()))] if facts else []
    if settings:
        blocks.append(Folded("All settings", [settings_table(settings)]))
    return Section("What was run", blocks)


def data_section(
    data: PerturbationData | None,
    fitted: Fitted | None,
    warnings: Sequence[str],
    *,
    of_good_cells: bool | None = None,
) -> Section:
    """Sizes of the data, on how many cells effects were measured if that is known, and reasons to be careful."""
    items = [] if data is None else _data_facts(data) + _quality_facts(data, of_good_cells=of_good_cells)
    if fitted is not None:
        cells = fitted.n_training_cells
        items += _cells_facts(cells)
        warnings = [*warnings, *_few_cells(cells, fitted.vocabulary.perturbation_names)]
    return Section("Data", [*([Facts(items)] if items else []), *(Notice(text, "warning") for text in warnings)])


def training_section(fitted: Fitted | None) -> Section:
    """The bounds by epoch, why training ended, and what rotations found."""
    if fitted is None or not fitted.history:
        return Section("Training", [])
    history, result = fitted.history, fitted.fit
    best = None if result is None else result.best_epoch
    blocks: list[Block] = []
    if result is not None:
        blocks.append(Text(_ending(result.stopped, len(history), best or 0)))
    caption = (
        "Bound on the log likelihood of training and validation cells by epoch, in nats per cell. A validation bound "
        "that falls while the training bound still rises is overfitting; the parameters with the best validation bound "
        "are kept."
    )
    last = history[-1]
    alt = f"Curves of the bounds over {len(history)} epochs; the last training bound is {last['train_objective']:.2f}."
    blocks.append(Figure(partial(training_curves, history, best_epoch=best), caption, alt))
    blocks += [Text(f"{line[0].upper()}{line[1:]}.") for line in rotations_summary(fitted.rotations).splitlines()]
    return Section("Training", blocks)


def _ending(stopped: str, n_epochs: int, best: int) -> str:
    why = {
        "budget": "Training used its whole budget",
        "early": "Training stopped early, as the validation bound no longer rose",
        "diverged": "Training diverged, and the last good parameters were kept",
    }[stopped]
    return f"{why}: {n_epochs} epochs. The model is that of epoch {best}."


def _data_facts(data: PerturbationData) -> list[tuple[str, Any]]:
    of_splits = [(f"{split} cells", len(data.cells(split))) for split in SPLITS]
    treated = treatments(data)
    return [
        ("cells", data.n_cells),
        *((name, n) for name, n in of_splits if n),
        ("control cells", int(data.is_control.sum())),
        ("genes", data.n_genes),
        ("perturbations", data.n_perturbations),
        ("treatments (combinations, doses)", len(treated.labels)),
        ("median library size", float(np.median(data.library_size))),
        ("library sizes from", data.library_size_source),
    ]


def _quality_facts(data: PerturbationData, *, of_good_cells: bool | None) -> list[tuple[str, Any]]:
    """Cells that fail quality control, for data with quality labels, and those on which effects were measured."""
    if data.failed is None:
        return []
    n_failed = int(data.is_failed.sum())
    facts = [("cells that fail quality control", f"{n_failed:,} ({n_failed / data.n_cells:.1%})")]
    if of_good_cells is not None:
        good = f"{data.n_cells - n_failed:,} good cells of {data.n_cells:,}"
        facts.append(("effects measured on", good if of_good_cells else f"all {data.n_cells:,} cells, failed ones too"))
    return facts


def _cells_facts(cells: np.ndarray) -> list[tuple[str, Any]]:
    if not len(cells):
        return []
    return [("training cells per perturbation", f"median {np.median(cells):.0f}, fewest {cells.min()}")]


def _few_cells(cells: np.ndarray, names: Sequence[str]) -> list[str]:
    few = np.flatnonzero(cells < FEW_CELLS)
    if not len(few):
        return []
    first = ", ".join(names[t] for t in few[np.argsort(cells[few], kind="stable")][:5])
    return [
        f"{len(few)} of {len(cells)} perturbations have fewer than {FEW_CELLS} training cells ({first}"
        f"{', ...' if len(few) > 5 else ''}): their effects rest on little, and their intervals say so only as far as "
        "the model is right."
    ]
