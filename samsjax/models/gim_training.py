"""How a generative intervention model is trained: its loss, the search of its graph, and what is left when it is done.

Pure functions over the parameters of the programs in `gim`, handed to the trainer as a `ConstrainedTraining`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from samsjax.causal.acyclicity import acyclicity_named, edge_probabilities
from samsjax.causal.search import Scores, search
from samsjax.causal.search import edge_log_odds as searched_log_odds
from samsjax.distributions import StraightThroughBernoulli
from samsjax.models.base import DataStatistics
from samsjax.models.gim_config import GIMConfig
from samsjax.models.gim_contexts import Part, drawn_contexts, n_cells_of, searched_moments
from samsjax.models.gim_interventions import heads_of, interventions_of, read_network, squared_kernels
from samsjax.models.gim_objective import bound_of_targets, exact_targets, likelihood_of_draw, log_marginal
from samsjax.models.mechanisms import (
    NOISE_FLOOR,
    Graph,
    Interventions,
    Mechanisms,
    Moments,
    PaddedCells,
    context_terms,
    moments,
    padded_cells,
    squared_weights,
)
from samsjax.types import ConstrainedTraining, KnownStructure, Params, Schedule

SURE = 20.0
"""Log odds of what is certain."""


def initial_graph(config: GIMConfig, n_genes: int) -> dict[str, Any]:
    """Initialisers of the graph's parameters: log odds of edges or vectors whose products they are, and decisions."""

    def log_odds(key: jax.Array) -> Array:
        return -0.5 + 0.1 * jax.random.normal(key, (n_genes, n_genes))

    def vectors(key: jax.Array) -> Array:
        return jax.random.normal(key, (2, n_genes, n_genes)) / np.sqrt(n_genes)

    start = {"graph_vectors": vectors} if config.graph == "embedded" else {"graph_logits": log_odds}
    return {**start, "graph_decided": lambda key: jnp.full((n_genes, n_genes), 0.5, jnp.float32)}


def edge_log_odds(config: GIMConfig, params: Params) -> Float[Array, "gene gene"]:
    """Of q(graph): as learned where an edge is open, certain where it is decided; never from a gene to itself."""
    decided = params["graph_decided"]
    free = _learned_log_odds(config, params)
    logits = jnp.where(decided == 0.5, free, SURE * (2 * decided - 1))
    return jnp.where(jnp.eye(logits.shape[0], dtype=bool), -SURE, logits)


def _learned_log_odds(config: GIMConfig, params: Params) -> Float[Array, "gene gene"]:
    if config.graph != "embedded":
        return params["graph_logits"]
    return params["graph_vectors"][0] @ params["graph_vectors"][1].T


def noise_of(log_noise: Float[Array, " v"]) -> Float[Array, " v"]:
    """Standard deviations of noise, above their floor."""
    return NOISE_FLOOR + jnp.exp(log_noise)


def constrained_training(config: GIMConfig, statistics: DataStatistics) -> ConstrainedTraining:
    """Everything the trainer needs, for data of these sizes."""
    functions = _Functions(config, statistics)
    schedule = Schedule(
        config.n_steps,
        config.n_polish_steps,
        config.learning_rate,
        config.warmup_fraction,
        config.multiplier_interval,
        config.multiplier_growth,
        config.n_restarts,
    )
    return ConstrainedTraining(
        schedule=schedule,
        summarise=functions.summarise,
        loss=functions.loss,
        constraint=functions.constraint,
        log_odds=lambda params: _learned_log_odds(config, params),
        with_graph=functions.with_graph,
        finish=functions.finish,
        score=functions.score,
        n_graphs=config.n_graphs,
        search=functions.search if config.graph == "search" else None,
    )


class _Functions:
    """The functions of one configuration and data set."""

    def __init__(self, config: GIMConfig, statistics: DataStatistics) -> None:
        self.config, self.statistics = config, statistics

    def summarise(self, x: np.ndarray, row: np.ndarray) -> Moments | PaddedCells:
        """Cells by context, on the scale of the model."""
        genes = self.statistics.genes
        u = (np.asarray(x, dtype=np.float64) - np.asarray(genes.mean)) / np.asarray(genes.std)
        of = moments if self.config.mechanisms == "linear" else padded_cells
        return of(u, row, self.statistics.n_perturbations)

    def interventions(self, params: Params) -> tuple[Float[Array, "row v"], Interventions]:
        """(log odds of targets, what happens to them) of all perturbations."""
        if self.config.uses_features:
            assert self.statistics.features is not None
            return interventions_of(read_network(params["interventions"], self.statistics.features.values))
        return interventions_of({head: params[head] for head in heads_of(self.config)})

    def loss(
        self,
        key: jax.Array,
        params: Params,
        cells: Moments | PaddedCells,
        known: KnownStructure,
        progress: Float[Array, ""],
        n_graphs: int,
    ) -> Float[Array, ""]:
        """Minus the log likelihood per cell, with priors of all parameters and the costs of edges and targets."""
        config = self.config
        graph_key, target_key, batch_key = jax.random.split(key, 3)
        logits, interventions = self.interventions(params)
        log_odds = _learned_log_odds(config, params)
        open_ = known.graph == 0.5
        probability = jnp.where(open_, edge_probabilities(log_odds), known.graph)
        mechanisms = Mechanisms(params["mechanisms"], noise_of(params["log_noise"]))
        temperature = 1.0 - 0.5 * progress
        part = drawn_contexts(batch_key, cells, config.context_batch)

        def of_draw(keys: tuple[jax.Array, jax.Array]) -> Float[Array, ""]:
            drawn = StraightThroughBernoulli(log_odds, temperature).sample(keys[0])
            graph = jnp.where(open_, drawn, known.graph) * (1.0 - jnp.eye(log_odds.shape[0]))
            return self._log_likelihood(keys[1], params, part, mechanisms, graph, (logits, interventions), known)

        keys = jax.random.split(graph_key, n_graphs), jax.random.split(target_key, n_graphs)
        values = jax.vmap(of_draw)(keys)
        of_draws = jax.nn.logsumexp(values) - jnp.log(n_graphs)
        objective = of_draws if config.objective == "ratio" else values.mean()
        n_cells = n_cells_of(cells)
        prior = self._prior(params, logits, interventions, probability)
        edges = (probability * open_).sum()
        return (prior - objective) / n_cells + config.edge_penalty * edges + self._network_cost(params)

    def _log_likelihood(
        self,
        key: jax.Array,
        params: Params,
        part: Part,
        mechanisms: Mechanisms,
        graph: Graph,
        said: tuple[Float[Array, "row v"], Interventions],
        known: KnownStructure,
    ) -> Float[Array, ""]:
        logits, interventions = jax.tree.map(lambda table: table[part.rows] if jnp.ndim(table) else table, said)
        targets = known.targets[part.rows]
        terms = context_terms(self.config.interventions, mechanisms, graph, interventions, part.cells)
        if self.config.objective == "exact_targets":
            rows = exact_targets(terms, logits, targets)
        elif self.config.objective == "elbo":
            rows = bound_of_targets(terms, logits, params["target_residual"][part.rows], targets)
        else:
            drawn = StraightThroughBernoulli(logits).sample(key)
            rows = likelihood_of_draw(terms, jnp.where(targets == 0.5, drawn, targets))
        return part.row_factor * rows + part.control_factor * terms.control

    def _prior(
        self, params: Params, logits: Float[Array, "row v"], interventions: Interventions, probability: Graph
    ) -> Float[Array, ""]:
        """Minus log priors, and the cost of targets; nats. Perturbations without training cells do not count."""
        config = self.config
        if self.statistics.features is None:
            seen = jnp.ones((logits.shape[0], 1))
        else:
            seen = self.statistics.features.seen[:, None]
        cost = config.target_penalty * (seen * jax.nn.sigmoid(logits)).sum()
        cost = cost + 0.5 * (seen * interventions.shift**2).sum() / config.shift_prior_scale**2
        cost = cost + 0.5 * (seen * jnp.square(interventions.widening)).sum()
        cost = cost + 0.5 * squared_weights(params["mechanisms"], probability)
        cost = cost + 0.5 * ((params["log_noise"] - jnp.log(0.5)) ** 2).sum()
        if config.graph == "embedded":
            cost = cost + 0.5 * params["graph_vectors"].shape[1] * (params["graph_vectors"] ** 2).sum()
        if config.graph_prior == "scale_free":
            cost = cost + 3.0 * jnp.log1p(probability.sum(axis=0)).sum()
        return cost

    def _network_cost(self, params: Params) -> Float[Array, ""] | float:
        if not self.config.uses_features:
            return 0.0
        return self.config.feature_penalty * squared_kernels(params["interventions"])

    def constraint(self, params: Params) -> Float[Array, ""]:
        """How cyclic the graph is."""
        logits = _learned_log_odds(self.config, params)
        return acyclicity_named(self.config.acyclicity, logits.shape[0])(logits)

    def with_graph(self, params: Params, graph: Any, log_odds: Any) -> Params:
        """The parameters with a decided graph. Log odds from elsewhere are noted if the model has a place for them."""
        graph = jnp.asarray(graph, jnp.float32)
        decided = {**params, "graph_decided": graph}
        return decided if self.config.graph == "embedded" else decided | {"graph_logits": jnp.asarray(log_odds)}

    def gain(self, params: Params, cells: Moments | PaddedCells) -> tuple[Array, Array, Array]:
        """(log odds of targets by features, what being a target gains, log likelihood of all cells undisturbed)."""
        logits, interventions = self.interventions(params)
        mechanisms = Mechanisms(params["mechanisms"], noise_of(params["log_noise"]))
        graph = params["graph_decided"]
        terms = context_terms(self.config.interventions, mechanisms, graph, interventions, cells)
        return logits, terms.gain, terms.undisturbed + terms.control

    def finish(self, params: Params, cells: Moments | PaddedCells, known: KnownStructure) -> Params:
        """The parameters with the posterior of targets given all training cells."""
        logits, gain, _ = self.gain(params, cells)
        residual = jnp.where(known.targets == 0.5, gain, SURE * (2 * known.targets - 1) - logits)
        return {**params, "target_residual": residual}

    def score(self, params: Params, cells: Moments | PaddedCells) -> Float[Array, ""]:
        """Log likelihood per held-out cell, targets summed out: by features where nothing else is known of them."""
        logits, gain, undisturbed = self.gain(params, cells)
        return (undisturbed + log_marginal(logits + params["target_residual"], gain).sum()) / n_cells_of(cells)

    def search(self, rng: np.random.Generator, cells: Moments | PaddedCells, known: KnownStructure) -> tuple[Any, Any]:
        """(graph, log odds of its edges) that explain the contexts best, whatever their features say."""
        scores = Scores(
            searched_moments(cells),
            self.config.interventions,
            self.config.target_penalty - float(_logit(self.config.target_prior_prob)),
            np.concatenate([np.zeros((1, self.statistics.n_genes)), np.asarray(known.targets)]),
        )
        edges = np.asarray(known.graph)
        graph = search(rng, scores, self.statistics.n_genes, self.config.n_searches, edges)
        return graph, searched_log_odds(graph, scores).astype(np.float32)


def _logit(p: float) -> float:
    return float(np.log(p) - np.log1p(-p))
