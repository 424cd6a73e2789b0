"""What every model of the table promises, whatever its guide and likelihood."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro import handlers, infer

from samsjax.inference.batching import gather, to_device
from samsjax.inference.fitted import statistics_of
from samsjax.inference.log_weights import effect_parameters, initial_parameters, local_log_weight, log_weights, traces
from samsjax.likelihoods import LIKELIHOODS, models_counts
from samsjax.models import MODELS, build_model, model_name
from tests import small

SIZES = {"n_latent": 4, "n_hidden": 8}
VARIANTS = {
    "sams_vae": [
        {"guide": "mean_field"},
        {"guide": "correlated", "embedding_n_hidden": 6},
        {"guide": "mean_field", "mean_field_encoder": True},
    ],
    "sams_vae_beta_bernoulli": [
        {"guide": "mean_field_bernoulli"},
        {"guide": "correlated_bernoulli", "embedding_n_hidden": 6},
        {"guide": "mean_field_beta"},
    ],
    "cpa_vae": [{}, {"mean_field_encoder": True}],
    "svae_plus": [{}],
    "conditional_vae": [{}],
}


def cases():
    """Every model with every likelihood, and every variant with the first: variants and likelihoods do not meet."""
    for name, entry in MODELS.items():
        for v, variant in enumerate(VARIANTS.get(name, [])):
            for likelihood in list(LIKELIHOODS)[: 1 if v else None]:
                config = entry.config(likelihood=likelihood, **SIZES, **variant)
                yield pytest.param(config, id="-".join([name, *map(str, variant.values()), likelihood]))


@pytest.fixture(scope="module")
def data():
    return small.screen()


@pytest.fixture(scope="module")
def setting(data):
    """config -> (programs, parameters, a batch of cells)."""

    def build(config):
        model_guide = build_model(config, statistics_of(data, config.normalization))
        batch = gather(to_device(data), jnp.arange(16), jnp.ones(data.n_perturbations))
        return model_guide, initial_parameters(jax.random.key(0), model_guide), batch

    return build


@pytest.mark.parametrize("config", cases())
def test_model(setting, config):
    model_guide, params, batch = setting(config)
    _sites_and_plates_match(model_guide, params, batch)
    _log_weights_are_finite(model_guide, params, batch)
    _every_parameter_learns(model_guide, params, batch)
    _prior_draws_are_legal(config, model_guide, params, batch)


def _sites_and_plates_match(model_guide, params, batch):
    model_trace, guide_trace = traces(jax.random.key(0), model_guide, params, batch)

    def latent(trace):
        sites = {n: s for n, s in trace.items() if s["type"] == "sample" and not s["is_observed"]}
        return {n: (s["value"].shape, [f.name for f in s["cond_indep_stack"]]) for n, s in sites.items()}

    assert latent(model_trace) == latent(guide_trace)
    assert model_trace["x"]["is_observed"]
    assert model_trace["z"]["value"].shape == (16, 4)


def _log_weights_are_finite(model_guide, params, batch):
    def one(key):
        return log_weights(key, model_guide, params, batch)

    keys = jax.random.split(jax.random.key(0), 3)
    weights = jax.jit(jax.vmap(one))(keys)
    assert local_log_weight(weights).shape == (3, 16)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(weights))


def _every_parameter_learns(model_guide, params, batch):
    """Gradients are finite and not all zero. The weights keep an undecided mask from hiding a dead path."""

    def loss(params):
        return infer.TraceMeanField_ELBO(num_particles=4).loss(
            jax.random.key(1), params, model_guide.model, model_guide.guide, batch
        )

    gradient = jax.jit(jax.grad(loss))(params)
    assert effect_parameters(model_guide) <= set(gradient)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert bool(jnp.isfinite(leaf).all()), path
        assert bool((leaf != 0).any()), path


def _prior_draws_are_legal(config, model_guide, params, batch):
    """Without data the model draws expression: whole counts for count likelihoods."""
    model = handlers.substitute(handlers.seed(model_guide.model, jax.random.key(0)), data=params)
    x = np.asarray(handlers.trace(model).get_trace(batch._replace(x=None))["x"]["value"])
    assert x.shape == (16, model_guide.n_genes)
    assert np.isfinite(x).all()
    if models_counts(config.likelihood):
        assert (x >= 0).all()
        assert (x == np.round(x)).all()


def test_the_table_names_its_configurations():
    for name, entry in MODELS.items():
        assert model_name(entry.config()) == name
        assert set(VARIANTS) == set(MODELS)
        assert replace(entry.config(), n_latent=3).n_latent == 3
