"""Giving a model's posterior of effects stated moments: written into tables, or taught to a network of the mask."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from samsjax.rotation.axes import (
    SMALLEST_SCALE,
    EffectParameters,
    EmbeddingOfMask,
    EmbeddingTables,
    MaskedEffects,
    put_masks,
    put_tables,
)
from samsjax.types import Params

N_LESSONS = 500
"""Steps of regression."""
LEARNING_RATE = 1e-2
"""Of its first step; it falls to zero along a cosine."""


def put_effects(
    params: Params, names: EffectParameters, effects: MaskedEffects, log_odds: Float[Array, "perturbation latent"]
) -> Params:
    """Parameters whose embeddings have these moments, and whose masks have these log odds of inclusion.

    Tables that add to what features say hold the rest.
    """
    if effects.base is not None:
        log_odds = log_odds - effects.base.log_odds
        effects = effects._replace(mean=effects.mean - effects.base.mean, base=None)
    params = put_masks(params, names, log_odds)
    if isinstance(names.embedding, EmbeddingTables):
        return put_tables(params, names.embedding, effects)
    return teach(params, names.embedding, effects)


def teach(params: Params, embedding: EmbeddingOfMask, effects: MaskedEffects) -> Params:
    """Parameters whose network says these moments whatever the mask, by regression.

    How embeddings depend on the mask is forgotten, since it belonged to the masks of the old basis: the kernel of the
    mask becomes zero, and training on may find another. Means are fitted in squares, spreads in squares of their
    logarithms.
    """
    log_scale = jnp.log(jnp.maximum(jnp.sqrt(effects.variance), SMALLEST_SCALE))
    adam = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, N_LESSONS))
    network = params[embedding.params]
    forgetful = {**network, "kernel": jnp.zeros_like(network["kernel"])}
    no_mask = jnp.zeros_like(effects.mean)

    def loss(student: Params) -> Array:
        loc, scale = embedding.given(student, no_mask)
        return ((loc - effects.mean) ** 2 + (jnp.log(scale) - log_scale) ** 2).mean()

    def step(state: tuple, _: None) -> tuple[tuple, None]:
        student, inner = state
        updates, inner = adam.update(jax.grad(loss)(student), inner)
        return (optax.apply_updates(student, updates), inner), None

    student = {embedding.params: forgetful, embedding.identity: params[embedding.identity]}
    (student, _), _ = jax.lax.scan(step, (student, adam.init(student)), length=N_LESSONS)
    return {**params, **student}
