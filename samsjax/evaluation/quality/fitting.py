"""The two classifiers of a probe: logistic regression, and a network with one hidden layer, fitted to weighted cells.

Both minimise the summed logistic loss plus half the squared weights (not the intercepts), times a penalty. There is no
noise in it: equal cells give equal classifiers.
"""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

N_HIDDEN = 32
"""Units of the network's hidden layer."""
Kind = Literal["linear", "mlp"]
KINDS: tuple[Kind, ...] = ("linear", "mlp")
PENALTY = {"linear": 1.0, "mlp": 5.0}
"""By kind. 1 is scikit-learn's C = 1. The network has so many weights that it learns cells by heart under so little."""
MAX_ITERATIONS = {"linear": 200, "mlp": 100}


def fitted_scores(
    kind: str, x: np.ndarray, label: np.ndarray, weight: np.ndarray, rng: np.random.Generator
) -> Float[np.ndarray, " cell"]:
    """Fit to the cells of positive weight; the score of every cell, above 0 where the label is more likely than not.

    Args:
        kind: one of `KINDS`.
        x: (cell, feature), standardised.
        label: bool (cell,).
        weight: (cell,), how much the loss of each cell counts.
        rng: draws where the network starts.
    """
    from scipy.optimize import minimize

    cells = jnp.asarray(x, dtype=jnp.float32)
    sign = jnp.asarray(np.where(label, 1.0, -1.0), dtype=jnp.float32)
    weights = jnp.asarray(weight, dtype=jnp.float32)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = _loss_and_gradient(jnp.asarray(flat, dtype=jnp.float32), cells, sign, weights, kind)
        return float(value), np.asarray(gradient, dtype=np.float64)

    start = _start(kind, x.shape[1], rng)
    # Not L-BFGS-B: its small matrices wait for the threads of the linear algebra library when cores are shared.
    found = minimize(objective, start, jac=True, method="CG", options={"maxiter": MAX_ITERATIONS[kind]})
    return np.asarray(_score(jnp.asarray(found.x, dtype=jnp.float32), cells, kind), dtype=np.float64)


def _start(kind: str, n_features: int, rng: np.random.Generator) -> np.ndarray:
    if kind == "linear":
        return np.zeros(n_features + 1)
    first = rng.standard_normal(n_features * N_HIDDEN) / np.sqrt(n_features)
    second = rng.standard_normal(N_HIDDEN) / np.sqrt(N_HIDDEN)
    return np.concatenate([first, second, np.zeros(N_HIDDEN + 1)])


def _split(flat: Float[Array, " parameter"], n_features: int, kind: str) -> tuple[Array, Array]:
    """Weights and intercepts."""
    n = n_features if kind == "linear" else (n_features + 1) * N_HIDDEN
    return flat[:n], flat[n:]


@partial(jax.jit, static_argnums=(2,))
def _score(flat: Float[Array, " parameter"], x: Float[Array, "cell feature"], kind: str) -> Float[Array, " cell"]:
    weights, intercepts = _split(flat, x.shape[1], kind)
    if kind == "linear":
        return x @ weights + intercepts[0]
    hidden = jnp.tanh(x @ weights[:-N_HIDDEN].reshape(-1, N_HIDDEN) + intercepts[:-1])
    return hidden @ weights[-N_HIDDEN:] + intercepts[-1]


@partial(jax.jit, static_argnums=(4,))
@partial(jax.value_and_grad, argnums=0)
def _loss_and_gradient(
    flat: Float[Array, " parameter"],
    x: Float[Array, "cell feature"],
    sign: Float[Array, " cell"],
    weight: Float[Array, " cell"],
    kind: str,
) -> Float[Array, ""]:
    weights, _ = _split(flat, x.shape[1], kind)
    loss = jax.nn.softplus(-sign * _score(flat, x, kind))
    return (weight * loss).sum() + 0.5 * PENALTY[kind] * (weights**2).sum()
