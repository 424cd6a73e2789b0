"""Intervals of a fit: what is silent stays silent, where validation cells are missing nothing is learned."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import samsjax
from samsjax.data import simulate
from samsjax.evaluation.baselines import training_effects
from samsjax.evaluation.predictors import ModelPredictor, Remembered
from samsjax.evaluation.uncertainty import _measured, _spread, uncertainty, with_intervals
from tests import small

CONFIG = samsjax.EffectsConfig(n_particles=8)


@pytest.fixture(scope="module")
def screen():
    return simulate(replace(small.SCREEN, n_genes=40, cells_per_single=60, n_control_cells=200), seed=0)


@pytest.fixture(scope="module")
def fitted(screen):
    return samsjax.fit(screen[0], small.MODEL, small.TRAIN, progress=False)


@pytest.fixture(scope="module")
def predicted(screen, fitted):
    treated = samsjax.treatments(screen[0])
    return ModelPredictor(jax.random.key(0), fitted, CONFIG).effects(treated)


def test_silence_has_no_interval(screen, fitted, predicted):
    treated = samsjax.treatments(screen[0])
    silent = predicted._replace(ate=predicted.ate.copy())
    silent.ate[2] = np.nan
    found = with_intervals(jax.random.key(1), fitted, treated, silent, CONFIG)
    assert np.isnan(found.sd[2]).all() and np.isfinite(np.delete(found.sd, 2, axis=0)).all()
    known = np.delete(np.arange(len(treated.labels)), 2)
    assert (found.low[known] <= found.high[known]).all()


def test_errors_of_a_measurement_follow_its_numbers_of_cells(screen):
    data = screen[0]
    treated = samsjax.treatments(data)
    spread = _spread(training_effects(data, treated, "log2_cp10k"), treated)
    direct = samsjax.data_effects(data, treated, data.cells("train"))
    of_train = _measured(data, treated, spread, "train", "log2_cp10k")
    np.testing.assert_allclose(of_train.error, direct.standard_error, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(of_train.effect, direct.ate, rtol=1e-3, atol=1e-5)
    of_test = _measured(data, treated, spread, "test", "log2_cp10k")
    assert (of_test.error > of_train.error).mean() > 0.99


def test_coverage_is_counted_and_intervals_only_grow(screen, fitted, predicted):
    data, truth = screen
    treated = samsjax.treatments(data)
    effects = samsjax.posterior_effects(jax.random.key(0), fitted)
    found = uncertainty(jax.random.key(1), fitted, data, treated, predicted, CONFIG, effects, truth)
    own = with_intervals(jax.random.key(1), fitted, treated, predicted, CONFIG)
    assert found.network_error is not None and found.network_error.share > 0  # hardly trained: it must err
    assert (found.effects.sd >= own.sd - 1e-6).all()
    names = [*(f"{of}, {how}" for of in ("test cells", "true effects") for how in ("own intervals", "recalibrated"))]
    assert list(found.calibrations) == [*names, "true effects, latent space"]
    at = {name: calibration.at(0.9) for name, calibration in found.calibrations.items()}
    assert at["test cells, own intervals"] < at["test cells, recalibrated"]
    assert at["true effects, own intervals"] < at["true effects, recalibrated"]


def test_without_validation_cells_nothing_is_learned(screen, fitted, predicted):
    data = screen[0].with_split(np.where(screen[0].split == "val", "none", screen[0].split))
    found = uncertainty(jax.random.key(1), fitted, data, samsjax.treatments(data), predicted, CONFIG)
    assert found.network_error is None and list(found.calibrations) == ["test cells, own intervals"]
    alone = data.with_split(np.full(data.n_cells, "test"))
    found = uncertainty(jax.random.key(1), fitted, alone, samsjax.treatments(alone), predicted, CONFIG)
    assert found.network_error is None and found.calibrations == {}


def test_a_remembered_predictor_looks_up_rows(screen, fitted):
    treated = samsjax.treatments(screen[0])
    predictor = ModelPredictor(jax.random.key(0), fitted, CONFIG)
    remembered = Remembered.of(predictor, treated)
    some = samsjax.data.encoding.Treatments(
        treated.labels[[4, 1]], treated.perturbation_index[[4, 1]], treated.dosage[[4, 1]], np.zeros(0, int)
    )
    assert_array_equal(remembered.effects(some).ate, remembered.known.ate[[4, 1]])
    assert_array_equal(remembered.effects(some).labels, some.labels)
    assert (remembered.name, remembered.description) == (predictor.name, predictor.description)
    key = jax.random.key(5)
    assert_array_equal(remembered.cells(key, some, 0, 3), predictor.cells(key, some, 0, 3))
