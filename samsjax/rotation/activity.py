"""Which entries of rotated effects stand out: a mixture of nothing and something, fitted to all entries together."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from samsjax.rotation.search import typical_effect

BLUR = 0.085
"""Standard deviation, in units of the typical effect, of what is left in entries that should be empty: a rotation that
is slightly off, and effects that other latent dimensions could carry as well."""
N_ITERATIONS = 100
_LARGEST_SHARE = 0.5


@jax.jit
def inclusion_log_odds(
    effects: Float[Array, "perturbation latent"], sd: Float[Array, "perturbation latent"]
) -> Float[Array, "perturbation latent"]:
    """Log odds that an entry is a real effect rather than nothing, given its size and its posterior uncertainty.

    Empirical Bayes: an entry is Normal(0, sd^2 + blur^2) if there is nothing and Normal(0, slab^2 + sd^2) if there is
    something; the share of entries with something (at most one half) and the slab's width are those of highest
    likelihood, found by expectation maximisation. So the size at which an entry counts rises with its own uncertainty,
    which few cells make large, and follows the sizes of the other effects of the screen. No entry stands out of effects
    that are all zero.

    Args:
        effects: posterior means.
        sd: their posterior standard deviations; 0 where unknown.
    """
    scale = typical_effect(effects)
    y = (effects / jnp.where(scale > 0, scale, 1.0)) ** 2
    variance = (sd / jnp.where(scale > 0, scale, 1.0)) ** 2
    nothing = variance + BLUR**2

    def log_odds(share: Array, slab: Array) -> Array:
        something = slab + nothing
        gain = y * (1 / nothing - 1 / something) - jnp.log(something / nothing)
        return jnp.log(share) - jnp.log1p(-share) + 0.5 * gain

    def maximise(_: Array, fitted: tuple[Array, Array]) -> tuple[Array, Array]:
        share, slab = fitted
        p = jax.nn.sigmoid(log_odds(share, slab))
        shrink = slab / (slab + nothing)
        own = (p * (shrink**2 * y + shrink * nothing)).sum() / jnp.maximum(p.sum(), 1e-12)
        return jnp.clip(p.mean(), 1 / y.size, _LARGEST_SHARE), jnp.maximum(own, BLUR**2)

    share, slab = jax.lax.fori_loop(0, N_ITERATIONS, maximise, (jnp.array(0.1), jnp.array(0.25)))
    return jnp.where(scale > 0, log_odds(share, slab), -jnp.inf)
