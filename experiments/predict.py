"""Predict the expression of perturbations, combinations and doses with a stored model.

    python -m experiments.predict --run runs/screen --perturbations KLF1 KLF1+TGFBR2 DRUG@0.5 --out predicted.h5ad

Each perturbation must have had training cells of its own, alone or in combination; combinations and doses need not.
Writes an AnnData, treatments x genes: X the predicted mean expression, layers ate and ate_se the difference to control
and its Monte-Carlo error, ate_sd, ate_low and ate_high its posterior standard deviation and 90 % interval given the
networks, uns["samsjax"] the scale, library size, particles and reference. Of a model that knows the quality of cells,
predicted cells are good ones, or fail the criteria of --effects.fails, with the library sizes of such training cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from experiments import output
from experiments.cli import check_seed, parse, run
from experiments.stored import load_run
from samsjax import reporting
from samsjax.data import parse_treatment
from samsjax.data.encoding import Treatments
from samsjax.errors import InputError, listing
from samsjax.evaluation.model_effects import EffectsConfig, model_effects
from samsjax.evaluation.uncertainty import with_intervals
from samsjax.inference.fitted import Fitted


@dataclass(frozen=True, kw_only=True)
class PredictCommand:
    """All settings of a prediction."""

    run: Path
    """Folder written by experiments.fit."""
    perturbations: tuple[str, ...]
    """What to predict: names, combinations (A+B) and doses (A@0.5)."""
    out: Path
    """File for the result (.h5ad); must not exist."""
    overwrite: bool = False
    """Replace an existing file."""
    seed: int = 0
    """Decides all draws."""
    effects: EffectsConfig = field(default_factory=EffectsConfig)

    def __post_init__(self) -> None:
        check_seed(self.seed)


class _Requested(NamedTuple):
    perturbation_index: np.ndarray
    dosage: np.ndarray
    n_training_cells: np.ndarray


def main(argv: Sequence[str]) -> None:
    """Parse flags, predict, write one file."""
    command = parse(PredictCommand, argv, program="python -m experiments.predict", description=__doc__ or "")
    output.check_file(command.out, overwrite=command.overwrite)
    fitted = load_run(command.run)
    labels = np.asarray(command.perturbations, dtype=str)
    requested = requested_treatments(fitted, command.perturbations)
    key = jax.random.key(command.seed)
    arms = requested.perturbation_index, requested.dosage
    predicted = model_effects(key, fitted, labels, *arms, command.effects)
    treated = Treatments(labels, *arms, assignment=np.zeros(0, dtype=int))
    predicted = with_intervals(jax.random.fold_in(key, 1), fitted, treated, predicted, command.effects)
    result = reporting.predictions_to_anndata(fitted, predicted, command.effects, requested.n_training_cells)
    with output.output_file(command.out, overwrite=command.overwrite) as path:
        result.write_h5ad(path, compression="gzip")
    print(f"{len(labels)} treatments x {result.n_vars} genes in {command.effects.transform} written to {command.out}")


def requested_treatments(fitted: Fitted, labels: Sequence[str]) -> _Requested:
    """Indices, dosages and training cells of the treatments named by `labels`.

    Raises:
        InputError: no label, a repeated label, an unknown perturbation, or one without training cells.
    """
    words = fitted.vocabulary
    if not labels:
        raise InputError("--perturbations is empty: name at least one perturbation or combination")
    if len(set(labels)) < len(labels):
        raise InputError(f"repeated in --perturbations: {listing(sorted({x for x in labels if labels.count(x) > 1}))}")
    parsed = [
        parse_treatment(label, words.perturbation_names, separator=words.separator, control_name=words.control_name)
        for label in labels
    ]
    shape = (len(labels), max(1, *(len(index) for index, _ in parsed)))
    index, dosage, n_cells = np.zeros(shape, int), np.zeros(shape, np.float32), np.zeros(len(labels), int)
    for row, (label, (parts, doses)) in enumerate(zip(labels, parsed, strict=True)):
        untrained = [words.perturbation_names[part] for part in parts if fitted.n_training_cells[part] == 0]
        if untrained:
            raise InputError(
                f"cannot predict {label!r}: {listing(untrained)} had no training cells, so no effect is known"
            )
        index[row, : len(parts)], dosage[row, : len(parts)] = parts, doses
        n_cells[row] = fitted.n_training_cells[parts].min() if len(parts) else 0
    return _Requested(index, dosage, n_cells)


if __name__ == "__main__":
    run(main)
