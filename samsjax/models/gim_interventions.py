"""From features of perturbations to interventions: which variables are targets, and what happens to them.

A network sees standardised features; its heads give log odds of targets, shifts and, where the kind of intervention
has them, changes of the noise. Heads also see the features themselves, so a linear relation needs no network. Without
features each perturbation has free parameters of its own.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from samsjax.models.gim_config import GIMConfig
from samsjax.models.mechanisms import WIDENING_LIMIT, Interventions

SHIFT_AT_START = 0.1
"""Size of shifts at the start; at exactly 0 being a target would make no difference, and nothing would be learned."""
_HEAD_FACTOR = 0.01


def heads_of(config: GIMConfig) -> tuple[str, ...]:
    """What is said of every variable of a perturbation."""
    return ("target_logits", "shift") + (("widening",) if config.interventions != "shift" else ())


def initial_table(key: jax.Array, config: GIMConfig, head: str, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Start of free parameters, or of the biases of a head."""
    if head == "target_logits":
        logit = float(np.log(config.target_prior_prob) - np.log1p(-config.target_prior_prob))
        return jnp.full(shape, logit, jnp.float32)
    return SHIFT_AT_START * jax.random.normal(key, shape) if head == "shift" else jnp.zeros(shape)


def initial_network(key: jax.Array, config: GIMConfig, n_features: int, n_variables: int) -> dict[str, Any]:
    """Parameters of the network from features."""
    n_layers = config.n_layers
    widths = [n_features] + [config.n_hidden] * n_layers
    keys = jax.random.split(key, n_layers + 3)
    trunk = {
        f"layer_{k}": {
            "kernel": jax.random.normal(keys[k], (widths[k], widths[k + 1])) / np.sqrt(widths[k]),
            "bias": jnp.zeros(widths[k + 1]),
        }
        for k in range(n_layers)
    }
    n_inputs = widths[-1] + n_features
    heads = {}
    for name, head_key in zip(heads_of(config), keys[n_layers:], strict=False):
        bias_key, kernel_key = jax.random.split(head_key)
        factor = SHIFT_AT_START if name == "shift" else _HEAD_FACTOR
        heads[name] = {
            "kernel": factor * jax.random.normal(kernel_key, (n_inputs, n_variables)) / np.sqrt(n_inputs),
            "bias": initial_table(bias_key, config, name, (n_variables,)),
        }
    return {"trunk": trunk, "heads": heads}


def read_network(network: dict[str, Any], features: Float[Array, "row feature"]) -> dict[str, Float[Array, "row v"]]:
    """What the network says of perturbations with these features, by head."""
    hidden = features
    for k in range(len(network["trunk"])):
        layer = network["trunk"][f"layer_{k}"]
        hidden = jax.nn.silu(hidden @ layer["kernel"] + layer["bias"])
    inputs = jnp.concatenate([hidden, features], axis=-1)
    return {name: inputs @ head["kernel"] + head["bias"] for name, head in network["heads"].items()}


def squared_kernels(network: dict[str, Any]) -> Float[Array, ""]:
    """Sum of squared weights, without biases."""
    layers = (*network["trunk"].values(), *network["heads"].values())
    return sum(((layer["kernel"] ** 2).sum() for layer in layers), start=jnp.zeros(()))


def interventions_of(said: dict[str, Float[Array, "row v"]]) -> tuple[Float[Array, "row v"], Interventions]:
    """(log odds of targets, what happens to them)."""
    widening = said.get("widening")
    bounded = 0.0 if widening is None else WIDENING_LIMIT * jnp.tanh(widening / WIDENING_LIMIT)
    return said["target_logits"], Interventions(said["shift"], bounded)
