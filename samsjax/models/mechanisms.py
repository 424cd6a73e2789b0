"""Structural equations: how variables follow from their parents, and what interventions do to some of them.

Variables u are standardised. Without intervention u_j ~ Normal(f_j(parents), noise_j); a target j of an intervention
follows instead

    hard         Normal(shift_j, noise_j e^widening_j)            parents are cut off
    shift        Normal(f_j(parents) + shift_j, noise_j)
    shift_scale  Normal(f_j(parents) + shift_j, noise_j e^widening_j)

f_j is linear, or a network of its own with one hidden layer. Log likelihoods are linear in the targets, so a context
(all cells under one perturbation) needs two numbers per variable: its likelihood without intervention, and by how much
an intervention raises it. Of linear mechanisms both follow from the number, mean and covariance of a context's cells.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

MechanismKind = Literal["linear", "mlp"]
InterventionKind = Literal["shift", "hard", "shift_scale"]
MECHANISMS = ("linear", "mlp")
INTERVENTIONS = ("shift", "hard", "shift_scale")
NOISE_FLOOR = 0.05
"""Least standard deviation of noise, in those of a variable among controls."""
WIDENING_LIMIT = 2.0
"""An intervention changes standard deviations of noise by a factor of e^2 at most, either way."""
_LOG_2PI = float(np.log(2 * np.pi))

Graph = Float[Array, "parent child"]


class Mechanisms(NamedTuple):
    """The equations without intervention."""

    weights: Mapping[str, Array]
    """Of `kind`, see `initial_mechanisms`."""
    noise: Float[Array, " v"]
    """Standard deviations."""


class Interventions(NamedTuple):
    """What interventions do to each variable if it is a target; arrays broadcast against (row, v)."""

    shift: Float[Array, "row v"]
    widening: Float[Array, "row v"] | float
    """Log factor of the standard deviation; 0 for kind "shift"."""


class Moments(NamedTuple):
    """Cells by context as linear mechanisms need them. Rows are perturbations; control is apart."""

    n_cells: Float[Array, " row"]
    mean: Float[Array, "row v"]
    """0 without cells."""
    covariance: Float[Array, "row v v"]
    """Divided by the number of cells; 0 without cells."""
    control_n_cells: Float[Array, ""]
    control_mean: Float[Array, " v"]
    control_covariance: Float[Array, "v v"]


class PaddedCells(NamedTuple):
    """Cells by context as they are. Control cells stand apart, in contexts of the same size, one below the other."""

    u: Float[Array, "row place v"]
    present: Float[Array, "row place"]
    control: Float[Array, "part place v"]
    control_present: Float[Array, "part place"]


class ContextTerms(NamedTuple):
    """Log likelihood of contexts, given graph and mechanisms; nats."""

    control: Float[Array, ""]
    """Of control cells."""
    undisturbed: Float[Array, ""]
    """Of all other cells, if nothing were a target."""
    gain: Float[Array, "row v"]
    """What is gained in a context if a variable is a target."""


def initial_mechanisms(key: jax.Array, kind: MechanismKind, n_variables: int, n_hidden: int) -> dict[str, Array]:
    """Parameters of all variables' mechanisms, with small random weights.

    Linear: weight (parent, child), bias (child,). Networks: into (child, parent, hidden), hidden_bias (child, hidden),
    out (child, hidden), bias (child,).
    """
    first, second, third = jax.random.split(key, 3)
    n = n_variables
    bias = jnp.zeros(n)
    if kind == "linear":
        return {"weight": 0.1 * jax.random.normal(first, (n, n)), "bias": bias}
    return {
        "into": jax.random.normal(first, (n, n, n_hidden)) / np.sqrt(n),
        "hidden_bias": 0.5 * jax.random.normal(second, (n, n_hidden)),
        "out": 0.1 * jax.random.normal(third, (n, n_hidden)),
        "bias": bias,
    }


def predicted(weights: Mapping[str, Array], graph: Graph, u: Float[Array, "... v"]) -> Float[Array, "... v"]:
    """The function f of every variable at the values of its parents."""
    if "weight" in weights:
        return u @ (weights["weight"] * graph) + weights["bias"]
    # Column j of the graph masks what network j sees.
    into = weights["into"] * graph.T[:, :, None]
    hidden = jnp.tanh(jnp.einsum("...p,cph->...ch", u, into) + weights["hidden_bias"])
    return (hidden * weights["out"]).sum(axis=-1) + weights["bias"]


def squared_weights(weights: Mapping[str, Array], probability: Graph) -> Float[Array, ""]:
    """Sum of squared weights, those of parents counted as far as their edge is probable."""
    if "weight" in weights:
        return (weights["weight"] ** 2 * probability).sum()
    into = (weights["into"] ** 2 * probability.T[:, :, None]).sum()
    return into + (weights["out"] ** 2).sum() + (weights["hidden_bias"] ** 2).sum()


def normal_log_density(residual: Array, sd: Array) -> Array:
    """Log density of Normal(0, sd) at `residual`, elementwise."""
    return -0.5 * (residual / sd) ** 2 - jnp.log(sd) - 0.5 * _LOG_2PI


def target_mean(
    kind: InterventionKind, undisturbed: Float[Array, "... v"], shift: Float[Array, "... v"]
) -> Float[Array, "... v"]:
    """Mean of variables that are targets."""
    return jnp.broadcast_to(shift, undisturbed.shape) if kind == "hard" else undisturbed + shift


def cell_terms(
    kind: InterventionKind,
    mechanisms: Mechanisms,
    graph: Graph,
    interventions: Interventions,
    u: Float[Array, "... v"],
) -> tuple[Float[Array, "... v"], Float[Array, "... v"]]:
    """Log density of each variable of each cell: undisturbed, and as a target."""
    mean, noise = predicted(mechanisms.weights, graph, u), mechanisms.noise
    as_target = u - target_mean(kind, mean, interventions.shift)
    widened = noise * jnp.exp(interventions.widening)
    return normal_log_density(u - mean, noise), normal_log_density(as_target, widened)


def context_terms(
    kind: InterventionKind,
    mechanisms: Mechanisms,
    graph: Graph,
    interventions: Interventions,
    cells: Moments | PaddedCells,
) -> ContextTerms:
    """Terms of all contexts."""
    if isinstance(cells, Moments):
        return _terms_of_moments(kind, mechanisms, graph, interventions, cells)
    widening = interventions.widening
    by_place = Interventions(
        interventions.shift[:, None, :], widening if isinstance(widening, float) else widening[:, None, :]
    )
    without, as_target = cell_terms(kind, mechanisms, graph, by_place, cells.u)
    control, _ = cell_terms(kind, mechanisms, graph, Interventions(jnp.zeros(cells.u.shape[-1]), 0.0), cells.control)
    present = cells.present[..., None]
    return ContextTerms(
        (control * cells.control_present[..., None]).sum(),
        (without * present).sum(),
        ((as_target - without) * present).sum(axis=1),
    )


def _terms_of_moments(
    kind: InterventionKind, mechanisms: Mechanisms, graph: Graph, interventions: Interventions, cells: Moments
) -> ContextTerms:
    weight, bias = mechanisms.weights["weight"] * graph, mechanisms.weights["bias"]
    shift, widening, variance = interventions.shift, interventions.widening, mechanisms.noise**2
    n = cells.n_cells[:, None]
    rest = jnp.eye(weight.shape[0]) - weight  # u @ rest - bias is noise
    off, control_off = cells.mean @ rest - bias, cells.control_mean @ rest - bias

    def log_likelihood(scatter: Array, squares: Array, n_cells: Array) -> Array:
        residual = (rest * (scatter @ rest)).sum(axis=0) + squares
        return -0.5 * (residual / variance + n_cells * (jnp.log(variance) + _LOG_2PI)).sum()

    control_n = cells.control_n_cells
    control = log_likelihood(control_n * cells.control_covariance, control_n * control_off**2, control_n)
    pooled = jnp.tensordot(cells.n_cells, cells.covariance, 1)
    undisturbed = log_likelihood(pooled, (n * off**2).sum(axis=0), cells.n_cells.sum())
    if kind == "shift":
        return ContextTerms(control, undisturbed, n * shift * (off - 0.5 * shift) / variance)
    spread = jnp.einsum("ij,kil,lj->kj", rest, cells.covariance, rest)
    if kind == "hard":
        own = jnp.diagonal(cells.covariance, axis1=1, axis2=2) + (cells.mean - shift) ** 2
    else:
        own = spread + (off - shift) ** 2
    gain = spread + off**2 - own * jnp.exp(-2 * widening)
    return ContextTerms(control, undisturbed, n * (0.5 * gain / variance - widening))


def moments(u: np.ndarray, row: np.ndarray, n_rows: int) -> Moments:
    """Of cells with standardised values (cell, v); `row` (cell,) is the perturbation's number, -1 for control."""

    def of(cells: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        values = u[cells].astype(np.float64)
        mean = values.mean(axis=0) if len(values) else np.zeros(u.shape[1])
        centred = values - mean
        return len(values), mean, centred.T @ centred / max(len(values), 1)

    numbers, means, covariances = zip(*(of(row == k) for k in range(-1, n_rows)), strict=True)
    n, mean, covariance = (jnp.asarray(np.array(part), jnp.float32) for part in (numbers, means, covariances))
    return Moments(n[1:], mean[1:], covariance[1:], n[0], mean[0], covariance[0])


def padded_cells(u: np.ndarray, row: np.ndarray, n_rows: int) -> PaddedCells:
    """As `moments`, with every cell kept."""
    n_places = max(1, int(np.bincount(row[row >= 0], minlength=n_rows).max(initial=0)))
    n_parts = max(1, -(-int((row < 0).sum()) // n_places))
    places = np.full((n_rows + n_parts, n_places), -1)
    for k in range(n_rows):
        cells = np.flatnonzero(row == k)
        places[k, : len(cells)] = cells
    control = np.flatnonzero(row < 0)
    places[n_rows:].ravel()[: len(control)] = control
    present = (places >= 0).astype(np.float32)
    values = u[np.maximum(places, 0)].astype(np.float32) * present[..., None]
    both = [jnp.asarray(part) for part in (values[:n_rows], present[:n_rows], values[n_rows:], present[n_rows:])]
    return PaddedCells(*both)
