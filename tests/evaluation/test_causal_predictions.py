"""Predictions of contexts: simple predictors do what they say, intervals cover, and densities are densities."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal

from samsjax.data.gim_simulation import GIMSimulationConfig, draw_gim
from samsjax.errors import InputError
from samsjax.evaluation.interventions import PREDICTORS, contexts_of, gaussian_prediction
from samsjax.evaluation.interventions.contexts import Contexts
from samsjax.evaluation.interventions.prediction import (
    covered,
    gaussian_log_likelihood,
    near_positive,
)
from samsjax.evaluation.interventions.predictors import PENALTIES
from samsjax.evaluation.ridge import Ridge
from samsjax.inference.regression import NetworkSettings, fit_gaussian_network

SMALL = GIMSimulationConfig(
    n_variables=4, edges_per_node=1, n_train_functions=10, n_test_functions=3, n_features=4, cells_per_context=20
)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def drawn():
    return draw_gim(SMALL, seed=0)


def fitted(name, training):
    return PREDICTORS[name].fit(training, None, KEY)


def test_contexts_hold_the_cells_of_one_perturbation_each(drawn):
    data, truth = drawn
    training, test = contexts_of(data, "train"), contexts_of(data, "test")
    assert training.numbers.tolist() == truth.contexts("train").tolist()
    assert test.numbers.tolist() == truth.contexts("partly_interior", "partly_edge", "fully").tolist()
    own = data.x[(data.perturbation_index[:, 0] == test.numbers[2]) & (data.dosage[:, 0] == 1)]
    assert_allclose(test.cells[2], own)
    assert_allclose(training.features.mean(axis=0), 0, atol=1e-6)
    assert_allclose(training.features.std(axis=0), 1, rtol=1e-5)
    assert len(training.control) == SMALL.n_control_cells
    some = test.subset(truth.group[test.numbers] == "fully")
    assert set(truth.group[some.numbers]) == {"fully"} and len(some.cells) == len(some.names) == 12


def test_contexts_need_features_and_whole_doses(drawn):
    data, _ = drawn
    with pytest.raises(InputError, match="hold none"):
        contexts_of(replace(data, features=None), "test")
    with pytest.raises(InputError, match="other dosages"):
        contexts_of(replace(data, dosage=data.dosage * 0.5), "test")


def test_simple_predictors_say_what_they_should(drawn):
    data, _ = drawn
    training = contexts_of(data, "train")
    rng = np.random.default_rng(0)
    (same,) = fitted("no effect", training)(training.features[:1], 5000, rng)
    assert_allclose(same.mean, training.control.mean(axis=0))
    assert_allclose(same.cells.std(axis=0), training.control.std(axis=0), rtol=0.05)
    (average,) = fitted("mean effect", training)(training.features[:1], 5, rng)
    assert_allclose(average.mean, training.means.mean(axis=0))
    near = fitted("nearest", training)(training.features[[4, 2]] + 1e-3, 5, rng)
    assert_allclose([p.mean for p in near], training.means[[4, 2]])


def linear_contexts(n, seed, noise=0.1, n_cells=30):
    """Contexts whose means and covariances are linear in two of five features."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 5))
    scale = 1 + 0.3 * np.clip(features[:, 1], -2, 2)
    means = np.stack([2 * features[:, 0], features[:, 1] + 1], axis=1) + noise * rng.normal(size=(n, 2))
    cells = [m + s * rng.normal(size=(n_cells, 2)) for m, s in zip(means, np.sqrt(np.maximum(scale, 0.1)), strict=True)]
    return Contexts(np.arange(n), np.arange(n).astype(str), features, cells, rng.normal(size=(50, 2)))


def test_ridge_learns_means_and_spreads_that_follow_features():
    training, new = linear_contexts(200, 0), linear_contexts(50, 1)
    predictions = fitted("ridge", training)(new.features, 20, np.random.default_rng(0))
    error = np.array([p.mean for p in predictions]) - new.means
    assert np.sqrt((error**2).mean()) < 0.3 < new.means.std()
    spread = np.array([p.sd for p in predictions])
    truth = np.sqrt(np.maximum(1 + 0.3 * np.clip(new.features[:, 1], -2, 2), 0.1))
    assert np.corrcoef(spread[:, 0], truth)[0, 1] > 0.9


def test_left_out_errors_are_those_of_fits_without_the_row():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(12, 4))
    responses = features @ rng.normal(size=(4, 3)) + rng.normal(size=(12, 3))
    ridge = Ridge.of(features, responses, PENALTIES)

    def without(row, penalty):
        x, y = np.delete(features, row, 0), np.delete(responses, row, 0)
        centred = x - x.mean(axis=0)
        slope = np.linalg.solve(centred.T @ centred + penalty * np.eye(4), centred.T @ (y - y.mean(axis=0)))
        return responses[row] - y.mean(axis=0) - (features[row] - x.mean(axis=0)) @ slope

    errors = {c: np.array([without(row, c) for row in range(12)]) for c in PENALTIES}
    assert ridge.penalty == min(errors, key=lambda c: (errors[c] ** 2).sum())
    assert_allclose(np.concatenate(ridge.left_out), errors[ridge.penalty])


def test_intervals_of_ridge_cover_as_often_as_they_say():
    training, new = linear_contexts(200, 0, noise=0.4), linear_contexts(400, 1, noise=0.4)
    predictions = fitted("ridge", training)(new.features, 2, np.random.default_rng(0))
    inside = [covered(p, cells.mean(axis=0), len(cells)) for p, cells in zip(predictions, new.cells, strict=True)]
    assert_allclose(np.mean(inside, axis=(0, 2)), [0.5, 0.8, 0.95], atol=0.05)


def test_a_certain_prediction_covers_means_of_cells_drawn_from_it():
    rng = np.random.default_rng(0)
    prediction = gaussian_prediction(rng, np.ones(3), np.diag([1.0, 4.0, 0.25]), 2)
    means = [rng.normal(1.0, [1.0, 2.0, 0.5], (25, 3)).mean(axis=0) for _ in range(2000)]
    inside = np.mean([covered(prediction, mean, 25) for mean in means], axis=(0, 2))
    assert_allclose(inside, [0.5, 0.8, 0.95], atol=0.02)


def test_densities_are_those_of_scipy():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    covariance, cells = root @ root.T + np.eye(3), rng.normal(size=(7, 3))
    log_likelihood = gaussian_log_likelihood(np.ones(3), covariance)
    assert_allclose(log_likelihood(cells), multivariate_normal(np.ones(3), covariance).logpdf(cells).sum())


def test_a_covariance_is_made_positive_and_a_positive_one_kept():
    good = np.array([[2.0, 0.5], [0.5, 1.0]])
    assert_allclose(near_positive(good), good)
    assert np.linalg.eigvalsh(near_positive(np.array([[1.0, 2.0], [2.0, 1.0]]))).min() > 0


def test_the_network_learns_a_curve_and_stops_by_other_contexts():
    rng = np.random.default_rng(0)

    def contexts(n):
        features = rng.normal(size=(n, 3))
        means = np.stack([np.abs(features[:, 0]), features[:, 1]], axis=1) + 0.1 * rng.normal(size=(n, 2))
        return features, means, np.full((n, 2), 0.25)

    training, val, new = contexts(150), contexts(30), contexts(100)
    settings = NetworkSettings(n_hidden=16, n_steps=400, n_checks=100, learning_rate=1e-2)
    loc, scale = fit_gaussian_network(KEY, training, val, settings)(new[0])
    linear = Ridge.of(training[0], training[1], PENALTIES).at(new[0])
    assert ((loc - new[1]) ** 2).mean() < 0.3 * ((linear - new[1]) ** 2).mean()
    assert_allclose(np.median(scale), 0.5, atol=0.1)
    # Other contexts that say the opposite stop the training where it starts.
    stopped, _ = fit_gaussian_network(KEY, training, (training[0], -training[1], training[2]), settings)(new[0])
    assert np.abs(stopped).mean() < 0.5 * np.abs(loc).mean()
