"""Likelihood heads: from the decoder's hidden layer and the library size to a distribution over genes.

Every head is a Flax module with one signature, `head(hidden, library_size) -> numpyro Distribution` with event shape
(gene,), so models never ask which likelihood they have. `LIKELIHOODS` is the table; adding one is a class and a line.

Source: SAMS-VAE, specification 1.2-1.4. Differs: an unknown name is an error (the reference trains another model).
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from samsjax.distributions import MeanNegativeBinomial
from samsjax.errors import check_choice
from samsjax.networks import ResidualMLP, SplitAffine, floored_scale

MEAN_FLOOR = 1e-4


class LibraryNegativeBinomial(nn.Module):
    """Negative binomial counts: mean = library size x softmax over genes + 1e-4, one inverse dispersion per gene."""

    n_genes: int
    counts: ClassVar[bool] = True

    @nn.compact
    def __call__(self, hidden: Float[Array, "... hidden"], library_size: Float[Array, "..."]) -> dist.Distribution:
        """Counts of cells with these hidden states and totals."""
        share = jax.nn.softmax(SplitAffine(self.n_genes, name="share")(hidden), axis=-1)
        log_theta = self.param("log_theta", nn.initializers.zeros, (self.n_genes,))
        mean = library_size[..., None] * share + MEAN_FLOOR
        return MeanNegativeBinomial(mean, jnp.exp(log_theta)).to_event(1)


class Poisson(nn.Module):
    """Poisson counts with rate softplus(W h + b); the library size is not used."""

    n_genes: int
    counts: ClassVar[bool] = True

    @nn.compact
    def __call__(self, hidden: Float[Array, "... hidden"], library_size: Float[Array, "..."]) -> dist.Distribution:
        """Counts of cells with these hidden states."""
        del library_size
        return dist.Poisson(jax.nn.softplus(SplitAffine(self.n_genes, name="rate")(hidden))).to_event(1)


class Normal(nn.Module):
    """Continuous values with mean and variance per cell and gene; the library size is not used."""

    n_genes: int
    counts: ClassVar[bool] = False

    @nn.compact
    def __call__(self, hidden: Float[Array, "... hidden"], library_size: Float[Array, "..."]) -> dist.Distribution:
        """Values of cells with these hidden states."""
        del library_size
        loc = SplitAffine(self.n_genes, name="loc")(hidden)
        return dist.Normal(loc, floored_scale(SplitAffine(self.n_genes, name="log_variance")(hidden))).to_event(1)


class NormalFixedVariance(nn.Module):
    """Continuous values with one variance per gene, shared by all cells; the library size is not used."""

    n_genes: int
    counts: ClassVar[bool] = False

    @nn.compact
    def __call__(self, hidden: Float[Array, "... hidden"], library_size: Float[Array, "..."]) -> dist.Distribution:
        """Values of cells with these hidden states."""
        del library_size
        log_variance = self.param("log_variance", nn.initializers.zeros, (self.n_genes,))
        return dist.Normal(SplitAffine(self.n_genes, name="loc")(hidden), floored_scale(log_variance)).to_event(1)


LIKELIHOODS: dict[str, type[nn.Module]] = {
    "library_nb": LibraryNegativeBinomial,
    "poisson": Poisson,
    "normal": Normal,
    "normal_fixed_variance": NormalFixedVariance,
}


def models_counts(likelihood: str) -> bool:
    """Whether the likelihood is one of counts, so that data must be non-negative whole numbers.

    Raises:
        InputError: for a name outside `LIKELIHOODS`.
    """
    check_choice("likelihood", likelihood, list(LIKELIHOODS))
    return LIKELIHOODS[likelihood].counts  # type: ignore[attr-defined]


class Decoder(nn.Module):
    """From the latent state of a cell to the distribution of its genes: residual trunk, then a likelihood head."""

    likelihood: str
    n_genes: int
    n_layers: int
    n_hidden: int
    n_added: int = 0

    @nn.compact
    def __call__(
        self,
        z: Float[Array, "... latent"],
        library_size: Float[Array, "..."],
        *more: Float[Array, "... _"],
        added: Float[Array, "... hidden"] | None = None,
    ) -> dist.Distribution:
        """Distribution of the genes of cells in state `z`, given `more` inputs; `added` as in `ResidualMLP`."""
        hidden = ResidualMLP(self.n_layers, self.n_hidden, self.n_added, name="trunk")(z, *more, added=added)
        return LIKELIHOODS[self.likelihood](self.n_genes, name="head")(hidden, library_size)
