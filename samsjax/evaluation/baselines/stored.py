"""`TrainingEffects` on disk, so that a stored model can be scored beside baselines without its training cells."""

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from samsjax.errors import InputError
from samsjax.evaluation.baselines.training import TrainingEffects
from samsjax.evaluation.data_effects import dense

MOST_CONTROLS = 500
"""Control cells kept, evenly spaced in their order: baselines draw cells from them."""
_ARRAYS = ("labels", "n_cells", "effect", "standard_error", "control_mean", "gene_names", "perturbation_names")
FEATURES = "features"
"""Left out for perturbations without."""


def save_training_effects(training: TrainingEffects, path: Path) -> None:
    """Write plain arrays (.npz, no pickle); effects in single precision."""
    slots = max(len(condition) for condition in training.conditions)
    index, dosage = np.zeros((len(training.conditions), slots), np.int32), np.zeros((len(training.conditions), slots))
    for row, condition in enumerate(training.conditions):
        for slot, (part, dose) in enumerate(condition):
            index[row, slot], dosage[row, slot] = part, dose
    n_controls = training.controls.shape[0]
    kept = np.linspace(0, n_controls - 1, min(n_controls, MOST_CONTROLS)).astype(int)
    controls = dense(training.controls[kept]).astype(np.float32)
    arrays: dict[str, Any] = {name: _single(np.asarray(getattr(training, name))) for name in _ARRAYS}
    arrays |= {"perturbation_index": index, "dosage": dosage, "controls": controls}
    arrays |= {} if training.features is None else {FEATURES: training.features}  # their last digits decide nearness
    arrays |= {"transform": np.array(training.transform), "whole_counts": np.array(training.whole_counts)}
    np.savez_compressed(path, **arrays)


def load_training_effects(path: Path) -> TrainingEffects:
    """Read what `save_training_effects` wrote.

    Raises:
        InputError: if the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        pairs = zip(arrays.pop("perturbation_index"), arrays.pop("dosage"), strict=True)
        conditions = [
            tuple((int(i), float(d)) for i, d in zip(index, dosage, strict=True) if d) for index, dosage in pairs
        ]
        transform, whole = str(arrays.pop("transform")), bool(arrays.pop("whole_counts"))
        controls = sp.csr_matrix(arrays.pop("controls").astype(np.float64))
        values = {name: _double(arrays[name]) for name in _ARRAYS}
        values |= {FEATURES: arrays[FEATURES]} if FEATURES in arrays else {}
        return TrainingEffects(
            conditions=conditions, controls=controls, transform=transform, whole_counts=whole, **values
        )
    except FileNotFoundError as error:
        raise InputError(f"no training effects at {path}") from error
    except (ValueError, KeyError, OSError) as error:  # ValueError: no archive, or pickled objects
        raise InputError(f"{path} is damaged: {error}") from error


def _single(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) if values.dtype == np.float64 else values


def _double(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64) if values.dtype == np.float32 else values
