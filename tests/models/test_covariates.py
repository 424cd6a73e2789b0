"""Covariates in every model: encoder and decoder see them, bounds use them, predictions choose or average them."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import samsjax
from samsjax.effects import cells
from samsjax.errors import InputError
from samsjax.inference.batching import gather, to_device
from samsjax.inference.fitted import statistics_of, vocabulary_of
from samsjax.inference.log_weights import initial_parameters, log_weights
from samsjax.models import MODELS, build_model
from samsjax.types import ModelGuide
from tests import small

NAMES = ("batch", "donor")


def with_covariates(screen):
    number = np.arange(screen.n_cells)
    batch, donor = np.array(["a", "b", "c"])[number % 3], np.array(["x", "y"])[(number % 5 == 0).astype(int)]
    return replace(screen, covariates={"batch": batch, "donor": donor})


@pytest.fixture(scope="module")
def data():
    return with_covariates(small.screen())


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.config().has_latent_space])
def test_encoder_and_decoder_see_the_levels(data, name):
    config = MODELS[name].config(n_latent=4, n_hidden=8, covariates=NAMES)
    data = small.labelled(data)
    vocabulary = vocabulary_of(data, NAMES, config.quality_indicators)
    seen = vocabulary.covariates, vocabulary.artifacts
    model_guide = build_model(config, statistics_of(data, config.normalization, *seen))
    assert model_guide.n_levels == 5
    params = initial_parameters(jax.random.key(0), model_guide)
    batch = gather(to_device(data, *seen), jnp.arange(8), jnp.ones(data.n_perturbations))
    assert_array_equal(batch.covariates.sum(axis=1), np.full(8, 2.0))

    def weights(params, covariates):
        return log_weights(jax.random.key(1), model_guide, params, batch._replace(covariates=covariates))

    def total(params):
        found = weights(params, batch.covariates)
        return found.reconstruction.sum() + sum(site.weight.sum() for site in found.local.values())

    gradient = jax.grad(total)(params)
    for network in ("encoder", "decoder"):
        layer = gradient[f"{network}$params"]["trunk"]["layer_0"]
        kernels = [leaf for leaf in layer.values() if leaf.shape == (5, 8)]
        assert len(kernels) == 1
        present = np.asarray(batch.covariates.sum(axis=0) > 0)
        assert_array_equal(np.abs(kernels[0]).sum(axis=1) > 0, present)
    other = weights(params, batch.covariates[::-1])
    changed = np.asarray(batch.covariates != batch.covariates[::-1]).any(axis=1)
    differs = np.abs(other.reconstruction - weights(params, batch.covariates).reconstruction) > 0
    assert_array_equal(differs, changed)


def test_without_covariates_nothing_changes(data):
    plain = samsjax.fit(small.screen(), small.MODEL, small.TRAIN, seed=3)
    carried = samsjax.fit(data, small.MODEL, small.TRAIN, seed=3)  # carried along, not used
    for one, other in zip(jax.tree.leaves(plain.params), jax.tree.leaves(carried.params), strict=True):
        assert_array_equal(one, other)


@pytest.fixture(scope="module")
def shifted():
    """A screen in which batch "b" loses half the counts of the first twelve genes."""
    screen = with_covariates(small.screen())
    x = screen.x.toarray()
    in_b = screen.covariates["batch"] == "b"
    lost = np.random.default_rng(0).binomial(x[:, :12], 0.8)
    x[:, :12] = np.where(in_b[:, None], x[:, :12] - lost, x[:, :12])
    x[x.sum(axis=1) == 0, -1] = 1
    return replace(screen, x=x, library_size=x.sum(axis=1).astype(np.float32))


@pytest.fixture(scope="module")
def fitted(shifted):
    config = samsjax.SAMSVAEConfig(n_latent=4, n_hidden=8, mask_prior_prob=0.1, covariates="batch")
    return samsjax.fit(shifted, config, samsjax.TrainConfig(n_steps=600, batch_size=64), seed=0)


def control_mean(fitted, **options):
    config = samsjax.EffectsConfig(n_particles=400, transform="cp10k", noise="mean", **options)
    arguments = (np.array(["P1"]), np.array([[0]]), np.array([[1.0]], np.float32))
    return samsjax.model_effects(jax.random.key(0), fitted, *arguments, config).control_mean


def test_predicted_levels_differ_as_the_data_do(fitted, shifted):
    share = {level: control_mean(fitted, covariates={"batch": level})[:12].sum() / 1e4 for level in "abc"}
    controls = shifted.subset(shifted.is_control)
    of_cell = controls.x[:, :12].sum(axis=1) / controls.library_size
    measured = {level: of_cell[controls.covariates["batch"] == level].mean() for level in "abc"}
    assert measured["b"] < 0.4 * measured["a"]
    for level in "abc":  # some 20 controls of each level: their mean is known to about .03
        assert_allclose(share[level], measured[level], atol=0.1)


def test_save_and_load_keep_covariates(fitted, shifted, tmp_path):
    samsjax.save(fitted, tmp_path / "model")
    loaded = samsjax.load(tmp_path / "model")
    assert loaded.config == fitted.config and loaded.vocabulary == fitted.vocabulary
    assert_array_equal(loaded.covariate_codes, fitted.covariate_codes)
    assert_array_equal(loaded.covariate_shares, fitted.covariate_shares)
    test = shifted.cells("test")
    bounds = [samsjax.predictive_iwelbo(jax.random.key(0), f, shifted, test, 4) for f in (fitted, loaded)]
    assert_array_equal(*bounds)


def test_cells_of_another_level_or_without_the_covariate_are_refused(fitted, shifted):
    other = replace(shifted, covariates={"batch": np.where(shifted.covariates["batch"] == "c", "z", "a")})
    with pytest.raises(InputError, match="no training cell has: z"):
        samsjax.predictive_iwelbo(jax.random.key(0), fitted, other, other.cells("test"), 2)
    with pytest.raises(InputError, match="unknown covariate 'batch'"):
        samsjax.evaluate(fitted, small.screen())
    with pytest.raises(InputError, match="unknown covariate 'batch'"):
        samsjax.fit(small.screen(), fitted.config, small.TRAIN)
    with pytest.raises(InputError, match="named twice"):
        samsjax.SAMSVAEConfig(covariates=("batch", "batch"))


MEANS = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 10.0], [0.0, 30.0]], np.float32)
"""What each of the levels a, b | x, y adds to the two genes."""


def level_means(batch):
    """A model whose genes are the sum of what their levels add, and nothing else."""
    with cells(batch):
        numpyro.sample("z_basal", dist.Normal(jnp.zeros((batch.dosage.shape[0], 1)), 1.0).to_event(1))
        numpyro.sample("x", dist.Normal(batch.covariates @ MEANS, 1e-3).to_event(1), obs=batch.x)


def level_guide(batch):
    with cells(batch):
        numpyro.sample("z_basal", dist.Normal(jnp.zeros((batch.dosage.shape[0], 1)), 1.0).to_event(1))


def test_levels_left_out_are_averaged_over_the_training_cells(fitted):
    """Of the training cells 1/2 are (a, x), 1/4 (b, x) and 1/4 (b, y)."""
    levels = fitted.vocabulary._replace(covariates={"batch": ("a", "b"), "donor": ("x", "y")})
    shares = np.array([0.5, 0.25, 0.25], np.float32)
    known = replace(
        fitted, vocabulary=levels, covariate_codes=np.array([[0, 0], [1, 0], [1, 1]]), covariate_shares=shares
    )
    known.__dict__["build"] = lambda statistics: ModelGuide(level_means, level_guide, 2, 6, 4)

    def mean(**chosen):
        config = samsjax.EffectsConfig(n_particles=4000, transform="counts", covariates=chosen)
        effects = samsjax.model_effects(
            jax.random.key(0), known, np.array(["P1"]), np.array([[0]]), np.array([[1.0]], np.float32), config
        )
        assert_allclose(effects.ate, 0, atol=1e-3)  # control and treated cells share their levels
        return effects.control_mean

    assert_allclose(mean(batch="b", donor="y"), [3, 30], atol=1e-3)
    assert_allclose(mean(batch="a", donor="y"), [1, 30], atol=1e-3)  # no training cell has this combination
    assert_allclose(mean(batch="b")[0], 3, atol=1e-3)
    assert_allclose(mean(batch="b")[1], 15, atol=0.6)
    assert_allclose(mean(), [2, 15], atol=0.6)
