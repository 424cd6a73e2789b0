"""The sparse rotation of a fitted model, without training."""

from dataclasses import replace

import jax
import jax.numpy as jnp

from samsjax.errors import InputError
from samsjax.inference.fitted import Fitted
from samsjax.inference.putting_effects import put_effects
from samsjax.inference.rotating import DECISIVENESS, report_of
from samsjax.models import described, latent_axes
from samsjax.rotation.activity import inclusion_log_odds
from samsjax.rotation.axes import masked_effects, turn_effects, turn_networks
from samsjax.rotation.search import search


def rotate(fitted: Fitted, *, seed: int = 0) -> Fitted:
    """The model in the basis of latent space in which its effects are sparsest.

    What it says about cells stays the same up to two approximations: posterior variances become the diagonal of the
    turned covariance; and in a model with masks, effects that do not stand out get an inclusion probability of a few
    per cent at most, which takes them out of predictions. Effects keep their posterior means otherwise. A fit with
    `TrainConfig.rotation` "sparse" needs none of this and finds more: its model has trained on in the new basis.

    Args:
        fitted: of any model whose latent space turns.
        seed: decides the starts of the search.

    Raises:
        InputError: for a model without additive effects in latent space (conditional VAE).
    """
    axes = latent_axes(fitted.config)
    if axes is None:
        raise InputError(f"{described(fitted.config)} has no effects that can be rotated")
    effects = masked_effects(fitted.params, axes.effects, fitted.statistics.features)
    found = search(jax.random.key(seed), effects.mean)
    turned = turn_effects(effects, found.rotation)
    log_odds = inclusion_log_odds(turned.mean, jnp.sqrt(turned.variance))
    n_active = int((log_odds > 0).sum())
    if axes.effects.sparse:
        log_odds = jnp.clip(log_odds, -DECISIVENESS[-1], DECISIVENESS[-1])
        # The mean of mask x embedding is what stays.
        kept = jnp.where(log_odds > 0, jax.nn.sigmoid(log_odds), 1.0)
        turned = turned._replace(mean=turned.mean / kept, variance=turned.variance / kept)
    params = put_effects(turn_networks(fitted.params, axes, found.rotation), axes.effects, turned, log_odds)
    report = report_of(found, effects.mean, 0, effects.mean.shape[1], n_active)
    return replace(fitted, params=params, rotations=(*fitted.rotations, report))
