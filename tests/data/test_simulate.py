"""The simulated screen: its truth generates it, it looks like measured screens, a seed decides every bit."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from samsjax.data import SimulationConfig, simulate
from samsjax.errors import InputError
from tests import small


@pytest.fixture(scope="module")
def screen():
    return simulate(seed=0)


def test_it_looks_like_the_measured_screens(screen):
    """Ranges measured on real sets: zeros, spread of log gene means and of log totals, inverse dispersion."""
    data, truth = screen
    x = data.x
    zeros = 1 - x.nnz / np.prod(x.shape)
    gene_means = np.asarray(x.mean(axis=0)).ravel()
    assert 0.78 < zeros < 0.97
    assert 1.6 < np.log(gene_means[gene_means > 0]).std() < 2.0
    assert 0.5 < np.log(data.library_size).std() < 0.75
    assert 0.6 < np.median(truth.theta) < 2.6


def test_counts_scatter_around_the_noise_free_means_as_they_should(screen):
    data, truth = screen
    x = data.x.toarray()
    variance = truth.mean + truth.mean**2 / truth.theta
    z = (x - truth.mean) / np.sqrt(variance)
    assert_allclose(z.mean(), 0.0, atol=0.005)
    assert_allclose((z**2).mean(), 1.0, atol=0.02)


def test_truth_is_consistent_with_the_design(screen):
    data, truth = screen
    assert_array_equal(truth.effect != 0, truth.mask)
    active = truth.mask.sum(axis=1)
    assert_array_equal(active[:-20] >= 1, True)
    assert active.max() <= 3
    assert_array_equal(active[-20:], 0)
    carried = (data.dosage > 0).sum(axis=1)
    assert np.bincount(carried).tolist() == [3000, 100 * 100, 20 * 150]
    both = data.perturbation_index[carried == 2]
    assert_array_equal(both[:, 0] < both[:, 1], True)
    assert len(np.unique(both, axis=0)) == 20


def test_a_seed_decides_every_bit():
    (a, truth_a), (b, truth_b), (c, _) = (simulate(small.SCREEN, seed=s) for s in (1, 1, 2))
    assert_array_equal(a.x.toarray(), b.x.toarray())
    assert_array_equal(a.split, b.split)
    for left, right in zip(truth_a, truth_b, strict=True):
        assert_array_equal(left, right)
    assert (a.x != c.x).nnz > 0


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"n_genes": 0}, "n_genes must be >= 1, got 0"),
        ({"n_without_effect": 120}, "n_without_effect must be >= 0 and <= 100, got 120"),
        ({"n_perturbations": 4, "n_without_effect": 0, "n_doubles": 7}, "n_doubles must be >= 0 and <= 6, got 7"),
        ({"max_active": 13}, r"max_active \(13\) cannot exceed n_latent \(12\)"),
        ({"response": -1.0}, "response must be >= 0.0, got -1.0"),
    ],
)
def test_impossible_screens_are_refused(option, message):
    with pytest.raises(InputError, match=message):
        SimulationConfig(**option)
