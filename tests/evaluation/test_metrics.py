"""Metrics of effects: agreement with scipy and scikit-learn, brute force, invariances, and what is not defined."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from sklearn.metrics.pairwise import cosine_similarity, pairwise_distances

from samsjax.evaluation import effect_metrics, metrics
from samsjax.evaluation.metrics import METRICS, Sides

N_TREATMENTS, N_GENES = 7, 90
DISCRIMINATION = [f"discrimination_score_{distance}" for distance in ("l1", "l2", "cosine")]
NEEDS_DIRECTION = {"pearson_delta", "pearson_delta_top20", "cosine_logfc", "de_spearman_lfc_sig"}


def sides(seed: int = 0, noise: float = 1.0) -> Sides:
    """Effects with a common part, and predictions with independent errors and another control."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(N_GENES)
    measured = common + rng.standard_normal((N_TREATMENTS, N_GENES))
    control = rng.random(N_GENES)
    significant = np.abs(measured) > np.linspace(2.5, 1.0, N_TREATMENTS)[:, None]
    significant[0] = False
    return Sides(
        measured=measured,
        predicted=measured + noise * rng.standard_normal(measured.shape),
        measured_control=control,
        predicted_control=control + noise * rng.standard_normal(N_GENES),
        measured_centroid=measured.mean(axis=0),
        predicted_centroid=common if noise else measured.mean(axis=0),
        significant=significant,
    )


def score(name: str, given: Sides) -> np.ndarray:
    return METRICS[name].function(given)


@pytest.fixture(scope="module")
def given() -> Sides:
    return sides()


ORACLES = {
    "pearson_delta": lambda s, t: pearsonr(s.measured[t], s.predicted[t])[0],
    "pearson_delta_top20": lambda s, t: pearsonr(*top20(s.measured[t], s.predicted[t]))[0],
    "pearson_delta_centroid": lambda s, t: pearsonr(
        s.measured[t] - s.measured_centroid, s.predicted[t] - s.predicted_centroid
    )[0],
    "r2_delta": lambda s, t: r2_score(s.measured[t], s.predicted[t]),
    "mse": lambda s, t: mean_squared_error(s.measured_control + s.measured[t], s.predicted_control + s.predicted[t]),
    "mae": lambda s, t: mean_absolute_error(s.measured_control + s.measured[t], s.predicted_control + s.predicted[t]),
    "mse_delta": lambda s, t: mean_squared_error(s.measured[t], s.predicted[t]),
    "mae_delta": lambda s, t: mean_absolute_error(s.measured[t], s.predicted[t]),
    "cosine_logfc": lambda s, t: cosine_similarity(s.measured[t : t + 1], s.predicted[t : t + 1])[0, 0],
    "jaccard_top20": lambda s, t: jaccard(s.measured[t], s.predicted[t], 20),
    "jaccard_top50": lambda s, t: jaccard(s.measured[t], s.predicted[t], 50),
    "overlap_at_N": lambda s, t: overlap(s.significant[t], s.predicted[t]),
    "de_direction_match": lambda s, t: np.mean(
        np.sign(s.measured[t, s.significant[t]]) == np.sign(s.predicted[t, s.significant[t]])
    ),
    "de_spearman_lfc_sig": lambda s, t: spearmanr(s.measured[t, s.significant[t]], s.predicted[t, s.significant[t]])[0],
    "discrimination_score_l1": lambda s, t: rank_share(s, t, "l1"),
    "discrimination_score_l2": lambda s, t: rank_share(s, t, "l2"),
    "discrimination_score_cosine": lambda s, t: rank_share(s, t, "cosine"),
}


def top_set(effect: np.ndarray, n: int) -> set[int]:
    return set(np.argsort(-np.abs(effect))[:n].tolist())


def top20(measured: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    chosen = sorted(top_set(measured, 20))
    return measured[chosen], predicted[chosen]


def jaccard(measured: np.ndarray, predicted: np.ndarray, n: int) -> float:
    a, b = top_set(measured, n), top_set(predicted, n)
    return len(a & b) / len(a | b)


def overlap(significant: np.ndarray, predicted: np.ndarray) -> float:
    chosen = set(np.flatnonzero(significant).tolist())
    return len(chosen & top_set(predicted, len(chosen))) / len(chosen)


def rank_share(s: Sides, t: int, distance: str) -> float:
    to_all = pairwise_distances(s.predicted[t : t + 1], s.measured, metric=distance)[0]
    return 1 - sorted(to_all).index(to_all[t]) / (N_TREATMENTS - 1)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_agrees_with_an_independent_computation(name, given):
    # Treatment 0 has no significant gene: there is nothing to compare with.
    first = 1 if np.isnan(score(name, given)[0]) else 0
    expected = [ORACLES[name](given, t) for t in range(first, N_TREATMENTS)]
    assert_allclose(score(name, given)[first:], expected, rtol=1e-10)
    assert np.ptp(expected) > 0 or name in DISCRIMINATION


def test_discrimination_agrees_where_predictions_are_often_wrong():
    noisy = sides(1, noise=12.0)
    for name in DISCRIMINATION:
        expected = [ORACLES[name](noisy, t) for t in range(N_TREATMENTS)]
        assert len(set(expected)) > 3
        assert_allclose(score(name, noisy), expected)


def test_records_say_what_they_are(given):
    for name, metric in METRICS.items():
        value, perfect = score(name, given), score(name, sides(noise=0.0))
        assert metric.name == name
        assert value.dtype == np.float64 and value.shape == (N_TREATMENTS,)
        assert metric.best == metric.bounds[1 if metric.higher_is_better else 0]
        known = value[~np.isnan(value)]
        assert (known >= metric.bounds[0]).all() and (known <= metric.bounds[1]).all()
        assert_allclose(perfect[~np.isnan(perfect)], metric.best, atol=1e-12)
        assert np.isnan(perfect).sum() == np.isnan(value).sum() == (1 if "significant" in metric.description else 0)
        assert metric.unit in ("1", "scale", "scale^2")


@pytest.mark.parametrize("name", METRICS)
def test_order_of_genes_and_treatments_does_not_matter(name, given):
    rng = np.random.default_rng(3)
    genes, treatments = rng.permutation(N_GENES), rng.permutation(N_TREATMENTS)
    moved = Sides(*(v[..., genes] if v.ndim == 1 else v[treatments][:, genes] for v in given))
    assert_allclose(score(name, moved), score(name, given)[treatments], rtol=1e-10)


@pytest.mark.parametrize("name", METRICS)
def test_units_are_those_stated(name, given):
    """In a scale twice as fine, pure numbers stay and errors double, or quadruple where they are squared."""
    doubled = Sides(*(2 * v if v.dtype == float else v for v in given))
    factor = {"1": 1, "scale": 2, "scale^2": 4}[METRICS[name].unit]
    assert_allclose(score(name, doubled), factor * score(name, given), rtol=1e-10)


def test_reference_is_the_one_stated():
    """Levels see a shift of the predicted controls; effects relative to the centroid do not see a shift of both."""
    given, shift = sides(1, noise=8.0), 8 * np.random.default_rng(4).standard_normal(N_GENES)
    other_control = given._replace(predicted_control=given.predicted_control + shift)
    moved = given._replace(predicted=given.predicted + shift, predicted_centroid=given.predicted_centroid + shift)
    for name, metric in METRICS.items():
        unchanged = np.allclose(score(name, other_control), score(name, given), equal_nan=True)
        assert unchanged == (metric.reference != "none")
        unchanged = np.allclose(score(name, moved), score(name, given), equal_nan=True)
        assert unchanged == (metric.reference == "perturbed centroid")


def test_only_error_and_r2_and_distances_see_the_size_of_a_prediction(given):
    larger = given._replace(predicted=3 * given.predicted, predicted_centroid=3 * given.predicted_centroid)
    changed = {n for n in METRICS if not np.allclose(score(n, larger), score(n, given), equal_nan=True)}
    allowed = {"r2_delta", "mse", "mae", "mse_delta", "mae_delta", "discrimination_score_l1", "discrimination_score_l2"}
    assert {"r2_delta", "mse", "mae", "mse_delta", "mae_delta"} <= changed <= allowed


def test_a_prediction_of_no_effect(given):
    """Correlations are not defined; errors are the size of the effects; no sign is right; sets of genes are chance."""
    nothing = given._replace(predicted=np.zeros_like(given.measured), predicted_centroid=np.zeros(N_GENES))
    for name in NEEDS_DIRECTION | {"pearson_delta_centroid"}:
        assert np.isnan(score(name, nothing)).all(), name
    assert_allclose(score("mse_delta", nothing), (given.measured**2).mean(axis=1))
    assert_array_equal(score("de_direction_match", nothing), [np.nan] + [0.0] * (N_TREATMENTS - 1))
    for n in (20, 50):
        shared = n * n / N_GENES
        assert_allclose(score(f"jaccard_top{n}", nothing), shared / (2 * n - shared))
    share = given.significant.mean(axis=1)
    assert_allclose(score("overlap_at_N", nothing), np.where(share > 0, share, np.nan))
    # By size, no effect is nearest to the weakest treatment; by angle, it is as far from all.
    by_size = np.abs(given.measured).sum(axis=1).argsort().argsort()
    assert_allclose(score("discrimination_score_l1", nothing), 1 - by_size / (N_TREATMENTS - 1))
    assert_array_equal(score("discrimination_score_cosine", nothing), 0.5)


@pytest.mark.parametrize("constant", [0.1, -3.7e5, 1e-300])
def test_constant_predictions_have_no_correlation(constant, given):
    flat = given._replace(predicted=np.full_like(given.measured, constant))
    for name in ("pearson_delta", "pearson_delta_top20", "de_spearman_lfc_sig"):
        assert np.isnan(score(name, flat)).all()
    flat = given._replace(measured=np.full_like(given.measured, constant))
    for name in ("pearson_delta", "pearson_delta_top20", "r2_delta", "jaccard_top20"):
        assert np.isnan(score(name, flat)).all()


def test_the_centroid_itself_is_no_prediction_of_what_sets_treatments_apart(given):
    """Also in single precision, where a remainder of rounding would have a correlation."""
    baseline = np.tile(given.predicted_centroid, (N_TREATMENTS, 1)).astype(np.float32).astype(float)
    assert (baseline != given.predicted_centroid).any()
    assert np.isnan(score("pearson_delta_centroid", given._replace(predicted=baseline))).all()
    nearly = given._replace(predicted=given.predicted_centroid + 1e-4 * given.predicted)
    assert not np.isnan(score("pearson_delta_centroid", nearly)).any()


@pytest.mark.parametrize("name", DISCRIMINATION)
def test_the_same_prediction_for_all_treatments_discriminates_by_chance(name, given):
    same = given._replace(predicted=np.tile(given.predicted[:1], (N_TREATMENTS, 1)))
    assert_allclose(score(name, same).mean(), 0.5)
    twins = given._replace(measured=np.tile(given.measured[:1], (N_TREATMENTS, 1)))
    assert_array_equal(score(name, twins), 0.5)


def test_a_prediction_can_be_farthest_from_its_own_treatment():
    measured = np.array([[5.0, 0.0], [-5.0, 1.0], [-5.0, 2.0], [-5.0, 3.0]])
    given = sides()._replace(measured=measured, predicted=np.array([[-5.0, 2.2], *measured[1:]]))
    for name in DISCRIMINATION:
        assert_array_equal(score(name, given), [0, 1, 1, 1])


def test_parallel_effects_are_told_apart_by_size_only():
    measured = np.array([[1.0, 0.0, 0.0], [0.0, 0.3, 0.1], [0.0, 0.9, 0.3]])
    given = sides()._replace(measured=measured, predicted=measured)
    assert_array_equal(score("discrimination_score_cosine", given), [1, 0.75, 0.75])
    assert_array_equal(score("discrimination_score_l2", given), 1)


def test_one_treatment_has_all_scores_but_discrimination(given):
    one = Sides(*(v[1:2] if v.ndim == 2 else v for v in given))
    for name in METRICS:
        if name in DISCRIMINATION:
            assert np.isnan(score(name, one)).tolist() == [True]
        else:
            assert_allclose(score(name, one), score(name, given)[1:2])


def test_many_treatments_are_compared_in_blocks(given, monkeypatch):
    expected = {name: score(name, given) for name in METRICS}
    monkeypatch.setattr(metrics, "BLOCK", 3 * N_GENES - 1)
    for name in METRICS:
        assert_array_equal(score(name, given), expected[name])


def test_no_treatment_gives_no_score(given):
    none = Sides(*(v[:0] if v.ndim == 2 else v for v in given))
    assert {score(name, none).shape for name in METRICS} == {(0,)}


def test_without_any_significant_gene_nothing_is_said_about_them(given):
    nowhere = given._replace(significant=np.zeros_like(given.significant))
    for name in ("overlap_at_N", "de_direction_match", "de_spearman_lfc_sig"):
        assert np.isnan(score(name, nowhere)).all()
    everywhere = given._replace(significant=np.ones_like(given.significant))
    assert_array_equal(score("overlap_at_N", everywhere), 1.0)
    single = nowhere.significant.copy()
    single[:, 5] = True
    assert np.isnan(score("de_spearman_lfc_sig", given._replace(significant=single))).all()


def test_overlap_at_n_of_the_measured_effect_itself_is_below_one_where_large_changes_are_uncertain(given):
    significant = given.significant.copy()
    largest = np.abs(given.measured).argmax(axis=1)
    significant[np.arange(N_TREATMENTS), largest] = False
    itself = given._replace(significant=significant, predicted=given.measured)
    n = significant.sum(axis=1)[1:]
    assert_allclose(score("overlap_at_N", itself)[1:], (n - 1) / n)


def test_ties_among_predictions_are_broken_at_random():
    """The expected number of shared genes is the mean over all orders of tied genes."""
    rng = np.random.default_rng(0)
    measured = rng.standard_normal((40, 60))
    predicted = np.round(rng.standard_normal((40, 60)))
    top, _ = effect_metrics._measured_top(measured, 20)
    n = rng.integers(0, 61, size=40)
    draws = np.zeros((2, 40))
    for _ in range(400):
        broken = np.argsort(np.argsort(-(np.abs(predicted) + 1e-6 * rng.random(predicted.shape)), axis=1), axis=1)
        draws += [(top & (broken < 20)).sum(axis=1), (top & (broken < n[:, None])).sum(axis=1)]
    fixed = effect_metrics._expected_shared(top, predicted, np.full(40, 20))
    varied = effect_metrics._expected_shared(top, predicted, n)
    assert_allclose([fixed, varied], draws / 400, atol=0.45)
    assert_allclose(np.mean([fixed, varied] - draws / 400), 0, atol=0.05)
    assert_array_equal(varied[n == 60], 20)
    assert_array_equal(effect_metrics._expected_shared(top, predicted, np.zeros(40, int)), 0)


def test_measured_ties_at_the_last_place_name_no_set():
    measured = np.tile(np.r_[np.arange(1.0, 20.0), np.full(3, 0.5), np.zeros(8)], (2, 1))
    measured[1, 19] = -0.6
    predicted = measured + 0.01
    for found in (
        effect_metrics.jaccard_of_top(measured, predicted, 20),
        effect_metrics.correlation_of_top(measured, predicted, 20),
    ):
        assert np.isnan(found[0])
        assert_allclose(found[1], 1.0)


@pytest.mark.parametrize(("n_genes", "defined"), [(12, False), (20, False), (21, True)])
def test_top_genes_need_other_genes(n_genes, defined):
    few = Sides(*(v[..., :n_genes] for v in sides()))
    for name in ("jaccard_top20", "pearson_delta_top20"):
        assert (~np.isnan(score(name, few)) == defined).all()


def test_a_prediction_of_zero_has_no_direction():
    measured, predicted = np.array([[1.0, -2.0, 3.0, -4.0]]), np.array([[2.0, 1.0, 0.0, -1e-200]])
    assert_array_equal(effect_metrics.direction_match(measured, predicted, np.ones((1, 4), bool)), [0.5])


def test_ranks_of_ties_are_shared(given):
    tied = given._replace(predicted=np.round(given.predicted), measured=np.round(given.measured))
    expected = [ORACLES["de_spearman_lfc_sig"](tied, t) for t in range(1, N_TREATMENTS)]
    assert_allclose(score("de_spearman_lfc_sig", tied)[1:], expected)


def test_pooled_scores_stay_where_they_were():
    assert metrics.effect_scores(np.eye(3), np.eye(3))["pearson"] == pytest.approx(1.0)
