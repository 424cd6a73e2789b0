"""Do intervals cover what they should? Coverage of the truth on simulations, and of measured effects on data.

An interval of 90 % is calibrated if it holds the true value 90 times of 100. On a simulation the truth is known. On
data, cells that no model has seen measure the same effects with an error of their own: a prediction with standard
deviation s and a measurement with standard error e differ by about Normal(0, s^2 + e^2) if both say what they know.
Coverage is stated for several nominal levels, so that a curve shows whether intervals are too narrow (below the
diagonal) or too wide (above it).
"""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from samsjax.errors import InputError
from samsjax.evaluation.masks import MaskAgreement, mask_agreement, matched_truth
from samsjax.evaluation.posterior_effects import PosteriorEffects

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
"""Nominal coverage at which calibration is checked."""


class Calibration(NamedTuple):
    """Observed coverage at nominal levels."""

    what: str
    """Which values are covered, in words."""
    n_values: int
    nominal: np.ndarray
    """(level,): what the intervals promise."""
    observed: np.ndarray
    """(level,): share of values inside; NaN without values."""

    def at(self, level: float) -> float:
        """Observed coverage of the intervals of one nominal level in `nominal`.

        Raises:
            InputError: for a level that was not checked.
        """
        place = np.flatnonzero(np.isclose(self.nominal, level))
        if not len(place):
            raise InputError(f"coverage at {level} was not checked; checked: {self.nominal.tolist()}")
        return float(self.observed[place[0]])


def coverage_of_measured(
    what: str, predicted: np.ndarray, sd: np.ndarray, measured: np.ndarray, standard_error: np.ndarray
) -> Calibration:
    """How often a measurement lies within what the prediction and the error of the measurement allow together.

    Args:
        what: the values, in words.
        predicted: posterior means, any shape; entries with NaN anywhere are left out.
        sd: posterior standard deviations.
        measured: independent measurements of the same quantities.
        standard_error: of the measurements; 0 where the truth is known exactly.

    Raises:
        InputError: if shapes differ.
    """
    shapes = {np.shape(value) for value in (predicted, sd, measured, standard_error)}
    if len(shapes) > 1:
        raise InputError(f"predictions and measurements differ in shape: {sorted(shapes)}")
    spread = np.sqrt(np.square(sd, dtype=np.float64) + np.square(standard_error, dtype=np.float64))
    distance = np.abs(np.asarray(measured, dtype=np.float64) - predicted)
    known = np.isfinite(distance) & np.isfinite(spread)
    # A measurement without any spread on either side is covered if it is hit exactly.
    half_widths = ndtri((1 + np.array(LEVELS)) / 2)
    inside = distance[known][None] <= half_widths[:, None] * spread[known][None]
    return _calibration(what, inside)


def coverage_of_true_effects(true_mask: np.ndarray, true_effect: np.ndarray, effects: PosteriorEffects) -> Calibration:
    """How often intervals of effects in latent space hold the true effect, over the truly active entries.

    Latents are matched to the true ones by their masks and their signs by the effects, as neither is identified. Where
    a mask misses a true effect, its interval is the point zero and does not cover it. Entries without a true effect
    are left out: nearly all of them are exactly zero on both sides, and would make any interval look good.

    Args:
        true_mask: bool (perturbation, true latent).
        true_effect: (perturbation, true latent), in standard deviations of the basal state.
        effects: of the fitted model.
    """
    agreement = mask_agreement(true_mask, effects.active)
    true, active = _matched(true_effect, effects, agreement), matched_truth(true_mask, effects.mean.shape[1], agreement)
    sign = np.where((true * effects.mean).sum(axis=0) < 0, -1.0, 1.0)
    covered = []
    for level in LEVELS:
        low, high = effects.interval(level)
        covered.append(((low <= true * sign) & (true * sign <= high))[active])
    n_unmatched = int(true_mask.sum() - active.sum())
    # True effects on latents that no latent was matched to are never covered.
    inside = np.concatenate([np.array(covered), np.zeros((len(LEVELS), n_unmatched), dtype=bool)], axis=1)
    return _calibration("true effects in latent space, active entries", inside)


def _matched(true_effect: np.ndarray, effects: PosteriorEffects, agreement: MaskAgreement) -> np.ndarray:
    matched = np.zeros(effects.mean.shape)
    matched[:, agreement.estimated_latents] = true_effect[:, agreement.true_latents]
    return matched


def _calibration(what: str, inside: np.ndarray) -> Calibration:
    observed = inside.mean(axis=1) if inside.shape[1] else np.full(len(LEVELS), np.nan)
    return Calibration(what, inside.shape[1], np.array(LEVELS), observed)
