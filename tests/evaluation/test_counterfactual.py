"""Cells in another quality: known for a linear model, nearer to the truth for a fitted one, refused where unknown."""

from dataclasses import fields, replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose

import samsjax
from samsjax.data import ArtifactSimulationConfig, simulate_artifacts
from samsjax.effects import cells as plate_of_cells
from samsjax.errors import InputError
from samsjax.evaluation.counterfactual import counterfactual
from samsjax.evaluation.transforms import TRANSFORMS
from samsjax.inference.config import TrainConfig
from samsjax.inference.fitted import Fitted, statistics_of, vocabulary_of
from samsjax.models import CRADLEVAEConfig
from samsjax.types import ModelGuide
from tests import small

KEY = jax.random.key(0)
LOADING = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, -1.0], [2.0, 0.0, 3.0]], np.float32)
ARTIFACT = np.array([[1.0, 2.0, 3.0], [-0.5, 0.0, 4.0]], np.float32)
FLAGS = np.array([[0, 0], [1, 0], [0, 1], [1, 1], [0, 0]], bool)
NAMES = ("a", "b")


def labelled_cells(n_genes: int = 3) -> samsjax.PerturbationData:
    x = 5 + np.random.default_rng(0).standard_normal((len(FLAGS), n_genes))
    data = small.gaussian_data(x, np.zeros(len(FLAGS)), np.zeros(len(FLAGS)), np.full(len(FLAGS), "test"))
    return replace(data, failed=FLAGS, criteria=NAMES)


@pytest.fixture(scope="module")
def linear() -> Fitted:
    """x = z LOADING + flags ARTIFACT + noise; the guide solves for z, so cells as they are come back unchanged."""

    def model(batch):
        with plate_of_cells(batch):
            z = numpyro.sample("z_basal", dist.Normal(jnp.zeros((batch.dosage.shape[0], 3)), 1.0).to_event(1))
            numpyro.sample("x", dist.Normal(z @ LOADING + batch.artifacts @ ARTIFACT, 0.3).to_event(1), obs=batch.x)

    def guide(batch):
        with plate_of_cells(batch):
            solved = (batch.x - batch.artifacts @ ARTIFACT) @ jnp.linalg.inv(LOADING)
            numpyro.sample("z_basal", dist.Normal(solved, 1e-6).to_event(1))

    data = labelled_cells()
    fitted = Fitted(
        config=CRADLEVAEConfig(n_latent=3, likelihood="normal", normalization="none", indicators="each"),
        vocabulary=vocabulary_of(data, indicators="each"),
        statistics=statistics_of(data.with_split(np.full(data.n_cells, "train")), "none", artifacts=NAMES),
        library_sizes=np.ones(4, np.float32),
        n_training_cells=np.ones(1, np.int32),
        covariate_codes=np.zeros((1, 0), np.int32),
        covariate_shares=np.ones(1, np.float32),
        params={},
    )
    fitted.__dict__["build"] = lambda statistics: ModelGuide(model, guide, 3, 1, n_artifacts=2)
    return fitted


@pytest.mark.parametrize("fails", [(), ("a",), ("b",), ("b", "a")])
def test_artefacts_of_a_linear_model_are_taken_out_and_put_in_exactly(linear, fails):
    data, wanted = labelled_cells(), np.isin(NAMES, fails)
    found = counterfactual(KEY, linear, data, np.arange(data.n_cells), fails, n_particles=2)
    assert_allclose(found, data.x + (wanted - FLAGS.astype(float)) @ ARTIFACT, atol=1e-4)
    unchanged = (wanted == FLAGS).all(axis=1)
    assert unchanged.any()
    assert_allclose(found[unchanged], data.x[unchanged], atol=1e-4)


def test_in_the_quality_they_have_cells_stay(linear):
    data = labelled_cells()
    found = counterfactual(KEY, linear, data, np.arange(data.n_cells), None, n_particles=1)
    assert_allclose(found, data.x, atol=1e-4)


def test_cells_are_those_asked_for_in_the_scale_asked_for(linear):
    data, rows = labelled_cells(), np.array([3, 1])
    found = counterfactual(KEY, linear, data, rows, None, transform="log2_cp10k", n_particles=3)
    assert_allclose(found, TRANSFORMS["log2_cp10k"].of(data.x[rows], data.library_size[rows]), rtol=1e-5)


@pytest.fixture(scope="module")
def simulated():
    """A screen with artefacts, its truth, and a model that was fitted to it."""
    sizes = {field.name: getattr(small.SCREEN, field.name) for field in fields(small.SCREEN)}
    sizes |= {"n_mito_genes": 3, "n_ribo_genes": 2, "n_confounded": 1, "median_library_size": 1000.0}
    data, truth = simulate_artifacts(ArtifactSimulationConfig(**sizes), seed=1)
    train = TrainConfig(n_steps=1500, batch_size=64, learning_rate=1e-2, rotation="off")
    return data, truth, samsjax.fit(data, CRADLEVAEConfig(n_latent=4, n_hidden=8), train, progress=False)


def test_failed_cells_move_towards_what_they_would_have_been(simulated):
    """In shares, as totals stay those that were measured. Seeds 0, 1, 2: errors 0.70, 0.56, 0.70 of those as is."""
    data, truth, fitted = simulated
    failed = np.flatnonzero(data.is_failed)
    good = TRANSFORMS["log2_cp10k"].of(truth.good_mean[failed], truth.good_mean[failed].sum(axis=1))
    cleaned, as_is = (
        np.abs(counterfactual(KEY, fitted, data, failed, fails, transform="log2_cp10k") - good).mean(axis=1)
        for fails in ((), None)
    )
    assert cleaned.mean() < 0.8 * as_is.mean()
    assert (cleaned < as_is).mean() > 0.7


def test_cells_that_pass_are_decoded_as_they_are(simulated):
    data, _, fitted = simulated
    rows = np.arange(data.n_cells)
    cleaned, as_is = (counterfactual(KEY, fitted, data, rows, fails, n_particles=4) for fails in ((), None))
    passed = ~data.is_failed
    assert_allclose(cleaned[passed], as_is[passed], rtol=1e-5)
    assert (np.abs(cleaned - as_is).max(axis=1) > 1e-3)[~passed].all()
    spoilt = counterfactual(KEY, fitted, data, rows, ("failed",), n_particles=4)
    assert_allclose(spoilt[~passed], as_is[~passed], rtol=1e-5)
    assert_allclose(as_is.sum(axis=1), data.library_size, rtol=1e-3)


def test_what_is_not_known_is_refused(linear):
    data = labelled_cells()
    rows = np.arange(data.n_cells)
    with pytest.raises(InputError, match=r"unknown quality indicator of the model 'c'.*Known: a, b"):
        counterfactual(KEY, linear, data, rows, ("c",))
    with pytest.raises(InputError, match="unknown transform 'log'"):
        counterfactual(KEY, linear, data, rows, transform="log")
    with pytest.raises(InputError, match="n_particles must be >= 1, got 0"):
        counterfactual(KEY, linear, data, rows, n_particles=0)
    unlabelled = replace(data, failed=None, criteria=())
    with pytest.raises(InputError, match=r"trained with quality labels \(a, b\), and these cells carry none"):
        counterfactual(KEY, linear, unlabelled, rows)


def test_models_without_artefacts_have_nothing_to_change():
    data = small.labelled(small.screen())
    vocabulary, statistics = vocabulary_of(data), statistics_of(data, "log_standardize")
    fitted = Fitted(small.MODEL, vocabulary, statistics, *(np.ones(1),) * 4, params={})
    with pytest.raises(InputError, match="'sams_vae' does not know the quality of cells"):
        counterfactual(KEY, fitted, data, np.arange(3))
