"""The two own distributions: reference numbers, float64 truth, exact KL, moments of draws."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from numpyro.distributions.kl import kl_divergence
from scipy.special import digamma, gammaln

from samsjax.distributions import MeanNegativeBinomial, StraightThroughBernoulli


def test_negative_binomial_agrees_with_float64_at_extreme_dispersion(parity):
    numbers = parity("likelihood_nb")
    x, mu, theta = (jnp.asarray(numbers[name]) for name in ("x", "mu", "theta"))
    log_prob = MeanNegativeBinomial(mu + 1e-4, theta).log_prob(x)
    # 1e-4 + mu is itself rounded to float32, which alone costs up to 1e-7 of the largest values.
    assert_allclose(log_prob, numbers["log_prob_float64"], rtol=1e-5)


def test_negative_binomial_gradients_match_closed_form():
    x, m, theta = np.meshgrid([0.0, 1.0, 7.0, 300.0], [1e-3, 0.8, 7.0, 250.0], [0.05, 1.3, 40.0, 2e4])

    def total(mean, inverse_dispersion):
        return MeanNegativeBinomial(mean, inverse_dispersion).log_prob(jnp.asarray(x, jnp.float32)).sum()

    in_m, in_theta = jax.grad(total, argnums=(0, 1))(jnp.asarray(m, jnp.float32), jnp.asarray(theta, jnp.float32))
    assert_allclose(in_m, theta * (x - m) / (m * (theta + m)), rtol=1e-4, atol=1e-6)
    exact = digamma(x + theta) - digamma(theta) + np.log(theta / (theta + m)) + (m - x) / (theta + m)
    assert_allclose(in_theta, exact, rtol=1e-3, atol=2e-6)


def test_negative_binomial_equals_textbook_form_at_moderate_values():
    rng = np.random.default_rng(0)
    x, m, theta = rng.poisson(4, 500).astype(float), rng.gamma(2, 2, 500), rng.gamma(3, 1, 500)
    naive = (
        gammaln(x + theta) - gammaln(theta) - gammaln(x + 1) + theta * np.log(theta / (theta + m))
        + x * np.log(m / (theta + m))
    )  # fmt: skip
    ours = MeanNegativeBinomial(jnp.asarray(m, jnp.float32), jnp.asarray(theta, jnp.float32)).log_prob(
        jnp.asarray(x, jnp.float32)
    )
    assert_allclose(ours, naive, rtol=2e-5)


def test_negative_binomial_draws_are_counts_with_the_right_moments():
    d = MeanNegativeBinomial(jnp.array([0.3, 5.0]), jnp.array([0.7, 2.0]))
    x = np.asarray(d.sample(jax.random.key(0), (200_000,)))
    assert (x >= 0).all()
    assert (x == np.round(x)).all()
    standard_error = np.sqrt(np.asarray(d.variance) / len(x))
    assert (np.abs(x.mean(axis=0) - np.asarray(d.mean)) < 5 * standard_error).all()
    assert_allclose(x.var(axis=0), d.variance, rtol=0.05)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_straight_through_bernoulli_matches_reference(parity, temperature):
    numbers = parity("relaxed_bernoulli")
    logits, u, w = (jnp.asarray(numbers[name]) for name in ("logits", "uniforms", "w"))
    expected = {
        name.removeprefix(f"temp{temperature}."): value
        for name, value in numbers.items()
        if name.startswith(f"temp{temperature}.")
    }

    def draw(a):
        return StraightThroughBernoulli(a, temperature).from_uniform(u)

    def log_q(a, value):
        return StraightThroughBernoulli(a, temperature).log_prob(value)

    def kl_terms(a):
        m = draw(a)
        return (dist.Bernoulli(0.01).log_prob(m) - log_q(a, m)).sum()

    hard = draw(logits)
    assert set(np.unique(hard)) <= {0.0, 1.0}
    assert_allclose(hard, expected["hard"])
    assert_allclose(log_q(logits, hard), expected["log_q"], rtol=1e-5, atol=1e-6)
    gradients = {
        "grad_sum_w_hard": jax.grad(lambda a: (w * draw(a)).sum())(logits),
        "grad_sum_logp_minus_logq": jax.grad(kl_terms)(logits),
        "grad_sum_logq_hard_detached": jax.grad(lambda a: log_q(a, jax.lax.stop_gradient(hard)).sum())(logits),
    }
    assert set(gradients) == {name for name in expected if name.startswith("grad")}
    for name, ours in gradients.items():
        assert_allclose(ours, expected[name], rtol=1e-5, atol=1e-5 * np.abs(expected[name]).max(), err_msg=name)


def test_kl_of_masks_is_exact_and_matches_draws():
    q = StraightThroughBernoulli(jnp.array([-2.0, 0.0, 3.0]))
    p = dist.Bernoulli(probs=jnp.array([0.01, 0.3, 0.5]))
    kl = kl_divergence(q, p)
    q1, p1 = np.asarray(q.probs, float), np.asarray(p.probs, float)
    assert_allclose(kl, q1 * np.log(q1 / p1) + (1 - q1) * np.log((1 - q1) / (1 - p1)), rtol=1e-5)
    m = q.sample(jax.random.key(0), (100_000,))
    assert_allclose((q.log_prob(m) - p.log_prob(m)).mean(axis=0), kl, atol=0.03)
    grouped = kl_divergence(
        StraightThroughBernoulli(q.logits[None]).to_event(1), dist.Bernoulli(p.probs[None]).to_event(1)
    )
    assert_allclose(grouped, kl.sum()[None], rtol=1e-6)


def test_saturated_masks_stop_moving():
    """Past |logit| of about 15.9 clamping removes both parts of the gradient."""
    gradient = jax.grad(lambda a: StraightThroughBernoulli(a).from_uniform(jnp.array(0.4)))(jnp.array(17.0))
    assert gradient == 0.0
