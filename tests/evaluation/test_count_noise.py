"""Expectations over counts against sums over all counts, large draws, and what they must not depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from samsjax.distributions import CountLaw, MeanNegativeBinomial, count_law
from samsjax.errors import InputError
from samsjax.evaluation.count_noise import LOG_NODES, PER_TOTAL, STEPS, expected_in_scale
from samsjax.evaluation.forward import in_scale

BOUND = 5e-5
"""Stated error in log2 units."""
THETAS = [None, 1e-2, 0.3, 2.0, 1e4]
MEANS = [1e-4, 0.1, 3.0, 100.0, 1e4]
RESTS = [1e-4, 1.0, 100.0]


def mass(mean, theta):
    """Probabilities of the counts 0, 1, ... up to a tail of 1e-12, in float64."""
    law = stats.poisson(mean) if theta is None else stats.nbinom(theta, theta / (theta + mean))
    return law.pmf(np.arange(int(law.isf(1e-12)) + 2))


def law_of(means, thetas):
    mean = jnp.array(means, dtype=jnp.float32)
    return CountLaw(mean, None if thetas[0] is None else jnp.broadcast_to(jnp.array(thetas, jnp.float32), mean.shape))


EXPECTED = jax.jit(expected_in_scale, static_argnums=(2, 3))


def expected(law, transform, total=1.0, own_totals=True):
    totals = jnp.full(law.mean.shape[:-1], total)
    return np.asarray(EXPECTED(law, totals, transform, own_totals))


@pytest.mark.parametrize("theta", THETAS)
@pytest.mark.parametrize("rest", RESTS)
def test_own_totals_agree_with_sums_over_all_counts_of_two_genes(theta, rest):
    """The second gene is the rest of the total, over-dispersed too; a cell without counts is zero everywhere."""
    rest_theta = None if theta is None else max(theta, 1.0)
    q = mass(rest, rest_theta)
    law = law_of([[mean, rest] for mean in MEANS], [theta, rest_theta])
    found, shares = expected(law, "log2_cp10k"), expected(law, "cp10k")
    for place, mean in enumerate(MEANS):
        p = mass(mean, theta)
        if len(p) * len(q) > 1e7:  # the longest sums take minutes
            assert mean > 1.0 and theta is not None
            continue
        x, total = np.arange(len(p)), np.arange(len(p))[:, None] + np.arange(len(q))
        share = PER_TOTAL * x[:, None] / np.maximum(total, 1)
        assert_allclose(found[place, 0], p @ np.log2(1 + share) @ q, atol=BOUND)
        assert_allclose(shares[place, 0], p @ share @ q, rtol=2e-5)


@pytest.mark.parametrize("theta", THETAS)
@pytest.mark.parametrize("total", [1.0, 300.0, 1e5])
def test_given_totals_agree_with_sums_over_all_counts(theta, total):
    found = expected(law_of(np.array(MEANS)[:, None], [theta]), "log2_cp10k", total, own_totals=False)
    for place, mean in enumerate(MEANS):
        p = mass(mean, theta)
        assert_allclose(found[place, 0], p @ np.log2(1 + PER_TOTAL * np.arange(len(p)) / total), atol=BOUND)


@pytest.mark.parametrize("theta", [None, 1e-2, 1e4])
def test_a_gene_alone_is_all_of_the_total_unless_it_is_zero(theta):
    mean = np.array([1e-4, 1.0, 1e4, 1e5, 1e7])[:, None]
    law = law_of(mean, [theta])
    shown = -np.expm1(-mean if theta is None else -theta * np.log1p(mean / theta))
    assert_allclose(expected(law, "log2_cp10k"), np.log2(1 + PER_TOTAL) * shown, atol=BOUND, rtol=2e-6)
    assert_allclose(expected(law, "cp10k"), PER_TOTAL * shown, rtol=2e-5)


def test_shares_of_a_total_add_up():
    rng = np.random.default_rng(0)
    law = law_of(0.2 * rng.lognormal(0, 2, (5, 40)), rng.lognormal(0, 1, 40))
    nothing = np.exp(np.asarray(law.log_laplace(np.inf), dtype=np.float64).sum(axis=1))
    assert_allclose(expected(law, "cp10k").sum(axis=1), PER_TOTAL * (1 - nothing), rtol=2e-5)


@pytest.fixture(scope="module")
def many_genes():
    """A distribution of the counts of 30 genes, and draws from it."""
    rng = np.random.default_rng(1)
    mean, theta = 0.5 * rng.lognormal(0, 1.5, 30), rng.lognormal(0, 1, 30)
    distribution = MeanNegativeBinomial(jnp.asarray(mean), jnp.asarray(theta)).to_event(1)
    return distribution, distribution.sample(jax.random.key(0), (40_000,))


@pytest.mark.parametrize("own_totals", [True, False])
@pytest.mark.parametrize("transform", ["log2_cp10k", "cp10k", "counts"])
def test_many_genes_agree_with_draws_of_counts(many_genes, transform, own_totals):
    distribution, x = many_genes
    found = expected(count_law(distribution), transform, 40.0, own_totals)
    drawn = np.asarray(in_scale(x, jnp.full(40_000, 40.0), transform, own_totals), dtype=np.float64)
    z = (found - drawn.mean(axis=0)) / (drawn.std(axis=0) / 200)
    assert np.abs(z).max() < 4
    assert 0.5 < np.sqrt((z**2).mean()) < 1.5


def test_each_row_stands_for_itself():
    rng = np.random.default_rng(2)
    rows = law_of(rng.lognormal(0, 1, (3, 5, 7)), [1.0] * 7)
    one = CountLaw(rows.mean[1, 2], rows.theta[1, 2])
    assert_allclose(expected(rows, "log2_cp10k")[1, 2], expected(one, "log2_cp10k"), rtol=1e-5)


@pytest.mark.parametrize("own_totals", [True, False])
@pytest.mark.parametrize("transform", ["log2_cp10k", "cp10k"])
def test_gradients_are_finite_and_those_of_differences(transform, own_totals):
    mean, theta = jnp.array([1e-4, 0.5, 30.0, 1e4]), jnp.array([1e-2, 1.0, 5.0, 1e4])

    def value(mean, theta):
        return expected_in_scale(CountLaw(mean, theta), jnp.array(100.0), transform, own_totals)[1]

    in_mean, in_theta = jax.grad(value, argnums=(0, 1))(mean, theta)
    assert np.isfinite(in_mean).all() and np.isfinite(in_theta).all()
    step = jnp.array([0.0, 0.05, 0.0, 0.0])
    change = (value(mean + step, theta) - value(mean - step, theta)) / 0.1
    assert_allclose(in_mean[1], change, rtol=0.01)


def test_laws_are_read_from_distributions():
    mean, theta = jnp.array([[1.0, 2.0]]), jnp.array([0.5, 3.0])
    law = count_law(MeanNegativeBinomial(mean, theta).to_event(1))
    assert law.mean.shape == law.theta.shape == (1, 2)
    t = 0.7
    counts = np.arange(400)
    mgf = [(stats.nbinom(r, r / (r + m)).pmf(counts) * np.exp(-t * counts)) for m, r in ((1.0, 0.5), (2.0, 3.0))]
    assert_allclose(law.log_laplace(t)[0], np.log(np.sum(mgf, axis=1)), rtol=1e-5)
    tilted = [(terms @ counts) / terms.sum() for terms in mgf]
    assert_allclose(law.tilted_mean(t)[0], tilted, rtol=1e-5)
    assert count_law(dist.Poisson(mean).to_event(1)).theta is None
    assert count_law(dist.Normal(mean, 1.0).to_event(1)) is None


def test_nodes_are_spaced_so_that_the_ratio_is_a_whole_number_of_steps():
    assert_allclose(LOG_NODES.t[STEPS:] / LOG_NODES.t[:-STEPS], 1 + PER_TOTAL)
    assert LOG_NODES.t[0] < 1e-14 and LOG_NODES.t[-1] == 6.0


def test_an_unknown_transform_is_named():
    with pytest.raises(InputError, match="unknown transform 'log2'"):
        expected_in_scale(law_of([1.0], [1.0]), jnp.array(1.0), "log2", True)
