"""Significance of measured effects: agreement with scipy, the false discovery rate, and what cannot be tested."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import false_discovery_control, norm, ttest_ind

from samsjax.errors import InputError
from samsjax.evaluation.differential_expression import differentially_expressed


def test_significance_agrees_with_scipy_gene_by_gene():
    rng = np.random.default_rng(0)
    control = rng.standard_normal((400, 50))
    treated = rng.standard_normal((3, 300, 50)) * 1.5
    treated[0, :, :10] += 0.4
    difference = treated.mean(axis=1) - control.mean(axis=0)
    error = np.sqrt(treated.var(axis=1, ddof=1) / 300 + control.var(axis=0, ddof=1) / 400)
    found = differentially_expressed(difference, error)
    assert found[0, :10].sum() >= 5 and found[:, 10:].sum() <= 5
    for t in range(3):
        p = 2 * norm.sf(np.abs(difference[t] / error[t]))
        assert_array_equal(found[t], false_discovery_control(p) <= 0.05)
        # With hundreds of cells, Student's distribution is as good as normal.
        assert_allclose(ttest_ind(treated[t], control, equal_var=False).pvalue, p, atol=2e-3)


def test_false_discoveries_are_held_at_the_level():
    rng = np.random.default_rng(1)
    difference = rng.standard_normal((300, 200))
    difference[:, :40] += 4.0
    found = differentially_expressed(difference, np.ones_like(difference), level=0.1)
    share = found[:, 40:].sum(axis=1) / np.maximum(found.sum(axis=1), 1)
    assert 0.05 < share.mean() < 0.1  # the level times the share of unchanged genes, 0.08
    assert found[:, :40].mean() > 0.9


def test_what_cannot_be_tested_is_not_significant():
    difference = np.array([[9.0, 9.0, 9.0, np.nan], [9.0, 0.0, 0.0, 0.0], [np.nan] * 4])
    error = np.array([[1.0, 0.0, np.nan, 1.0], [1.0, 0.0, 0.0, 0.0], [np.nan] * 4])
    assert_array_equal(differentially_expressed(difference, error), [[True] + [False] * 3] * 2 + [[False] * 4])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": 0.0}, "level must be > 0.0 and < 1.0, got 0.0"),
        ({"standard_error": np.ones((2, 4))}, r"\(2, 3\) and standard errors \(2, 4\)"),
        ({"standard_error": np.full((2, 3), -1.0)}, r"standard errors must be >= 0, got -1.0"),
    ],
)
def test_unusable_input_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        differentially_expressed(**{"mean_difference": np.ones((2, 3)), "standard_error": np.ones((2, 3))} | change)
