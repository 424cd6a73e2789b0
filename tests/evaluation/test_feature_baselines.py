"""Baselines that know perturbations by features: against scikit-learn and brute force, and what they say of whom."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge

from samsjax.data import treatments
from samsjax.data.features.table import PerturbationFeatures
from samsjax.evaluation import ridge
from samsjax.evaluation.baselines import (
    BASELINES,
    fit_baselines,
    load_training_effects,
    save_training_effects,
    training_effects,
)
from samsjax.evaluation.baselines.features import PENALTIES, _carrying, standardised
from samsjax.evaluation.baselines.training import multi_hot
from samsjax.evaluation.evaluate import _flat_scores
from samsjax.evaluation.scoring import ScoringConfig, score
from tests import small
from tests.evaluation.toy_screens import gaussian_screen, screen_of

NAMES = ("feature_ridge", "feature_nearest")
TRAINED = ("A", "B", "C", "D", "E", "A+B", "C+D")
NEW = ("X", "Y", "X+A", "X+Y")


def featured(seed=0, n_features=3, slope=1.0, noise=0.3):
    """Singles and pairs that train, and others with perturbations that do not; effects are linear in the features."""
    rng = np.random.default_rng(seed)
    names = np.array(["A", "B", "C", "D", "E", "X", "Y"])
    values = rng.normal(5.0, [1.0, 10.0, 0.1][:n_features], (len(names), n_features))
    effect = dict(zip(names, slope * rng.standard_normal((7, 1)) + values[:, :1] * rng.standard_normal(6), strict=True))
    rows = [*["ctrl"] * 20, *(label for i, label in enumerate(TRAINED) for _ in range(2 + i))]
    n_train = len(rows)
    rows += [label for label in NEW for _ in range(2)]
    mean = [sum((effect[part] for part in label.split("+") if part != "ctrl"), np.zeros(6)) for label in rows]
    x = np.array(mean) + noise * rng.standard_normal((len(rows), 6))
    data = screen_of(rows, x.astype(np.float32), ["train"] * n_train + ["test"] * (len(rows) - n_train))
    assert_array_equal(data.perturbation_names, names)
    table = PerturbationFeatures(tuple(f"f{i}" for i in range(n_features)), values)
    return replace(data, features=table)


def learned(data):
    return training_effects(data, treatments(data), "counts")


def predicted(name, data):
    """Effects by label."""
    treated = treatments(data)
    (baseline,) = fit_baselines(learned(data), [name])
    return dict(zip(treated.labels.tolist(), baseline.effects(treated).ate, strict=True))


def designed(training):
    """Design with the intercept's column first, and weights."""
    features = np.column_stack([np.ones(len(training.features)), standardised(training)])
    return multi_hot(training.conditions, len(features)) @ features, training.n_cells / training.n_cells.mean()


def ridge_of(training, penalty, rows):
    """Coefficients by the normal equations, from these rows; the first, the intercept's, is not penalised."""
    design, weights = designed(training)
    design, weights, target = design[rows], weights[rows, None], training.effect[rows]
    shrink = penalty * np.diag([0.0, *[1.0] * (design.shape[1] - 1)])
    return np.linalg.solve(design.T @ (weights * design) + shrink, design.T @ (weights * target))


def regression(training, penalties=PENALTIES):
    design, weights = designed(training)
    root = np.sqrt(weights)[:, None]
    options = {"constant": root * design[:, :1], "groups": _carrying(training)}
    return ridge.Ridge.of(root * design[:, 1:], root * training.effect, penalties, **options)


@pytest.mark.parametrize("penalty", [PENALTIES[0], 1.0, PENALTIES[-1]])
@pytest.mark.parametrize("n_features", [1, 3])
def test_the_ridge_has_the_coefficients_of_the_normal_equations(penalty, n_features):
    training = learned(featured(n_features=n_features))
    found = regression(training, [penalty])
    expected = ridge_of(training, penalty, np.arange(len(training.conditions)))
    assert_allclose(np.vstack([found.intercept, found.coefficients]), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("penalty", [0.1, 10.0])
def test_left_out_errors_are_those_of_fits_without_the_perturbation(penalty):
    training = learned(featured())
    design, weights = designed(training)
    groups = _carrying(training)
    assert sorted(len(group) for group in groups) == [1, 2, 2, 2, 2]
    for group, errors in zip(groups, regression(training, [penalty]).left_out, strict=True):
        rest = np.setdiff1d(np.arange(len(training.conditions)), group)
        error = training.effect[group] - design[group] @ ridge_of(training, penalty, rest)
        assert_allclose(errors, np.sqrt(weights[group, None]) * error, rtol=1e-6, atol=1e-9)


def test_the_ridge_chooses_a_small_penalty_where_features_decide_and_a_large_one_where_they_do_not():
    training, shuffled = learned(featured(slope=0.0, noise=0.01)), learned(featured(slope=3.0))
    shuffled = shuffled._replace(features=np.random.default_rng(7).standard_normal(shuffled.features.shape))
    assert regression(training).penalty < 0.1 and regression(shuffled).penalty > 1


def test_on_singles_alone_the_ridge_is_that_of_scikit_learn():
    data = featured()
    singles = data.subset(np.array([(row != 0).sum() < 2 for row in data.dosage]))
    training = learned(singles)
    penalty = regression(training).penalty
    rows = [condition[0][0] for condition in training.conditions]
    values = standardised(training)
    weights = training.n_cells / training.n_cells.mean()
    expected = Ridge(penalty).fit(values[rows], training.effect, sample_weight=weights)
    found = predicted("feature_ridge", singles)
    for label in ("A", "E", "X", "Y"):
        place = int(np.flatnonzero(data.perturbation_names == label)[0])
        assert_allclose(found[label], expected.predict(values[place : place + 1])[0], rtol=1e-4, atol=1e-5)


def test_features_are_standardised_by_the_perturbations_that_train():
    data = featured()
    training = learned(data)
    values = standardised(training)
    assert_allclose(values[:5].mean(axis=0), 0, atol=1e-9)
    assert_allclose(values[:5].std(axis=0), 1)
    changed = data.features.values * [1e3, 1e-3, 2.0] + [7.0, -1.0, 0.0]  # the scale of a feature means nothing
    other = replace(data, features=PerturbationFeatures(data.features.names, changed))
    for name in NAMES:
        one, two = predicted(name, data), predicted(name, other)
        for label in one:
            assert_allclose(one[label], two[label], rtol=1e-4, atol=1e-5)


def test_a_feature_that_no_training_perturbation_tells_apart_is_not_looked_at():
    data = featured()
    values = np.column_stack([data.features.values, [2.0] * 5 + [50.0, -50.0]])
    other = replace(data, features=PerturbationFeatures((*data.features.names, "constant"), values))
    for name in NAMES:
        one, two = predicted(name, data), predicted(name, other)
        for label in one:
            assert_allclose(one[label], two[label], rtol=1e-4, atol=1e-6)


def test_the_nearest_is_the_other_perturbation_with_the_most_similar_features():
    data = featured()
    training, found = learned(data), predicted("feature_nearest", data)
    own = dict(zip(training.labels.tolist(), training.effect, strict=True))
    values = dict(zip(data.perturbation_names.tolist(), standardised(training), strict=True))
    nearest = {
        name: min((n for n in "ABCDE" if n != name), key=lambda n: np.linalg.norm(values[n] - values[name]))
        for name in values
    }
    for name in ("A", "C", "X", "Y"):
        assert_allclose(found[name], own[nearest[name]], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_combinations_add_also_with_perturbations_nobody_trained_on(name):
    found = predicted(name, featured())
    assert_allclose(found["X+Y"], found["X"] + found["Y"], rtol=1e-4, atol=1e-5)
    assert_allclose(found["A+X"], found["A"] + found["X"], rtol=1e-4, atol=1e-5)
    assert all(np.isfinite(effect).all() for effect in found.values())


@pytest.mark.parametrize("name", NAMES)
def test_effects_are_proportional_to_the_dose(name):
    labels = ["ctrl"] * 4 + ["A", "A", "B", "B", "C", "C", "X", "X"]
    doses = [1.0] * 4 + [0.5, 0.5, 2.0, 2.0, 1.0, 1.0, 1.0, 3.0]
    x = np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32)
    data = screen_of(labels, x, ["train"] * 10 + ["test"] * 2, doses=doses)
    values = np.array([[0.0], [1.0], [4.0], [1.4]])
    found = predicted(name, replace(data, features=PerturbationFeatures(("f",), values)))
    assert_allclose(found["X@3"], 3 * found["X"], rtol=1e-5)
    if name == "feature_nearest":  # B is near, and was measured at dose 2
        training = learned(data)
        assert_allclose(found["X"], training.effect[1] / 2, rtol=1e-5)


def test_the_nearest_is_silent_where_no_other_was_measured_alone():
    data = featured()
    pairs = data.subset(
        np.array(
            [
                (row != 0).sum() != 1 or index[0] == 0
                for row, index in zip(data.dosage, data.perturbation_index, strict=True)
            ]
        )
    )
    found = predicted("feature_nearest", pairs)  # A alone is the only single
    assert np.isnan(found["A"]).all() and np.isnan(found["A+B"]).all()
    assert np.isfinite(found["X+Y"]).all()
    assert all(np.isfinite(effect).all() for effect in predicted("feature_ridge", pairs).values())


def test_they_stand_in_the_table_where_perturbations_have_features():
    data = featured()
    without = replace(data, features=None)
    names = [baseline.name for baseline in fit_baselines(learned(data))]
    assert names == list(BASELINES) and names[-2:] == list(NAMES)
    assert [baseline.name for baseline in fit_baselines(learned(without))] == names[:-2]
    assert fit_baselines(learned(small.screen()), ["feature_ridge"]) == []


def test_they_are_stored(tmp_path):
    for data in (featured(), replace(featured(), features=None)):
        training = learned(data)
        save_training_effects(training, tmp_path / "training.npz")
        stored = load_training_effects(tmp_path / "training.npz")
        treated = treatments(data)
        for one, two in zip(fit_baselines(training), fit_baselines(stored), strict=True):
            assert_allclose(one.effects(treated).ate, two.effects(treated).ate, rtol=1e-3, atol=1e-4)
    assert stored.features is None


def test_scores_of_unseen_perturbations_stand_apart():
    rng = np.random.default_rng(3)
    names = [f"P{i}" for i in range(6)]
    effects = dict(zip(names, rng.standard_normal((6, 5)), strict=True))
    data = gaussian_screen(rng, effects, 8, 30, ("train", "test"))
    carried = data.perturbation_index[:, 0] * (data.dosage[:, 0] > 0)
    data = data.with_split(np.where((carried >= 4) & (data.split == "train"), "none", data.split))
    data = replace(data, features=PerturbationFeatures(("f",), rng.standard_normal((6, 1))))
    treated = treatments(data)
    (mean,) = fit_baselines(training_effects(data, treated, "counts"), ["training_mean"])
    config = ScoringConfig(min_cells=4, n_bootstrap=10, n_halves=2, cell_metrics=False, baselines=NAMES)
    scores = score(jax.random.key(0), [mean], data, treated, "counts", config)
    assert scores.seen.tolist() == ["seen"] * 4 + ["new perturbation"] * 2
    found = _flat_scores(scores)
    at = [metric.name for metric in scores.metrics].index("mse_delta")
    for row, name in enumerate(("training_mean", *NAMES)):
        assert_allclose(found[f"unseen/{name}/mse_delta"], scores.value[row, at, 4:].mean())
        assert_allclose(found[f"trained/{name}/mse_delta"], scores.value[row, at, :4].mean())
        assert_allclose(found[f"scores/{name}/mse_delta"], scores.value[row, at].mean())
    assert_allclose(found["unseen/half_split/mse_delta"], scores.ceiling[at, 4:].mean())
    everyone = _flat_scores(scores._replace(seen=np.full(6, "seen")))
    assert not [name for name in everyone if not name.startswith("scores/")]
