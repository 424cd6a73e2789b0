"""Normalisation statistics: reference numbers, chunks, sparse input, constant genes."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from samsjax import normalization
from samsjax.errors import InputError
from samsjax.normalization import gene_statistics, normalize


@pytest.mark.parametrize("name", ["standardize", "log_standardize"])
def test_matches_reference(parity, name):
    numbers = parity("normalization")
    x = numbers["X"]
    assert_allclose(normalize(x, gene_statistics(x, name), name), numbers[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["standardize", "log_standardize"])
def test_chunks_and_sparsity_do_not_matter(name, monkeypatch):
    x = np.random.default_rng(0).poisson(1.5, (37, 5))
    whole = gene_statistics(x, name)
    monkeypatch.setattr(normalization, "_CHUNK", 8)
    for other in (gene_statistics(x, name), gene_statistics(sp.csr_matrix(x), name)):
        assert_allclose(other.mean, whole.mean, rtol=1e-6)
        assert_allclose(other.std, whole.std, rtol=1e-6)


def test_constant_gene_stays_finite():
    x = np.array([[3.0, 1.0], [3.0, 2.0], [3.0, 4.0]], dtype=np.float32)
    values = np.asarray(normalize(x, gene_statistics(x, "standardize"), "standardize"))
    assert np.isfinite(values).all()
    assert_array_equal(values[:, 0], 0.0)


def test_a_gene_constant_in_training_stays_moderate_elsewhere():
    statistics = gene_statistics(np.zeros((5, 1)), "log_standardize")
    assert_allclose(normalize(np.full((1, 1), 3.0, np.float32), statistics, "log_standardize"), np.log(4.0), rtol=1e-6)


def test_none_changes_nothing():
    x = np.random.default_rng(0).poisson(1.5, (4, 3)).astype(np.float32)
    assert_array_equal(normalize(x, gene_statistics(x, "none"), "none"), x)


def test_unknown_name_is_an_error():
    with pytest.raises(InputError, match=r"'log_standardise'.*log_standardize"):
        gene_statistics(np.ones((2, 2)), "log_standardise")
