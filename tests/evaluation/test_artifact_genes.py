"""What an artefact does to genes: known for a linear model, the same as generating cells of both qualities."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import samsjax
from samsjax.effects import artifacts, cells
from samsjax.errors import InputError
from samsjax.evaluation.generated_cells import generate_cells
from samsjax.evaluation.model_effects import EffectsConfig
from samsjax.evaluation.quality.artifact_genes import artifact_genes
from samsjax.evaluation.transforms import transform_named
from samsjax.inference.fitted import Fitted, statistics_of, vocabulary_of
from samsjax.models import CRADLEVAEConfig
from samsjax.types import ModelGuide
from tests import small

KEY = jax.random.key(0)
LOADING = np.array([[1.0, 0.0, 2.0, -0.5], [0.0, 1.0, -1.0, 0.0]], np.float32)
ARTIFACT = np.array([[1.0, -2.0], [0.5, 3.0]], np.float32)
COUNTS = EffectsConfig(n_particles=50, transform="counts")


@pytest.fixture(scope="module")
def linear():
    """x = (z + s ARTIFACT) LOADING + noise, artefacts known to .2: the difference is that of one row on average."""

    def model(batch):
        with artifacts(2):
            artifact = numpyro.sample("U", dist.Normal(jnp.zeros((2, 2)), 1.0).to_event(1))
        with cells(batch):
            z = numpyro.sample("z_basal", dist.Normal(jnp.zeros((batch.dosage.shape[0], 2)), 1.0).to_event(1))
            numpyro.sample("x", dist.Normal((z + batch.artifacts @ artifact) @ LOADING, 0.3).to_event(1), obs=batch.x)

    def guide(batch):
        with artifacts(2):
            numpyro.sample("U", dist.Normal(jnp.asarray(ARTIFACT), 0.2).to_event(1))
        with cells(batch):
            numpyro.sample("z_basal", dist.Normal(jnp.zeros((batch.dosage.shape[0], 2)), 1.0).to_event(1))

    data = small.gaussian_data(np.zeros((9, 4)), np.arange(9) % 3, np.ones(9), np.full(9, "train"))
    data = replace(data, failed=np.tile([[True, False], [False, True], [False, False]], (3, 1)), criteria=("a", "b"))
    config = CRADLEVAEConfig(n_latent=2, likelihood="normal", normalization="none", indicators="each")
    names = data.criteria
    fitted = Fitted(
        config=config,
        vocabulary=vocabulary_of(data, (), "each"),
        statistics=statistics_of(data, "none", artifacts=names),
        library_sizes=np.ones(4, np.float32),
        n_training_cells=np.full(3, 3, np.int32),
        covariate_codes=np.zeros((1, 0), np.int32),
        covariate_shares=np.ones(1, np.float32),
        params={},
        failed_library_sizes=np.ones(4, np.float32),
    )
    programs = ModelGuide(model, guide, 4, 3, n_artifacts=2)
    fitted.__dict__["build"] = lambda statistics: programs  # in place of the cached property
    return fitted


def test_a_linear_artefact_moves_genes_by_its_loading_and_basal_states_cancel(linear):
    config = replace(COUNTS, n_particles=2000)
    found = artifact_genes(KEY, linear, config)
    assert found.indicators == ("a", "b") and found.transform == "counts"
    # With basal states in common the error is that of the artefacts alone: spread .2 in each latent dimension.
    error = np.tile(0.2 * np.sqrt((LOADING**2).sum(axis=0) / 2000), (2, 1))
    assert_allclose(found.standard_error, error, rtol=0.1)
    assert np.abs((found.difference - ARTIFACT @ LOADING) / error).max() < 4
    assert np.abs(found.good_mean).max() < 4 * np.sqrt((LOADING**2).sum(axis=0).max() / 2000)


def test_chunks_are_pooled_as_if_they_were_one(linear):
    chunked = artifact_genes(KEY, linear, COUNTS, values_in_flight=7 * 4)
    whole = artifact_genes(KEY, linear, COUNTS)
    assert_allclose(chunked.standard_error, whole.standard_error, rtol=0.5)
    assert np.abs(chunked.difference - whole.difference).max() < 6 * whole.standard_error.max()
    assert not np.array_equal(chunked.difference, whole.difference)


@pytest.fixture(scope="module")
def fitted():
    data = small.labelled(small.screen())
    return samsjax.fit(data, CRADLEVAEConfig(n_latent=4, n_hidden=8), small.TRAIN, progress=False)


def test_it_is_the_difference_between_generated_cells_of_both_qualities(fitted):
    """Generated with one total, as failed cells would else have their own."""
    pushed = replace(fitted, params={**fitted.params, "U_loc": jnp.asarray([[2.0, -1.0, 1.0, 3.0]])})
    config = EffectsConfig(n_particles=1000, library_size=150.0)
    found = artifact_genes(KEY, pushed, config)
    log2_cp10k = transform_named("log2_cp10k").of
    none = np.zeros(1, np.int32), np.zeros(1, np.float32)
    means, errors = [], []
    for fails in ((), ("failed",)):
        x = generate_cells(jax.random.key(1), pushed, *none, 4000, replace(config, fails=fails)).x.astype(np.float32)
        values = np.asarray(log2_cp10k(x, x.sum(axis=1)))
        means.append(values.mean(axis=0))
        errors.append(values.var(axis=0) / len(x))
    z = (found.difference[0] - (means[1] - means[0])) / np.sqrt(sum(errors) + found.standard_error[0] ** 2)
    assert np.abs(z).max() < 4.5
    assert (np.abs(found.difference[0]) / np.sqrt(sum(errors))).max() > 10  # something moves
    assert_allclose(found.good_mean, means[0], atol=6 * np.sqrt(errors[0] + found.standard_error[0] ** 2).max())


def test_an_artefact_without_size_moves_nothing_and_fails_and_totals_play_no_part(fitted):
    none = {"U_loc": jnp.zeros((1, 4)), "U_log_scale": jnp.full((1, 4), -np.inf)}
    still = replace(fitted, params={**fitted.params, **none})
    assert np.abs(artifact_genes(KEY, still, EffectsConfig(n_particles=20)).difference).max() < 5e-3
    one = artifact_genes(KEY, fitted, EffectsConfig(n_particles=20))
    other_totals = replace(fitted, failed_library_sizes=fitted.library_sizes / 10)
    two = artifact_genes(KEY, other_totals, EffectsConfig(n_particles=20, fails=("failed",)))
    assert_array_equal(one.difference, two.difference)


def test_models_that_saw_no_artefact_are_refused(fitted):
    with pytest.raises(InputError, match="no training cell failed"):
        artifact_genes(KEY, replace(fitted, failed_library_sizes=None))
    ignorant = replace(fitted, vocabulary=fitted.vocabulary._replace(artifacts=()))
    with pytest.raises(InputError, match="does not know the quality of cells"):
        artifact_genes(KEY, ignorant)
