"""The networks of every model: a residual trunk with split input, and a Gaussian head on top of it.

An input made of several parts (normalised counts, latent offset) is never concatenated: the first layer has one kernel
per part and adds the products, which is the same function. Under `vmap` over particles the product with the counts,
the largest of an encoder, does not depend on the particle and is computed once.

Source: `specs` of SAMS-VAE 1.1, 1.2 (torch `Linear` initialisation, LeakyReLU 0.01, skip after the activation).
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

VARIANCE_FLOOR = 1e-4


def uniform_fan_in(fan_in: int, factor: float = 1.0) -> nn.initializers.Initializer:
    """Uniform on +-factor/sqrt(fan_in), for kernels and biases alike."""

    def init(key: jax.Array, shape: Sequence[int], dtype=jnp.float32) -> Array:
        bound = factor * fan_in**-0.5
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def zeros(key: jax.Array, shape: Sequence[int], dtype=jnp.float32) -> Array:
    """All zeros."""
    del key
    return jnp.zeros(shape, dtype)


def constant(value: float) -> nn.initializers.Initializer:
    """All the same value."""

    def init(key: jax.Array, shape: Sequence[int], dtype=jnp.float32) -> Array:
        del key
        return jnp.full(shape, value, dtype)

    return init


class SplitAffine(nn.Module):
    """Affine map of several inputs as if concatenated: sum_k x_k W_k + b, with parameters `kernel_k` and `bias`."""

    n_out: int
    n_added: int = 0
    """Inputs that the caller adds himself; they count for the size of initial weights."""
    factor: float = 1.0
    """Of initial weights."""

    @nn.compact
    def __call__(self, *parts: Float[Array, "... _"]) -> Float[Array, "... out"]:
        """The map's output; leading axes of the parts broadcast."""
        fan_in = self.n_added + sum(part.shape[-1] for part in parts)
        init = uniform_fan_in(fan_in, self.factor)
        total = self.param("bias", init, (self.n_out,))
        for k, part in enumerate(parts):
            total = total + part @ self.param(f"kernel_{k}", init, (part.shape[-1], self.n_out))
        return total


class ResidualMLP(nn.Module):
    """`n_layers` layers of width `n_hidden`: h = a(W x + b) first, then h + a(W h + b).

    Some inputs may be multiplied with their part of the first kernel by the caller (a product with a one-hot is a row
    lookup): `n_added` of them arrive as `added`, what they contribute before the first activation.
    """

    n_layers: int
    n_hidden: int
    n_added: int = 0

    @nn.compact
    def __call__(
        self, *parts: Float[Array, "... _"], added: Float[Array, "... hidden"] | None = None
    ) -> Float[Array, "... hidden"]:
        """Hidden representation of the concatenated parts."""
        first = SplitAffine(self.n_hidden, self.n_added, name="layer_0")(*parts)
        h = nn.leaky_relu(first if added is None else first + added, 0.01)
        for k in range(1, self.n_layers):
            h = h + nn.leaky_relu(SplitAffine(self.n_hidden, name=f"layer_{k}")(h), 0.01)
        return h


def floored_scale(log_variance: Array) -> Array:
    """Standard deviation of a variance given as its logarithm, kept above sqrt(1e-4)."""
    return jnp.sqrt(jnp.exp(log_variance) + VARIANCE_FLOOR)


class GaussianNetwork(nn.Module):
    """Mean and standard deviation of a diagonal Gaussian of size `n_out` as a function of its inputs."""

    n_out: int
    n_layers: int
    n_hidden: int
    n_added: int = 0

    @nn.compact
    def __call__(
        self, *parts: Float[Array, "... _"], added: Float[Array, "... hidden"] | None = None
    ) -> tuple[Float[Array, "... out"], Float[Array, "... out"]]:
        """(loc, scale) of the Gaussian for the concatenated parts; `added` as in `ResidualMLP`."""
        h = ResidualMLP(self.n_layers, self.n_hidden, self.n_added, name="trunk")(*parts, added=added)
        loc = SplitAffine(self.n_out, name="loc")(h)
        return loc, floored_scale(SplitAffine(self.n_out, name="log_variance")(h))


class EmbeddingNetwork(nn.Module):
    """Gaussian over perturbations' embeddings given their masks and which perturbations they are.

    The function of the pair (mask, one-hot of the perturbation) with the first layer's one-hot part given as
    `identity`, one row per perturbation: the product with a one-hot is a row lookup. `n_inputs` is the width of the
    pair.
    """

    n_latent: int
    n_layers: int
    n_hidden: int
    n_inputs: int

    @nn.compact
    def __call__(
        self, mask: Float[Array, "row latent"], identity: Float[Array, "row hidden"]
    ) -> tuple[Float[Array, "row latent"], Float[Array, "row latent"]]:
        """(loc, scale) of the embeddings under `mask`."""
        init = uniform_fan_in(self.n_inputs)
        kernel = self.param("kernel", init, (self.n_latent, self.n_hidden))
        h = nn.leaky_relu(mask @ kernel + identity + self.param("bias", init, (self.n_hidden,)), 0.01)
        for k in range(1, self.n_layers):
            h = h + nn.leaky_relu(SplitAffine(self.n_hidden, name=f"layer_{k}")(h), 0.01)
        loc = SplitAffine(self.n_latent, name="loc")(h)
        return loc, floored_scale(SplitAffine(self.n_latent, name="log_variance")(h))


class FeatureNetwork(nn.Module):
    """What features of a perturbation say of its effects: (change of the log odds of inclusion, mean) by latent.

    Both heads see the features themselves beside the trunk, so a linear relation needs no trunk, and shrinking the
    trunk away does not end learning. They start close to zero.
    """

    n_latent: int
    n_layers: int
    n_hidden: int

    @nn.compact
    def __call__(
        self, features: Float[Array, "row feature"]
    ) -> tuple[Float[Array, "row latent"], Float[Array, "row latent"]]:
        """(log odds, mean) for standardised features."""
        h = ResidualMLP(self.n_layers, self.n_hidden, name="trunk")(features)
        log_odds = SplitAffine(self.n_latent, factor=0.01, name="log_odds")(features, h)
        return log_odds, SplitAffine(self.n_latent, factor=0.01, name="loc")(features, h)
