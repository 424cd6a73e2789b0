"""Priors from features: SAMS-VAE where features say nothing, the prior where there are no cells, and turned with it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpyro import infer
from numpyro.distributions.kl import kl_divergence

import samsjax
from samsjax.data.features.table import PerturbationFeatures
from samsjax.effects import cells
from samsjax.errors import InputError
from samsjax.inference.batching import empty_batch, gather, to_device
from samsjax.inference.config import TrainConfig
from samsjax.inference.epochs import fit_arrays, make_epochs
from samsjax.inference.fitted import standardised_features, statistics_of
from samsjax.inference.log_weights import effect_parameters, initial_parameters, traces
from samsjax.inference.putting_effects import put_effects
from samsjax.inference.rows import present_rows, take_rows
from samsjax.models import SAMSVAEConfig, build_model, latent_axes
from samsjax.models.feature_priors import LOG_SCALE, PARAMS
from samsjax.rotation.axes import masked_effects, turn_effects, turn_networks
from samsjax.types import ModelGuide
from tests import small
from tests.models.subject import moved

CONFIG = replace(small.MODEL, feature_prior=True)
KEY = jax.random.key(0)


class Setting:
    """The model on the small screen, of whose perturbations the first two count as ones without cells."""

    def __init__(self):
        self.data = small.featured(small.screen())
        features = standardised_features(self.data)[1]
        self.features = features._replace(seen=features.seen.at[:2].set(0.0))
        self.statistics = statistics_of(self.data, "log_standardize", features=self.features)
        self.model_guide = build_model(CONFIG, self.statistics)
        self.params = moved(initial_parameters(jax.random.key(1), self.model_guide))
        self.batch = gather(to_device(self.data), jnp.arange(20), jnp.ones(self.data.n_perturbations))

    def guide(self, params=None, batch=None):
        return traces(KEY, self.model_guide, params or self.params, batch or self.batch)[1]


@pytest.fixture(scope="module")
def setting():
    return Setting()


def test_where_features_say_nothing_it_is_sams_vae(setting):
    """With heads of zero, and tables that hold the rest."""
    plain = build_model(small.MODEL, statistics_of(setting.data, "log_standardize"))
    params = moved(initial_parameters(KEY, plain))
    base = np.log(small.MODEL.mask_prior_prob / (1 - small.MODEL.mask_prior_prob))
    nothing = jax.tree.map(jnp.zeros_like, setting.params[PARAMS])
    own = params | {
        "mask_logits": params["mask_logits"] - base,
        PARAMS: nothing,
        LOG_SCALE: jnp.zeros(small.MODEL.n_latent),
    }
    seen = setting.features._replace(seen=jnp.ones_like(setting.features.seen))
    featured = build_model(CONFIG, replace(setting.statistics, features=seen))
    elbo = infer.TraceMeanField_ELBO()
    losses = [
        jax.jit(lambda given, programs=programs: elbo.loss(KEY, given, programs.model, programs.guide, setting.batch))(
            p
        )
        for programs, p in ((plain, params), (featured, own))
    ]
    assert_allclose(losses[1], losses[0], rtol=1e-6)
    start = initial_parameters(KEY, featured)
    undecided = traces(KEY, featured, start | {PARAMS: nothing}, setting.batch)[1]["mask"]["fn"]
    assert_allclose(undecided.mean, 0.5, atol=1e-6)


def test_without_cells_the_guide_is_the_prior(setting):
    """And so it is where a training step treats a perturbation so; the KL of both is exactly zero."""
    cold = setting.batch._replace(unseen=jnp.zeros(6).at[4].set(1.0))
    for batch, rows in ((setting.batch, [0, 1]), (cold, [0, 1, 4])):
        model, guide = traces(KEY, setting.model_guide, setting.params, batch)
        for site in ("mask", "E"):
            kl = kl_divergence(guide[site]["fn"], model[site]["fn"])
            assert_array_equal(np.flatnonzero(kl == 0), rows)
            assert (np.delete(kl, rows) > 1e-3).all()


def test_effects_follow_the_features_of_the_perturbation_itself(setting):
    """Also where a batch holds fewer rows than there are perturbations."""
    rows, few = present_rows(setting.batch._replace(perturbation_index=jnp.full((20, 2), 5), dosage=jnp.ones((20, 2))))
    assert rows[0] == 5
    part = setting.guide(take_rows(setting.params, effect_parameters(setting.model_guide), rows), few)
    whole = setting.guide()
    for site in ("mask", "E"):
        assert_allclose(part[site]["fn"].mean[0], whole[site]["fn"].mean[5], rtol=1e-5)
        assert_allclose(part[site]["fn"].variance[0], whole[site]["fn"].variance[5], rtol=1e-5)


def test_tables_are_those_of_perturbations_alone(setting):
    assert effect_parameters(setting.model_guide) == {"mask_logits", "E_loc", "E_log_scale"}


def test_measured_effects_are_those_of_the_guide(setting):
    sites = setting.guide()
    effects = masked_effects(setting.params, latent_axes(CONFIG).effects, setting.features)
    probability = sites["mask"]["fn"].mean
    assert_allclose(effects.mean, probability * sites["E"]["fn"].mean, rtol=1e-5, atol=1e-6)
    assert_allclose(effects.variance, probability * sites["E"]["fn"].variance, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("swap", [True, False])
def test_rotations_keep_what_features_say_and_put_what_was_wanted(setting, swap):
    """Means turn; log odds and scales are averages, which are exact where latents only change places."""
    axes, n = latent_axes(CONFIG), CONFIG.n_latent
    turn = -jnp.eye(n)[::-1] if swap else jax.random.orthogonal(KEY, n)
    before = masked_effects(setting.params, axes.effects, setting.features)
    turned = turn_effects(before, turn)
    wanted = jnp.linspace(-3.0, 3.0, before.mean.size).reshape(before.mean.shape)
    params = put_effects(turn_networks(setting.params, axes, turn), axes.effects, turned, wanted)
    sites, old = setting.guide(params), setting.guide()
    seen = np.asarray(setting.features.seen) > 0
    assert_allclose(sites["E"]["fn"].mean[~seen], (old["E"]["fn"].mean @ turn)[~seen], rtol=1e-4, atol=1e-5)
    assert_allclose(sites["E"]["fn"].mean[seen], turned.mean[seen], rtol=1e-4, atol=1e-5)
    assert_allclose(sites["mask"]["fn"].mean[seen], jax.nn.sigmoid(wanted)[seen], rtol=1e-4)
    if swap:
        assert_allclose(sites["mask"]["fn"].mean[~seen], (old["mask"]["fn"].mean @ turn**2)[~seen], rtol=1e-4)
        assert_allclose(sites["E"]["fn"].variance[~seen], (old["E"]["fn"].variance @ turn**2)[~seen], rtol=1e-4)


def counting(cold_start):
    """A model whose loss is the share of the perturbations that a step treats as unseen; 7 where it was not told."""

    def build(statistics):
        def model(batch):
            share = jnp.array(7.0) if batch.unseen is None else batch.unseen.mean()
            numpyro.param("p", jnp.zeros(1))
            numpyro.factor("share", -share * 100)
            with cells(batch):
                numpyro.sample("x", dist.Delta(batch.x, event_dim=1), obs=batch.x)

        return ModelGuide(model, lambda batch: None, *statistics.sizes, cold_start=cold_start)

    return build


@pytest.mark.parametrize("cold_start", [0.0, 0.3])
def test_training_steps_treat_a_share_of_the_perturbations_as_unseen(setting, cold_start):
    config, data = TrainConfig(batch_size=8, n_steps=50), setting.data
    arrays = fit_arrays(data, setting.statistics.genes, config)
    epochs = make_epochs(counting(cold_start), config)
    state = epochs.init(KEY, arrays)
    _, losses = jax.jit(epochs.train)(KEY, state, arrays)
    share = losses * arrays.train.shape[0] / 100
    if not cold_start:
        assert_allclose(share, 7.0, rtol=1e-5)
        return
    assert len(np.unique(np.round(share, 3))) > 2
    error = np.sqrt(0.3 * 0.7 / (len(share) * data.n_perturbations))
    assert_allclose(share.mean(), 0.3, atol=4 * error)
    # Validation is never told, and counts once what no cell carries.
    assert_allclose(epochs.validate(KEY, {"p": jnp.zeros(1)}, arrays), -700 / arrays.train.shape[0], rtol=1e-5)


def test_the_model_says_how_many(setting):
    assert setting.model_guide.cold_start == SAMSVAEConfig().cold_start > 0
    assert build_model(small.MODEL, setting.statistics).cold_start == 0.0


def test_what_cannot_be_is_refused(setting):
    with pytest.raises(InputError, match="feature_prior needs guide 'mean_field'"):
        SAMSVAEConfig(feature_prior=True, guide="correlated")
    with pytest.raises(InputError, match="cold_start must be >= 0"):
        SAMSVAEConfig(cold_start=1.0)
    with pytest.raises(InputError, match=r"the data have none: give --features\.source"):
        samsjax.fit(small.screen(), CONFIG, small.TRAIN)
    with pytest.raises(InputError, match="these data have none"):
        bare = build_model(CONFIG, replace(setting.statistics, features=None))
        bare.guide(empty_batch(bare))


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [64, 2])
def test_a_fit_rotates_and_learns(setting, batch_size):
    """Also where a batch holds fewer rows than there are perturbations."""
    train = replace(small.TRAIN, n_steps=2560 // batch_size, batch_size=batch_size, rotation="sparse")
    fitted = samsjax.fit(setting.data, replace(CONFIG, inclusion="per_latent"), train)
    assert fitted.rotations
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(fitted.params))


N_SEEN, N_HELD_OUT, N_FEATURES, N_MECHANISMS, N_GENES, N_CELLS = 60, 20, 12, 5, 40, 25


def screen_of_features(seed, *, shuffled):
    """Gaussian cells whose effects are functions of features: masks 1[f W > c], sizes linear; and the true effects."""
    rng = np.random.default_rng(seed)
    n = N_SEEN + N_HELD_OUT
    f = rng.normal(size=(n, N_FEATURES))
    gate, size = (f @ rng.normal(size=(N_FEATURES, N_MECHANISMS)) / np.sqrt(N_FEATURES) for _ in range(2))
    effects = (gate > 0.5) * (2.0 * np.sign(rng.normal(size=N_MECHANISMS)) + size)
    decoder = rng.normal(size=(N_MECHANISMS, N_GENES)) * (rng.random((N_MECHANISMS, N_GENES)) < 0.5)
    index, dose = np.concatenate([np.zeros(300, int), np.repeat(np.arange(n), N_CELLS)]), np.ones(300 + n * N_CELLS)
    dose[:300] = 0.0
    z = rng.normal(size=(len(dose), N_MECHANISMS)) + effects[index] * dose[:, None]
    x = z @ decoder + 0.7 * rng.normal(size=(len(dose), N_GENES))
    split = np.where(rng.random(len(dose)) < 0.2, "val", "train").astype("U5")
    split[(index >= N_SEEN) & (dose > 0)] = "test"
    if shuffled:
        f[:N_SEEN] = f[rng.permutation(N_SEEN)]
    features = PerturbationFeatures(tuple(f"f{i}" for i in range(N_FEATURES)), f)
    data = small.gaussian_data(x / x.std(axis=0), index, dose, split)
    return replace(data, features=features), effects @ decoder / x.std(axis=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_effects_of_new_perturbations_are_predicted_by_features_that_tell_them(seed):
    """Beyond the mean effect of the others, which no feature is needed for."""
    correlation = {}
    for shuffled in (False, True):
        data, truth = screen_of_features(seed, shuffled=shuffled)
        model = SAMSVAEConfig(
            n_latent=8,
            n_hidden=32,
            likelihood="normal_fixed_variance",
            normalization="standardize",
            mask_prior_prob=0.05,
            feature_prior=True,
        )
        fitted = samsjax.fit(data, model, TrainConfig(n_steps=1500, batch_size=256))
        index = np.arange(N_SEEN, N_SEEN + N_HELD_OUT)[:, None]
        config = samsjax.EffectsConfig(transform="counts", n_particles=100)
        found = samsjax.model_effects(
            KEY, fitted, data.perturbation_names[index[:, 0]], index, np.ones(index.shape), config
        )
        mean = truth[:N_SEEN].mean(axis=0)
        correlation[shuffled] = np.corrcoef((found.ate - mean).ravel(), (truth[N_SEEN:] - mean).ravel())[0, 1]
    assert correlation[False] > 0.5
    assert correlation[True] < 0.3
