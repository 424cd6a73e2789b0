"""Which parameters of a model carry the latent axis, and how they turn with it. Every model declares its own.

With latent states as rows and R orthogonal, z becomes z R. A kernel that leads into latent space (its last axis is
latent) becomes K R, one that leads out of it (its first axis is latent) R' K. Logarithms of the variances of a diagonal
Gaussian cannot turn exactly, because a turned diagonal covariance is not diagonal; its diagonal is an average of the
variances with the weights R o R, which we take of the logarithms: exact for permutations. So do log odds of inclusion
that features or a learned rate say, which mean something for single latents only.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from samsjax.networks import EmbeddingNetwork, FeatureNetwork
from samsjax.types import Features, Params

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


class Base(NamedTuple):
    """What features say of all perturbations; tables hold what those with training cells add to it."""

    log_odds: Float[Array, "perturbation latent"]
    mean: Float[Array, "perturbation latent"]
    """Of the embedding."""


def says(
    network: FeatureNetwork, weights: Params, features: Float[Array, "row feature"]
) -> tuple[Float[Array, "row latent"], Float[Array, "row latent"]]:
    """(change of the log odds of inclusion, mean of the embedding) by the features of some perturbations."""
    log_odds_and_mean: Any = network.apply({"params": weights}, features)
    return log_odds_and_mean


class FeaturePrior(NamedTuple):
    """A prior of effects that comes from features of the perturbations, from which their posteriors depart."""

    network: FeatureNetwork
    params: str
    """Name of its parameters."""
    log_odds: float | str
    """Of inclusion where the network says 0: a number, or the name of a parameter."""
    log_scale: str
    """Name of the logarithms of factors of the embedding's standard deviation, by latent."""
    first_scale: float
    """That standard deviation where the factor is 1."""
    least_scale: float
    """Part of it that has no factor."""

    @property
    def into(self) -> tuple[Path, ...]:
        """Kernels and bias of the mean."""
        return tuple((self.params, "loc", name) for name in ("kernel_0", "kernel_1", "bias"))

    @property
    def averaged(self) -> tuple[Path, ...]:
        """What has one entry for each latent and does not turn: log odds, and scales."""
        return (*((self.params, "log_odds", name) for name in ("kernel_0", "kernel_1", "bias")), (self.log_scale,))

    def says(self, params: Params, features: Features) -> tuple[Base, Float[Array, " latent"]]:
        """(log odds and mean of all perturbations, variance of the embedding)."""
        log_odds, mean = says(self.network, params[self.params], features.values)
        base = params[self.log_odds] if isinstance(self.log_odds, str) else self.log_odds
        factor = self.least_scale + (1.0 - self.least_scale) * jnp.exp(params[self.log_scale])
        return Base(base + log_odds, mean), (self.first_scale * factor) ** 2


class EffectParameters(NamedTuple):
    """The parameters of q(E) and q(mask)."""

    embedding: EmbeddingTables | EmbeddingOfMask
    mask_logits: str | None = None
    """Table of logits of the inclusion probabilities; None without, or with `mask_log_concentrations`."""
    mask_log_concentrations: tuple[str, str] | None = None
    """Tables of logarithms of both concentrations of a Beta posterior of inclusion probabilities."""
    prior: FeaturePrior | None = None
    """From which the tables above depart; None where they say all themselves."""
    averaged: tuple[Path, ...] = ()
    """Parameters of priors with one entry for each latent, which take weighted averages where latent space turns."""

    @property
    def sparse(self) -> bool:
        """Whether there are masks."""
        return self.mask_logits is not None or self.mask_log_concentrations is not None

    @property
    def priors_into(self) -> tuple[Path, ...]:
        """Parameters of priors whose last axis turns."""
        return () if self.prior is None else self.prior.into

    @property
    def priors_averaged(self) -> tuple[Path, ...]:
        """All parameters of priors whose last axis is averaged."""
        return self.averaged if self.prior is None else (*self.prior.averaged, *self.averaged)


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
    base: Base | None = None
    """What features say of them; None without a prior from features."""


def masked_effects(params: Params, names: EffectParameters, features: Features | None = None) -> MaskedEffects:
    """Read the effects off the parameters, and off features where priors come from them."""
    if names.prior is not None:
        return _effects_on_base(params, names, names.prior, features)
    probability = _probability(params, names)
    mean, variance = names.embedding.moments(params, probability)
    return MaskedEffects(probability * mean, probability * variance)


def _effects_on_base(
    params: Params, names: EffectParameters, prior: FeaturePrior, features: Features | None
) -> MaskedEffects:
    """What features say, and what perturbations with training cells add to it."""
    assert features is not None and names.mask_logits is not None and isinstance(names.embedding, EmbeddingTables)
    base, prior_variance = prior.says(params, features)
    seen = features.seen[:, None]
    probability = jax.nn.sigmoid(base.log_odds + seen * params[names.mask_logits])
    added, variance = names.embedding.moments(params, probability)
    variance = jnp.where(seen > 0, variance, prior_variance)
    return MaskedEffects(probability * (base.mean + seen * added), probability * variance, base)


def _probability(params: Params, names: EffectParameters) -> Array:
    if names.mask_logits is not None:
        return jax.nn.sigmoid(params[names.mask_logits])
    if names.mask_log_concentrations is not None:
        alpha, beta = (params[name] for name in names.mask_log_concentrations)
        return jax.nn.sigmoid(alpha - beta)
    return jnp.ones(())


def turn_effects(effects: MaskedEffects, rotation: Float[Array, "latent latent"]) -> MaskedEffects:
    """Moments in the new basis; the variance is the diagonal of the turned covariance."""
    return MaskedEffects(effects.mean @ rotation, effects.variance @ rotation**2, turn_base(effects.base, rotation))


def turn_base(base: Base | None, rotation: Float[Array, "latent latent"]) -> Base | None:
    """What features say in the new basis, after `turn_networks`: means turn, log odds are averaged."""
    return None if base is None else Base(base.log_odds @ rotation**2, base.mean @ rotation)


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
    for path in (*axes.into, *axes.effects.priors_into):
        params = _change(params, path, lambda kernel: kernel @ rotation)
    for path in axes.out_of:
        params = _change(params, path, lambda kernel: rotation.T @ kernel)
    for path in (*axes.log_variances, *axes.effects.priors_averaged):
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
    priors = (*axes.effects.priors_into, *axes.effects.priors_averaged)
    own = axes.effects._replace(prior=None, averaged=())
    squares = LatentAxes(own, (), (), (*axes.into, *axes.log_variances, *priors))
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
