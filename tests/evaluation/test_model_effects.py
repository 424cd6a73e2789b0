"""Predicted effects: known values of a linear-Gaussian model, pairing, streaming, panels."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import samsjax
from samsjax.effects import cells, offset, perturbations
from samsjax.evaluation.effect_posterior import effect_draws, effect_intervals
from samsjax.evaluation.model_effects import EffectsConfig, model_effects
from samsjax.inference.fitted import Fitted, Vocabulary, statistics_of, vocabulary_of
from samsjax.inference.log_weights import initial_parameters
from samsjax.models import builder
from samsjax.types import ModelGuide
from tests import small

EFFECT = jnp.array([[1.0, 0.0], [0.0, -2.0], [0.5, 0.5]])
LOADING = jnp.array([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]])


@pytest.fixture(scope="module")
def linear():
    """x = (z + offset) LOADING + 0.3 noise with a guide N(EFFECT, 0.2): effects are dosage x EFFECT x LOADING."""

    def model(batch):
        with perturbations(batch):
            effect = numpyro.sample("E", dist.Normal(jnp.zeros((batch.rows.shape[0], 2)), 1.0).to_event(1))
        with cells(batch):
            z = numpyro.sample("z_basal", dist.Normal(jnp.zeros((batch.dosage.shape[0], 2)), 1.0).to_event(1))
            mean = (z + offset(effect, batch)) @ LOADING
            numpyro.sample("x", dist.Normal(mean, 0.3).to_event(1), obs=batch.x)

    def guide(batch):
        with perturbations(batch):
            numpyro.sample("E", dist.Normal(EFFECT[batch.rows], 0.2).to_event(1))
        with cells(batch):
            numpyro.sample("z_basal", dist.Normal(jnp.zeros((batch.dosage.shape[0], 2)), 1.0).to_event(1))

    data = small.gaussian_data(np.zeros((8, 3)), np.arange(8) % 3, np.ones(8), np.full(8, "train"))
    fitted = Fitted(
        config=small.MODEL,
        vocabulary=Vocabulary(("a", "b", "c"), ("P0", "P1", "P2"), "control", "+", "ones", 1.0, {}),
        statistics=statistics_of(data, "none"),
        library_sizes=np.ones(4, np.float32),
        n_training_cells=np.array([3, 3, 2], np.int32),
        covariate_codes=np.zeros((1, 0), np.int32),
        covariate_shares=np.ones(1, np.float32),
        params={},
    )
    fitted.__dict__["build"] = lambda statistics: ModelGuide(model, guide, 3, 3)  # in place of the cached property
    return fitted


INDEX, DOSAGE = np.array([[0, 0], [1, 0], [0, 1], [2, 0]]), np.array([[1, 0], [1, 0], [1, 1], [2.5, 0]], np.float32)
KNOWN = np.asarray((DOSAGE[..., None] * np.asarray(EFFECT)[INDEX]).sum(axis=1) @ np.asarray(LOADING))
LABELS = np.array(["P0", "P1", "P0+P1", "P2@2.5"])


@pytest.mark.parametrize("paired", [True, False])
def test_effects_of_a_linear_gaussian_model_are_known_within_their_error(linear, paired):
    config = EffectsConfig(n_particles=4000, transform="counts", paired=paired)
    effects = model_effects(jax.random.key(0), linear, LABELS, INDEX, DOSAGE, config)
    z = (effects.ate - KNOWN) / effects.standard_error
    assert np.abs(z).max() < 4
    assert np.sqrt((z**2).mean()) < 1.8


def test_standard_error_is_that_of_repeated_runs(linear):
    config = EffectsConfig(n_particles=50, transform="counts", paired=False)
    runs = [model_effects(jax.random.key(i), linear, LABELS, INDEX, DOSAGE, config) for i in range(60)]
    observed = np.std([run.ate for run in runs], axis=0)
    claimed = np.mean([run.standard_error for run in runs], axis=0)
    assert_allclose(claimed.mean(), observed.mean(), rtol=0.1)


def test_pairing_removes_the_basal_state_from_the_error(linear):
    config = {"n_particles": 500, "transform": "counts", "noise": "mean"}
    paired, apart = (
        model_effects(jax.random.key(0), linear, LABELS, INDEX, DOSAGE, EffectsConfig(**config, paired=p))
        for p in (True, False)
    )
    # Only the posterior of the effect, sd 0.2, is left: gene "a" of P0 has a standard error of 0.2 / sqrt(500).
    assert_allclose(paired.standard_error[0, 0], 0.2 / np.sqrt(500), rtol=0.1)
    assert (apart.standard_error > 2 * paired.standard_error).all()


def test_chunks_of_treatments_do_not_matter_and_any_particle_count_works(linear):
    config = EffectsConfig(n_particles=37, transform="counts")
    whole = model_effects(jax.random.key(0), linear, LABELS, INDEX, DOSAGE, config)
    single = model_effects(jax.random.key(0), linear, LABELS[:1], INDEX[:1], DOSAGE[:1], config)
    assert_allclose(whole.ate[:1], single.ate, rtol=1e-5, atol=1e-6)
    # Three genes, two treatments at a time, sixteen particles at a time.
    chunked = model_effects(jax.random.key(0), linear, LABELS, INDEX, DOSAGE, config, values_in_flight=16 * 3 * 2)
    assert chunked.ate.shape == whole.ate.shape
    z = (chunked.ate - KNOWN) / chunked.standard_error
    assert np.abs(z).max() < 4


def test_control_has_no_effect_and_order_of_parts_does_not_matter(linear):
    config = EffectsConfig(n_particles=20, transform="counts")
    index, dosage = np.array([[0, 0], [0, 1], [1, 0]]), np.array([[0, 0], [1, 1], [1, 1]], np.float32)
    effects = model_effects(jax.random.key(0), linear, np.array(["control", "a", "b"]), index, dosage, config)
    assert_array_equal(effects.ate[0], 0.0)
    assert_array_equal(effects.ate[1], effects.ate[2])


def test_no_treatment_is_an_error(linear):
    with pytest.raises(samsjax.InputError, match="no treatment to predict"):
        model_effects(jax.random.key(0), linear, LABELS[:0], INDEX[:0], DOSAGE[:0])


@pytest.fixture(scope="module")
def panel():
    """A screen whose totals by key are those of a transcriptome 70 times as large as the panel."""
    import anndata
    import pandas as pd

    data = small.screen()
    rng = np.random.default_rng(1)
    panel_total = np.asarray(data.x.sum(axis=1)).ravel()
    labels = samsjax.treatments(data)
    names = np.append(labels.labels.astype(object), "control")[labels.assignment]
    total = 70 * panel_total * np.exp(0.2 * rng.standard_normal(data.n_cells))
    obs = pd.DataFrame({"perturbation": names, "total": total}, index=data.cell_names)
    return anndata.AnnData(data.x.astype(np.float32), obs, pd.DataFrame(index=data.gene_names))


def test_a_panel_with_totals_of_the_transcriptome_is_predicted_on_its_own_scale(panel):
    data = samsjax.from_anndata(panel, library_size_key="total")
    train = data.cells("train")
    assert_allclose(data.library_size[train].sum(), data.x[train].sum(), rtol=1e-5)
    assert_allclose(data.exposure_scale, 1 / 70, rtol=0.1)
    fitted = samsjax.fit(data, small.MODEL, samsjax.TrainConfig(n_steps=150, batch_size=64, learning_rate=1e-2))
    treated = samsjax.treatments(data)
    arguments = (fitted, treated.labels, treated.perturbation_index, treated.dosage)
    predicted = model_effects(jax.random.key(0), *arguments, EffectsConfig(n_particles=4000, transform="counts"))
    measured = samsjax.data_effects(data, treated, np.arange(data.n_cells), "counts")
    assert_allclose(predicted.control_mean.sum(), measured.control_mean.sum(), rtol=0.15)
    # Normalised by the same exposure, the levels agree too.
    predicted = model_effects(jax.random.key(0), *arguments, EffectsConfig(n_particles=400, transform="cp10k"))
    measured = samsjax.data_effects(data, treated, np.arange(data.n_cells), "cp10k")
    assert_allclose(predicted.control_mean.sum(), measured.control_mean.sum(), rtol=0.1)


@pytest.fixture(scope="module")
def decided():
    """A model with random networks whose masks are certain and whose effects are clear, and four treatments."""
    data = small.screen()
    statistics = statistics_of(data, small.MODEL.normalization)
    params = initial_parameters(jax.random.key(0), builder(small.MODEL)(statistics))
    active = np.random.default_rng(0).random((data.n_perturbations, 4)) < 0.6
    active[:3, 0] = True
    effects = {
        "mask_logits": jnp.where(active, 40.0, -40.0),
        "E_loc": jnp.asarray(np.random.default_rng(1).normal(0, 2, active.shape), dtype=jnp.float32),
        "E_log_scale": jnp.full(active.shape, -2.0),
    }
    fitted = Fitted(
        config=small.MODEL,
        vocabulary=vocabulary_of(data),
        statistics=statistics,
        library_sizes=np.quantile(data.library_size, np.linspace(0, 1, 16)).astype(np.float32),
        n_training_cells=np.full(data.n_perturbations, 9, np.int32),
        covariate_codes=np.zeros((1, 0), np.int32),
        covariate_shares=np.ones(1, np.float32),
        params=params | effects,
    )
    index, dosage = np.array([[0, 0], [1, 0], [2, 0], [0, 1]]), np.array([[1, 0], [1, 0], [1, 0], [1, 1]], np.float32)
    return fitted, np.array(["P1", "P2", "P3", "P1+P2"]), index, dosage


@pytest.mark.parametrize("own_totals", [True, False])
@pytest.mark.parametrize("transform", ["log2_cp10k", "cp10k"])
def test_expected_counts_have_the_effects_of_drawn_counts(decided, transform, own_totals):
    fitted, *treated = decided
    source = "row_sum" if own_totals else "total"
    fitted = replace(fitted, vocabulary=fitted.vocabulary._replace(library_size_source=source))
    exact, drawn = (
        model_effects(jax.random.key(0), fitted, *treated, EffectsConfig(n, transform, noise=noise))
        for n, noise in ((1000, "marginal"), (4000, "sampled"))
    )
    z = (exact.ate - drawn.ate) / np.hypot(exact.standard_error, drawn.standard_error)
    assert np.abs(z).max() < 4.5
    assert np.sqrt((z**2).mean()) < 1.5


def test_200_expectations_are_worth_2500_draws_of_counts(decided):
    """Where most counts are zero, as they are in a screen."""
    exact, drawn = (
        model_effects(jax.random.key(0), *decided, EffectsConfig(n, noise=noise, library_size=10.0))
        for n, noise in ((200, "marginal"), (2500, "sampled"))
    )
    assert ((exact.standard_error**2).mean(axis=1) < (drawn.standard_error**2).mean(axis=1)).all()


def test_standard_error_without_count_noise_is_that_of_repeated_runs(decided):
    runs = [model_effects(jax.random.key(i), *decided, EffectsConfig(20)) for i in range(60)]
    observed = np.std([run.ate for run in runs], axis=0)
    claimed = np.sqrt(np.mean([run.standard_error**2 for run in runs], axis=0))
    assert_allclose(claimed.mean(), observed.mean(), rtol=0.1)


def test_expected_counts_do_not_depend_on_chunks_of_treatments(decided):
    fitted, labels, index, dosage = decided
    whole = model_effects(jax.random.key(0), fitted, labels, index, dosage, EffectsConfig(33))
    single = model_effects(jax.random.key(0), fitted, labels[:1], index[:1], dosage[:1], EffectsConfig(33))
    assert_allclose(single.ate[0], whole.ate[0], atol=1e-4)


def test_a_likelihood_without_known_expectation_is_refused(linear):
    with pytest.raises(samsjax.InputError, match=r"noise 'marginal' needs .* and the model has Normal"):
        model_effects(jax.random.key(0), linear, LABELS, INDEX, DOSAGE, EffectsConfig(5, "cp10k"))


def test_posterior_of_effects_of_a_linear_gaussian_model_is_known(linear):
    config = EffectsConfig(transform="counts")
    draws = effect_draws(jax.random.key(0), linear, INDEX, DOSAGE, config, n_draws=2000, n_cells=2)
    assert draws.shape == (2000, 4, 3)
    effects = effect_intervals(jax.random.key(0), linear, LABELS, INDEX, DOSAGE, config, n_draws=2000, n_cells=2)
    # Offsets are dosage x N(EFFECT, 0.2), and cells add nothing: all arms share them.
    sd = 0.2 * np.sqrt((DOSAGE**2).sum(axis=1)[:, None] * (np.asarray(LOADING) ** 2).sum(axis=0))
    assert_allclose(effects.sd, sd, rtol=0.1)
    assert_allclose(effects.standard_error, sd / np.sqrt(2000), rtol=0.1)
    assert_allclose((effects.high - effects.low) / 2, 1.645 * sd, rtol=0.1)
    assert np.abs((effects.ate - KNOWN) / effects.standard_error).max() < 4
    assert_allclose(effects.ate, draws.mean(axis=0), rtol=1e-5, atol=1e-6)


def test_draws_of_an_effect_are_the_same_whatever_else_is_asked_for(linear):
    settings = {"config": EffectsConfig(transform="counts", noise="sampled"), "n_draws": 6, "n_cells": 4}
    whole = effect_draws(jax.random.key(0), linear, INDEX, DOSAGE, **settings)
    single = effect_draws(jax.random.key(0), linear, INDEX[2:3], DOSAGE[2:3], **settings)
    chunked = effect_draws(jax.random.key(0), linear, INDEX, DOSAGE, **settings, values_in_flight=2 * 6 * 3)
    assert_allclose(single, whole[:, 2:3], rtol=1e-5, atol=1e-6)
    assert_allclose(chunked, whole, rtol=1e-5, atol=1e-6)


def test_intervals_contain_the_mean_and_shrink_to_it_with_the_posterior(decided):
    fitted, *treated = decided
    wide = effect_intervals(jax.random.key(0), fitted, *treated, n_draws=20, n_cells=4)
    assert (wide.low < wide.ate).all() and (wide.ate < wide.high).all() and (wide.sd > 0).all()
    exact = {"E_log_scale": jnp.full_like(fitted.params["E_log_scale"], -40.0)}
    point = effect_intervals(
        jax.random.key(0), replace(fitted, params=fitted.params | exact), *treated, n_draws=20, n_cells=4
    )
    # What is left are the guide's floor of a standard deviation, 1e-4, and the rounding of numbers near 10.
    assert point.sd.max() < 2e-4 < np.median(wide.sd) / 50
    assert (point.high - point.low).max() < 1e-3
    assert (point.standard_error > 0).any()  # of the cells


def test_intervals_of_too_few_draws_are_refused(linear):
    with pytest.raises(samsjax.InputError, match="n_cells must be >= 2, got 1"):
        effect_intervals(jax.random.key(0), linear, LABELS, INDEX, DOSAGE, n_cells=1)


def test_predictive_bound_rises_with_particles_and_does_not_depend_on_chunks():
    data = small.screen()
    fitted = samsjax.fit(data, small.MODEL, samsjax.TrainConfig(n_steps=60, batch_size=64, learning_rate=1e-2))
    cells = np.flatnonzero(data.split != "train")

    def mean_bound(n_particles):
        draws = [
            samsjax.predictive_iwelbo(jax.random.key(s), fitted, data, cells, n_particles).mean() for s in range(3)
        ]
        return np.mean(draws)

    few, some, many = mean_bound(1), mean_bound(8), mean_bound(64)
    assert few < some < many
    whole = samsjax.predictive_iwelbo(jax.random.key(0), fitted, data, cells, 64)
    chunked = samsjax.predictive_iwelbo(
        jax.random.key(0), fitted, data, cells, 64, values_in_flight=64 * data.n_genes * 11
    )
    assert chunked.shape == whole.shape == (len(cells),)
    assert abs(chunked.mean() - whole.mean()) < 1.0
    assert np.corrcoef(chunked, whole)[0, 1] > 0.98
