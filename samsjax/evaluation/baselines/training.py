"""`TrainingEffects`: all that a baseline may learn from, and `Baseline`, which makes a `Predictor` of a rule."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import jax
import numpy as np
import scipy.sparse as sp

from samsjax.data.counts import Matrix
from samsjax.data.dataset import PerturbationData
from samsjax.data.encoding import Treatments
from samsjax.errors import InputError
from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.data_effects import dense, group_moments, transformed
from samsjax.evaluation.predictors import one_treatment

Condition: TypeAlias = tuple[tuple[int, float], ...]
"""The (perturbation, dose) pairs of a treatment, ascending: the same for equal treatments of different tables."""


def conditions_of(treated: Treatments) -> list[Condition]:
    """One `Condition` for each treatment."""
    return [
        tuple(sorted((int(i), float(d)) for i, d in zip(index, dosage, strict=True) if d))
        for index, dosage in zip(treated.perturbation_index, treated.dosage, strict=True)
    ]


def components(condition: Condition) -> frozenset[int]:
    """The perturbations of a treatment, whatever their doses."""
    return frozenset(index for index, _ in condition)


class TrainingEffects(NamedTuple):
    """Effects of the treatments with training cells against training controls. Treatments keep their order."""

    labels: np.ndarray
    """str (treatment,)."""
    conditions: list[Condition]
    n_cells: np.ndarray
    """int (treatment,): training cells."""
    effect: np.ndarray
    """float64 (treatment, gene), in the units of the transform."""
    standard_error: np.ndarray
    """float64 (treatment, gene); NaN for treatments of one cell."""
    control_mean: np.ndarray
    """float64 (gene,)."""
    controls: Matrix
    """float64 (cell, gene): transformed expression of the training controls."""
    transform: str
    whole_counts: bool
    """Whether the data are counts, and not continuous values."""
    gene_names: np.ndarray
    perturbation_names: np.ndarray
    features: np.ndarray | None = None
    """float64 (perturbation, feature), of all perturbations, also those without training cells; None without."""

    def mean_effect(self) -> np.ndarray:
        """Mean over the training treatments, each counted once, (gene,)."""
        return self.effect.mean(axis=0)

    def places(self) -> dict[Condition, int]:
        """Row of each training treatment."""
        return {condition: row for row, condition in enumerate(self.conditions)}


def training_effects(
    data: PerturbationData, treated: Treatments, transform: str, cells: np.ndarray | None = None
) -> TrainingEffects:
    """Measure effects in training cells.

    Args:
        data: the data set.
        treated: its treatments.
        transform: name in `TRANSFORMS`.
        cells: row numbers of the cells to learn from, treated and controls; by default those of the split "train".

    Raises:
        InputError: if no control or no treated cell is among them.
    """
    cells = data.cells("train") if cells is None else cells
    assigned = treated.assignment[cells]
    n_controls = int((assigned < 0).sum())
    if n_controls in (0, len(cells)):
        raise InputError(
            f"baselines learn from training cells, treated ones and controls; got {n_controls} controls among "
            f"{len(cells)} cells"
        )
    values = transformed(data, cells, transform)
    present = np.unique(assigned[assigned >= 0])
    group = np.where(assigned < 0, len(present), np.searchsorted(present, assigned))
    mean, variance = group_moments(values, group, len(present) + 1)
    conditions = conditions_of(treated)
    return TrainingEffects(
        labels=treated.labels[present],
        conditions=[conditions[row] for row in present],
        n_cells=np.bincount(group, minlength=len(present) + 1)[:-1],
        effect=mean[:-1] - mean[-1],
        standard_error=np.sqrt(variance[:-1] + variance[-1]),
        control_mean=mean[-1],
        controls=values[assigned < 0],
        transform=transform,
        whole_counts=bool(np.issubdtype(data.x.dtype, np.integer)),
        gene_names=np.asarray(data.gene_names, dtype=str),
        perturbation_names=np.asarray(data.perturbation_names, dtype=str),
        features=None if data.features is None else data.features.values,
    )


def multi_hot(conditions: Sequence[Condition], n_perturbations: int) -> sp.csr_matrix:
    """Dosages, sparse float64 (treatment, perturbation)."""
    row = np.repeat(np.arange(len(conditions)), [len(condition) for condition in conditions])
    pairs = [pair for condition in conditions for pair in condition]
    column, dose = np.array([i for i, _ in pairs], dtype=int), np.array([d for _, d in pairs], dtype=float)
    return sp.csr_matrix((dose, (row, column)), shape=(len(conditions), n_perturbations))


class Predicted(NamedTuple):
    """What a rule says about treatments; rows of NaN where it can say nothing."""

    effect: np.ndarray
    """(treatment, gene)."""
    standard_error: np.ndarray | None = None
    """(treatment, gene): of the effect as an estimate from training cells; None where a rule has no plain one."""


Rule: TypeAlias = Callable[[list[Condition]], Predicted]


@dataclass(frozen=True, eq=False)
class Baseline:
    """A rule as a `Predictor`."""

    name: str
    description: str
    training: TrainingEffects
    rule: Rule

    def effects(self, treated: Treatments) -> AverageEffects:
        """Predicted effects; the standard error is NaN unless the rule has a plain one."""
        effect, error = self.rule(conditions_of(treated))
        return AverageEffects(
            labels=treated.labels,
            ate=effect.astype(np.float32),
            standard_error=(np.full(effect.shape, np.nan) if error is None else error).astype(np.float32),
            control_mean=self.training.control_mean.astype(np.float32),
            transform=self.training.transform,
        )

    def cells(self, key: jax.Array, treated: Treatments, row: int, n_cells: int) -> np.ndarray:
        """Training controls drawn with replacement, each shifted by the predicted effect, float32 (cell, gene)."""
        effect = self.effects(one_treatment(treated, row)).ate
        drawn = np.asarray(jax.random.randint(key, (n_cells,), 0, self.training.controls.shape[0]))
        return dense(self.training.controls[drawn]).astype(np.float32) + effect
