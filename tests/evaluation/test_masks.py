"""Agreement of masks beyond the reference numbers: the precision-recall curve of inclusion probabilities."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score

from samsjax.evaluation import mask_agreement, mask_average_precision, mask_calibration


def scored(seed, n_estimated=5, decimals=1):
    rng = np.random.default_rng(seed)
    truth = rng.random((30, 5)) < 0.3
    score = np.round(rng.random((30, n_estimated)) + 0.5 * truth[:, :1], decimals)
    return truth, score, mask_agreement(truth, score > 0.9)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_agrees_with_scikit_learn_ties_included(seed):
    truth, score, agreement = scored(seed)
    label = np.zeros_like(truth)
    label[:, agreement.estimated_latents] = truth[:, agreement.true_latents]
    expected = average_precision_score(label.ravel(), score.ravel())
    assert mask_average_precision(truth, score, agreement) == pytest.approx(expected, rel=1e-12)


def test_a_perfect_score_is_one_and_missing_latents_cost_their_entries():
    truth, _, _ = scored(0)
    whole = mask_agreement(truth, truth)
    assert mask_average_precision(truth, truth.astype(float), whole) == 1.0
    part = truth[:, :4]
    kept = truth[:, :4].sum() / truth.sum()
    assert mask_average_precision(truth, part.astype(float), mask_agreement(truth, part)) == pytest.approx(kept)


def test_no_true_entry_has_no_curve():
    truth = np.zeros((4, 3), dtype=bool)
    assert np.isnan(mask_average_precision(truth, np.ones((4, 3)), mask_agreement(truth, truth)))


@pytest.mark.parametrize("seed", [0, 1])
def test_calibration_agrees_with_scikit_learn(seed):
    truth, score, agreement = scored(seed, decimals=9)
    probability = score / score.max()
    label = np.zeros_like(truth)
    label[:, agreement.estimated_latents] = truth[:, agreement.true_latents]
    true, stated = calibration_curve(label.ravel(), probability.ravel(), n_bins=4)
    bins = mask_calibration(truth, probability, agreement, edges=(0, 0.25, 0.5, 0.75, 1))
    assert [found.true for found in bins] == pytest.approx(true)
    assert [found.stated for found in bins] == pytest.approx(stated)
    assert sum(found.n_entries for found in bins) == truth.size


def test_calibration_counts_edges_in_the_upper_bin_and_names_empty_ones():
    truth = np.array([[True, False]])
    found = mask_calibration(truth, np.array([[1.0, 0.5]]), mask_agreement(truth, truth), edges=(0, 0.5, 0.8, 1))
    assert [found.n_entries for found in found] == [0, 1, 1]
    assert np.isnan(found[0].true) and np.isnan(found[0].stated)
    assert (found[1].true, found[2].true) == (0.0, 1.0)
