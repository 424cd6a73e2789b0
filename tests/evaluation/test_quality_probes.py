"""Probes are at one half by chance, find what there is, and agree with scikit-learn."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from samsjax.errors import InputError
from samsjax.evaluation.quality.fitting import fitted_scores
from samsjax.evaluation.quality.probes import auroc, balanced, cross_validated, folds_of, probe, standardized

KINDS = ("linear", "mlp")


def normal(n_cells, n_features, seed=0):
    return np.random.default_rng(seed).standard_normal((n_cells, n_features))


def test_independent_labels_are_at_chance_with_the_stated_error():
    rng = np.random.default_rng(0)
    found = [probe(rng.standard_normal((200, 3)), rng.random(200) < 0.2, seed=seed) for seed in range(40)]
    z = np.array([(result.auroc - 0.5) / result.chance_error for result in found])
    assert abs(z.mean()) < 0.5 and 0.7 < z.std() < 1.3
    assert np.mean([result.at_chance for result in found]) > 0.85
    assert abs(np.mean([result.balanced_accuracy for result in found]) - 0.5) < 0.02


def test_few_failed_cells_do_not_raise_chance():
    label = np.arange(1000) < 30
    for kind in KINDS:
        result = probe(normal(1000, 4), label, kind=kind, seed=1)
        assert result.at_chance and abs(result.balanced_accuracy - 0.5) < 0.1
        assert (result.n_cells, result.n_failed, result.reason) == (1000, 30, None)


@pytest.mark.parametrize("kind", KINDS)
def test_separable_labels_are_told(kind):
    features = normal(400, 4)
    result = probe(features, features[:, 0] + features[:, 1] > 1, kind=kind)
    assert result.auroc > 0.98 and result.balanced_accuracy > 0.9 and not result.at_chance
    assert result.auroc_sd < 0.05


def test_a_network_sees_combinations_that_no_line_separates():
    features = normal(400, 4)
    label = features[:, 0] * features[:, 1] > 0
    assert probe(features, label, kind="linear").auroc < 0.62
    assert probe(features, label, kind="mlp").auroc > 0.9


def test_the_linear_probe_is_the_logistic_regression_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    features = normal(300, 5, seed=1) * [1, 2, 3, 4, 5] + 7
    label = features[:, 0] + rng.standard_normal(300) > 8.2
    train = np.arange(300) % 4 > 0
    x = standardized(features, train)
    scores = fitted_scores("linear", x, label, balanced(label, train), rng)
    expected = LogisticRegression(C=1.0, class_weight="balanced", tol=1e-8).fit(x[train], label[train])
    assert_allclose(scores, expected.decision_function(x), atol=5e-3)


def test_area_is_that_of_scikit_learn_ties_included():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(2)
    scores, label = rng.integers(0, 5, 100).astype(float), rng.random(100) < 0.3
    assert_allclose(auroc(scores, label), roc_auc_score(label, scores))
    assert auroc(np.zeros(100), label) == 0.5
    assert np.isnan(auroc(scores, np.zeros(100, bool)))


def test_units_of_features_and_constant_features_do_not_matter():
    features = normal(300, 3)
    label = features[:, 0] + normal(300, 1, seed=5)[:, 0] > 0.5
    scaled = features * [1e-3, 1.0, 1e4] + [5.0, -3.0, 0.0]
    constant = np.column_stack([features, np.full(300, 3.7)])
    one, *others = (probe(f, label, seed=3).auroc for f in (features, scaled, constant))
    assert_allclose(others, one, atol=1e-3)


def test_order_of_cells_does_not_matter_beyond_folds():
    features, order = normal(300, 3), np.random.default_rng(4).permutation(300)
    label = features[:, 0] > 0.7
    fold = folds_of(label, 4, seed=0)
    one = cross_validated(features, label, fold, "linear", 0)
    other = cross_validated(features[order], label[order], fold[order], "linear", 0)
    assert_allclose(one[:4], other[:4], atol=1e-3)
    assert probe(features, label, folds=4) == one


def test_held_back_cells_teach_nothing():
    """Standardisation and fit see only the cells trained on."""
    features, train = normal(200, 3), np.arange(200) < 150
    label = features[:, 0] > 0
    changed = features.copy()
    changed[~train] *= 100
    weight, rng = balanced(label, train), np.random.default_rng(0)
    one, other = (
        fitted_scores("linear", standardized(f, train), label & train, weight, rng) for f in (features, changed)
    )
    assert_allclose(one[train], other[train], atol=1e-4)


def test_folds_have_equal_shares_of_failed_cells():
    label = np.random.default_rng(0).random(503) < 0.1
    fold = folds_of(label, 5, seed=1)
    for part in (label, ~label):
        sizes = np.bincount(fold[part], minlength=5)
        assert sizes.max() - sizes.min() <= 1
    assert (folds_of(label, 5, seed=2) != fold).any()


def test_groups_stay_together_and_spread_failed_cells():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 40, 800)
    label = rng.random(800) < 0.2
    fold = folds_of(label, 5, seed=1, groups=groups)
    assert all(len(np.unique(fold[groups == g])) == 1 for g in range(40))
    failed = np.bincount(fold[label], minlength=5)
    assert failed.min() > 0.8 * failed.mean()


def test_what_a_group_has_of_its_own_is_no_help_when_it_is_held_back_whole():
    groups = np.repeat(np.arange(40), 10)
    features = normal(40, 12)[groups]
    label = (np.random.default_rng(1).random(40) < 0.5)[groups]
    apart, together = probe(features, label, kind="mlp"), probe(features, label, kind="mlp", groups=groups)
    assert apart.auroc > 0.95 and together.auroc < 0.75


def test_too_few_cells_give_a_reason_instead_of_numbers():
    label = np.arange(100) < 9
    for result in (probe(normal(100, 2), label), probe(normal(100, 2), ~label)):
        assert np.isnan([*result[:4]]).all() and not result.at_chance
        assert "of 100 cells failed; 5 folds need 10" in result.reason
    grouped = probe(normal(100, 2), np.arange(100) < 20, groups=np.repeat([0, 1, 2, 3, 4], 20))
    assert np.isnan(grouped.auroc) and "groups leave" in grouped.reason


def test_wrong_input_is_refused():
    x, label = normal(50, 2), np.arange(50) < 20
    for arguments, match in (
        ((x, label.astype(int)), r"label is int64 \(50,\), expected bool"),
        ((x, label[:9]), r"label is bool \(9,\)"),
        ((np.full((50, 2), np.nan), label), "features: 50 cells hold values that are not finite"),
        ((x[:, 0], label), "features must be a table"),
    ):
        with pytest.raises(InputError, match=match):
            probe(*arguments)
    with pytest.raises(InputError, match="kind of probe 'forest'"):
        probe(x, label, kind="forest")
    with pytest.raises(InputError, match="folds must be >= 2"):
        probe(x, label, folds=1)
    with pytest.raises(InputError, match=r"groups have shape \(3,\)"):
        probe(x, label, groups=np.zeros(3))


def test_equal_seeds_give_equal_bits():
    label = normal(100, 1)[:, 0] > 0
    assert_array_equal(probe(normal(100, 2), label, kind="mlp")[:4], probe(normal(100, 2), label, kind="mlp")[:4])
