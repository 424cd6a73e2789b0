"""Mean differences of arms to a first one and their Monte-Carlo errors, over particles that are drawn chunk by chunk.

Every particle has its own draw of the shared sites and is decoded under all arms; memory holds one chunk of particles.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from samsjax.inference.batching import empty_batch
from samsjax.inference.log_weights import draw_shared
from samsjax.types import ModelGuide, Params

Values = Callable[[jax.Array, dict[str, Array]], Float[Array, "particle arm gene"]]
"""(keys of particles, their draws of the shared sites) -> expression under every arm."""


class PairedMoments(NamedTuple):
    """Running mean of the first arm, mean of the others' differences to it, and their summed squared deviations."""

    n: Float[Array, ""]
    """Particles."""
    control: Float[Array, " gene"]
    difference: Float[Array, "treatment gene"]
    deviation: Float[Array, "treatment gene"]

    @property
    def standard_error(self) -> Float[np.ndarray, "treatment gene"]:
        """Monte-Carlo error of `difference`."""
        n = float(self.n)
        return np.sqrt(np.asarray(self.deviation) / (n - 1) / n)


def paired_moments(
    key: jax.Array,
    model_guide: ModelGuide,
    params: Params,
    values: Values,
    shape: tuple[int, int],
    n_particles: int,
    particle_chunk: int,
) -> PairedMoments:
    """Moments over `n_particles`, `particle_chunk` of them at once; `values` have `shape` (arm, gene) per particle."""
    everything = empty_batch(model_guide)
    n_chunks = -(-n_particles // particle_chunk)
    n_last = n_particles - (n_chunks - 1) * particle_chunk

    def add(total: PairedMoments, step: tuple[jax.Array, Array]) -> tuple[PairedMoments, None]:
        shared_key, local_key = jax.random.split(step[0])
        shared = draw_shared(shared_key, model_guide, params, particle_chunk, everything)
        of_chunk = values(jax.random.split(local_key, particle_chunk), shared)
        return _merge(total, _of_chunk(of_chunk, jnp.arange(particle_chunk) < step[1])), None

    differences = (shape[0] - 1, shape[1])
    nothing = PairedMoments(jnp.zeros(()), jnp.zeros(shape[1]), jnp.zeros(differences), jnp.zeros(differences))
    n_used = jnp.full(n_chunks, particle_chunk).at[-1].set(n_last)
    return jax.lax.scan(add, nothing, (jax.random.split(key, n_chunks), n_used))[0]


def _of_chunk(values: Float[Array, "particle arm gene"], used: Array) -> PairedMoments:
    n = used.sum().astype(jnp.float32)
    weight = used[:, None, None] / n
    difference = values[:, 1:] - values[:, :1]
    mean = (weight * difference).sum(axis=0)
    deviation = (used[:, None, None] * (difference - mean) ** 2).sum(axis=0)
    return PairedMoments(n, (weight[:, 0] * values[:, 0]).sum(axis=0), mean, deviation)


def _merge(a: PairedMoments, b: PairedMoments) -> PairedMoments:
    """Moments of two disjoint sets of particles (Chan's update, stable in float32)."""
    n = a.n + b.n
    delta = b.difference - a.difference
    return PairedMoments(
        n=n,
        control=a.control + (b.control - a.control) * (b.n / n),
        difference=a.difference + delta * (b.n / n),
        deviation=a.deviation + b.deviation + delta**2 * (a.n * b.n / n),
    )
