"""Priors of sparse effects that come from features of the perturbations, so that new perturbations have effects too.

Generative story, for perturbations t with features f_t and latent dimensions k:

    mask_tk  ~ Bernoulli(sigmoid(b_k + a_k(f_t)))      b: log odds of the inclusion rate
    E_tk     ~ Normal(m_k(f_t), s_k^2)                 a, m: one network with two heads, see `networks.FeatureNetwork`
    weights  ~ Normal(0, .), counted once              so a and m vanish where features say nothing

Guide of a perturbation with training cells: log odds b + a + u (b at the mean rate, if the rate is learned), mean
m + v, and a scale of its own. u and v are free and start where masks are undecided; the KL shrinks them where features
explain the effect. Guide of a perturbation without training cells: the prior itself. While training, a share of the
perturbations of every step is treated so too (`cold_start`), which shows the network what it is asked for later.

Source: our own combination; an empirical-Bayes hierarchy.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpyro
from jaxtyping import Array, Float

from samsjax.errors import InputError, check_range
from samsjax.models.base import DataStatistics, check_sizes
from samsjax.models.inclusion import LOG_ODDS, InclusionConfig, Rate
from samsjax.networks import FeatureNetwork
from samsjax.rotation.axes import FeaturePrior, says
from samsjax.types import Batch, Features

PARAMS, LOG_SCALE = "effect_prior$params", "E_prior_log_scale"
"""Parameters: the network's, and logarithms of factors of s."""
LEAST_SCALE = 0.1
"""Of the prior's standard deviation, in units of that it starts with: it must not close around its own mean."""
LOG_ODDS_WIDTH = 4.0
"""How much wider than those of means are priors of weights of log odds, which lead from almost never to almost sure."""


@dataclass(frozen=True)
class FeaturePriorConfig(InclusionConfig):
    """Priors of effects, with or without features."""

    embedding_prior_scale: float = 1.0
    """Prior standard deviation of an effect's size; with feature_prior, where it starts."""
    feature_prior: bool = False
    """Learn priors of masks and effects from features of the perturbations, which predicts perturbations without cells;
    --features.source says which."""
    cold_start: float = 0.1
    """With feature_prior: share of the perturbations that each training step treats as if they had no cells."""
    feature_n_layers: int = 1
    """Layers of the network of the features; linear terms are always there."""
    feature_n_hidden: int = 32
    """Width of that network."""
    feature_weight_scale: float = 0.2
    """Prior standard deviation of what features say; smaller = they must say it more clearly."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("embedding_prior_scale", self.embedding_prior_scale, above=0.0)
        check_range("cold_start", self.cold_start, low=0.0, below=1.0)
        check_range("feature_weight_scale", self.feature_weight_scale, above=0.0)
        check_sizes(feature_n_layers=self.feature_n_layers, feature_n_hidden=self.feature_n_hidden)

    @property
    def uses_features(self) -> bool:
        """Whether the model needs features of perturbations."""
        return self.feature_prior

    @property
    def cold_share(self) -> float:
        """`cold_start`, where it means anything."""
        return self.cold_start if self.feature_prior else 0.0


class PriorOfRows(NamedTuple):
    """What features say of the effects of a batch's perturbations."""

    log_odds: Float[Array, "row latent"]
    """Of inclusion, under the draw of its rate if that is learned."""
    mean_log_odds: Float[Array, "row latent"]
    """Of inclusion at the mean rate: what the guide of perturbations with training cells departs from."""
    loc: Float[Array, "row latent"]
    """Mean of the embedding."""
    scale: Float[Array, " latent"]
    """Standard deviation of the embedding."""
    log_prob: Float[Array, ""]
    """Log prior of the parameters that say it, up to a constant; nats."""


def effect_prior(
    config: FeaturePriorConfig, statistics: DataStatistics, batch: Batch, rate: Rate | None
) -> PriorOfRows:
    """The prior of the batch's rows, by the features of the perturbations they are; outside of all plates."""
    features, network = known_features(statistics).values[batch.row_numbers], _network(config)
    weights = numpyro.param(PARAMS, lambda key: network.init(key, features)["params"])
    log_factor = numpyro.param(LOG_SCALE, jnp.zeros(config.n_latent))
    log_odds, loc = says(network, weights, features)
    base, mean_base = (_base(config),) * 2 if rate is None else (rate.log_odds, rate.mean_log_odds)
    log_prob = _log_prior(config, weights) - 0.5 * (log_factor**2).sum()
    return PriorOfRows(base + log_odds, mean_base + log_odds, loc, _scale(config, log_factor), log_prob)


def _log_prior(config: FeaturePriorConfig, weights: dict[str, Any]) -> Float[Array, ""]:
    """Every entry of a kernel is Normal(0, width^2 / inputs): what a layer says has its width, whatever its size."""
    width = config.feature_weight_scale
    heads = {"log_odds": LOG_ODDS_WIDTH * width, "loc": config.embedding_prior_scale * width}
    squares = jnp.array([_squares(weights[name]) / of_head**2 for name, of_head in heads.items()])
    return -0.5 * squares.sum() - 0.5 * jnp.array([_squares(layer) for layer in weights["trunk"].values()]).sum()


def _squares(layer: dict[str, Array]) -> Float[Array, ""]:
    """Sum of inputs x square; a bias counts as one input."""
    return jnp.array([(leaf.shape[0] if leaf.ndim > 1 else 1) * (leaf**2).sum() for leaf in layer.values()]).sum()


def cold_rows(statistics: DataStatistics, batch: Batch) -> Float[Array, "row 1"]:
    """1 for perturbations that have no training cells, or are to be treated so; 0 for others."""
    cold = 1.0 - known_features(statistics).seen[batch.row_numbers]
    return (cold if batch.unseen is None else jnp.maximum(cold, batch.unseen))[:, None]


def known_features(statistics: DataStatistics) -> Features:
    """Raises: InputError for data without features."""
    if statistics.features is None:
        raise InputError("the model's priors come from features of perturbations, and these data have none")
    return statistics.features


def feature_prior_parameters(config: FeaturePriorConfig) -> FeaturePrior | None:
    """The parameters of the prior, for rotations; None without features."""
    if not config.feature_prior:
        return None
    return FeaturePrior(
        _network(config),
        PARAMS,
        _base(config) if config.inclusion == "fixed" else LOG_ODDS,
        LOG_SCALE,
        config.embedding_prior_scale,
        LEAST_SCALE,
    )


def undecided(config: FeaturePriorConfig) -> float:
    """Where residual log odds start: those of even odds."""
    return -_base(config)


def _network(config: FeaturePriorConfig) -> FeatureNetwork:
    return FeatureNetwork(config.n_latent, config.feature_n_layers, config.feature_n_hidden)


def _base(config: FeaturePriorConfig) -> float:
    return math.log(config.mask_prior_prob) - math.log1p(-config.mask_prior_prob)


def _scale(config: FeaturePriorConfig, log_factor: Array) -> Array:
    return config.embedding_prior_scale * (LEAST_SCALE + (1.0 - LEAST_SCALE) * jnp.exp(log_factor))
