"""What a fitted generative intervention model says of contexts, on the scale of the data and in exact sums.

Targets are uncertain first and shared by all cells of a context, so predictions are mixtures over draws of targets;
the density of all cells together sums over targets exactly, one variable at a time, as the training does.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import expit

from samsjax.data.structural import Intervention, Linear, StructuralModel, Tanh, linear_moments
from samsjax.errors import InputError
from samsjax.evaluation.interventions.prediction import Prediction
from samsjax.inference.fitted import Fitted
from samsjax.models.gim_config import GIMConfig
from samsjax.models.gim_interventions import interventions_of, read_network
from samsjax.models.gim_training import edge_log_odds, noise_of

N_DRAWS = 100
"""Of targets, for each context."""
CELLS_PER_DRAW = 50
"""Whose mean and spread stand for those of a nonlinear model."""


class Causes(NamedTuple):
    """A causal model and what is known of the interventions of every perturbation of its vocabulary."""

    model: StructuralModel
    """On the scale of the data."""
    intervention: Intervention
    edge_log_odds: np.ndarray
    """float64 (parent, child): before the graph was decided."""
    target_log_odds: np.ndarray
    """float64 (perturbation, variable): by features, and for perturbations that trained by their cells too."""
    strengths: np.ndarray
    """float64 (perturbation, variable): what happens to a target, on the scale of the data."""
    widening: np.ndarray
    """float64 (perturbation, variable): log factor of a target's noise."""

    def with_targets(self, targets: np.ndarray) -> "Causes":
        """The same with known targets, bool (perturbation, variable)."""
        return self._replace(target_log_odds=np.where(targets, 50.0, -50.0))

    def decided(self) -> "Causes":
        """The same with every target that is more probable than not certain, and no others."""
        return self.with_targets(self.target_log_odds > 0)

    def predict(self, contexts: np.ndarray, n_cells: int, rng: np.random.Generator) -> list[Prediction]:
        """Predictions of perturbations, given by their numbers in the vocabulary."""
        return [_prediction(self, int(context), n_cells, rng) for context in contexts]

    def log_likelihood(self, cells: np.ndarray, context: int) -> float:
        """Log density of all cells (cell, variable) of a context together, targets summed out."""
        undisturbed = np.stack([self.model.mechanisms.at(cells, child) for child in range(cells.shape[1])], axis=1)
        hit = self.strengths[context] + (undisturbed if self.intervention == "shift" else 0.0)
        sd = self.model.noise_sd
        without = _log_density(cells - undisturbed, sd).sum(axis=0)
        as_target = _log_density(cells - hit, sd * np.exp(self.widening[context])).sum(axis=0)
        log_odds = self.target_log_odds[context]
        logs = np.logaddexp(without - np.logaddexp(0, log_odds), as_target - np.logaddexp(0, -log_odds))
        return float(logs.sum())


def read_gim(fitted: Fitted) -> Causes:
    """The causal model of a fitted generative intervention model.

    Raises:
        InputError: for another model.
    """
    config = fitted.config
    if not isinstance(config, GIMConfig):
        raise InputError(f"causes can be read from a generative intervention model, not from {type(config).__name__}")
    params, genes = fitted.params, fitted.statistics.genes
    loc, scale = (np.asarray(v, dtype=np.float64) for v in (genes.mean, genes.std))
    if config.uses_features:
        assert fitted.statistics.features is not None
        said = read_network(params["interventions"], fitted.statistics.features.values)
    else:
        said = {name: params[name] for name in ("target_logits", "shift", "widening") if name in params}
    logits, happens = interventions_of(said)
    shift = np.asarray(happens.shift, dtype=np.float64)
    kind: Intervention = "hard" if config.interventions == "hard" else "shift"
    return Causes(
        model=_model(params, loc, scale),
        intervention=kind,
        edge_log_odds=_learned_edges(fitted, config),
        target_log_odds=np.asarray(logits + params["target_residual"], dtype=np.float64),
        strengths=shift * scale + (loc if kind == "hard" else 0.0),
        widening=np.broadcast_to(np.asarray(happens.widening, dtype=np.float64), shift.shape),
    )


def _model(params: dict, loc: np.ndarray, scale: np.ndarray) -> StructuralModel:
    graph = np.asarray(params["graph_decided"]) > 0.5
    given = {name: np.asarray(values, dtype=np.float64) for name, values in params["mechanisms"].items()}
    mechanisms: Linear | Tanh
    if "weight" in given:
        mechanisms = Linear(given["weight"] * graph, given["bias"])
    else:
        into = given["into"] * graph.T[:, :, None]
        mechanisms = Tanh(into, given["hidden_bias"], given["out"], given["bias"])
    standardised = StructuralModel(graph, mechanisms, np.asarray(noise_of(params["log_noise"]), dtype=np.float64))
    # From standardised variables back: u = x scale + loc is standardised by -loc / scale and 1 / scale.
    return standardised.rescaled(-loc / scale, 1 / scale)


def _learned_edges(fitted: Fitted, config: GIMConfig) -> np.ndarray:
    decided = edge_log_odds(config, fitted.params)
    learned = getattr(fitted.fit, "edge_log_odds", None)  # a model that was loaded has only its decisions
    return np.asarray(decided if learned is None else learned, dtype=np.float64)


def _prediction(causes: Causes, context: int, n_cells: int, rng: np.random.Generator) -> Prediction:
    probability = expit(causes.target_log_odds[context])
    targets = rng.random((N_DRAWS, len(probability))) < probability
    strengths = np.broadcast_to(causes.strengths[context], targets.shape)
    factor = np.exp(np.where(targets, causes.widening[context], 0.0))
    if isinstance(causes.model.mechanisms, Linear):
        # Draws repeat: as many sets of targets are inverted as there are different ones.
        distinct, code = np.unique(targets, axis=0, return_inverse=True)
        code = code.reshape(-1)
        first = np.unique(code, return_index=True)[1]
        means, covariances = linear_moments(
            causes.model, distinct, strengths[first], causes.intervention, factor[first]
        )
        means, sds = means[code], np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))[code]
    else:
        means, sds = _sampled_moments(causes, targets, strengths, factor, rng)
    rows = rng.integers(N_DRAWS, size=n_cells)
    noise = factor[rows] * rng.standard_normal((n_cells, len(probability)))
    cells = causes.model.sample(noise, targets[rows], strengths[rows], causes.intervention)
    return Prediction(
        cells,
        means,
        sds,
        lambda measured: causes.log_likelihood(measured, context),
        causes.target_log_odds[context],
    )


def _sampled_moments(
    causes: Causes, targets: np.ndarray, strengths: np.ndarray, factor: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Means and spreads by draw of targets, (draw, variable) each, from cells with the same noise for all draws."""
    noise = np.tile(rng.standard_normal((CELLS_PER_DRAW, targets.shape[1])), (len(targets), 1))
    of_cell = np.repeat(np.arange(len(targets)), CELLS_PER_DRAW)
    cells = causes.model.sample(factor[of_cell] * noise, targets[of_cell], strengths[of_cell], causes.intervention)
    by_draw = cells.reshape(len(targets), CELLS_PER_DRAW, -1)
    return by_draw.mean(axis=1), by_draw.std(axis=1, ddof=1)


def _log_density(residual: np.ndarray, sd: np.ndarray) -> np.ndarray:
    return -0.5 * (residual / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi)
