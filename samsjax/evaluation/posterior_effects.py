"""What a fitted model says about each perturbation in latent space: is a mechanism active, how strong, how sure.

Read from the shared sites "mask" and "E" alone, so it serves every model that has them. A model without masks counts as
always active; a model without "E" (the conditional VAE) has no effects in latent space.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import ndtr, ndtri

from samsjax.errors import check_range
from samsjax.inference.batching import empty_batch
from samsjax.inference.fitted import Fitted
from samsjax.inference.log_weights import shared_sites, traces
from samsjax.models.base import Build, DataStatistics
from samsjax.types import Params

ACTIVE_ABOVE = 0.5
"""Inclusion probability above which a mechanism counts as active (specification 8.1)."""
CLEAR_ABOVE = 2.0
"""Posterior standard deviations from zero above which an effect counts as active in a model without masks."""


class PosteriorEffects(NamedTuple):
    """Posterior of the masked effects. The effect is mask x embedding, in units of the prior of the basal state."""

    inclusion_probability: Float[np.ndarray, "perturbation latent"]
    """Posterior probability that the mask is 1."""
    mean: Float[np.ndarray, "perturbation latent"]
    """Posterior mean of the effect; zero weight of the mask included."""
    sd: Float[np.ndarray, "perturbation latent"]
    """Posterior standard deviation of the effect."""
    sparse: bool
    """Whether the model has masks; without them every inclusion probability is 1."""
    widened_by: float | None = None
    """How much wider the normal parts are than the fit states; None if that was not asked (see `tempered`)."""

    @property
    def mask(self) -> np.ndarray:
        """Bool (perturbation, latent): inclusion probability above one half."""
        return self.inclusion_probability > ACTIVE_ABOVE

    @property
    def active(self) -> np.ndarray:
        """Bool (perturbation, latent): which effects count: the mask or, without masks, means two sd from zero."""
        return self.mask & (self.sparse | (np.abs(self.mean) > CLEAR_ABOVE * self.sd))

    def interval(self, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the central posterior intervals of the effects, two arrays (perturbation, latent).

        The posterior of an effect is a point mass at zero (mask 0) and a normal (mask 1), whose quantiles have a closed
        form; an effect that is probably absent has the interval [0, 0]. Averages over draws of the mask enter through
        `mean` and `sd`.

        Raises:
            InputError: for a level outside (0, 1).
        """
        check_range("level", level, above=0.0, below=1.0)
        return self._quantile((1 - level) / 2), self._quantile((1 + level) / 2)

    def given_active(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the effects where their mask is 1, two float64 arrays (perturbation, latent).

        Without meaning where the inclusion probability is 0.
        """
        p = self._probability()
        centre = self.mean / p
        second = (np.square(self.sd, dtype=np.float64) + np.square(self.mean, dtype=np.float64)) / p
        return centre, np.sqrt(np.maximum(second - centre**2, 0.0))

    def tempered(self, factor: float) -> "PosteriorEffects":
        """The same posterior with the normal part of every effect `factor` times as wide.

        Inclusion probabilities and means stay. `tempering.tempering` says by how much a model is too sure.

        Raises:
            InputError: for a factor below 1.
        """
        check_range("factor", factor, low=1.0)
        _, spread = self.given_active()
        added = self._probability() * (factor**2 - 1) * spread**2
        sd = np.sqrt(np.square(self.sd, dtype=np.float64) + added).astype(self.sd.dtype)
        return self._replace(sd=sd, widened_by=factor * (self.widened_by or 1.0))

    def _probability(self) -> np.ndarray:
        return np.maximum(self.inclusion_probability.astype(np.float64), 1e-12)

    def _quantile(self, q: float) -> np.ndarray:
        p = self._probability()
        centre, spread = self.given_active()
        # Mass of the normal part below zero; the point mass 1 - p sits between it and the rest.
        below = p * ndtr(np.divide(-centre, spread, out=np.where(centre > 0, -np.inf, np.inf), where=spread > 0))
        left, right = q < below, q > below + (1 - p)
        tail = np.where(left, q / p, np.where(right, (q - (1 - p)) / p, 0.5))
        normal = centre + spread * ndtri(np.clip(tail, 1e-300, 1 - 1e-16))
        return np.where(left | right, normal, 0.0)


def posterior_effects(key: jax.Array, fitted: Fitted, n_particles: int = 256) -> PosteriorEffects | None:
    """Moments of the effects under the guide; None for a model without effects in latent space.

    Exact for a mean-field guide. Where the embedding depends on the mask, its moments are averaged over the draws in
    which the entry is active (over all draws if it never is).
    """
    sites = shared_sites(fitted.model_guide)
    if "E" not in sites:
        return None
    moments = _moments(key, fitted.params, fitted.statistics, fitted.build, n_particles)
    probability, mean, sd = (np.asarray(value) for value in moments)
    return PosteriorEffects(probability, mean, sd, "mask" in sites)


@partial(jax.jit, static_argnums=(3, 4))
def _moments(
    key: jax.Array, params: Params, statistics: DataStatistics, build: Build, n_particles: int
) -> tuple[Array, Array, Array]:
    model_guide = build(statistics)
    batch = empty_batch(model_guide)

    def add(total: tuple[Array, ...], particle_key: jax.Array) -> tuple[tuple[Array, ...], None]:
        model_trace, guide_trace = traces(particle_key, model_guide, params, batch)
        first, variance = model_trace["E"]["value"], 0.0  # a parameter of the model
        if "E" in guide_trace:
            first, variance = guide_trace["E"]["fn"].mean, guide_trace["E"]["fn"].variance
        probability, active = jnp.ones_like(first), jnp.ones_like(first)
        if "mask" in guide_trace:
            probability, active = guide_trace["mask"]["fn"].mean, guide_trace["mask"]["value"]
        second = variance + first**2
        drawn = (probability, active, active * first, active * second, first, second)
        return tuple(a + b for a, b in zip(total, drawn, strict=True)), None

    shape = jax.eval_shape(lambda k: add((jnp.zeros(()),) * 6, k)[0], key)
    nothing = tuple(jnp.zeros(s.shape) for s in shape)
    sums, _ = jax.lax.scan(add, nothing, jax.random.split(key, n_particles))
    probability, n_active, active_first, active_second, any_first, any_second = sums
    probability = probability / n_particles
    ever = n_active > 0
    first = jnp.where(ever, active_first / jnp.maximum(n_active, 1), any_first / n_particles)
    second = jnp.where(ever, active_second / jnp.maximum(n_active, 1), any_second / n_particles)
    mean = probability * first
    return probability, mean, jnp.sqrt(jnp.maximum(probability * second - mean**2, 0.0))
