"""How sure a model is of its effects, mended by validation cells, and whether test cells and the truth agree.

The posterior of effects given the networks (`effect_posterior`) is widened by the networks' error, which validation
cells show (`recalibration`); then coverage is counted in cells that had no part in it, and on simulations against the
truth (`calibration`).
"""

from typing import NamedTuple

import jax
import numpy as np

from samsjax.data.dataset import PerturbationData
from samsjax.data.encoding import Treatments
from samsjax.data.simulate import Truth
from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.baselines import TrainingEffects, training_effects
from samsjax.evaluation.calibration import Calibration, coverage_of_measured, coverage_of_true_effects
from samsjax.evaluation.data_effects import data_effects, group_moments
from samsjax.evaluation.effect_posterior import effect_intervals
from samsjax.evaluation.model_effects import EffectsConfig
from samsjax.evaluation.posterior_effects import PosteriorEffects
from samsjax.evaluation.recalibration import (
    FEWEST_VALUES,
    SEEN_IN,
    NetworkError,
    network_error,
    recalibrated,
)
from samsjax.evaluation.true_effects import true_effects
from samsjax.inference.fitted import Fitted

N_DRAWS, N_CELLS = 48, 16
"""Draws of the shared effects, and cells each is averaged over."""


class Uncertainty(NamedTuple):
    """Effects with intervals, and how often these hold what they promise."""

    effects: AverageEffects
    """Predicted effects with `sd`, `low` and `high`: recalibrated if `network_error` is given."""
    network_error: NetworkError | None
    """None where there are too few validation cells to learn it."""
    calibrations: dict[str, Calibration]
    """By name: effects measured in test cells, and true effects if known, by the model's own intervals and by
    recalibrated ones; true effects in latent space."""


class _Spread(NamedTuple):
    """Variation between training cells."""

    treated: np.ndarray
    """(treatment, gene) variance between cells; NaN for treatments of fewer than two training cells."""
    control: np.ndarray
    """(gene,)."""
    seen: np.ndarray
    """(gene,): share of control cells in which a gene is seen; 1 for continuous values."""


def with_intervals(
    key: jax.Array, fitted: Fitted, treated: Treatments, predicted: AverageEffects, config: EffectsConfig
) -> AverageEffects:
    """`predicted` with posterior sd and 90 % intervals given the networks; NaN where nothing is predicted."""
    known = ~np.isnan(predicted.ate).any(axis=1)
    arms = treated.perturbation_index[known], treated.dosage[known]
    found = effect_intervals(key, fitted, treated.labels[known], *arms, config, n_draws=N_DRAWS, n_cells=N_CELLS)
    sd, low, high = (np.full(predicted.ate.shape, np.nan, np.float32) for _ in range(3))
    assert found.sd is not None and found.low is not None and found.high is not None
    # Ends are shifted to the mean over all particles, which is known more exactly than that of these draws.
    sd[known] = found.sd
    low[known] = predicted.ate[known] + (found.low - found.ate)
    high[known] = predicted.ate[known] + (found.high - found.ate)
    return predicted._replace(sd=sd, low=low, high=high)


def uncertainty(
    key: jax.Array,
    fitted: Fitted,
    data: PerturbationData,
    treated: Treatments,
    predicted: AverageEffects,
    config: EffectsConfig,
    effects: PosteriorEffects | None = None,
    truth: Truth | None = None,
) -> Uncertainty:
    """Intervals of predicted effects, recalibrated where validation cells allow, and their coverage.

    Measured effects are compared only where training cells of the same treatment say how much cells vary, on genes seen
    in at least 5 % of control cells: means of rarer ones are far from normal.

    Args:
        key: decides the draws.
        fitted: the model.
        data: cells with a split.
        treated: its treatments.
        predicted: the model's effects on them.
        config: with which they were predicted.
        effects: in latent space; checked against the truth.
        truth: of a simulation.
    """
    own = with_intervals(key, fitted, treated, predicted, config)
    if not _has_both(data, treated, "train"):
        return Uncertainty(own, None, {})
    spread = _spread(training_effects(data, treated, predicted.transform), treated)
    learned = _learned(own, data, treated, spread)
    kinds = {"own intervals": own}
    if learned is not None:
        kinds["recalibrated"] = recalibrated(own, learned)
    genes = spread.seen >= SEEN_IN
    calibrations: dict[str, Calibration] = {}
    measured = _measured(data, treated, spread, "test", own.transform)
    if measured is not None:
        calibrations |= _coverages("test cells", "effects measured in test cells", kinds, measured, genes)
    if truth is not None and (truth.theta is not None or own.transform == "counts"):
        true = true_effects(data, treated, truth, own.transform)
        of_truth = _Measured(true.ate, true.standard_error)
        calibrations |= _coverages("true effects", "true effects on genes", kinds, of_truth, genes)
    if truth is not None and effects is not None and truth.effect.shape[0] == effects.mean.shape[0]:
        calibrations["true effects, latent space"] = coverage_of_true_effects(truth.mask, truth.effect, effects)
    return Uncertainty(kinds.get("recalibrated", own), learned, calibrations)


def _spread(training: TrainingEffects, treated: Treatments) -> _Spread:
    n_controls = training.controls.shape[0]
    _, of_mean = group_moments(training.controls, np.zeros(n_controls, int), 1)
    control = of_mean[0] * n_controls
    row = {label: i for i, label in enumerate(training.labels)}
    variance = np.full((len(treated.labels), len(control)), np.nan)
    for place, label in enumerate(treated.labels):
        if label in row:
            mean_variance = np.maximum(training.standard_error[row[label]] ** 2 - of_mean[0], 0.0)
            variance[place] = mean_variance * training.n_cells[row[label]]
    share = np.asarray((training.controls != 0).mean(axis=0)).ravel()
    return _Spread(variance, control, share if training.whole_counts else np.ones_like(control))


def _has_both(data: PerturbationData, treated: Treatments, split: str) -> bool:
    """Whether a split has treated cells and controls."""
    control = treated.assignment[data.cells(split)] < 0
    return bool(control.any() and not control.all())


class _Measured(NamedTuple):
    effect: np.ndarray
    """(treatment, gene); NaN where the split has no cells of a treatment."""
    error: np.ndarray


def _measured(
    data: PerturbationData, treated: Treatments, spread: _Spread, split: str, transform: str
) -> _Measured | None:
    """Effects measured in a split, with the errors that variation between training cells implies; None if it cannot."""
    if not _has_both(data, treated, split):
        return None
    cells = data.cells(split)
    assigned = treated.assignment[cells]
    n_controls = int((assigned < 0).sum())
    found = data_effects(data, treated, cells, transform)
    n_cells = np.bincount(assigned[assigned >= 0], minlength=len(treated.labels)).astype(float)
    effect = np.full(spread.treated.shape, np.nan)
    effect[np.searchsorted(treated.labels, found.labels)] = found.ate
    with np.errstate(divide="ignore"):
        error = np.sqrt(spread.treated / n_cells[:, None] + spread.control / n_controls)
    return _Measured(effect, np.where(np.isfinite(error), error, np.nan))


def _learned(own: AverageEffects, data: PerturbationData, treated: Treatments, spread: _Spread) -> NetworkError | None:
    measured = _measured(data, treated, spread, "val", own.transform)
    if measured is None:
        return None
    usable = np.isfinite(measured.effect) & (measured.error > 0) & np.isfinite(own.ate) & (spread.seen >= SEEN_IN)
    if usable.sum() < FEWEST_VALUES:
        return None
    return network_error(own, measured.effect, measured.error, np.sqrt(spread.control), spread.seen)


def _coverages(
    of: str, what: str, kinds: dict[str, AverageEffects], measured: _Measured, genes: np.ndarray
) -> dict[str, Calibration]:
    """Coverage of `measured` on `genes` by each kind of intervals, under the name "`of`, kind"."""
    return {
        f"{of}, {kind}": coverage_of_measured(
            f"{what}, {kind}",
            *(np.asarray(v)[:, genes] for v in (effects.ate, effects.sd, measured.effect, measured.error)),
        )
        for kind, effects in kinds.items()
    }
