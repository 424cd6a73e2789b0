"""Intervals of effects have the quantiles of their posterior, and coverage is what it is by construction."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from samsjax.errors import InputError
from samsjax.evaluation.calibration import LEVELS, coverage_of_measured, coverage_of_true_effects
from samsjax.evaluation.posterior_effects import PosteriorEffects


def spike_and_slab(probability, centre, spread, sparse=True):
    """`PosteriorEffects` of independent masks and normal embeddings."""
    p, m, s = (np.atleast_2d(np.asarray(v, dtype=np.float64)) for v in (probability, centre, spread))
    mean = p * m
    return PosteriorEffects(p, mean, np.sqrt(p * (s**2 + m**2) - mean**2), sparse)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_intervals_are_quantiles_of_draws(level):
    rng = np.random.default_rng(0)
    p, m, s = (
        np.array([1.0, 0.97, 0.6, 0.3, 0.02, 0.5]),
        np.array([2.0, -3, 0.5, 4, 1, 0]),
        np.array([0.3, 1, 1, 2, 1, 1]),
    )
    low, high = spike_and_slab(p, m, s).interval(level)
    drawn = (rng.random((400_000, 6)) < p) * rng.normal(m, s, (400_000, 6))
    expected = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    assert_allclose(np.concatenate([low, high]), expected, atol=0.03)


def test_certain_entries_have_no_width():
    effects = spike_and_slab([0.0, 1.0, 1.0], [3.0, 2.0, -2.0], [1.0, 0.0, 0.0])
    low, high = effects.interval(0.9)
    assert_allclose(low, [[0, 2, -2]], atol=1e-6)
    assert_allclose(high, [[0, 2, -2]], atol=1e-6)
    with pytest.raises(InputError, match=r"level.*1\.5"):
        effects.interval(1.5)


def screen_with_noise(scale, n=300, n_latent=5, seed=0):
    """True effects, and a posterior centred at truth plus Normal(0, .3) noise that claims a spread of .3 x scale."""
    rng = np.random.default_rng(seed)
    mask = rng.random((n, n_latent)) < 0.4
    effect = np.where(mask, rng.choice([-2.0, 2.0], mask.shape), 0.0)
    centre = effect + 0.3 * rng.standard_normal(mask.shape)
    order, signs = rng.permutation(n_latent), rng.choice([-1.0, 1.0], n_latent)
    posterior = spike_and_slab(mask, centre, np.full(mask.shape, 0.3 * scale))
    turned = PosteriorEffects(
        posterior.inclusion_probability[:, order], (posterior.mean * signs)[:, order], posterior.sd[:, order], True
    )
    return mask, effect, turned


def test_coverage_of_true_effects_is_nominal_for_honest_posteriors_in_any_order_and_sign():
    calibration = coverage_of_true_effects(*screen_with_noise(scale=1.0))
    assert calibration.n_values > 500
    assert_allclose(calibration.observed, LEVELS, atol=0.06)
    narrow = coverage_of_true_effects(*screen_with_noise(scale=0.5))
    assert narrow.at(0.9) < 0.7 < 0.98 < coverage_of_true_effects(*screen_with_noise(scale=2.0)).at(0.9)


def test_missed_effects_are_not_covered():
    mask, effect, posterior = screen_with_noise(scale=1.0)
    missed = posterior._replace(
        inclusion_probability=np.zeros_like(posterior.mean), mean=0 * posterior.mean, sd=0 * posterior.sd
    )
    assert (coverage_of_true_effects(mask, effect, missed).observed == 0).all()
    fewer = PosteriorEffects(*(value[:, :3] for value in posterior[:3]), True)
    part = coverage_of_true_effects(mask, effect, fewer)
    assert part.n_values == mask.sum() and part.at(0.9) < 0.75


def test_coverage_of_measurements_counts_both_errors():
    rng = np.random.default_rng(1)
    truth = rng.standard_normal((40, 100))
    predicted = truth + 0.5 * rng.standard_normal(truth.shape)
    measured = truth + 1.2 * rng.standard_normal(truth.shape)
    sd, error = np.full(truth.shape, 0.5), np.full(truth.shape, 1.2)
    calibration = coverage_of_measured("effects", predicted, sd, measured, error)
    assert_allclose(calibration.observed, LEVELS, atol=0.03)
    assert coverage_of_measured("effects", predicted, 0 * sd, truth, 0 * error).at(0.9) == 0
    assert coverage_of_measured("effects", truth, 0 * sd, truth, 0 * error).at(0.9) == 1


def test_undefined_values_are_left_out():
    nan = float("nan")
    values = np.array([0.0, 0.0, nan, 0.0])
    error = np.array([1.0, nan, 1.0, 1.0])
    calibration = coverage_of_measured("x", values, np.zeros(4), np.array([0.0, 0, 0, 100]), error)
    assert calibration.n_values == 2
    assert_array_equal(calibration.observed, np.full(len(LEVELS), 0.5))
    nothing = coverage_of_measured("x", values[:0], values[:0], values[:0], values[:0])
    assert nothing.n_values == 0 and np.isnan(nothing.observed).all()
    with pytest.raises(InputError, match="differ in shape"):
        coverage_of_measured("x", values, values, values, values[:2])
    with pytest.raises(InputError, match=r"0\.42 was not checked"):
        calibration.at(0.42)
