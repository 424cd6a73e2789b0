"""Structural equations with interventions as a distribution over cells."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from samsjax.models.mechanisms import Graph, Mechanisms, normal_log_density, predicted
from samsjax.normalization import GeneStatistics


class StructuralEquations(dist.Distribution):
    """Cells whose genes follow from each other along a graph: u = kept f(u) + push + noise, gene by gene.

    Draws and means follow the equations as often as there are genes, which is exact in graphs without cycles.

    Args:
        mechanisms: f and the standard deviations of noise, between standardised genes.
        graph: 0 and 1.
        push: what interventions add, by cell; 0 for genes that are no targets.
        kept: 1 where a gene follows its parents, 0 where an intervention cuts it off; by cell.
        widening: logarithm of the factor by which interventions change the noise, by cell.
        scale: what values were standardised by.
    """

    support = constraints.real_vector

    def __init__(
        self,
        mechanisms: Mechanisms,
        graph: Graph,
        push: Float[Array, "cell v"],
        kept: Float[Array, "cell v"],
        widening: Float[Array, "cell v"],
        scale: GeneStatistics,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.mechanisms, self.graph, self.scale = mechanisms, graph, scale
        self.push, self.kept, self.sd = push, kept, mechanisms.noise * jnp.exp(widening)
        super().__init__(push.shape[:-1], push.shape[-1:], validate_args=validate_args)

    def log_prob(self, value: Float[Array | np.ndarray, "... v"]) -> Float[Array, "..."]:
        """Log density of cells, on the scale they were given in."""
        u = (jnp.asarray(value) - self.scale.mean) / self.scale.std
        densities = normal_log_density(u - self._expected(u), self.sd)
        return densities.sum(axis=-1) - jnp.log(self.scale.std).sum()

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "... v"]:
        """Cells, noise along the graph included."""
        noise = jax.random.normal(key, sample_shape + self.batch_shape + self.event_shape)
        return self._along_graph(noise * self.sd)

    @property
    def mean(self) -> Float[Array, "cell v"]:
        """The state without noise: the mean if mechanisms are linear, and close to it if noise is small otherwise."""
        return self._along_graph(jnp.zeros(self.batch_shape + self.event_shape))

    @property
    def variance(self) -> Float[Array, "cell v"]:
        """Of linear mechanisms.

        Raises:
            NotImplementedError: for others, where it has no closed form.
        """
        return jnp.diagonal(self.covariance, axis1=-2, axis2=-1)

    @property
    def covariance(self) -> Float[Array, "cell v v"]:
        """Of linear mechanisms.

        Raises:
            NotImplementedError: for others, where it has no closed form.
        """
        if "weight" not in self.mechanisms.weights:
            raise NotImplementedError("variances of networks as mechanisms have no closed form: draw cells")
        weight = self.mechanisms.weights["weight"] * self.graph
        total = jnp.linalg.inv(jnp.eye(weight.shape[0]) - weight * self.kept[..., None, :])
        spread = self.sd[..., None] * total * self.scale.std
        return jnp.swapaxes(spread, -1, -2) @ spread

    def _expected(self, u: Float[Array, "... v"]) -> Float[Array, "... v"]:
        return self.kept * predicted(self.mechanisms.weights, self.graph, u) + self.push

    def _along_graph(self, noise: Float[Array, "... v"]) -> Float[Array, "... v"]:
        u = jax.lax.fori_loop(0, self.event_shape[0], lambda _, u: self._expected(u) + noise, noise)
        return u * self.scale.std + self.scale.mean
