"""Which cells measure the effects, which the predictors may have learned from, and what a reader must know about it.

No control cell is on both sides. Effects that share controls share their noise, and agree although nothing else does:
in a screen of pure noise, predictions from training cells would correlate with test cells.
"""

from typing import NamedTuple

import jax
import numpy as np

from samsjax.data.dataset import PerturbationData
from samsjax.data.encoding import Treatments
from samsjax.errors import InputError, check_choice
from samsjax.evaluation.baselines.training import Condition, TrainingEffects, components, conditions_of
from samsjax.evaluation.data_effects import transformed
from samsjax.evaluation.noise import MeasuredCells
from samsjax.evaluation.scores import Unscored

FEW_CONTROLS = 50
MEASURING_SPLITS = ("test", "val")
NEW_PERTURBATION = "new perturbation"
SEEN = ("seen", "new combination", "new dose", NEW_PERTURBATION)


class Measurement(NamedTuple):
    """The measured side of a comparison, and the cells left for the other side."""

    split: str
    treated: Treatments
    """Scored treatments only, without cells."""
    rows: np.ndarray
    """int (treatment,): their rows in the treatments of the data."""
    seen: np.ndarray
    """str (treatment,), of `SEEN`; "unknown" if nothing is known of training cells."""
    cells: MeasuredCells
    training_cells: np.ndarray
    """int (cell,): rows of the cells that baselines may learn from; none if the data hold no training cells."""
    unscored: tuple[Unscored, ...]
    caveats: tuple[str, ...]

    @property
    def n_controls(self) -> int:
        """Control cells that measure."""
        return int(self.cells.sizes[-1])


def measure(
    key: jax.Array,
    data: PerturbationData,
    treated: Treatments,
    split: str,
    transform: str,
    min_cells: int,
    training: TrainingEffects | None = None,
) -> Measurement:
    """Choose the cells of both sides.

    Effects are measured on the treated cells of `split` against controls outside training: those of `split`, else those
    of the other measuring split, else those in no split. If all controls are training cells, a random half of them
    measures, and baselines learn from the other half.

    Args:
        key: decides which half.
        data: cells with a split.
        treated: its treatments.
        split: "test" or "val".
        transform: scale of the effects.
        min_cells: treatments with fewer cells in the split are unscored.
        training: of the model's own training cells, where the data name none.

    Raises:
        InputError: for no control in the whole data set, continuous values in a scale of counts, or a split without a
            treatment of at least `min_cells` cells.
    """
    check_choice("split to score", split, MEASURING_SPLITS)
    if transform != "counts" and not np.issubdtype(data.x.dtype, np.integer):
        raise InputError(
            f"scale {transform!r} needs whole counts, but the data hold {data.x.dtype} values; use 'counts'"
        )
    controls, learned_from, caveats = _sides_of_controls(key, data, treated, split)
    assigned = treated.assignment[data.cells(split)]
    n_cells = np.bincount(assigned[assigned >= 0], minlength=len(treated.labels))
    rows = np.flatnonzero(n_cells >= min_cells)
    if len(rows) == 0:
        raise InputError(
            f"nothing to score: no treatment has {min_cells} or more {split} cells (most: {n_cells.max(initial=0)})"
        )
    few = np.flatnonzero((n_cells > 0) & (n_cells < min_cells))
    reason = f"fewer than {min_cells} {split} cells"
    unscored = tuple(Unscored(str(treated.labels[row]), int(n_cells[row]), reason) for row in few)
    chosen = Treatments(
        treated.labels[rows], treated.perturbation_index[rows], treated.dosage[rows], np.zeros(0, dtype=int)
    )
    known = [conditions_of(treated)[row] for row in np.unique(treated.assignment[data.cells("train")]) if row >= 0]
    known = known or ([] if training is None else training.conditions)
    seen = seen_as(conditions_of(chosen), known) if known else np.full(len(rows), "unknown")
    cells = _measured_cells(data, treated, rows, controls, split, transform)
    result = Measurement(split, chosen, rows, seen, cells, learned_from, unscored, ())
    return result._replace(caveats=(*_caveats(result), *caveats))


def seen_as(conditions: list[Condition], known: list[Condition]) -> np.ndarray:
    """What each treatment is to someone who knows the treatments `known`, str (treatment,) of `SEEN`.

    "new dose": the same perturbations are known at other doses. "new combination": every perturbation is known, but not
    this set of them; so is one perturbation that is known in combinations only.
    """
    exact, sets = set(known), {components(condition) for condition in known}
    parts = frozenset().union(*sets)

    def one(condition: Condition) -> str:
        if condition in exact:
            return "seen"
        if components(condition) in sets:
            return "new dose"
        return "new combination" if components(condition) <= parts else NEW_PERTURBATION

    return np.array([one(condition) for condition in conditions], dtype=str)


def _sides_of_controls(
    key: jax.Array, data: PerturbationData, treated: Treatments, split: str
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Measuring controls, cells to learn from, caveats."""
    controls = treated.assignment < 0
    if not controls.any():
        raise InputError("the data have no control cells: effects have no reference")
    training = data.cells("train")
    for name in dict.fromkeys([split, *MEASURING_SPLITS, "none"]):
        found = np.flatnonzero(controls & (data.split == name))
        if len(found):
            where = {"val": "validation", "none": "unassigned"}.get(name, name)
            told = [f"There are no {split} controls: effects are measured against {len(found)} {where} controls."]
            return found, training, told if name != split else []
    order = np.asarray(jax.random.permutation(key, np.flatnonzero(controls)))
    measuring = np.sort(order[: len(order) // 2])
    told = [
        f"All control cells are training cells: a random half of them ({len(measuring)}) measures the effects. The "
        "baselines learned without that half, but the model has seen it, which flatters the model."
    ]
    return measuring, np.setdiff1d(training, measuring), told


def _measured_cells(
    data: PerturbationData, treated: Treatments, rows: np.ndarray, controls: np.ndarray, split: str, transform: str
) -> MeasuredCells:
    cells = data.cells(split)
    group = np.full(len(treated.labels), -1)
    group[rows] = np.arange(len(rows))
    group_of_cell = np.where(treated.assignment[cells] < 0, -1, group[treated.assignment[cells]])
    order = np.argsort(group_of_cell, kind="stable")
    chosen = order[group_of_cell[order] >= 0]
    sizes = np.bincount(group_of_cell[chosen], minlength=len(rows))
    return MeasuredCells(
        values=transformed(data, np.concatenate([cells[chosen], controls]), transform),
        sizes=np.append(sizes, len(controls)),
        names=(*map(str, treated.labels[rows]), data.control_name),
    )


def _is(n: int) -> str:
    return "are" if n > 1 else "is"


def _caveats(measurement: Measurement) -> list[str]:
    """What follows from the cells alone."""
    told = []
    n, split = len(measurement.rows), measurement.split
    if len(measurement.training_cells) == 0:
        of_run = (measurement.seen != "unknown").all()
        baselines = "baselines learned from the model's training cells" if of_run else "there are no baselines"
        told.append(
            f"The data name no training cells, so all cells are taken as {split} cells: {baselines}, and if the model "
            "was trained on these cells, its scores are too good."
        )
    if (measurement.seen == "seen").all():
        told.append(
            "Every scored treatment was seen in training: these scores cannot show that the model predicts anything "
            "unseen, only how well it remembers; compare with own_training_mean."
        )
    elif (measurement.seen == "seen").any():
        told.append(
            f"{(measurement.seen == 'seen').sum()} of {n} scored treatments were seen in training; only the others "
            "show whether a predictor can say what it has not seen."
        )
    if measurement.unscored:
        few = len(measurement.unscored)
        told.append(f"{few} treatment{'s' if few > 1 else ''} with too few {split} cells {_is(few)} not scored.")
    if measurement.n_controls < FEW_CONTROLS:
        told.append(
            f"Only {measurement.n_controls} control cells measure the effects: all effects share the noise of their "
            "mean."
        )
    if n == 1:
        told.append("Only one treatment is scored: metrics that compare treatments are not defined.")
    if split == "val":
        told.append("Validation cells helped to choose the model's parameters, which flatters the model.")
    return told
