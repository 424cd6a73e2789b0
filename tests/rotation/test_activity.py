"""Which effects stand out: calibrated on the mixture it assumes, careful where uncertain, silent on nothing."""

import jax
import jax.numpy as jnp
import numpy as np

from samsjax.rotation import inclusion_log_odds


def mixture(sd, seed=0, shape=(400, 10), share=0.1, size=1.0):
    """(effects, which are real): Normal(0, size^2) with this probability, and noise of `sd` on all."""
    rng = np.random.default_rng(seed)
    real = rng.random(shape) < share
    effects = np.where(real, size * rng.standard_normal(shape), 0.0) + sd * rng.standard_normal(shape)
    return effects.astype(np.float32), real


def probabilities(effects, sd):
    sd = jnp.broadcast_to(jnp.asarray(sd, jnp.float32), effects.shape)
    return np.asarray(jax.nn.sigmoid(inclusion_log_odds(jnp.asarray(effects), sd)))


def test_inclusion_probabilities_are_calibrated_on_the_mixture_they_assume():
    sd, slip = 0.4, 0.085 * 1.8  # lengths of these effects are about 1.8
    effects, real = mixture(np.hypot(sd, slip), shape=(2000, 10))
    p = probabilities(effects, sd)
    for low, high in ((0.0, 0.1), (0.1, 0.4), (0.4, 0.7), (0.7, 0.95), (0.95, 1.0)):
        within = (p >= low) & (p <= high)
        assert within.sum() > 100
        assert abs(real[within].mean() - p[within].mean()) < 0.08


def test_the_same_size_counts_less_where_it_is_less_certain():
    effects, _ = mixture(0.05)
    sd = np.full(effects.shape, 0.05)
    effects[0, :2], sd[0, 0] = 1.5, 1.0
    log_odds = inclusion_log_odds(jnp.asarray(effects), jnp.asarray(sd, jnp.float32))
    assert log_odds[0, 0] < 0 < log_odds[0, 1]


def test_units_do_not_matter():
    effects, _ = mixture(0.1)
    sd = np.full(effects.shape, 0.1, np.float32)
    small, large = probabilities(effects, sd), probabilities(100 * effects, 100 * sd)
    np.testing.assert_allclose(small, large, atol=1e-3)


def test_nothing_stands_out_of_nothing():
    assert (inclusion_log_odds(jnp.zeros((5, 4)), jnp.full((5, 4), 0.1)) == -jnp.inf).all()
    noise, _ = mixture(0.1, share=0.0)
    assert (probabilities(noise, 0.1) > 0.5).mean() < 0.01
