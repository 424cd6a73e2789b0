"""Screens drawn from a model have its design, means and effects; factors are those that errors ask for."""

import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import ndtri

import samsjax
from samsjax.errors import InputError
from samsjax.evaluation.calibration import coverage_of_true_effects
from samsjax.evaluation.generated_cells import draw_effects, replicate_cells, replicates
from samsjax.evaluation.model_effects import EffectsConfig, model_effects
from samsjax.evaluation.posterior_effects import PosteriorEffects, posterior_effects
from samsjax.evaluation.tempering import (
    FEWEST_EFFECTS,
    LEVELS,
    DrawnEffects,
    redrawn_screen,
    standardised_errors,
    tempering,
    widening,
)
from samsjax.inference.log_weights import initial_parameters
from samsjax.models import ConditionalVAEConfig, CPAVAEConfig, SVAEPlusConfig
from tests import small

LOC = np.random.default_rng(1).normal(0, 2, (6, 4))
MASK = np.random.default_rng(2).random((6, 4)) < [0.9, 0.8, 0.5, 0.5]
SD = 0.25


@pytest.fixture(scope="module")
def data():
    return small.screen()


@pytest.fixture(scope="module")
def fitted(data):
    """A model with effects set by hand, as so short a fit finds none."""
    return with_effects(samsjax.fit(data, small.MODEL, small.TRAIN, progress=False), SD)


def with_effects(fitted, sd):
    """With certain masks and embeddings Normal(LOC, sd)."""
    set_here = {"mask_logits": np.where(MASK, 30.0, -30.0), "E_loc": LOC, "E_log_scale": np.full((6, 4), np.log(sd))}
    return replace(fitted, params=fitted.params | jax.tree.map(jnp.float32, set_here))


def untrained(fitted, config):
    """Another model of the same data as it is before training."""
    other = replace(fitted, config=config)
    return replace(other, params=initial_parameters(jax.random.key(0), other.model_guide))


def spike_and_slab(p, m, s):
    """Posterior of independent masks and normal embeddings."""
    mean = p * m
    return PosteriorEffects(p, mean, np.sqrt(p * (s**2 + m**2) - mean**2), True)


def test_a_redrawn_screen_has_the_design_and_the_effects_of_the_model(fitted, data):
    screen, truth = redrawn_screen(jax.random.key(1), fitted, data)
    for name in ("perturbation_index", "dosage", "split", "gene_names", "perturbation_names", "cell_names"):
        assert_array_equal(getattr(screen, name), getattr(data, name))
    assert np.issubdtype(screen.x.dtype, np.integer) and (screen.x != data.x).nnz > 0
    assert_array_equal(screen.library_size, np.asarray(screen.x.sum(axis=1)).ravel())
    assert_array_equal(truth.mask, MASK)
    assert (truth.effect[~MASK] == 0).all()
    z = (truth.effect - LOC)[MASK] / SD
    assert np.abs(z).max() < 4 and 0.5 < z.std() < 1.6
    again, same = redrawn_screen(jax.random.key(1), fitted, data)
    assert (again.x != screen.x).nnz == 0
    assert_array_equal(same.effect, truth.effect)
    assert (redrawn_screen(jax.random.key(2), fitted, data)[1].effect != truth.effect)[MASK].all()


def test_a_redrawn_screen_has_the_means_of_the_model(fitted, data):
    sure = with_effects(fitted, 1e-6)  # so that every draw of the effects is the same
    even = replace(data, library_size=np.full(data.n_cells, 2e4, np.float32))
    x = redrawn_screen(jax.random.key(3), sure, even)[0].x.toarray().astype(float)
    treated = samsjax.treatments(data)
    config = EffectsConfig(n_particles=2000, transform="counts", noise="mean", library_size=2e4)
    arms = treated.labels, treated.perturbation_index, treated.dosage
    predicted = model_effects(jax.random.key(0), sure, *arms, config)
    control = x[treated.assignment < 0]
    for row, label in enumerate(treated.labels):
        cells = x[treated.assignment == row]
        error = np.sqrt(cells.var(axis=0) / len(cells) + control.var(axis=0) / len(control))
        z = (cells.mean(axis=0) - control.mean(axis=0) - predicted.ate[row]) / (error + predicted.standard_error[row])
        assert np.abs(z).max() < 5, label
    assert np.abs(predicted.ate).max() > 100  # the effects are not nothing


def test_given_effects_are_those_of_the_cells(fitted, data):
    effects, cells, key = draw_effects(jax.random.key(0), fitted), np.arange(data.n_cells), jax.random.key(1)
    x = replicate_cells(key, fitted, data, cells, effects)
    assert_array_equal(x, replicate_cells(key, fitted, data, cells, effects))
    silent = {name: jnp.zeros_like(value) for name, value in effects.items()}
    moved = (replicate_cells(key, fitted, data, cells, silent) != x).any(axis=1)
    assert not moved[data.is_control].any() and moved[~data.is_control].mean() > 0.9


def test_cells_without_counts_get_one_of_their_most_expected_gene(fitted, data):
    faint = replace(data, library_size=np.full(data.n_cells, 0.5, np.float32))
    key = jax.random.key(4)
    x = redrawn_screen(key, fitted, faint)[0].x.toarray()
    effects_key, cells_key = jax.random.split(key)
    drawn = replicates(cells_key, fitted, faint, np.arange(data.n_cells), draw_effects(effects_key, fitted))
    empty = drawn.x.sum(axis=1) == 0
    assert 0.2 < empty.mean() < 0.9
    assert_array_equal(x[~empty], drawn.x[~empty])
    assert (x[empty].sum(axis=1) == 1).all()
    assert_array_equal(x[empty].argmax(axis=1), drawn.most_expected[empty])


def test_most_expected_gene_is_that_of_cells_without_noise(fitted, data):
    head = fitted.params["decoder$params"]["head"]
    head = head | {"log_theta": jnp.full_like(head["log_theta"], 25.0)}
    quiet = replace(fitted, params=fitted.params | {"decoder$params": fitted.params["decoder$params"] | {"head": head}})
    large = replace(data, library_size=np.full(data.n_cells, 1e6, np.float32))
    drawn = replicates(jax.random.key(5), quiet, large, np.arange(data.n_cells))
    assert (drawn.x.argmax(axis=1) == drawn.most_expected).mean() > 0.95
    assert len(np.unique(drawn.most_expected)) > 3


def test_exposures_that_are_no_row_sums_are_kept(fitted, data):
    panel = replace(data, library_size_source="n_umi", x=data.x.toarray())
    screen, _ = redrawn_screen(jax.random.key(1), fitted, panel)
    assert_array_equal(screen.library_size, data.library_size)
    assert isinstance(screen.x, np.ndarray) and np.issubdtype(screen.x.dtype, np.integer)


def test_continuous_values_are_drawn_as_such(fitted, data):
    values = replace(
        data,
        x=np.random.default_rng(0).standard_normal(data.x.shape).astype(np.float32),
        library_size=np.ones(data.n_cells, np.float32),
        library_size_source="ones",
    )
    model = untrained(fitted, replace(small.MODEL, likelihood="normal", normalization="standardize"))
    screen, truth = redrawn_screen(jax.random.key(0), model, values)
    assert screen.x.dtype == np.float32 and (screen.x < 0).any() and (screen.x % 1 != 0).any()
    assert_array_equal(screen.library_size, 1)
    assert not truth.effect[~truth.mask].any()


@pytest.mark.parametrize(
    ("config", "missing"),
    [(CPAVAEConfig, "draws of mask$"), (SVAEPlusConfig, "draws of E$"), (ConditionalVAEConfig, "mask and E$")],
)
def test_models_without_a_posterior_of_sparse_effects_are_refused(fitted, data, config, missing):
    with pytest.raises(InputError, match=missing):
        redrawn_screen(jax.random.key(0), untrained(fitted, config(n_latent=4, n_hidden=8)), data)


def test_data_in_another_vocabulary_are_refused(fitted, data):
    for kind in ("genes", "perturbations"):
        field = f"{kind[:-1]}_names"
        with pytest.raises(InputError, match=f"{kind} of the data"):
            redrawn_screen(jax.random.key(0), fitted, replace(data, **{field: getattr(data, field)[::-1]}))


@pytest.mark.parametrize("c", [1.0, 1.7, 3.0])
def test_widening_is_what_spreads_are_understated_by(c):
    z = c * np.random.default_rng(0).standard_normal(200_000)
    assert c <= widening(z) < 1.02 * c


def test_widening_is_the_least_factor_that_covers_at_every_level():
    z = np.random.default_rng(1).standard_t(2, 400) * 1.3
    grid = np.arange(1.0, 5.0, 0.001)
    covers = [(np.abs(z)[None] <= grid[:, None] * ndtri((1 + level) / 2)).mean(axis=1) >= level for level in LEVELS]
    least = grid[np.all(covers, axis=0)][0]
    assert widening(z) == pytest.approx(least, abs=0.02)  # quantiles are interpolated between values


def test_widening_never_narrows_and_never_guesses():
    z = np.random.default_rng(0).standard_normal(FEWEST_EFFECTS)
    assert widening(0.1 * z) == 1.0
    with pytest.raises(InputError, match=f"only {FEWEST_EFFECTS - 1} effects"):
        widening(z[1:])
    with pytest.raises(InputError, match="2 of 20 effects have no finite error"):
        widening(np.where(np.arange(20) < 2, np.inf, z))


def test_errors_are_those_of_found_effects_in_any_order_and_sign():
    rng = np.random.default_rng(0)
    mask = rng.random((200, 5)) < 0.4
    effect = np.where(mask, rng.choice([-2.0, 2.0], mask.shape), 0.0)
    z = rng.standard_normal(mask.shape)
    spread = rng.uniform(0.1, 0.3, mask.shape)
    probability = np.where(mask, rng.uniform(0.6, 1.0, mask.shape), rng.uniform(0, 0.3, mask.shape))
    missed, invented = mask & (rng.random(mask.shape) < 0.1), ~mask & (rng.random(mask.shape) < 0.1)
    probability = np.where(missed, 0.2, np.where(invented, 0.8, probability))
    order, signs = rng.permutation(5), rng.choice([-1.0, 1.0], 5)
    posterior = spike_and_slab(
        probability[:, order], ((effect + z * spread) * signs)[:, order], spread[:, order]
    )  # the last latents of the truth come first, some turned round
    found = standardised_errors(DrawnEffects(mask, effect), posterior)
    assert_allclose(np.sort(found), np.sort(z[mask & ~missed]), atol=1e-6)
    fewer = PosteriorEffects(*(value[:, :3] for value in posterior[:3]), True)
    kept = order[:3]
    expected = z[:, kept][(mask & ~missed)[:, kept]]
    assert_allclose(np.sort(standardised_errors(DrawnEffects(mask, effect), fewer)), np.sort(expected), atol=1e-6)


def test_tempered_intervals_are_wider_by_the_factor():
    p, m, s = np.array([[1.0, 1.0, 0.0]]), np.array([[2.0, -0.1, 0.0]]), np.array([[0.3, 0.5, 0.0]])
    own = spike_and_slab(p, m, s)
    wide = own.tempered(1.7)
    for level in (0.5, 0.9):
        before, after = (np.subtract(*effects.interval(level)[::-1]) for effects in (own, wide))
        assert_allclose(after, 1.7 * before, rtol=1e-9)
        assert before[0, 2] == after[0, 2] == 0
    assert_array_equal(wide.mean, own.mean)
    assert_array_equal(wide.inclusion_probability, own.inclusion_probability)
    assert_allclose(own.tempered(1.0).sd, own.sd)
    assert (own.widened_by, own.tempered(1.0).widened_by, wide.tempered(2.0).widened_by) == (None, 1.0, 3.4)
    assert_allclose(own.tempered(1.5).tempered(2.0).sd, own.tempered(3.0).sd)
    with pytest.raises(InputError, match=r"factor must be >= 1.0, got 0\.9"):
        own.tempered(0.9)


def test_tempered_quantiles_are_those_of_the_widened_mixture():
    rng = np.random.default_rng(0)
    p, m, s, c = np.array([1.0, 0.97, 0.6, 0.3, 0.02]), np.array([2.0, -3, 0.5, 4, 1]), np.array([0.3, 1, 1, 2, 1]), 1.8
    low, high = spike_and_slab(*(value[None] for value in (p, m, s))).tempered(c).interval(0.9)
    drawn = (rng.random((400_000, 5)) < p) * rng.normal(m, c * s, (400_000, 5))
    assert_allclose(np.concatenate([low, high]), np.quantile(drawn, [0.05, 0.95], axis=0), atol=0.04)


@pytest.mark.parametrize("understated", [1.0, 2.0])
def test_the_factor_of_refits_that_know_the_model(fitted, data, monkeypatch, understated):
    """A refit with the very posterior the effects were drawn from is honest; one that halves its spreads needs 2."""
    seeds = []

    def known(screen, config, train, *, seed, progress):
        assert config == fitted.config and train is small.TRAIN and not progress
        seeds.append(seed)
        return with_effects(fitted, SD / understated)

    monkeypatch.setattr(sys.modules[tempering.__module__], "fit", known)
    result = tempering(fitted, data, small.TRAIN, seed=3, n_refits=30)
    assert result.n_values == 30 * MASK.sum() > 300 and result.n_refits == 30 == len(set(seeds))
    assert result.f1 == (1.0,) * 30
    assert understated * 0.93 < result.factor < understated * 1.2
    assert result.coverage_before.n_values == result.n_values
    assert result.coverage_before.at(0.9) == pytest.approx(0.9 if understated == 1 else 0.589, abs=0.06)


def test_refits_that_find_nothing_give_no_factor(fitted, data):
    with pytest.raises(InputError, match=r"only \d effects of the screen drawn from the model were found again"):
        tempering(fitted, data, small.TRAIN, seed=0)
    with pytest.raises(InputError, match="n_refits must be >= 1, got 0"):
        tempering(fitted, data, small.TRAIN, seed=0, n_refits=0)


@pytest.mark.slow
def test_tempered_intervals_hold_more_of_the_truth():
    """Two fits of the built-in screen, minutes on two cores."""
    data, truth = samsjax.simulate(seed=1)
    fitted = samsjax.fit(data, seed=1, progress=False)
    result = tempering(fitted, data, seed=0)
    own = posterior_effects(jax.random.key(0), fitted)
    before, after = (
        coverage_of_true_effects(truth.mask, truth.effect, effects) for effects in (own, own.tempered(result.factor))
    )
    assert result.n_values > 100 and min(result.f1) > 0.9 and 1.2 < result.factor < 3
    assert after.at(0.9) > max(0.78, before.at(0.9) + 0.05)
