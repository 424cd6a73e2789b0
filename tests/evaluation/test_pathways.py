"""Pathway scores: right where the answer is known, at chance where there is none, by scikit-learn's classifier."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from samsjax.errors import InputError
from samsjax.evaluation.pathways import (
    classification_scores,
    fit_logistic,
    load_pathways,
    pathway_labels,
    pathway_scores,
)

SIZES = (9, 6, 15)
TRUTH = np.repeat(np.arange(3), SIZES)
LABELS = [f"pathway{k}" for k in TRUTH]


def clusters(noise: float, n_features: int = 10, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((3, n_features))[TRUTH] + noise * rng.standard_normal((len(TRUTH), n_features))


def test_classifier_equals_that_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, penalty = clusters(1.0), 0.02
    weights, intercepts = fit_logistic(x, TRUTH, 3, penalty)
    oracle = linear_model.LogisticRegression(C=1 / (penalty * len(x)), class_weight="balanced", tol=1e-9, max_iter=5000)
    oracle.fit(x, TRUTH)
    assert_allclose(weights.T, oracle.coef_, atol=2e-3)
    assert_allclose(intercepts - intercepts.mean(), oracle.intercept_ - oracle.intercept_.mean(), atol=2e-3)


def test_scores_equal_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    for n_predicted in (3, 2):  # with 2, one pathway is never predicted
        predicted = rng.integers(n_predicted, size=len(TRUTH))
        accuracy, f1 = classification_scores(TRUTH, predicted, 3)
        assert_allclose(accuracy, metrics.balanced_accuracy_score(TRUTH, predicted))
        assert_allclose(f1, metrics.f1_score(TRUTH, predicted, average="macro"))


def test_separable_features_score_one():
    scores = pathway_scores({"clear": clusters(0.05)}, LABELS, n_shuffles=9)
    (row,) = scores.rows
    assert row.balanced_accuracy == row.macro_f1 == 1.0
    assert row.balanced_accuracy_p == row.macro_f1_p == 1 / 10
    assert row.balanced_accuracy_shuffled < 0.6
    assert (row.n_perturbations, row.n_pathways) == (30, 3)
    assert scores.members == {"pathway0": 9, "pathway1": 6, "pathway2": 15}
    assert scores.left_out == {}
    assert scores.n_unlabelled == 0


def test_features_without_information_score_at_chance():
    tables = {str(seed): np.random.default_rng(seed).standard_normal((30, 10)) for seed in range(8)}
    rows = pathway_scores(tables, LABELS, n_shuffles=20, penalties=[1e-2]).rows
    given, shuffled, sd = np.array([row[1:4] for row in rows]).T
    assert np.abs((given - shuffled) / sd).max() < 3.5
    assert np.abs(((given - shuffled) / sd).mean()) < 1.2
    assert_allclose([r.balanced_accuracy_shuffled for r in rows], 1 / 3, atol=0.1)
    assert np.mean([r.balanced_accuracy_p for r in rows]) > 0.2


def test_constant_features_predict_one_pathway():
    (row,) = pathway_scores({"same": np.full((30, 4), 0.3)}, LABELS, n_shuffles=3).rows
    assert_allclose([row.balanced_accuracy, row.balanced_accuracy_shuffled], 1 / 3)
    assert row.balanced_accuracy_p == 1.0


@pytest.mark.slow
def test_tables_share_folds_and_shuffles_and_a_seed_decides_them():
    x = clusters(1.0)
    rotation = np.linalg.qr(np.random.default_rng(5).standard_normal((10, 10)))[0]
    tables = {"x": x, "same elsewhere": 7.0 + 40.0 * x @ rotation, "padded": np.hstack([x, np.zeros((30, 100))])}
    first, second = (pathway_scores(tables, LABELS, n_shuffles=2, seed=2) for _ in range(2))
    assert first == second
    for row in first.rows[1:]:
        assert_allclose(row[1:], first.rows[0][1:], atol=1e-12)
    assert pathway_scores(tables, LABELS, n_shuffles=2, seed=3).rows != first.rows


def test_the_penalty_is_chosen_for_each_table():
    """Pathways told apart by small differences beside a large common response need a weak penalty."""
    x = 0.1 * clusters(0.3) + np.random.default_rng(0).standard_normal((30, 1)) * np.linspace(1, 2, 10)
    scores = {
        name: pathway_scores({"x": x}, LABELS, n_shuffles=2, penalties=penalties).rows[0].balanced_accuracy
        for name, penalties in {"strong": [10.0], "weak": [1e-4], "chosen": [1e-4, 10.0]}.items()
    }
    assert scores["weak"] > scores["strong"] + 0.2
    assert scores["chosen"] == scores["weak"]


@pytest.mark.slow
def test_sgrnas_of_one_gene_are_not_torn_apart():
    """Features that identify genes, not pathways, look informative only if folds separate the guides of a gene."""
    genes = np.repeat(np.arange(30), 3)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 60))[genes] + 0.05 * rng.standard_normal((90, 60))
    labels = [LABELS[gene] for gene in genes]
    options = {"n_shuffles": 10, "penalties": [1e-3]}
    (torn,) = pathway_scores({"x": x}, labels, **options).rows
    (whole,) = pathway_scores({"x": x}, labels, groups=genes.astype(str), **options).rows
    assert torn.balanced_accuracy > 0.9
    assert abs(whole.balanced_accuracy - whole.balanced_accuracy_shuffled) < 3 * whole.balanced_accuracy_shuffled_sd


def test_small_pathways_and_unlabelled_perturbations_are_reported():
    x = clusters(0.05)
    labels = [*LABELS, "tiny", "tiny", None]
    table = np.vstack([x, np.zeros((3, 10))])
    scores = pathway_scores({"x": table}, labels, n_shuffles=2)
    assert scores.left_out == {"tiny": 2}
    assert scores.n_unlabelled == 1
    assert scores.rows[0].n_perturbations == 30
    assert scores.rows[0].balanced_accuracy == 1.0
    # many perturbations of few genes do not fill the folds either
    genes = [*map(str, range(24)), *["A", "B"] * 3, "t", "u", "v"]
    assert pathway_scores({"x": table}, labels, groups=genes, n_shuffles=2).left_out == {"tiny": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": {"m": np.zeros((4, 2))}}, r"features 'm' have shape \(4, 2\), expected .* 30 rows"),
        ({"features": {"m": np.full((30, 2), np.nan)}}, "features 'm' are not finite for 30 perturbations"),
        ({"labels": ["a"] * 30}, "at least two pathways need 5 perturbed genes each, one per fold; there are a: 30"),
        ({"labels": [None] * 30}, "at least two pathways"),
        ({"n_folds": 2}, "n_folds must be >= 3, got 2"),
        ({"n_shuffles": 1}, "n_shuffles must be >= 2, got 1"),
        ({"penalties": [0.0]}, "penalties must be > 0.0, got 0.0"),
        ({"penalties": []}, "penalties is empty"),
        ({"groups": ["g"] * 30}, "group 'g' has two pathways, 'pathway0' and 'pathway1'"),
        ({"groups": ["g"] * 3}, r"groups has shape \(3,\), expected \(30,\)"),
        ({"seed": -1}, "seed must be >= 0"),
    ],
)
def test_unusable_input_is_refused(change, message):
    given = {"features": {"x": clusters(1.0)}, "labels": LABELS} | change
    features, labels = given.pop("features"), given.pop("labels")
    with pytest.raises(InputError, match=message):
        pathway_scores(features, labels, **given)


def test_pathways_of_perturbations():
    pathways = {"EXOSC2": "exosome", "MED1": "mediator"}
    assert pathway_labels(["EXOSC2", "KLF1"], pathways) == ["exosome", None]
    names = np.array(["MED1_-_1|MED1_-_2", "unknown"])
    assert pathway_labels(names, pathways, {"MED1_-_1|MED1_-_2": "MED1"}) == ["mediator", None]
    with pytest.raises(InputError, match=r"none of the perturbations \(MED1_-_1.*EXOSC2, MED1"):
        pathway_labels(names, pathways)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": ["X", "Y"], "b": ["X"]}, r"genes in more than one pathway of .*: X \(a, b\)"),
        (["X"], "must hold a JSON object .* got list"),
        ({}, "must hold a JSON object"),
        ({"a": "XY"}, "pathway 'a' of .* must be a list of gene names, got 'XY'"),
        ({"a": [1]}, "must be a list of gene names"),
    ],
)
def test_unusable_pathway_files_are_refused(tmp_path, content, message):
    path = tmp_path / "pathways.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        load_pathways(path)


def test_missing_and_broken_pathway_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read pathways from"):
        load_pathways(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(InputError, match="cannot read pathways from"):
        load_pathways(tmp_path / "broken.json")


def test_a_gene_named_twice_in_one_pathway_counts_once(tmp_path):
    (tmp_path / "p.json").write_text('{"a": ["X", "X"], "b": ["Y"]}')
    assert load_pathways(tmp_path / "p.json") == {"X": "a", "Y": "b"}


def test_published_pathways_can_be_read(shared_data_dir):
    pathways = load_pathways(shared_data_dir / "annotations" / "replogle22_k562_pathways.json")
    names, counts = np.unique(list(pathways.values()), return_counts=True)
    assert len(names) == 8
    assert pathways["EXOSC2"] == "EXOSOME"
    assert_array_equal(counts >= 20, True)
