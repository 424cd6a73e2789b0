"""How cyclic a matrix of edge probabilities is: differentiable functions that are 0 where no cycle is possible.

`trexp`, `poly` and `logdet` are 0 on acyclic graphs up to rounding and count cycles of all lengths elsewhere. The first
two grow exponentially with the number of variables on dense graphs, so they enter as log(1 + .); each is divided by its
value at the full graph. `spectral`, an estimate of the largest eigenvalue over that of the full graph, costs only
products of matrix and vector, but is slow to fall on probabilities that are merely small: on an acyclic graph under a
uniform leak e it is about e^(1/n) with n the variables of the longest path. So stop on the graph of likely edges having
no cycle, never on a small value of any of them.

Source: Zheng et al. 2018 (trexp), Yu et al. 2019 (poly), Lee et al. 2019 (spectral), Bello et al. 2022 (logdet).
Differs: logarithms, and values relative to the full graph; `spectral` works on logits, so that nothing underflows to 0.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

POWER_STEPS = 16
"""Steps of the power iteration of `spectral`."""
MOST_FOR_TREXP = 64
"""Most variables for which "auto" is `trexp`."""
_TAYLOR_TERMS = 10


def edge_probabilities(logits: Float[Array, "v v"]) -> Float[Array, "v v"]:
    """Probabilities of edges, 0 on the diagonal."""
    return jax.nn.sigmoid(logits) * (1.0 - jnp.eye(logits.shape[0]))


def trexp(logits: Float[Array, "v v"]) -> Float[Array, ""]:
    """log(1 + trace of exp(P) - n) for n variables, over that of the full graph; in [0, 1]."""
    n = logits.shape[0]
    # The full graph has the eigenvalue n - 1 once and -1 otherwise.
    full = np.log1p(np.exp(n - 1.0) + (n - 1) * np.exp(-1.0) - n)
    return jnp.log1p(_trace_of_exp(edge_probabilities(logits)) - n) / full


@jax.custom_jvp
def _trace_of_exp(p: Float[Array, "v v"]) -> Float[Array, ""]:
    return jnp.trace(_exp(p))


@_trace_of_exp.defjvp
def _trace_of_exp_jvp(primals, tangents):
    exp = _exp(primals[0])
    return jnp.trace(exp), (exp.T * tangents[0]).sum()


def _exp(p: Float[Array, "v v"]) -> Float[Array, "v v"]:
    """Matrix exponential by scaling and squaring, for entries in [0, 1]: as cheap as its products, also in a `vmap`."""
    n_squarings = int(np.ceil(np.log2(max(p.shape[0], 2)))) + 1
    small = p / 2**n_squarings  # every row adds up to less than 1/2
    term, total = jnp.eye(p.shape[0]), jnp.eye(p.shape[0])
    for k in range(1, _TAYLOR_TERMS):
        term = term @ small / k
        total = total + term
    for _ in range(n_squarings):
        total = total @ total
    return total


def poly(logits: Float[Array, "v v"]) -> Float[Array, ""]:
    """log(1 + trace of (1 + P/n)^n - n) for n variables, over that of the full graph; in [0, 1]."""
    n = logits.shape[0]
    full = np.log1p((1 + (n - 1) / n) ** n + (n - 1) * (1 - 1 / n) ** n - n)
    power = jnp.linalg.matrix_power(jnp.eye(n) + edge_probabilities(logits) / n, n)
    return jnp.log1p(jnp.trace(power) - n) / full


def logdet(logits: Float[Array, "v v"]) -> Float[Array, ""]:
    """Minus log det(1 - P/n) for n variables, over that of the full graph; in [0, 1]."""
    n = logits.shape[0]
    full = -(np.log1p(-(n - 1.0) / n) + (n - 1) * np.log1p(1.0 / n))
    return -jnp.linalg.slogdet(jnp.eye(n) - edge_probabilities(logits) / n)[1] / full


def spectral(logits: Float[Array, "v v"]) -> Float[Array, ""]:
    """Largest eigenvalue of P by power iteration from both sides, over that of the full graph.

    The vectors are constants to the gradient. They are iterated as logarithms: probabilities are never exactly 0, so
    neither are they, also where P is that of an acyclic graph.
    """
    n = logits.shape[0]
    log_p = jnp.where(jnp.eye(n, dtype=bool), -jnp.inf, jax.nn.log_sigmoid(logits))
    fixed = jax.lax.stop_gradient(log_p)

    def step(_: Array | int, vectors: tuple[Array, Array]) -> tuple[Array, Array]:
        left, right = vectors
        left = jax.nn.logsumexp(left[:, None] + fixed, axis=0)
        right = jax.nn.logsumexp(fixed + right[None, :], axis=1)
        return left - left.max(), right - right.max()

    left, right = jax.lax.fori_loop(0, POWER_STEPS, step, (jnp.zeros(n), jnp.zeros(n)))
    return jnp.exp(left[:, None] + right[None, :] + log_p - jax.nn.logsumexp(left + right)).sum() / (n - 1)


ACYCLICITY: dict[str, Callable[[Float[Array, "v v"]], Float[Array, ""]]] = {
    "trexp": trexp,
    "poly": poly,
    "spectral": spectral,
    "logdet": logdet,
}
"""By name; each takes the logits of edges between at least 2 variables, whose diagonal counts as absent."""


def acyclicity_named(name: str, n_variables: int) -> Callable[[Float[Array, "v v"]], Float[Array, ""]]:
    """The function of that name; "auto": `trexp` up to 64 variables and `spectral` above, which costs less."""
    if name == "auto":
        name = "trexp" if n_variables <= MOST_FOR_TREXP else "spectral"
    return ACYCLICITY[name]
