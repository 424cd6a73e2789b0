"""The sparse rotation in training and after it: logged, reproducible, saved; what a model says about cells stays."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import samsjax
from samsjax.errors import InputError
from samsjax.evaluation import mask_agreement, mask_average_precision
from samsjax.inference import training
from samsjax.inference.config import TrainConfig
from samsjax.inference.rotating import Measured, RotationReport, plan_rotation, rotation_epochs
from samsjax.rotation.axes import MaskedEffects
from tests import small

TRAIN = replace(small.TRAIN, n_steps=40, rotation="sparse")
REPORT = RotationReport(2, 4.0, 3.0, float("nan"), 5.0, 1.0, 4, 2)


@pytest.fixture(scope="module")
def data():
    return small.screen()


@pytest.fixture(scope="module")
def rotated(data):
    return samsjax.fit(data, small.MODEL, TRAIN, seed=3)


@pytest.fixture(scope="module")
def dense(data):
    """CPA-VAE has no masks: rotations are exact up to variances."""
    return samsjax.fit(data, samsjax.CPAVAEConfig(n_latent=4, n_hidden=8), replace(small.TRAIN, n_steps=150), seed=0)


def same_bits(a, b):
    for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert_array_equal(np.asarray(left), np.asarray(right))


def test_rotations_are_logged(rotated):
    assert len(rotated.rotations) == 3
    turned = [row["epoch"] for row in rotated.history if row["rotated"]]
    assert turned == [report.epoch for report in rotated.rotations]
    assert all(report.l1 <= report.l1_before for report in rotated.rotations)
    assert rotated.fit.best_epoch > turned[-1]


def test_same_seed_same_bits(data, rotated):
    again = samsjax.fit(data, small.MODEL, TRAIN, seed=3)
    same_bits(again.params, rotated.params)
    assert str(again.rotations) == str(rotated.rotations)


def test_the_published_recipe_does_not_rotate(data):
    fitted = samsjax.fit(data, small.MODEL, small.TRAIN, seed=3)
    assert fitted.rotations == ()
    assert not any(row["rotated"] for row in fitted.history)


def test_saving_keeps_what_rotations_found(rotated, tmp_path):
    samsjax.save(rotated, tmp_path / "model")
    assert str(samsjax.load(tmp_path / "model").rotations) == str(rotated.rotations)


def test_members_of_one_program_rotate_each_for_itself(data, rotated):
    first, second = samsjax.fit_many(data, small.MODEL, TRAIN, seeds=[3, 4])
    assert (
        [r.epoch for r in first.rotations]
        == [r.epoch for r in second.rotations]
        == [r.epoch for r in rotated.rotations]
    )
    assert_allclose(first.rotations[0].l1_before, rotated.rotations[0].l1_before, rtol=1e-3)
    assert first.rotations[0].l1_before != second.rotations[0].l1_before


@pytest.mark.parametrize(
    "model",
    [
        samsjax.CPAVAEConfig(n_latent=4, n_hidden=8),
        samsjax.ConditionalVAEConfig(n_latent=4, n_hidden=8),
    ],
)
def test_models_without_masks_that_turn_are_refused(data, model):
    with pytest.raises(InputError, match=f"{type(model).__name__}.*does not have: give 'auto' or 'off'"):
        samsjax.fit(data, model, TRAIN)


@pytest.mark.parametrize(
    ("model", "n_rotations"),
    [
        (small.MODEL, 3),
        pytest.param(replace(small.MODEL, guide="correlated"), 3, marks=pytest.mark.slow),
        (samsjax.CPAVAEConfig(n_latent=4, n_hidden=8), 0),
    ],
)
def test_models_with_masks_rotate_by_default(data, model, n_rotations):
    assert TrainConfig().rotation == "auto"
    fitted = samsjax.fit(data, model, replace(TRAIN, rotation="auto"), seed=3)
    assert len(fitted.rotations) == n_rotations


def test_a_member_that_has_diverged_does_not_stop_the_others():
    nothing = jnp.full((3, 4), jnp.nan)
    plan = plan_rotation(jax.random.key(0), Measured(MaskedEffects(nothing, nothing), jnp.full((4, 4), jnp.nan)), 1, 5)
    assert plan.rotation.shape == (4, 4)


@pytest.mark.parametrize(("n_epochs", "expected"), [(1, {}), (2, {1: 2}), (10, {3: 0, 5: 1, 7: 2})])
def test_short_fits_rotate_less_often(n_epochs, expected):
    assert rotation_epochs(n_epochs) == expected


def climb(bounds, rotations, patience):
    """Run the loop on a script of bounds; epoch e yields parameters {"p": e}."""

    def run_epoch(epoch, state):
        value = jnp.array(bounds[epoch - 1])
        return training.Epoch(epoch, {"p": jnp.full_like(value, epoch)}, value, value)

    way = training._Way(TrainConfig(n_steps=len(bounds), patience=patience), True, max(rotations))
    between = training._Between(rotations, lambda epoch, time, result: (result.state, [REPORT._replace(epoch=epoch)]))
    training._climb(run_epoch, 0, [way], way.config, 1, between, progress=False)
    return way.result(0.0, 0.0)


def test_parameters_from_before_the_last_rotation_are_not_kept_and_patience_counts_from_it():
    result = climb([-1.0, -2.0, -2.0, -2.0, -5.0, -4.0, -6.0, -6.0, -6.0], {2: 0, 4: 1}, patience=2)
    assert (result.best_epoch, result.stopped, len(result.history)) == (6, "early", 8)
    assert [report.epoch for report in result.rotations] == [2, 4]


def test_divergence_after_a_rotation_keeps_what_was_good_before():
    with pytest.warns(training.DivergenceWarning):
        result = climb([-3.0, -1.0, float("nan")], {2: 0}, patience=2)
    assert (result.best_epoch, result.stopped) == (2, "diverged")


def test_rotating_a_fitted_model_leaves_its_predictions(data, dense):
    turned = samsjax.rotate(dense)
    (report,) = turned.rotations
    assert report.l1 < report.l1_before
    assert report.l1 <= report.l1_random
    treated = samsjax.treatments(data)
    config = samsjax.EffectsConfig(n_particles=200)
    before, after = (
        samsjax.model_effects(
            jax.random.key(0), fitted, treated.labels, treated.perturbation_index, treated.dosage, config
        )
        for fitted in (dense, turned)
    )
    # What draws leave of a difference: means over 200 particles and cells, with a standard error each.
    error = np.sqrt(before.standard_error**2 + after.standard_error**2)
    assert (np.abs(before.ate - after.ate) < 5 * error + 1e-3).all()
    assert np.corrcoef(before.ate.ravel(), after.ate.ravel())[0, 1] > 0.99


def test_rotating_twice_turns_nothing_more(dense):
    once = samsjax.rotate(dense)
    twice = samsjax.rotate(once)
    assert_allclose(twice.params["E_loc"], once.params["E_loc"], atol=0.02)
    assert len(twice.rotations) == 2


@pytest.mark.parametrize("guide", ["mean_field", pytest.param("correlated", marks=pytest.mark.slow)])
def test_rotating_a_sparse_model_keeps_the_effects_that_stand_out(data, guide):
    fitted = samsjax.fit(data, replace(small.MODEL, guide=guide), replace(small.TRAIN, n_steps=150), seed=0)
    turned = samsjax.rotate(fitted)
    before, after = (samsjax.posterior_effects(jax.random.key(0), f) for f in (fitted, turned))
    assert after.mask.any()
    lengths = [np.linalg.norm(effects.mean, axis=1) for effects in (before, after)]
    assert (lengths[1] < lengths[0] + 1e-3).all()
    assert lengths[1].max() > 0.9 * lengths[0].max()


def test_what_cannot_be_rotated_is_refused(data):
    config = samsjax.ConditionalVAEConfig(n_latent=4, n_hidden=8)
    fitted = samsjax.fit(data, config, replace(small.TRAIN, n_steps=5))
    with pytest.raises(InputError, match="ConditionalVAEConfig has no effects that can be rotated"):
        samsjax.rotate(fitted)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_masks_of_a_simulated_screen_are_found(seed):
    found(seed, samsjax.SAMSVAEConfig())


@pytest.mark.slow
def test_the_correlated_guide_finds_them_too():
    found(0, samsjax.SAMSVAEConfig(guide="correlated"))


def found(seed, model):
    """Default settings on the built-in screen."""
    screen, truth = samsjax.simulate(samsjax.SimulationConfig(), seed=seed)
    effects = samsjax.posterior_effects(jax.random.key(0), samsjax.fit(screen, model, seed=seed))
    agreement = mask_agreement(truth.mask, effects.mask)
    assert agreement.f1 >= 0.95
    assert mask_average_precision(truth.mask, effects.inclusion_probability, agreement) >= 0.97
