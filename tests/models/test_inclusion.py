"""A learned rate of inclusion: the conjugate posterior of the masks, whatever the prior; counted once in bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from numpyro import infer
from numpyro.distributions.kl import kl_divergence
from scipy import optimize, stats

from samsjax.distributions import StraightThroughBernoulli
from samsjax.effects import artifacts, cells, perturbations
from samsjax.errors import InputError
from samsjax.inference.batching import empty_batch
from samsjax.inference.log_weights import initial_parameters, local_log_weight, log_weights, sampled_elbo
from samsjax.inference.objectives import without_lone_terms
from samsjax.models import SAMSVAEConfig
from samsjax.models.base import DataStatistics
from samsjax.models.inclusion import LOG_ODDS, LOG_TOTAL, BernoulliOfRate, Rate, _rate
from samsjax.models.sparse import SparsePosterior, model_shift
from samsjax.normalization import GeneStatistics
from samsjax.types import ModelGuide

N_PERTURBATIONS, N_LATENT = 200, 3
TRUE_RATES = np.array([0.02, 0.1, 0.3])


def programs(config):
    """Masks and effects alone, without cells."""
    statistics = DataStatistics(1, N_PERTURBATIONS, GeneStatistics(np.zeros(1, np.float32), np.ones(1, np.float32)))
    model_guide = ModelGuide(
        lambda batch: model_shift(config, statistics, batch),
        lambda batch: SparsePosterior(config, statistics, batch).shift(),
        *statistics.sizes,
    )
    return model_guide, empty_batch(model_guide)


def masks():
    rng = np.random.default_rng(0)
    return np.where(rng.random((N_PERTURBATIONS, N_LATENT)) < TRUE_RATES, 6.0, -6.0).astype(np.float32)


def fitted_concentrations(config):
    """Both concentrations where the bound of given masks is highest."""
    model_guide, batch = programs(config)
    params = initial_parameters(jax.random.key(0), model_guide) | {"mask_logits": jnp.asarray(masks())}
    shape = params[LOG_ODDS].shape
    elbo = infer.TraceMeanField_ELBO()

    @jax.jit
    @jax.value_and_grad
    def loss(values):
        own = {LOG_ODDS: values[0].reshape(shape), LOG_TOTAL: values[1].reshape(shape)}
        return elbo.loss(jax.random.key(0), params | own, model_guide.model, model_guide.guide, batch)

    start = np.stack([params[LOG_ODDS], params[LOG_TOTAL]])

    def both(flat):
        value, gradient = loss(jnp.asarray(flat.reshape(start.shape), dtype=jnp.float32))
        return float(value), np.asarray(gradient, dtype=np.float64).ravel()

    found = optimize.minimize(both, start.ravel(), jac=True, method="L-BFGS-B").x.reshape(start.shape)
    odds, total = np.exp(found)
    return total * odds / (1 + odds), total / (1 + odds)


@pytest.mark.parametrize(("inclusion", "p"), [("per_latent", 0.01), ("global", 0.2)])
def test_the_rate_found_is_the_conjugate_posterior(inclusion, p):
    config = SAMSVAEConfig(n_latent=N_LATENT, mask_prior_prob=p, inclusion=inclusion, inclusion_concentration=5.0)
    q = 1 / (1 + np.exp(-masks().astype(np.float64)))
    active, empty = q.sum(axis=0), (1 - q).sum(axis=0)
    if inclusion == "global":
        active, empty = active.sum(keepdims=True), empty.sum(keepdims=True)
    a, b = fitted_concentrations(config)
    assert_allclose(a / (a + b), (5 * p + active) / (5 + active + empty), rtol=1e-3)
    assert_allclose(a + b, 5 + active + empty, rtol=0.05)


def test_with_many_perturbations_the_prior_hardly_matters():
    rates = []
    for p in (0.5, 0.01):
        a, b = fitted_concentrations(SAMSVAEConfig(n_latent=N_LATENT, mask_prior_prob=p, inclusion="per_latent"))
        rates.append(a / (a + b))
    assert_allclose(rates[0], rates[1], atol=0.006)
    assert_allclose(rates[0], (masks() > 0).mean(axis=0), atol=0.01)


def test_the_kl_of_masks_is_that_expected_over_the_rate():
    a, b, logits = 1.5, 7.0, jnp.array([-2.0, 0.5])
    rate = _rate(jnp.array([0.3]), dist.Beta(a, b))
    found = kl_divergence(StraightThroughBernoulli(logits), BernoulliOfRate(rate, (2,)))
    q = 1 / (1 + np.exp(-np.asarray(logits)))

    def kl(r):
        return q[:, None] * np.log(q[:, None] / r) + (1 - q[:, None]) * np.log((1 - q[:, None]) / (1 - r))

    grid = (np.arange(20000) + 0.5) / 20000
    assert_allclose(found, kl(stats.beta(a, b).ppf(grid)).mean(axis=1), rtol=1e-3)


def test_masks_are_drawn_at_the_drawn_rate():
    rate = Rate(jnp.array([0.3]), jnp.array([-9.0]), jnp.array([-9.0]), jnp.array([9.0]))
    mask = BernoulliOfRate(rate, (4000, 1)).sample(jax.random.key(0))
    assert_allclose(mask.mean(), 0.3, atol=0.03)


def test_weighted_terms_are_numpyros_bound_and_no_term_of_cells():
    model_guide, batch = programs(SAMSVAEConfig(n_latent=N_LATENT, inclusion="per_latent"))
    params = initial_parameters(jax.random.key(0), model_guide)
    key = jax.random.key(1)
    weights = log_weights(key, model_guide, params, batch)
    loss = infer.Trace_ELBO().loss(key, params, model_guide.model, model_guide.guide, batch)
    assert set(weights.once) == {"inclusion_rate"}
    assert weights.once["inclusion_rate"].weight.shape == (N_LATENT,)
    assert not weights.local
    assert_allclose(local_log_weight(weights), 0.0)
    assert_allclose(sampled_elbo(weights, batch), -loss, rtol=1e-5)


def test_terms_that_no_weight_of_a_batch_reaches_can_be_left_out():
    """As in validation, where every batch would count them again."""
    _, batch = programs(SAMSVAEConfig())
    batch = batch._replace(weight=jnp.ones(1))

    def model(batch):
        numpyro.factor("penalty", -1000.0)
        with numpyro.plate("rates", 2):
            numpyro.sample("rate", dist.Normal(0.0, 1.0))
        with cells(batch):
            numpyro.sample("x", dist.Normal(jnp.zeros(1), 1.0), obs=jnp.zeros(1))
        with perturbations(batch):
            numpyro.factor("row", jnp.full(N_PERTURBATIONS, -1.0))
        with artifacts(1):
            numpyro.factor("artifact", jnp.array([-7.0]))

    def guide(batch):
        with numpyro.plate("rates", 2):
            numpyro.sample("rate", dist.Normal(100.0, 1.0))

    elbo, key = infer.TraceMeanField_ELBO(), jax.random.key(0)
    alone = elbo.loss(key, {}, without_lone_terms(model), without_lone_terms(guide), batch)
    whole = elbo.loss(key, {}, model, guide, batch)
    of_cell = 0.5 * np.log(2 * np.pi)
    assert_allclose(alone, of_cell + N_PERTURBATIONS + 7.0, rtol=1e-6)
    assert_allclose(whole - alone, 1000.0 + 2 * 100.0**2 / 2, rtol=1e-6)


@pytest.mark.parametrize("wrong", [{"inclusion": "both"}, {"inclusion_concentration": 0.0}, {"mask_prior_prob": 1.0}])
def test_impossible_rates_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        SAMSVAEConfig(**wrong)
