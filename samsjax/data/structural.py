"""Structural models: variables that are functions of their parents plus noise, and what interventions do to them.

    x_j = f_j(parents of j) + shift_j + sd_j noise_j         a shift: the mechanism stays
    x_j = value_j + sd_j noise_j                             a hard intervention: parents are cut off

Linear models have exact means and covariances. Graphs are bool (parent, child).
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from samsjax.data.random_graphs import topological_order

Intervention = Literal["shift", "hard"]
N_HIDDEN = 8
"""Hidden units of a nonlinear mechanism."""


class Linear(NamedTuple):
    """f_j(x) = bias_j + sum over parents of weight x."""

    weights: np.ndarray
    """(parent, child), 0 where there is no edge."""
    bias: np.ndarray
    """(child,)."""

    def at(self, x: np.ndarray, child: int) -> np.ndarray:
        """f_child, (cell,)."""
        return x @ self.weights[:, child] + self.bias[child]

    def rescaled(self, loc: np.ndarray, scale: np.ndarray) -> "Linear":
        """The same mechanisms between the variables (x - loc) / scale."""
        bias = (self.bias + loc @ self.weights - loc) / scale
        return Linear(self.weights * scale[:, None] / scale, bias)


class Tanh(NamedTuple):
    """f_j(x) = bias_j + one hidden layer of tanh units of its parents."""

    into: np.ndarray
    """(child, parent, hidden), 0 where there is no edge."""
    hidden_bias: np.ndarray
    """(child, hidden)."""
    out: np.ndarray
    """(child, hidden)."""
    bias: np.ndarray
    """(child,)."""

    def at(self, x: np.ndarray, child: int) -> np.ndarray:
        """f_child, (cell,)."""
        return np.tanh(x @ self.into[child] + self.hidden_bias[child]) @ self.out[child] + self.bias[child]

    def rescaled(self, loc: np.ndarray, scale: np.ndarray) -> "Tanh":
        """The same mechanisms between the variables (x - loc) / scale."""
        return Tanh(
            self.into * scale[:, None],
            self.hidden_bias + np.einsum("p,cph->ch", loc, self.into),
            self.out / scale[:, None],
            (self.bias - loc) / scale,
        )


@dataclass(frozen=True, eq=False)
class StructuralModel:
    """Mechanisms along a directed acyclic graph, with Gaussian noise."""

    graph: np.ndarray
    """Bool (parent, child)."""
    mechanisms: Linear | Tanh
    noise_sd: np.ndarray
    """(variable,)."""

    def sample(
        self, noise: np.ndarray, targets: np.ndarray, strengths: np.ndarray, intervention: Intervention
    ) -> np.ndarray:
        """Values of cells, (cell, variable).

        Args:
            noise: (cell, variable), in standard deviations.
            targets: bool (cell, variable).
            strengths: (cell, variable): shifts, or the values that targets are set to.
            intervention: what happens to targets.
        """
        x = np.zeros_like(noise)
        for child in topological_order(self.graph):
            undisturbed = self.mechanisms.at(x, child)
            hit = strengths[:, child] + (undisturbed if intervention == "shift" else 0.0)
            x[:, child] = np.where(targets[:, child], hit, undisturbed) + self.noise_sd[child] * noise[:, child]
        return x

    def rescaled(self, loc: np.ndarray, scale: np.ndarray) -> "StructuralModel":
        """The same model of the variables (x - loc) / scale."""
        return replace(self, mechanisms=self.mechanisms.rescaled(loc, scale), noise_sd=self.noise_sd / scale)


def linear_moments(
    model: StructuralModel,
    targets: np.ndarray,
    strengths: np.ndarray,
    intervention: Intervention,
    noise_factor: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Exact means (context, variable) and covariances (context, variable, variable) of a linear model.

    Args:
        model: with `Linear` mechanisms.
        targets: bool (context, variable).
        strengths: (context, variable).
        intervention: what happens to targets.
        noise_factor: (context, variable), by which standard deviations of noise are multiplied; None = 1.
    """
    assert isinstance(model.mechanisms, Linear)
    bias, weights = model.mechanisms.bias, model.mechanisms.weights
    means, covariances = [], []
    factors = np.ones(strengths.shape) if noise_factor is None else noise_factor
    for hit, strength, factor in zip(targets, strengths, factors, strict=True):
        cut = hit & (intervention == "hard")
        own = np.where(cut, 0.0, bias) + np.where(hit, strength, 0.0)
        total = np.linalg.inv(np.eye(len(bias)) - np.where(cut, 0.0, weights))  # effects along all paths
        means.append(own @ total)
        covariances.append((total.T * (factor * model.noise_sd) ** 2) @ total)
    return np.array(means), np.array(covariances)


def draw_mechanisms(rng: np.random.Generator, graph: np.ndarray, kind: Literal["linear", "mlp"]) -> Linear | Tanh:
    """Random mechanisms: weights of size 0.5 to 1.5 with random signs, biases from -1 to 1.

    The outputs of a nonlinear mechanism's eight units are added with standard normal weights, divided by the square
    root of 2, so that saturated mechanisms vary by about two.
    """
    n = len(graph)
    bias = rng.uniform(-1, 1, n)
    if kind == "linear":
        return Linear(np.where(graph, signed_uniform(rng, 0.5, 1.5, (n, n)), 0.0), bias)
    into = signed_uniform(rng, 0.5, 1.5, (n, n, N_HIDDEN)) * graph.T[:, :, None]
    out = rng.standard_normal((n, N_HIDDEN)) / np.sqrt(2)
    return Tanh(into, rng.uniform(-1, 1, (n, N_HIDDEN)), out, bias)


def signed_uniform(rng: np.random.Generator, low: float, high: float, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform sizes between `low` and `high` with random signs."""
    return rng.uniform(low, high, shape) * rng.choice([-1.0, 1.0], shape)
