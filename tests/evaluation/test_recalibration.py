"""The error of networks is found where it was planted, and recalibrated intervals cover."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from samsjax.errors import InputError
from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.recalibration import network_error, recalibrated

N_TREATMENTS, N_GENES = 60, 200


def predictions(share, seed=0):
    """(predicted, truth, measured, its error, gene sd) where networks err by `share` of each gene's sd."""
    rng = np.random.default_rng(seed)
    gene_sd = rng.uniform(0.2, 2.0, N_GENES)
    shape = (N_TREATMENTS, N_GENES)
    truth, sd = rng.standard_normal(shape), rng.uniform(0.0, 0.1, shape)
    ate = truth + sd * rng.standard_normal(shape) + share * gene_sd * rng.standard_normal(shape)
    error = np.broadcast_to(gene_sd / 4, shape)
    measured = truth + error * rng.standard_normal(shape)
    labels = np.array([f"P{i}" for i in range(N_TREATMENTS)])
    values = (v.astype(np.float32) for v in (ate, 0 * ate, np.zeros(N_GENES)))
    predicted = AverageEffects(labels, *values, "log2_cp10k", sd=sd.astype(np.float32))
    return predicted, truth, measured, error, gene_sd


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_a_planted_error_is_found_and_covered(share):
    predicted, truth, measured, error, gene_sd = predictions(share)
    found = network_error(predicted, measured, error, gene_sd, np.ones(N_GENES))
    assert abs(found.share - share) < 0.1 * share + 0.02 and found.n_values == measured.size
    assert found.covered_before < 0.9
    wide = recalibrated(predicted, found)
    inside = (wide.low <= truth) & (truth <= wide.high)
    assert abs(inside.mean() - 0.9) < 0.03
    by_gene = inside.mean(axis=0)
    assert abs(by_gene[gene_sd < 0.5].mean() - by_gene[gene_sd > 1.5].mean()) < 0.06
    assert_array_equal(wide.ate, predicted.ate)


def test_wide_intervals_stay():
    predicted, _, measured, error, gene_sd = predictions(0.0)
    wide = predicted._replace(sd=predicted.sd + 3.0)
    found = network_error(wide, measured, error, gene_sd, np.ones(N_GENES))
    assert found.share == 0.0 and found.covered_before > 0.9
    np.testing.assert_allclose(recalibrated(wide, found).sd, wide.sd, rtol=1e-6)


def test_rare_genes_and_unmeasured_treatments_are_not_learned_from():
    predicted, _, measured, error, gene_sd = predictions(0.2)
    seen = np.where(np.arange(N_GENES) < 100, 1.0, 0.01)
    spoiled = measured.copy()
    spoiled[:, 100:] += 50
    spoiled[:10] = np.nan
    found = network_error(predicted, spoiled, error, gene_sd, seen)
    assert found.n_values == 50 * 100 and abs(found.share - 0.2) < 0.05


def test_what_cannot_be_learned_is_refused():
    predicted, _, measured, error, gene_sd = predictions(0.2)
    ones = np.ones(N_GENES)
    with pytest.raises(InputError, match="no posterior sd"):
        network_error(predicted._replace(sd=None), measured, error, gene_sd, ones)
    with pytest.raises(InputError, match="no posterior sd"):
        recalibrated(predicted._replace(sd=None), network_error(predicted, measured, error, gene_sd, ones))
    with pytest.raises(InputError, match="differ in shape"):
        network_error(predicted, measured[:5], error, gene_sd, ones)
    with pytest.raises(InputError, match="0 measured effects"):
        network_error(predicted, measured, error, gene_sd, 0 * ones)
