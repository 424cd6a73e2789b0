"""Responses of genes to latent dimensions: known for a linear model, and those to a perturbation that acts on one."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import samsjax
from samsjax.data.gim_simulation import GIMSimulationConfig, draw_gim
from samsjax.effects import cells
from samsjax.evaluation.gene_responses import gene_responses, typical_steps
from samsjax.evaluation.model_effects import EffectsConfig, model_effects
from samsjax.evaluation.posterior_effects import PosteriorEffects, posterior_effects
from samsjax.inference.fitted import Fitted, statistics_of, vocabulary_of
from samsjax.inference.log_weights import initial_parameters
from samsjax.models import MODELS, builder
from samsjax.types import ModelGuide
from tests import small

STEP = np.array([1.5, -0.7, 0.0, 2.0], np.float32)
ALONE = np.diag(STEP)
ALONE = np.concatenate([ALONE, np.zeros((small.SCREEN.n_perturbations - 4, 4))]).astype(np.float32)
MEAN_FIELD = {"E_loc": ALONE, "E_log_scale": np.full_like(ALONE, -30.0)}
MASKS = {"mask_logits": np.where(ALONE != 0, 40.0, -40.0).astype(np.float32)}
ACTING_ALONE = {
    "sams_vae": MEAN_FIELD | MASKS,
    "sams_vae_beta_bernoulli": MEAN_FIELD | MASKS,
    "cpa_vae": MEAN_FIELD,
    "svae_plus": {"E_mean": ALONE} | MASKS,
    "cradle_vae": MEAN_FIELD | MASKS,
}
"""Parameters under which perturbation k acts on latent dimension k alone, by STEP[k]."""


def untrained(name: str, data: samsjax.PerturbationData, **settings) -> Fitted:
    """A model with random networks whose perturbations act on one latent dimension each."""
    config = MODELS[name].config(n_latent=4, n_hidden=8, **settings)
    vocabulary = vocabulary_of(small.labelled(data), config.covariates, config.quality_indicators)
    statistics = statistics_of(data, config.normalization, vocabulary.covariates, vocabulary.artifacts)
    params = initial_parameters(jax.random.key(0), builder(config)(statistics))
    assert ACTING_ALONE[name].keys() <= params.keys()
    return Fitted(
        config=config,
        vocabulary=vocabulary,
        statistics=statistics,
        library_sizes=np.quantile(data.library_size, np.linspace(0, 1, 16)).astype(np.float32),
        n_training_cells=np.full(data.n_perturbations, 9, np.int32),
        covariate_codes=np.arange(3)[:, None] if config.covariates else np.zeros((1, 0), np.int32),
        covariate_shares=np.array([0.7, 0.2, 0.1] if config.covariates else [1.0], np.float32),
        params=params | {site: jnp.asarray(value) for site, value in ACTING_ALONE[name].items()},
    )


def agrees_with_model_effects(fitted: Fitted, transform: str, **settings) -> None:
    """The response to a latent dimension is the effect of a perturbation that acts on it alone."""
    config = EffectsConfig(n_particles=1000, transform=transform, noise="mean", **settings)
    labels, index, dosage = np.array(list("abcd")), np.arange(4)[:, None], np.ones((4, 1), np.float32)
    acting = model_effects(jax.random.key(1), fitted, labels, index, dosage, config)
    found = gene_responses(
        jax.random.key(2), fitted, posterior_effects(jax.random.key(3), fitted, 8), config, n_cells=4000
    )
    assert found.transform == transform
    assert_allclose(found.step, STEP, atol=1e-3)
    assert_array_equal(found.response[2], 0.0)
    used = STEP != 0
    error = acting.standard_error[used] * np.sqrt(1 + 1000 / 4000)
    z = (found.response[used] - acting.ate[used]) / (error + 1e-6)
    assert np.abs(z).max() < 4.5
    assert np.sqrt((z**2).mean()) < 1.8
    # The two could also agree because nothing moves: most genes move by much more than the error.
    assert np.median(np.abs(found.response[used]) / error) > 5


@pytest.mark.parametrize("name", ACTING_ALONE)
def test_a_latent_dimension_does_what_a_perturbation_on_it_alone_does(name):
    agrees_with_model_effects(untrained(name, small.screen()), "log2_cp10k")


def test_so_it_does_where_effects_have_a_space_of_their_own():
    agrees_with_model_effects(untrained("cradle_vae", small.screen(), composition="concatenation"), "log2_cp10k")


def test_pushing_a_gene_of_a_linear_causal_model_moves_its_descendants_by_total_effects():
    config = GIMSimulationConfig(n_variables=5, n_train_functions=8, n_test_functions=2, n_features=6)
    data, _ = draw_gim(config, seed=0)
    fitted = samsjax.fit(data, samsjax.GIMConfig(n_restarts=1, n_steps=50, n_polish_steps=50), seed=0, progress=False)
    effects = posterior_effects(jax.random.key(0), fitted, 4)
    found = gene_responses(jax.random.key(1), fitted, effects, EffectsConfig(transform="counts"), n_cells=16)
    weight = np.asarray(fitted.params["mechanisms"]["weight"]) * fitted.fit.graph
    assert (weight != 0).sum() >= 4
    total = np.linalg.inv(np.eye(5) - weight)
    assert_allclose(found.response, found.step[:, None] * total * fitted.statistics.genes.std, atol=1e-4)


def test_covariates_are_averaged_or_chosen_as_in_treatment_effects():
    screen = small.screen()
    data = replace(screen, covariates={"batch": np.array(["a", "b", "c"])[np.arange(screen.n_cells) % 3]})
    fitted = untrained("sams_vae", data, covariates=("batch",))
    agrees_with_model_effects(fitted, "cp10k", library_size=500.0)
    agrees_with_model_effects(fitted, "cp10k", library_size=500.0, covariates={"batch": "c"})


def test_every_model_with_effects_in_latent_space_is_tried():
    latent = [name for name, entry in MODELS.items() if entry.config().has_latent_space]
    without = [name for name in latent if posterior_effects_of(name) is None]
    assert without == ["conditional_vae"] and {*ACTING_ALONE, *without} == set(latent)


def posterior_effects_of(name):
    data = small.screen()
    config = MODELS[name].config(n_latent=4, n_hidden=8)
    statistics = statistics_of(data, config.normalization)
    params = initial_parameters(jax.random.key(0), builder(config)(statistics))
    none = np.zeros(0)
    fitted = Fitted(config, vocabulary_of(data), statistics, none, none, none, none, params)
    return posterior_effects(jax.random.key(0), fitted, 2)


LOADING = np.array([[1.0, 0.0, 2.0, -0.5], [0.0, 1.0, -1.0, 0.0], [3.0, 3.0, 3.0, 3.0]], np.float32)
EFFECT = np.array([[1.0, -2.0, 0.0], [2.0, 0.5, 0.0], [-0.5, -1.0, 0.0]])
ACTIVE = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0]])


@pytest.fixture(scope="module")
def linear():
    """x = z LOADING + noise: a step along latent dimension k changes genes by step x LOADING[k]."""

    def model(batch):
        with cells(batch):
            z = numpyro.sample("z", dist.Normal(jnp.zeros((batch.dosage.shape[0], 3)), 1.0).to_event(1))
            numpyro.sample("x", dist.Normal(z @ LOADING, 0.3).to_event(1), obs=batch.x)

    data = small.gaussian_data(np.zeros((9, 4)), np.arange(9) % 3, np.ones(9), np.full(9, "train"))
    fitted = Fitted(
        config=samsjax.CPAVAEConfig(n_latent=3, likelihood="normal", normalization="none"),
        vocabulary=vocabulary_of(data),
        statistics=statistics_of(data, "none"),
        library_sizes=np.ones(4, np.float32),
        n_training_cells=np.full(3, 3, np.int32),
        covariate_codes=np.zeros((1, 0), np.int32),
        covariate_shares=np.ones(1, np.float32),
        params={},
    )
    fitted.__dict__["build"] = lambda statistics: ModelGuide(model, model, 4, 3)  # in place of the cached property
    return fitted


def test_steps_are_root_mean_squares_with_the_sign_of_most():
    effects = PosteriorEffects(ACTIVE * 0.9, EFFECT, np.full((3, 3), 0.1), sparse=True)
    assert_allclose(typical_steps(effects), [np.sqrt((1 + 4 + 0.25) / 3), -np.sqrt((4 + 0.25) / 2), 0.0], rtol=1e-6)
    balanced = effects._replace(mean=np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    assert_allclose(typical_steps(balanced), [np.sqrt(2 / 3), 0.0, 0.0], rtol=1e-6)


def test_without_masks_effects_count_that_are_two_sd_from_zero():
    sd = np.where(ACTIVE, np.abs(EFFECT) / 2.1, np.abs(EFFECT) / 1.9 + 0.1)
    dense = PosteriorEffects(np.ones((3, 3)), EFFECT, sd, sparse=False)
    assert_array_equal(dense.active, ACTIVE)
    assert_array_equal(dense._replace(sparse=True).active, np.ones((3, 3)))


@pytest.mark.parametrize("n_cells", [1, 7])
def test_responses_of_a_linear_model_are_known(linear, n_cells):
    effects = PosteriorEffects(ACTIVE * 0.9, EFFECT, np.full((3, 3), 0.1), sparse=True)
    config = EffectsConfig(transform="counts")
    found = gene_responses(jax.random.key(0), linear, effects, config, n_cells=n_cells)
    assert_allclose(found.response, found.step[:, None] * LOADING, atol=1e-5)
    assert found.response[0, 2] > 2.5 and found.response[1, 1] < -1
    assert_array_equal(found.response[2], 0.0)


def test_impossible_settings_are_refused(linear):
    effects = PosteriorEffects(np.ones((3, 3)), EFFECT, np.ones((3, 3)), sparse=True)
    with pytest.raises(samsjax.InputError, match="effects in 'log2_cp10k' need counts"):
        gene_responses(jax.random.key(0), linear, effects)
    counts = EffectsConfig(transform="counts")
    with pytest.raises(samsjax.InputError, match=r"n_cells must be >= 1, got 0"):
        gene_responses(jax.random.key(0), linear, effects, counts, n_cells=0)
    with pytest.raises(samsjax.InputError, match="trained without covariates"):
        gene_responses(jax.random.key(0), linear, effects, replace(counts, covariates={"batch": "a"}))
