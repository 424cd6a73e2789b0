"""Predict the expression of perturbations, combinations and doses with a stored model.

    python -m experiments.predict --run runs/screen --perturbations KLF1 KLF1+TGFBR2 DRUG@0.5 --out predicted.h5ad
    python -m experiments.predict --run runs/screen --perturbations NEW NEW+KLF1 --features new.csv --out predicted.h5ad

Each perturbation must have had training cells of its own, alone or in combination; combinations and doses need not. A
run fitted with features of perturbations also predicts those that nobody measured, from features alone: those of its
own features.csv, and those of a further table with the same columns, --features. Such treatments have 0 in
obs["n_training_cells"], and obs["from_features"] names the perturbations that had no training cells.

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
from experiments.cli import check_seed, parse, run, say
from experiments.new_perturbations import KnownFeatures, parts_of
from experiments.stored import load_run
from samsjax import reporting
from samsjax.data import parse_treatment
from samsjax.data.encoding import Treatments
from samsjax.data.labels import LEARNED_FROM_CELLS
from samsjax.errors import InputError, listing
from samsjax.evaluation.known import known_perturbations
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
    features: Path | None = None
    """Table with features of perturbations that the run has none of, as --features.path of the fit; columns that the
    run does not use, and rows of perturbations it was fitted to, are not looked at."""
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
    from_features: np.ndarray
    """str (treatment,): perturbations without training cells, joined; empty where all had some."""
    unseen: tuple[str, ...]
    """These perturbations, each once."""


def main(argv: Sequence[str]) -> None:
    """Parse flags, predict, write one file."""
    command = parse(PredictCommand, argv, program="python -m experiments.predict", description=__doc__ or "")
    output.check_file(command.out, overwrite=command.overwrite)
    fitted = load_run(command.run)
    labels = np.asarray(command.perturbations, dtype=str)
    known = KnownFeatures.of(command.run, fitted, command.features)
    parts = parts_of(command.perturbations, fitted.vocabulary.separator)
    fitted = known.added_to(fitted, known.new_names(fitted, parts))
    requested = requested_treatments(fitted, command.perturbations, known.why_unknown())
    key = jax.random.key(command.seed)
    arms = requested.perturbation_index, requested.dosage
    predicted = model_effects(key, fitted, labels, *arms, command.effects)
    treated = Treatments(labels, *arms, assignment=np.zeros(0, dtype=int))
    predicted = with_intervals(jax.random.fold_in(key, 1), fitted, treated, predicted, command.effects)
    result = reporting.predictions_to_anndata(fitted, predicted, command.effects, requested.n_training_cells)
    if fitted.config.uses_features:
        result.obs["from_features"] = requested.from_features
    with output.output_file(command.out, overwrite=command.overwrite) as path:
        result.write_h5ad(path, compression="gzip")
    if requested.unseen:
        say(f"no training cell carries {listing(requested.unseen)}: predicted from features alone")
    print(f"{len(labels)} treatments x {result.n_vars} genes in {command.effects.transform} written to {command.out}")


def requested_treatments(fitted: Fitted, labels: Sequence[str], why_unknown: str = LEARNED_FROM_CELLS) -> _Requested:
    """Indices, dosages and training cells of the treatments named by `labels`.

    Args:
        fitted: the model.
        labels: treatments, such as `A+B@0.5`.
        why_unknown: what the error says of a perturbation that the model does not know.

    Raises:
        InputError: no label, a repeated label, an unknown perturbation, or one without training cells in a model that
            does not know it by features.
    """
    words = fitted.vocabulary
    if not labels:
        raise InputError("--perturbations is empty: name at least one perturbation or combination")
    if len(set(labels)) < len(labels):
        raise InputError(f"repeated in --perturbations: {listing(sorted({x for x in labels if labels.count(x) > 1}))}")
    parsed = [
        parse_treatment(
            label,
            words.perturbation_names,
            separator=words.separator,
            control_name=words.control_name,
            why_unknown=why_unknown,
        )
        for label in labels
    ]
    is_known = known_perturbations(fitted)
    shape = (len(labels), max(1, *(len(index) for index, _ in parsed)))
    index, dosage, n_cells = np.zeros(shape, int), np.zeros(shape, np.float32), np.zeros(len(labels), int)
    from_features, unseen = np.full(len(labels), "", dtype=object), dict[str, None]()
    for row, (label, (parts, doses)) in enumerate(zip(labels, parsed, strict=True)):
        untrained = [part for part in parts if fitted.n_training_cells[part] == 0]
        names = [words.perturbation_names[part] for part in untrained]
        if not is_known[untrained].all():
            raise InputError(
                f"cannot predict {label!r}: {listing(names)} had no training cells, so no effect is known; a model "
                "fitted with --features.source predicts such perturbations from features"
            )
        from_features[row] = words.separator.join(names)
        unseen |= dict.fromkeys(names)
        index[row, : len(parts)], dosage[row, : len(parts)] = parts, doses
        n_cells[row] = fitted.n_training_cells[parts].min() if len(parts) else 0
    return _Requested(index, dosage, n_cells, from_features, tuple(unseen))


if __name__ == "__main__":
    run(main)
