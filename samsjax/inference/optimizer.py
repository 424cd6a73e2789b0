"""The optimiser: Adam with warm-up, schedule, clipping and L2, all from optax."""

import math

import jax
import optax

from samsjax.inference.config import TrainConfig


def learning_rate(config: TrainConfig) -> optax.Schedule:
    """Learning rate by step: a linear rise over `warmup_fraction`, then constant or cosine decay to almost zero."""
    n_warmup = math.floor(config.warmup_fraction * config.n_steps)
    peak = config.learning_rate
    if config.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(
            peak / 25, peak, n_warmup, max(config.n_steps, n_warmup + 1), end_value=peak * 1e-4
        )
    return optax.join_schedules(
        [optax.linear_schedule(peak / 25, peak, max(n_warmup, 1)), optax.constant_schedule(peak)],
        [n_warmup],
    )


def optimizer(config: TrainConfig, effect_sites: frozenset[str] = frozenset()) -> optax.GradientTransformation:
    """Clip the gradient's global norm, add L2 to the gradient (coupled, as torch's Adam does), then Adam.

    `effect_sites` are the parameters that hold one row per perturbation: each sees few cells and has far to go (a mask
    from undecided to its prior), so their steps are `effect_step_factor` times as long.
    """
    steps = []
    if config.clip_norm is not None:
        steps.append(optax.clip_by_global_norm(config.clip_norm))
    if config.weight_decay > 0:
        steps.append(optax.add_decayed_weights(config.weight_decay))
    steps += [optax.scale_by_adam(), optax.scale_by_learning_rate(learning_rate(config))]
    if effect_sites and config.effect_step_factor != 1:
        steps.append(_scale_sites(effect_sites, config.effect_step_factor))
    return optax.chain(*steps)


def _scale_sites(sites: frozenset[str], factor: float) -> optax.GradientTransformation:
    """Multiply the updates of some parameter sites."""

    def update(updates, state, params=None):
        del params
        scaled = {name: jax.tree.map(lambda u: factor * u, u) if name in sites else u for name, u in updates.items()}
        return scaled, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
