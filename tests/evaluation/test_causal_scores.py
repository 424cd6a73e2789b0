"""Metrics of contexts: targets, distances, the table with its intervals, and the noise floor."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from samsjax.errors import InputError
from samsjax.evaluation import cell_distances as house
from samsjax.evaluation.interventions import (
    METRICS,
    cell_distances,
    gaussian_prediction,
    marginal_scores,
    noise_floor,
    score_contexts,
    score_table,
    summarise,
    target_agreement,
)
from samsjax.evaluation.interventions.distances import RATES


def test_targets_are_ranked_within_and_across_contexts():
    targets = np.array([[1, 0, 0], [0, 1, 0]], dtype=bool)
    scores = np.array([[0.9, 0.8, 0.1], [0.3, 0.5, 0.4]])  # right in each context, not across them
    found = target_agreement(targets, scores)
    assert found.macro_auroc == found.macro_average_precision == 1
    assert_allclose(found.auroc, 7 / 8)
    assert_allclose(found.average_precision, (1 + 2 / 3) / 2)
    assert_allclose(found.share, 1 / 3)
    none = target_agreement(np.vstack([targets, np.zeros((1, 3), bool)]), np.vstack([scores, np.zeros((1, 3))]))
    assert none.macro_average_precision == 1  # a context without targets is left out
    with pytest.raises(InputError, match="must both be"):
        target_agreement(targets, scores[:1])


def test_distances_are_those_of_the_house():
    rng = np.random.default_rng(0)
    measured, predicted = rng.normal(size=(40, 5)), rng.normal(0.5, 1.5, (40, 5))
    found = cell_distances(measured, predicted)
    assert_allclose(found.energy, house.energy_distance(measured, predicted), rtol=1e-5)
    kernels = [house.mmd(measured, predicted, bandwidth=(2 * rate) ** -0.5) for rate in RATES]
    assert_allclose(found.mmd, np.mean(kernels), rtol=1e-4)
    assert_allclose(found.mmd_median, house.mmd(measured, predicted), rtol=1e-4)


def test_transport_matches_cells_whatever_their_order():
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(30, 4))
    shift = np.array([3.0, 0.0, -4.0, 0.0])
    found = cell_distances(cells, rng.permutation(cells) + shift)
    assert_allclose(found.wasserstein2, 5.0, rtol=1e-9)
    assert_allclose(found.wasserstein1, np.abs(shift).mean(), rtol=1e-9)
    same = cell_distances(cells, rng.permutation(cells))
    assert_allclose([same.wasserstein2, same.wasserstein1], 0, atol=1e-12)
    assert np.isnan(cell_distances(rng.normal(size=(501, 1)), rng.normal(size=(501, 1))).wasserstein2)


def test_samples_of_one_distribution_are_at_no_distance_on_average():
    rng = np.random.default_rng(0)
    found = np.array([cell_distances(*rng.normal(size=(2, 20, 3)))[:3] for _ in range(300)])
    assert (np.abs(found.mean(axis=0)) < 3 * found.std(axis=0) / np.sqrt(300)).all()


def test_distances_need_as_many_cells_on_both_sides():
    with pytest.raises(InputError, match="must be as many"):
        cell_distances(np.zeros((3, 2)), np.zeros((4, 2)))


@pytest.fixture
def contexts():
    rng = np.random.default_rng(0)
    shifts = np.array([[2.0, 0.0], [0.0, -1.0], [1.0, 1.0], [0.0, 3.0]])
    return shifts, [shift + rng.normal(size=(60, 2)) for shift in shifts], rng.normal(size=(500, 2))


def predict(shifts, n_cells=60):
    rng = np.random.default_rng(1)
    return [gaussian_prediction(rng, shift, np.eye(2), n_cells) for shift in shifts]


def test_no_effect_has_a_relative_error_of_one_and_the_truth_nearly_none(contexts):
    shifts, cells, control = contexts
    none = summarise(score_contexts(cells, predict(np.tile(control.mean(axis=0), (4, 1))), control), seed=0)
    right = summarise(score_contexts(cells, predict(shifts), control), seed=0)
    assert set(none) == set(right) == set(METRICS)
    assert_allclose([none["mean_error"].value, none["mean_error"].low, none["mean_error"].high], 1.0)
    assert right["mean_error"].value < 0.2 and right["energy"].value < 0.1 < none["energy"].value
    assert right["nll"].value < none["nll"].value
    assert_allclose(right["nll"].value, 0.5 * np.log(2 * np.pi) + 0.5, atol=0.1)
    assert none["coverage_95"].value < right["coverage_95"].value
    assert all(s.low <= s.value <= s.high for s in right.values())


def test_half_the_shift_is_half_the_error(contexts):
    _, cells, control = contexts
    centre = control.mean(axis=0)
    measured = np.array([c.mean(axis=0) for c in cells])
    found = summarise(score_contexts(cells, predict((measured + centre) / 2), control), seed=0)
    assert_allclose(found["mean_error"].value, 0.5)


def test_intervals_are_about_other_contexts():
    """Percentiles of the bootstrap are near those of the normal approximation of a mean."""
    from samsjax.evaluation.interventions.scores import ContextScores

    values = np.random.default_rng(0).normal(3.0, 2.0, 100)
    found = summarise(ContextScores({"a": values}, {"a": np.ones(100)}), seed=0)["a"]
    half = 1.645 * values.std() / 10
    assert_allclose([found.value, found.low, found.high], values.mean() + np.array([0, -half, half]), atol=0.05)
    one = summarise(ContextScores({"a": values[:1]}, {"a": np.ones(1)}), seed=0)["a"]
    assert one.value == values[0] and np.isnan(one.low)


def test_the_table_has_a_row_for_every_predictor_group_and_metric(contexts):
    shifts, cells, control = contexts
    groups = {"a": cells[:2], "b": cells[2:]}
    scored = [p._replace(target_scores=np.abs(s)) for p, s in zip(predict(shifts), shifts, strict=True)]
    predictions = {("right", "a"): scored[:2], ("right", "b"): scored[2:], ("none", "b"): predict(np.zeros((2, 2)))}
    targets = {"a": shifts[:2] != 0, "b": shifts[2:] != 0}
    table = score_table(groups, predictions, control, targets=targets, seed=0, n_bootstrap=20)
    assert list(table.scores) == list(predictions) and list(table.targets) == [("right", "a"), ("right", "b")]
    assert table.targets["right", "a"].average_precision == 1
    rows = table.rows()
    assert len(rows) == 3 * len(METRICS) + 2 * 5
    assert {(r["predictor"], r["group"]) for r in rows if r["metric"] == "target_auroc"} == set(table.targets)
    with pytest.raises(InputError, match="1 predictions for 2 contexts"):
        score_contexts(cells[:2], scored[:1], control)


def test_the_noise_floor_is_near_zero_and_covers(contexts):
    *_, control = contexts
    rng = np.random.default_rng(2)
    many = [rng.normal(size=(40, 2)) for _ in range(200)]
    halves, floor = noise_floor(many, seed=0)
    found = summarise(score_contexts(halves, floor, control), seed=0)
    assert all(len(half) == 20 for half in halves)
    assert abs(found["energy"].value) < 0.02 < 0.2 < found["wasserstein2"].value
    assert_allclose([found[f"coverage_{n}"].value for n in (50, 80, 95)], [0.5, 0.8, 0.95], atol=0.05)
    assert "nll" not in found
    together = np.concatenate([halves[0], floor[0].cells])
    assert_allclose(np.sort(together, axis=0), np.sort(many[0], axis=0))


def test_marginal_screening_is_the_shift_of_the_mean_in_spreads_of_the_control():
    rng = np.random.default_rng(0)
    control = rng.normal(0.0, [1.0, 10.0], (2000, 2))
    scores = marginal_scores([rng.normal([-2.0, 5.0], [1.0, 10.0], (2000, 2))], control)
    assert_allclose(scores, [[2.0, 0.5]], atol=0.1)
