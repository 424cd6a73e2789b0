"""Which share of cells passes quality control: of generated cells, beside measured ones and a simple generator.

Source: the QC pass rate of CRADLE-VAE (AAAI 2025). Differs: the rate is the share that passes (theirs is the larger of
the shares that pass and fail, never below one half); generated cells have the library sizes of measured cells instead
of 10,000; every cell has its own draw of effects; rates are also given by criterion, for measured cells, and for cells
drawn about the mean of each treatment; treatments weigh as they do among the held-out cells; doublets are left out.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from samsjax.data.counts import Matrix
from samsjax.data.dataset import PerturbationData
from samsjax.data.quality.rule import QualityRule
from samsjax.data.quality.statistics import cell_statistics
from samsjax.errors import InputError
from samsjax.evaluation.quality.cells import held_out
from samsjax.evaluation.quality.drawn_cells import DrawnCells
from samsjax.evaluation.quality.rules import CountsRule, counts_rule

SOURCES = ("generated", "baseline", "real", "real_good", "real_failed")
"""Of cells: the model, the generator about means, held-out cells, and those of them labelled good or failed."""


class PassRates(NamedTuple):
    """Shares of cells that pass; NaN for no cells."""

    overall: float
    """Failing no criterion."""
    by_criterion: dict[str, float]
    n_cells: int


def pass_rates(rule: QualityRule, statistics: Mapping[str, np.ndarray]) -> PassRates:
    """Shares of cells that pass a rule.

    Args:
        rule: the criteria.
        statistics: `cell_statistics` of the cells.

    Raises:
        InputError: for a criterion whose statistic is missing.
    """
    passed = _passed(rule, statistics)
    return _named(rule, passed.mean(axis=0) if len(passed) else np.full(passed.shape[1], np.nan), len(passed))


class QualityRates(NamedTuple):
    """Pass rates of generated and measured cells of the same conditions."""

    rule: CountsRule
    labels: np.ndarray
    """str (condition,): control, then treatments."""
    n_held_out: np.ndarray
    """int (condition,): held-out cells, which conditions are weighted by."""
    rates: dict[str, np.ndarray]
    """By name in `SOURCES`, float64 (condition, 1 + criterion): overall first. NaN without cells, such as where the
    model knows nothing of a perturbation."""
    n_cells: dict[str, int]
    """By name in `SOURCES`, of all conditions."""

    def of(self, source: str) -> PassRates:
        """Mean over conditions, weighted by held-out cells (equally if there are none), where there is a rate."""
        rates = self.rates[source]
        weight = np.where(np.isnan(rates[:, 0]), 0, self.n_held_out if self.n_held_out.any() else 1)
        mean = np.full(rates.shape[1], np.nan)
        if weight.any():
            mean = np.average(np.nan_to_num(rates), axis=0, weights=weight)
        return _named(self.rule.rule, mean, self.n_cells[source])


def generated_pass_rates(drawn: DrawnCells, data: PerturbationData, rule: CountsRule | None = None) -> QualityRates:
    """Judge generated and held-out cells of control and every treatment by one rule.

    Args:
        drawn: of `draw_cells`.
        data: the same cells with quality labels.
        rule: `counts_rule(data)` if not given.

    Raises:
        InputError: for generated cells of continuous values.
    """
    if drawn.means is None:
        raise InputError("quality rules judge counts, and the model's likelihood is one of continuous values")
    rule = rule or counts_rule(data)
    condition, n_conditions = drawn.compared.assignment, len(drawn.compared.labels)
    cells = held_out(data)
    cells = cells[condition[cells] >= 0]
    passed, failed = _passed_by(rule.rule, data.x[cells], data), data.is_failed[cells]
    judged = {
        "generated": (_passed_by(rule.rule, drawn.model.x, data), drawn.model.condition),
        "baseline": (_passed_by(rule.rule, drawn.means.x, data), drawn.means.condition),
        "real": (passed, condition[cells]),
        "real_good": (passed[~failed], condition[cells[~failed]]),
        "real_failed": (passed[failed], condition[cells[failed]]),
    }
    return QualityRates(
        rule,
        drawn.compared.labels,
        np.bincount(condition[cells], minlength=n_conditions),
        {source: _by_condition(*found, n_conditions) for source, found in judged.items()},
        {source: len(found) for source, (found, _) in judged.items()},
    )


def _passed_by(rule: QualityRule, x: Matrix, data: PerturbationData) -> np.ndarray:
    """`_passed` of cells with the genes of `data`."""
    return _passed(rule, cell_statistics(x, data.gene_names))


def _passed(rule: QualityRule, statistics: Mapping[str, np.ndarray]) -> np.ndarray:
    """float64 (cell, 1 + criterion): 1 for a cell that passes all criteria, then for each."""
    failed = rule.failed(statistics)
    return 1.0 - np.hstack([failed.any(axis=1, keepdims=True), failed])


def _by_condition(passed: np.ndarray, condition: np.ndarray, n_conditions: int) -> np.ndarray:
    """Means, float64 (condition, 1 + criterion); NaN without cells."""
    n = np.bincount(condition, minlength=n_conditions)
    total = np.zeros((n_conditions, passed.shape[1]))
    np.add.at(total, condition, passed)
    return np.divide(total, n[:, None], out=np.full_like(total, np.nan), where=n[:, None] > 0)


def _named(rule: QualityRule, means: np.ndarray, n_cells: int) -> PassRates:
    return PassRates(float(means[0]), dict(zip(rule.names, map(float, means[1:]), strict=True)), n_cells)
