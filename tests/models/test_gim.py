"""GIM: likelihoods of contexts against cells and enumeration, its programs, and what it recovers."""

from dataclasses import replace
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from numpyro import handlers
from numpyro.infer.util import log_density

from samsjax.errors import InputError
from samsjax.models import GIMConfig
from samsjax.models.gim_objective import bound_of_targets, exact_targets, log_marginal
from samsjax.models.mechanisms import (
    INTERVENTIONS,
    Interventions,
    Mechanisms,
    cell_terms,
    context_terms,
    initial_mechanisms,
    moments,
    padded_cells,
)
from samsjax.models.structural import StructuralEquations
from samsjax.normalization import GeneStatistics
from tests.models import contract
from tests.models.contract_cases import data_for
from tests.models.subject import subject

N, K, N_CELLS = 4, 3, 5
GRAPH = jnp.asarray(np.triu(np.ones((N, N)), k=1), jnp.float32)
PLAIN = GeneStatistics(np.zeros(N, np.float32), np.ones(N, np.float32))


def contexts(kind="linear"):
    """Random cells of three perturbations and control, mechanisms, interventions and log odds of targets."""
    rng = np.random.default_rng(0)
    u = rng.standard_normal((N_CELLS * (K + 1), N)).astype(np.float32)
    row = np.repeat(np.arange(-1, K), N_CELLS)
    mechanisms = Mechanisms(
        initial_mechanisms(jax.random.key(1), kind, N, 3), jnp.asarray(rng.uniform(0.4, 1.0, N), jnp.float32)
    )
    shift, widening, logits = (jnp.asarray(rng.standard_normal((K, N)), jnp.float32) for _ in range(3))
    return u, row, mechanisms, Interventions(shift, 0.3 * widening), logits


def effective(kind, interventions):
    """Kind "shift" leaves the noise alone."""
    return interventions._replace(widening=0.0) if kind == "shift" else interventions


def equations(kind, mechanisms, interventions, k, targets):
    """Cells of context `k` (-1: control) as a distribution, under these targets."""
    targets = jnp.asarray(targets, jnp.float32)
    shift = interventions.shift[k] if k >= 0 else jnp.zeros(N)
    widening = interventions.widening if isinstance(interventions.widening, float) else interventions.widening[k]
    kept = 1.0 - targets if kind == "hard" else jnp.ones(N)
    push, wider = (jnp.broadcast_to(targets * value, (1, N)) for value in (shift, widening))
    return StructuralEquations(mechanisms, GRAPH, push, jnp.broadcast_to(kept, (1, N)), wider, PLAIN)


@pytest.mark.parametrize("kind", INTERVENTIONS)
def test_targets_are_summed_out_exactly(kind):
    """Against all 2^4 sets of targets of every context, cell by cell."""
    u, row, mechanisms, interventions, logits = contexts()
    interventions = effective(kind, interventions)
    terms = context_terms(kind, mechanisms, GRAPH, interventions, moments(u, row, K))
    value = exact_targets(terms, logits, jnp.full((K, N), 0.5))
    control = equations(kind, mechanisms, interventions, -1, np.zeros(N)).log_prob(u[row < 0]).sum()
    assert_allclose(terms.control, control, rtol=1e-5)
    total = 0.0
    for k in range(K):
        each = [
            float(equations(kind, mechanisms, interventions, k, targets).log_prob(u[row == k]).sum())
            + float(dist.Bernoulli(logits=logits[k]).log_prob(jnp.asarray(targets, jnp.float32)).sum())
            for targets in product((0, 1), repeat=N)
        ]
        total += np.logaddexp.reduce(each)
    assert_allclose(value, total, rtol=1e-5)


def test_enumerating_a_site_of_targets_gives_the_same_sum():
    """The model with targets as an explicit discrete site, over all values this can take."""
    u, row, mechanisms, interventions, logits = contexts()
    interventions = effective("shift", interventions)
    terms = context_terms("shift", mechanisms, GRAPH, interventions, padded_cells(u, row, K))

    def model(k):
        with numpyro.plate("genes", N):
            targets = numpyro.sample("targets", dist.Bernoulli(logits=logits[k]))
        with numpyro.plate("cells", N_CELLS):
            numpyro.sample("x", equations("shift", mechanisms, interventions, k, targets), obs=u[row == k])

    values = jnp.asarray(list(product((0, 1), repeat=N)))
    each = [jax.vmap(lambda v, k=k: log_density(model, (k,), {}, {"targets": v})[0])(values) for k in range(K)]
    enumerated = jax.nn.logsumexp(jnp.stack(each), axis=1).sum()
    assert_allclose(exact_targets(terms, logits, jnp.full((K, N), 0.5)), enumerated, rtol=1e-5)


@pytest.mark.parametrize("kind", INTERVENTIONS)
def test_moments_say_what_all_cells_say(kind):
    u, row, mechanisms, interventions, _ = contexts()
    interventions = effective(kind, interventions)
    of_moments = context_terms(kind, mechanisms, GRAPH, interventions, moments(u, row, K))
    of_cells = context_terms(kind, mechanisms, GRAPH, interventions, padded_cells(u, row, K))
    for one, other in zip(of_moments, of_cells, strict=True):
        assert_allclose(one, other, rtol=2e-5, atol=2e-5)


def test_gradients_read_like_expectation_maximisation():
    """By log odds: posterior less prior. And the bound is the exact sum at the posterior, and lower elsewhere."""
    u, row, mechanisms, interventions, logits = contexts()
    terms = context_terms("shift", mechanisms, GRAPH, effective("shift", interventions), moments(u, row, K))
    open_ = jnp.full((K, N), 0.5)
    posterior = jax.nn.sigmoid(logits + terms.gain)
    gradient = jax.grad(lambda logits: exact_targets(terms, logits, open_))(logits)
    assert_allclose(gradient, posterior - jax.nn.sigmoid(logits), atol=1e-6)
    exact = float(exact_targets(terms, logits, open_))
    assert float(bound_of_targets(terms, logits, terms.gain, open_)) == pytest.approx(exact, rel=1e-5)
    assert float(bound_of_targets(terms, logits, terms.gain + 1.0, open_)) < exact - 1e-3
    assert bool((log_marginal(logits, terms.gain) >= -1e-6).any())


def test_known_targets_are_not_summed_out():
    u, row, mechanisms, interventions, logits = contexts()
    terms = context_terms("shift", mechanisms, GRAPH, effective("shift", interventions), moments(u, row, K))
    known = jnp.full((K, N), 0.5).at[1].set(jnp.array([1.0, 0.0, 0.0, 1.0]))
    given = float(exact_targets(terms, logits, known))
    open_ = log_marginal(logits, terms.gain)[jnp.array([0, 2])].sum()
    of_known = (known[1] * terms.gain[1]).sum() + dist.Bernoulli(logits=logits[1]).log_prob(known[1]).sum()
    assert given == pytest.approx(float(terms.undisturbed + open_ + of_known), rel=1e-5)


@pytest.mark.parametrize("kind", INTERVENTIONS)
def test_closed_moments_are_those_of_draws(kind):
    _, _, mechanisms, interventions, _ = contexts()
    cells = equations(kind, mechanisms, effective(kind, interventions), 0, np.array([0, 1, 0, 1]))
    n = 20000
    x = np.asarray(cells.sample(jax.random.key(0), (n,)), np.float64)[:, 0]
    covariance = np.asarray(cells.covariance[0], np.float64)
    assert (np.abs(x.mean(axis=0) - cells.mean[0]) < 3 * np.sqrt(np.diag(covariance) / n)).all()
    sd = np.sqrt(np.diag(covariance))
    error = np.sqrt((covariance**2 + np.outer(sd, sd) ** 2) / n)
    assert (np.abs(np.cov(x.T) - covariance) < 3 * error).all()
    assert_allclose(cells.variance[0], np.diag(covariance), rtol=1e-5)


def test_networks_as_mechanisms_see_their_parents_only():
    u, _, mechanisms, interventions, _ = contexts("mlp")
    x = np.asarray(equations("shift", mechanisms, effective("shift", interventions), 0, np.zeros(N)).mean)
    assert np.isfinite(x).all()
    base = cell_terms("shift", mechanisms, GRAPH, Interventions(jnp.zeros(N), 0.0), jnp.asarray(u))[0]
    moved = cell_terms("shift", mechanisms, GRAPH, Interventions(jnp.zeros(N), 0.0), jnp.asarray(u).at[:, 2].add(1.0))[
        0
    ]
    changed = (np.abs(np.asarray(moved - base)) > 1e-6).any(axis=0)
    assert changed.tolist() == [False, False, True, True]  # itself, and its child


def test_programs_keep_the_contract():
    """Promises but those of training by the bound, of a decoder's moments, and of several slots in a cell."""
    config = GIMConfig(n_hidden=6, n_layers=1, target_prior_prob=0.5)
    model = subject(config, data_for(config))
    for promise in (
        contract.sites_and_plates_match,
        contract.log_weights_are_finite,
        contract.prior_draws_are_legal,
        contract.is_traced_once,
        contract.permuting_cells_permutes_their_terms,
        contract.splitting_a_batch_changes_no_cell,
        contract.absent_perturbations_can_be_left_out,
    ):
        promise(model)


def test_what_cells_say_of_targets_is_left_out_of_perturbations_treated_as_unseen():
    config = GIMConfig(n_hidden=6, n_layers=1)
    model = subject(config, data_for(config))
    unseen = jnp.arange(model.model_guide.n_perturbations) == 1
    batch = model.batch(np.arange(2))._replace(unseen=unseen.astype(jnp.float32))

    def log_odds(config):
        programs = subject(config, data_for(config)).model_guide
        prior, posterior = (
            handlers.trace(handlers.substitute(handlers.seed(program, 0), data=model.params)).get_trace(batch)["mask"]
            for program in (programs.model, programs.guide)
        )
        return np.asarray(prior["fn"].base_dist.logits), np.asarray(posterior["fn"].base_dist.logits)

    prior, posterior = log_odds(config)
    residual = np.where(unseen[:, None], 0.0, model.params["target_residual"])
    assert np.abs(residual).max() > 0.1
    assert_allclose(posterior, prior + residual, rtol=1e-5, atol=1e-6)
    _, certain = log_odds(replace(config, predicted_targets="map"))
    assert ((certain > 0) == (posterior > 0)).all()
    assert (np.abs(certain) == 20.0).all()


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"n_latent": 3}, "n_latent must be 0"),
        ({"likelihood": "library_nb"}, "continuous values.*metacells"),
        ({"normalization": "log_standardize"}, "log_standardize"),
        ({"covariates": ("batch",)}, "no covariates"),
        ({"mechanisms": "linaer"}, "linear"),
        ({"objective": "exact"}, "exact_targets"),
        ({"target_prior_prob": 1.0}, "target_prior_prob"),
        ({"n_restarts": 0}, "n_restarts"),
    ],
)
def test_impossible_settings_are_refused(settings, wrong):
    with pytest.raises(InputError, match=wrong):
        GIMConfig(**settings)
