"""Generative intervention model: features of perturbations decide which genes they act on, in a causal graph of genes.

Generative story, for perturbations t with features, genes j and cells i that carry one perturbation t(i) or none:

    graph_ij ~ Bernoulli(edges per gene / (genes - 1))              no cycles
    mask_tj  ~ Bernoulli(pi_j(features_t))                          targets
    E_tj     = shift_j(features_t)
    x_ij     ~ Normal(f_j(parents of j) + mask_t(i)j E_t(i)j, noise_j)

with other kinds of interventions in `mechanisms`. Genes are the variables: no cell has a latent state of its own, and
site `z` is the state without noise. Targets are those of a perturbation, the same in all its cells. Every (drug, dose)
is a perturbation, its dose one of the features.

Guide: q(graph) prod_t q(mask_t), independent entries, with log odds of targets logit pi + u. Training sums targets out
exactly, under which u is what being a target gains in log likelihood over all cells of the perturbation; unseen
perturbations have u = 0. The graph is decided at the end of training and certain from then on.

Source: Schneider et al., ICML 2025 (arXiv 2411.14003), of which abstract and opening were read; the kinds of
interventions, the objective and the search of the graph are our own.
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from samsjax.distributions import StraightThroughBernoulli
from samsjax.effects import cells, offset, perturbations
from samsjax.errors import InputError
from samsjax.models.base import DataStatistics
from samsjax.models.gim_config import GIMConfig
from samsjax.models.gim_interventions import heads_of, initial_network, initial_table, interventions_of, read_network
from samsjax.models.gim_training import SURE, constrained_training, edge_log_odds, initial_graph, noise_of
from samsjax.models.mechanisms import Mechanisms, initial_mechanisms
from samsjax.models.parts import shared_parameter
from samsjax.models.structural import StructuralEquations
from samsjax.networks import zeros
from samsjax.types import Batch, ModelGuide

VARIABLES = "variables"
"""Plate of the genes as parents in the graph."""


def build(config: GIMConfig, statistics: DataStatistics) -> ModelGuide:
    """The NumPyro programs of a generative intervention model for data of these sizes, and how it is trained.

    Raises:
        InputError: for a single gene, or more than a dense matrix exponential in float32 can take.
    """
    n_genes, n_perturbations = statistics.n_genes, statistics.n_perturbations
    config.check_genes(n_genes)
    if config.uses_features and statistics.features is None:
        raise InputError("GIM needs features of perturbations: give --features.source, or --model.no-amortised")
    no_self = 1.0 - jnp.eye(n_genes)
    start_of_graph = initial_graph(config, n_genes)

    def said(batch: Batch) -> dict[str, Float[Array, "row gene"]]:
        """What features, or a perturbation's own parameters, say of its interventions."""
        if statistics.features is not None and config.uses_features:
            values = statistics.features.values
            sizes = values.shape[1], n_genes
            network = numpyro.param("interventions", lambda key: initial_network(key, config, *sizes))
            return read_network(network, values[batch.row_numbers])
        with perturbations(batch):
            table = n_perturbations, n_genes
            return {
                head: numpyro.param(head, lambda key, head=head: initial_table(key, config, head, table))[batch.rows]
                for head in heads_of(config)
            }

    def start(key: jax.Array) -> dict[str, Array]:
        return initial_mechanisms(key, config.mechanisms, n_genes, config.mechanism_hidden)

    def model(batch: Batch) -> None:
        logits, interventions = interventions_of(said(batch))
        decided = numpyro.param("graph_decided", start_of_graph["graph_decided"])
        with numpyro.plate(VARIABLES, n_genes):
            # A decided graph belongs to the model: run forward by itself, it does not draw another one.
            prior = jnp.where(decided == 0.5, config.edge_prior_logit(n_genes), SURE * (2 * decided - 1))
            prior = jnp.where(no_self == 1.0, prior, -SURE)
            graph = numpyro.sample("graph", dist.Bernoulli(logits=prior).to_event(1)) * no_self
        with perturbations(batch):
            shift = numpyro.deterministic("E", interventions.shift)
            mask = numpyro.sample("mask", dist.Bernoulli(logits=logits).to_event(1))
        present = batch._replace(dosage=(batch.dosage > 0).astype(shift.dtype))
        targets = offset(mask * jnp.ones_like(shift), present)
        widening = offset(mask * interventions.widening * jnp.ones_like(shift), present)
        weights = numpyro.param("mechanisms", start)
        noise = noise_of(numpyro.param("log_noise", jnp.full(n_genes, jnp.log(0.5), jnp.float32)))
        kept = 1.0 - targets if config.interventions == "hard" else jnp.ones_like(targets)
        with cells(batch):
            push = numpyro.deterministic("offset", offset(mask * shift, present))
            equations = StructuralEquations(Mechanisms(weights, noise), graph, push, kept, widening, statistics.genes)
            numpyro.deterministic("z", equations.mean)
            numpyro.sample("x", equations, obs=batch.x)

    def guide(batch: Batch) -> None:
        values = {name: numpyro.param(name, init) for name, init in start_of_graph.items()}
        with numpyro.plate(VARIABLES, n_genes):
            numpyro.sample("graph", StraightThroughBernoulli(edge_log_odds(config, values)).to_event(1))
        logits, _ = interventions_of(said(batch))
        with perturbations(batch):
            residual = shared_parameter("target_residual", (n_perturbations, n_genes), zeros, batch.rows)
            # The residual of a perturbation without training cells is 0 by itself, unless its targets are known.
            logits = logits + (residual if batch.unseen is None else residual * (1.0 - batch.unseen)[:, None])
            if config.predicted_targets == "map":
                logits = jnp.where(logits > 0, SURE, -SURE)
            numpyro.sample("mask", StraightThroughBernoulli(logits).to_event(1))

    training = constrained_training(config, statistics)
    return ModelGuide(model, guide, *statistics.sizes, constrained=training)
