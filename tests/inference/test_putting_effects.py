"""Effects put into a model's parameters are read off them again, whatever form the posterior has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from samsjax.inference.putting_effects import put_effects
from samsjax.networks import EmbeddingNetwork
from samsjax.rotation.axes import EffectParameters, EmbeddingOfMask, EmbeddingTables, MaskedEffects, masked_effects

N_PERTURBATIONS, N_LATENT, N_HIDDEN = 12, 4, 32
TABLE = (N_PERTURBATIONS, N_LATENT)
NETWORK = EmbeddingOfMask(EmbeddingNetwork(N_LATENT, 2, N_HIDDEN, n_inputs=8), "embedding$params", "identity")
TABLES = EmbeddingTables("E_loc", "E_log_scale")


@pytest.fixture(scope="module")
def params():
    keys = jax.random.split(jax.random.key(0), 2)
    identity = 0.3 * jax.random.normal(keys[0], (N_PERTURBATIONS, N_HIDDEN))
    zeros = jnp.zeros(TABLE)
    return {
        "E_loc": zeros,
        "E_log_scale": zeros,
        "mask_logits": zeros,
        "mask_log_alpha": zeros + 1.0,
        "mask_log_beta": zeros - 0.5,
        "identity": identity,
        "embedding$params": NETWORK.network.init(keys[1], zeros, identity)["params"],
        "decoder$params": {"kernel": zeros},
    }


@pytest.fixture(scope="module")
def effects():
    rng = np.random.default_rng(1)
    mean = jnp.asarray(rng.normal(0, 2, TABLE) * (rng.random(TABLE) < 0.3), dtype=jnp.float32)
    return MaskedEffects(mean, jnp.asarray(rng.uniform(0.05, 0.3, TABLE) ** 2, dtype=jnp.float32))


@pytest.mark.parametrize(
    ("names", "tolerance"),
    [
        (EffectParameters(TABLES), 1e-6),
        (EffectParameters(TABLES, mask_logits="mask_logits"), 1e-6),
        (EffectParameters(TABLES, mask_log_concentrations=("mask_log_alpha", "mask_log_beta")), 1e-6),
        (EffectParameters(NETWORK, mask_logits="mask_logits"), 0.02),
    ],
)
def test_effects_that_were_put_are_there(params, effects, names, tolerance):
    log_odds = jnp.where(effects.mean != 0, 4.0, -4.0) if names.sparse else jnp.full(TABLE, 50.0)
    probability = jax.nn.sigmoid(log_odds)
    found = masked_effects(put_effects(params, names, effects, log_odds), names)
    assert_allclose(found.mean / probability, effects.mean, atol=tolerance, rtol=1e-4)
    assert_allclose(jnp.sqrt(found.variance / probability), jnp.sqrt(effects.variance), atol=tolerance, rtol=1e-3)


def test_a_taught_network_says_the_same_whatever_the_mask(params, effects):
    taught = put_effects(params, EffectParameters(NETWORK, mask_logits="mask_logits"), effects, jnp.zeros(TABLE))
    without, within = (NETWORK.given(taught, jnp.full(TABLE, value)) for value in (0.0, 1.0))
    assert_array_equal(without, within)


def test_other_parameters_stay(params, effects):
    names = EffectParameters(NETWORK, mask_logits="mask_logits")
    new = put_effects(params, names, effects, jnp.zeros(TABLE))
    changed = {name for name in params if new[name] is not params[name]}
    assert changed == {"mask_logits", "identity", "embedding$params"}
