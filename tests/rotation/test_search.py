"""The search for the sparsest rotation: planted ones are found, sparse effects stay, and ambiguity is told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from samsjax.evaluation import mask_agreement
from samsjax.rotation import search, smooth_l1, smooth_l1_gradient

KEY = jax.random.key(0)
N_PERTURBATIONS, N_LATENT = 60, 8
N_STARTS = 16


def sparse_effects(n_perturbations=N_PERTURBATIONS, n_active=3, seed=0):
    """Effects of one to `n_active` latent dimensions per perturbation, float32."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, n_active + 1, n_perturbations)
    rank = rng.random((n_perturbations, N_LATENT)).argsort(axis=1).argsort(axis=1)
    size = rng.normal(2.5, 0.4, rank.shape) * rng.choice([-1, 1], rank.shape)
    return np.where(rank < counts[:, None], size, 0.0).astype(np.float32)


def orthogonal(seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((N_LATENT, N_LATENT)))[0].astype(np.float32)


def found_in(effects, key=KEY):
    return search(key, jnp.asarray(effects), n_starts=N_STARTS)


def assert_orthogonal(rotation):
    assert_allclose(rotation.T @ rotation, np.eye(len(rotation)), atol=2e-6)


def test_gradient_agrees_with_finite_differences_and_with_autodiff():
    effects, rotation, mu = jnp.asarray(sparse_effects()), jnp.asarray(orthogonal()), 0.5
    gradient = smooth_l1_gradient(effects, rotation, mu)
    assert_allclose(gradient, jax.grad(lambda r: smooth_l1(effects @ r, mu))(rotation), rtol=1e-4, atol=1e-4)
    for row, column in ((0, 0), (2, 5), (7, 3)):
        step = 1e-2 * jnp.zeros_like(rotation).at[row, column].set(1.0)
        difference = smooth_l1(effects @ (rotation + step), mu) - smooth_l1(effects @ (rotation - step), mu)
        assert_allclose(difference / 2e-2, gradient[row, column], rtol=2e-2, atol=0.05)


def test_smooth_l1_is_the_l1_norm_of_large_effects_and_quadratic_in_small_ones():
    assert_allclose(smooth_l1(jnp.array([[30.0, -20.0]]), 0.1), 50.0 - 2 * 0.1 * np.log(2), rtol=1e-6)
    assert_allclose(smooth_l1(jnp.array([[1e-2]]), 1.0), 0.5e-4, rtol=1e-2)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_rotation_is_found(seed):
    truth = sparse_effects(seed=seed)
    noise = 0.05 * np.random.default_rng(seed).standard_normal(truth.shape).astype(np.float32)
    effects = truth @ orthogonal(seed) + noise
    found = found_in(effects)
    rotated = effects @ np.asarray(found.rotation)
    assert_orthogonal(np.asarray(found.rotation))
    assert mask_agreement(truth != 0, np.abs(rotated) > 0.8).f1 == 1.0
    assert found.l1 < 0.75 * found.l1_before
    assert_allclose(found.l1, np.abs(rotated).sum(), rtol=1e-5)
    assert found.agreeing > 0.2


def test_only_the_turning_dimensions_turn():
    effects = sparse_effects() @ orthogonal()
    wide = np.insert(effects, 3, 0.0, axis=1)
    turning = np.arange(N_LATENT + 1) != 3
    rotation = np.asarray(search(KEY, jnp.asarray(wide), turning, n_starts=N_STARTS).rotation)
    assert_array_equal(rotation[3], ~turning)
    assert_array_equal(rotation[:, 3], ~turning)
    assert_orthogonal(rotation)
    alone = np.abs(effects @ np.asarray(found_in(effects).rotation)).sum()
    assert_allclose(np.abs(wide @ rotation).sum(), alone, rtol=1e-3)


def test_effects_that_are_sparse_already_stay_where_they_are():
    found = found_in(sparse_effects())
    assert_array_equal(found.rotation, np.eye(N_LATENT))
    assert found.l1 == found.l1_before


def test_the_same_key_gives_the_same_bits():
    effects = sparse_effects() @ orthogonal()
    assert_array_equal(found_in(effects).rotation, found_in(effects).rotation)


def test_one_perturbation_gets_one_latent_dimension():
    effects = np.ones((1, N_LATENT), np.float32)
    found = found_in(effects)
    rotated = np.abs(effects @ np.asarray(found.rotation)).ravel()
    assert_orthogonal(np.asarray(found.rotation))
    assert_allclose(np.sort(rotated)[-1], np.sqrt(N_LATENT), rtol=1e-3)
    assert np.sort(rotated)[:-1].max() < 0.02


def test_fewer_perturbations_than_latent_dimensions():
    effects = np.zeros((3, N_LATENT), np.float32)
    effects[np.arange(3), [1, 4, 6]] = (2.0, -3.0, 2.5)
    found = found_in(effects @ orthogonal())
    rotated = np.abs(effects @ orthogonal() @ np.asarray(found.rotation))
    assert_orthogonal(np.asarray(found.rotation))
    assert_allclose(found.l1, 7.5, rtol=0.01)
    assert ((rotated > 1.0).sum(axis=1) == 1).all()


def test_no_effects_no_rotation():
    found = found_in(np.zeros((5, N_LATENT), np.float32))
    assert_array_equal(found.rotation, np.eye(N_LATENT))
    assert (found.l1, found.l1_before, found.l1_random) == (0.0, 0.0, 0.0)
    assert np.isfinite(found.rotation).all()


def test_perturbations_measured_twice_change_nothing():
    effects = sparse_effects() @ orthogonal()
    once, twice = found_in(effects), found_in(np.concatenate([effects, effects]))
    assert_allclose(np.abs(once.rotation), np.abs(twice.rotation), atol=5e-3)
    assert_allclose(twice.l1, 2 * once.l1, rtol=1e-3)


def test_dense_effects_have_no_unique_rotation_and_sparse_ones_do():
    dense = np.random.default_rng(0).standard_normal((N_PERTURBATIONS, N_LATENT)).astype(np.float32)
    ambiguous, clear = found_in(dense), found_in(sparse_effects() @ orthogonal())
    assert ambiguous.agreeing < 0.3
    assert ambiguous.l1_next < 1.01 * ambiguous.l1
    assert ambiguous.l1 > 0.8 * ambiguous.l1_random
    assert clear.agreeing > ambiguous.agreeing
    assert clear.l1 < 0.75 * clear.l1_random
    assert np.isnan(clear.l1_next) or clear.l1_next > 1.02 * clear.l1
