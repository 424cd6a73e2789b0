"""Interactions of perturbations: a sum over pairs, none for single ones, turned with latent space, off by default."""

from dataclasses import replace
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpyro import handlers

import samsjax
from samsjax.effects import PERTURBATIONS, offset
from samsjax.errors import InputError
from samsjax.inference.log_weights import in_plate, sampled_elbo, traces
from samsjax.models import latent_axes
from samsjax.models.interactions import INWARD, LOC, LOG_FACTOR, SITE, composed, pair_products
from tests import small
from tests.models.contract_cases import SIZES
from tests.models.subject import CELLS, KEYS, subject
from tests.models.test_doses import batch_of

CONFIG = samsjax.SAMSVAEConfig(interaction_rank=2, **SIZES)
PLAIN = replace(CONFIG, interaction_rank=0)
RNG = np.random.default_rng(0)
EFFECT = jnp.asarray(RNG.normal(size=(4, 4)), jnp.float32)
INTERACTION = jnp.asarray(RNG.normal(size=(2, 4)), jnp.float32)
DIRECTIONS = jnp.asarray(RNG.normal(size=(4, 2)), jnp.float32)
SINGLES = batch_of([[2, 0, 1], [3, 1, 0], [1, 1, 1]], [[0.7, 0, 0], [0, 1.3, 0], [0, 0, 0]])
TRIPLES = batch_of([[2, 0, 1], [3, 1, 0]], [[0.7, 1.0, 2.0], [0.1, 1.3, 0]])


def shift(batch, effect=EFFECT, interaction=INTERACTION, directions=DIRECTIONS):
    with handlers.substitute(data={INWARD: directions}), handlers.seed(rng_seed=0):
        return composed(CONFIG, effect, {SITE: interaction}, batch)


def test_a_shift_is_a_sum_and_what_pairs_do_beyond_it():
    unit = np.asarray(DIRECTIONS) / np.linalg.norm(DIRECTIONS, axis=0)
    wanted = np.asarray(offset(EFFECT, TRIPLES)).astype(float)
    for cell, (index, dosage) in enumerate(zip(TRIPLES.perturbation_index, TRIPLES.dosage, strict=True)):
        acting = np.asarray(dosage)[:, None] * np.asarray(EFFECT)[np.asarray(index)]
        for one, two in combinations(acting, 2):
            wanted[cell] += np.asarray(INTERACTION).T @ ((unit.T @ one) * (unit.T @ two))
    assert_allclose(shift(TRIPLES), wanted, rtol=1e-5, atol=1e-5)
    assert float(jnp.abs(shift(TRIPLES) - offset(EFFECT, TRIPLES)).min()) > 1e-3


def test_pairs_are_half_of_the_square_of_the_sum_less_the_squares():
    values = jnp.asarray(RNG.normal(size=(5, 4, 3)), jnp.float32)
    wanted = 0.5 * (values.sum(axis=1) ** 2 - (values**2).sum(axis=1))
    assert_allclose(pair_products(values), wanted, rtol=1e-4, atol=1e-5)
    assert pair_products(values[:, :1]).shape == (5, 3)


@pytest.mark.parametrize("compiled", [False, True])
def test_single_perturbations_have_exactly_their_own_effect(compiled):
    """To the bit, whatever the compiler fuses; in whichever slot they stand."""
    of = jax.jit(shift) if compiled else shift
    plain = (jax.jit(offset) if compiled else offset)(EFFECT, SINGLES)
    assert_array_equal(of(SINGLES), plain)


def test_the_order_of_slots_does_not_matter():
    turned = TRIPLES._replace(perturbation_index=TRIPLES.perturbation_index[:, ::-1], dosage=TRIPLES.dosage[:, ::-1])
    assert_allclose(shift(turned), shift(TRIPLES), rtol=1e-5, atol=1e-6)


def test_the_length_of_directions_does_not_matter():
    """Else interactions could grow around their prior."""
    assert_allclose(shift(TRIPLES, directions=DIRECTIONS * jnp.array([3.0, 0.2])), shift(TRIPLES), rtol=1e-5)


@pytest.fixture(scope="module")
def screen():
    return small.screen()


def test_without_interactions_nothing_is_sampled_for_them(screen):
    sites = [set(trace) for trace in traces(KEYS[0], subject(PLAIN, screen).model_guide, {}, _batch(screen, PLAIN))]
    assert not any(name.startswith("interaction") for names in sites for name in names)


def _batch(screen, config):
    return subject(config, screen).batch(CELLS)


def test_interactions_count_once_in_a_bound(screen):
    model = subject(CONFIG, screen)
    weights = model.log_weights(KEYS[0], model.params, model.batch(CELLS))
    assert set(weights.once) == {SITE}
    assert weights.once[SITE].weight.shape == (2,)
    other = weights._replace(
        once={SITE: jax.tree.map(lambda term: term + 1.0, weights.once[SITE])._replace(guide=weights.once[SITE].guide)}
    )
    assert float(sampled_elbo(other, model.batch(CELLS)) - sampled_elbo(weights, model.batch(CELLS))) == pytest.approx(
        2.0, abs=1e-2
    )


def test_parameters_start_as_the_prior_and_are_no_tables(screen):
    model = subject(CONFIG, screen)
    _, guide = traces(KEYS[0], model.model_guide, model.initial, model.batch(CELLS))
    q = guide[SITE]["fn"]
    assert_array_equal(q.mean, np.zeros((2, 4)))
    assert_allclose(q.variance, CONFIG.interaction_scale**2, rtol=1e-6)
    assert not any(in_plate(guide[name], PERTURBATIONS) for name in (SITE, INWARD, LOC, LOG_FACTOR))


@pytest.mark.parametrize("composition", ["sum", "concatenation"])
def test_turned_latent_space_says_the_same_of_combinations(composition):
    config = samsjax.CRADLEVAEConfig(interaction_rank=2, composition=composition, **SIZES)
    axes = latent_axes(config)
    plain = latent_axes(replace(config, interaction_rank=0))
    assert set(axes.into) - set(plain.into) == {(LOC,)}
    assert set(axes.out_of) - set(plain.out_of) == {(INWARD,)}
    assert set(axes.log_variances) - set(plain.log_variances) == {(LOG_FACTOR,)}
    rotation = jax.random.orthogonal(jax.random.key(0), 4)
    turned = shift(TRIPLES, EFFECT @ rotation, INTERACTION @ rotation, rotation.T @ DIRECTIONS)
    assert_allclose(turned, shift(TRIPLES) @ rotation, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_fit_that_rotates_learns_interactions(screen):
    config = replace(CONFIG, mask_prior_prob=0.1)
    fitted = samsjax.fit(screen, config, replace(small.TRAIN, n_steps=40, rotation="sparse"), progress=False)
    assert len(fitted.rotations) == 3
    assert bool((fitted.params[LOC] != 0).all())
    assert np.isfinite([row["val_elbo"] for row in fitted.history]).all()


@pytest.mark.parametrize("change", [{"interaction_rank": -1}, {"interaction_scale": 0.0}])
def test_impossible_settings_are_refused(change):
    with pytest.raises(InputError, match=next(iter(change))):
        samsjax.SAMSVAEConfig(**change)
