"""Which parameters of a model carry the latent axis, and how they turn with it. Every model declares its own.

With latent states as rows and R orthogonal, z becomes z R. A kernel that leads into latent space (its last axis is
latent) becomes K R, one that leads out of it (its first axis is latent) R' K. Logarithms of the variances of a diagonal
Gaussian cannot turn exactly, because a turned diagonal covariance is not diagonal; its diagonal is an average of the
variances with the weights R o R, which we take of the logarithms: exact for permutations.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from samsjax.networks import EmbeddingNetwork
from samsjax.types import Params

Path = tuple[str, ...]
SMALLEST_SCALE = 1e-3
"""Standard deviation of an embedding below which none is put."""
N_MASK_DRAWS = 64
"""Masks over which moments of embeddings that depend on the mask are taken."""


class EmbeddingTables(NamedTuple):
    """q(E) with an independent Gaussian, or a point, per entry: names of tables (perturbation, latent)."""

    loc: str
    """Means of the embeddings."""
    log_scale: str | None = None
    """Logarithms of their standard deviations, 1e-4 aside; None for point estimates."""

    def moments(self, params: Params, probability: Array) -> tuple[Array, Array]:
        """(mean, variance) of the embeddings of active entries."""
        del probability
        loc = params[self.loc]
        if self.log_scale is None:
            return loc, jnp.zeros_like(loc)
        return loc, (jnp.exp(params[self.log_scale]) + 1e-4) ** 2


class EmbeddingOfMask(NamedTuple):
    """q(E | mask) from a network of the mask and of what tells the perturbations apart."""

    network: EmbeddingNetwork
    params: str
    """Name of its parameters."""
    identity: str
    """Name of the table (perturbation, hidden) with a row for each perturbation."""

    def given(self, params: Params, mask: Array) -> tuple[Array, Array]:
        """(mean, standard deviation) of the embeddings under a mask."""
        loc_and_scale: Any = self.network.apply({"params": params[self.params]}, mask, params[self.identity])
        return loc_and_scale

    def moments(self, params: Params, probability: Array) -> tuple[Array, Array]:
        """(mean, variance) of the embeddings of active entries, over masks drawn from their probabilities.

        Entries that no draw has active take those over all draws.
        """
        shape = (N_MASK_DRAWS, *probability.shape)
        mask = jax.random.bernoulli(jax.random.key(0), probability, shape)  # one key: a function of the parameters
        loc, scale = jax.vmap(lambda drawn: self.given(params, drawn))(mask.astype(probability.dtype))
        weight = jnp.where(mask.any(axis=0), mask, 1.0)
        weight = weight / weight.sum(axis=0)
        mean = (weight * loc).sum(axis=0)
        return mean, (weight * (scale**2 + (loc - mean) ** 2)).sum(axis=0)


class EffectParameters(NamedTuple):
    """The parameters of q(E) and q(mask)."""

    embedding: EmbeddingTables | EmbeddingOfMask
    mask_logits: str | None = None
    """Table of logits of the inclusion probabilities; None without, or with `mask_log_concentrations`."""
    mask_log_concentrations: tuple[str, str] | None = None
    """Tables of logarithms of both concentrations of a Beta posterior of inclusion probabilities."""

    @property
    def sparse(self) -> bool:
        """Whether there are masks."""
        return self.mask_logits is not None or self.mask_log_concentrations is not None


class LatentAxes(NamedTuple):
    """Where latent space appears in a model's parameters."""

    effects: EffectParameters
    """Of perturbations."""
    into: tuple[Path, ...]
    """Kernels and biases whose last axis is latent."""
    out_of: tuple[Path, ...]
    """Kernels whose first axis is latent."""
    log_variances: tuple[Path, ...]
    """Kernels and biases of logarithms of variances, last axis latent."""
    cells: str = "z_basal"
    """Site of the latent state of cells."""
    cells_shifted: bool = False
    """Whether that state includes the effects of perturbations."""
    cells_turn: bool = True
    """Whether that state lies in the space that turns; else the effects have a space of their own."""


class MaskedEffects(NamedTuple):
    """Moments of mask x embedding."""

    mean: Float[Array, "perturbation latent"]
    """Posterior mean: inclusion probability x mean of the embedding."""
    variance: Float[Array, "perturbation latent"]
    """Inclusion probability x variance of the embedding: what is not known about sizes, masks as they are."""


def masked_effects(params: Params, names: EffectParameters) -> MaskedEffects:
    """Read the effects off the parameters."""
    probability = _probability(params, names)
    mean, variance = names.embedding.moments(params, probability)
    return MaskedEffects(probability * mean, probability * variance)


def _probability(params: Params, names: EffectParameters) -> Array:
    if names.mask_logits is not None:
        return jax.nn.sigmoid(params[names.mask_logits])
    if names.mask_log_concentrations is not None:
        alpha, beta = (params[name] for name in names.mask_log_concentrations)
        return jax.nn.sigmoid(alpha - beta)
    return jnp.ones(())


def turn_effects(effects: MaskedEffects, rotation: Float[Array, "latent latent"]) -> MaskedEffects:
    """Moments in the new basis; the variance is the diagonal of the turned covariance."""
    return MaskedEffects(effects.mean @ rotation, effects.variance @ rotation**2)


def put_masks(params: Params, names: EffectParameters, log_odds: Float[Array, "perturbation latent"]) -> Params:
    """Parameters with these log odds of inclusion; unchanged without masks.

    A Beta posterior keeps the sum of its concentrations and takes the mean that the log odds say.
    """
    new = dict(params)
    if names.mask_logits is not None:
        new[names.mask_logits] = log_odds
    if names.mask_log_concentrations is not None:
        first, second = names.mask_log_concentrations
        total = jnp.logaddexp(params[first], params[second])
        new[first], new[second] = total + jax.nn.log_sigmoid(log_odds), total + jax.nn.log_sigmoid(-log_odds)
    return new


def put_tables(params: Params, tables: EmbeddingTables, effects: MaskedEffects) -> Params:
    """Parameters whose embeddings have these moments."""
    new = {**params, tables.loc: effects.mean}
    if tables.log_scale is not None:
        new[tables.log_scale] = jnp.log(jnp.maximum(jnp.sqrt(effects.variance) - 1e-4, SMALLEST_SCALE))
    return new


def turn_networks(params: Params, axes: LatentAxes, rotation: Float[Array, "latent latent"]) -> Params:
    """Networks of the same function of cells and genes in the turned latent space, variances as the module says."""
    weights = rotation**2
    for path in axes.into:
        params = _change(params, path, lambda kernel: kernel @ rotation)
    for path in axes.out_of:
        params = _change(params, path, lambda kernel: rotation.T @ kernel)
    for path in axes.log_variances:
        params = _change(params, path, lambda kernel: kernel @ weights)
    return params


def turn_moments(
    first: Params, second: Params, axes: LatentAxes, rotation: Float[Array, "latent latent"]
) -> tuple[Params, Params]:
    """Adam's moments of gradients in the turned space.

    First moments turn as gradients do, second moments as variances of uncorrelated gradients. Moments of scales and
    masks stay. They are never set to zero: Adam's correction of a young average is over, and the next step would
    explode.
    """
    squares = LatentAxes(axes.effects, (), (), (*axes.into, *axes.log_variances))
    turned_second = turn_networks(second, squares, rotation)
    for path in axes.out_of:
        turned_second = _change(turned_second, path, lambda kernel: (rotation**2).T @ kernel)
    turned_first = turn_networks(first, axes, rotation)
    if isinstance(axes.effects.embedding, EmbeddingTables):
        loc = axes.effects.embedding.loc
        turned_first = {**turned_first, loc: first[loc] @ rotation}
        turned_second = {**turned_second, loc: second[loc] @ rotation**2}
    return turned_first, turned_second


def _change(tree: Any, path: Path, change: Callable[[Array], Array]) -> Any:
    """The tree with one leaf changed."""
    if not path:
        return change(tree)
    return {**tree, path[0]: _change(tree[path[0]], path[1:], change)}
