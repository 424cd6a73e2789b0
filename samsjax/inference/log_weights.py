"""The one place that computes log weights: log p - log q of every site, for one draw from the guide.

A bound is a reduction of these numbers: their weighted sum is a draw of the ELBO, their log-mean-exp over particles an
importance-weighted bound. Training itself uses NumPyro's objectives; a test holds the two together.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float
from numpyro import handlers

from samsjax.effects import CELLS, PERTURBATIONS
from samsjax.inference.batching import empty_batch
from samsjax.types import Batch, ModelGuide, Params


class SiteLogProbs(NamedTuple):
    """Log densities of a latent site's draw, summed over its event; nats."""

    prior: Float[Array, "*particle row"]
    """log p, in the model."""
    guide: Float[Array, "*particle row"]
    """log q, in the guide."""

    @property
    def weight(self) -> Float[Array, "*particle row"]:
        """Log p - log q."""
        return self.prior - self.guide


class LogWeights(NamedTuple):
    """Log weights of one particle in nats, unweighted. With a leading axis after `vmap` over keys."""

    reconstruction: Float[Array, " cell"]
    """log p(x | latents)."""
    local: dict[str, SiteLogProbs]
    """Each site in plate `cells`, by cell."""
    shared: dict[str, SiteLogProbs]
    """Each site in plate `perturbations`, by the batch's rows."""
    once: dict[str, SiteLogProbs]
    """Every other site, by place in its own plate: artefacts, rates of inclusion, weights of networks. Counts once."""

    def group(self, site: dict[str, Any]) -> dict[str, SiteLogProbs]:
        """Where the terms of a site of a trace belong."""
        if in_plate(site, PERTURBATIONS):
            return self.shared
        return self.local if in_plate(site, CELLS) else self.once


def traces(
    key: jax.Array, model_guide: ModelGuide, params: Params, batch: Batch, given: dict[str, Array] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(model trace, guide trace) of one particle; sites in `given` take their value from there.

    Keys are split as NumPyro's objectives split them, so the same key gives the same draws.
    """
    model_key, guide_key = jax.random.split(key)
    guide = handlers.substitute(handlers.seed(model_guide.guide, guide_key), data={**params, **(given or {})})
    guide_trace = handlers.trace(guide).get_trace(batch)
    replayed = handlers.replay(handlers.seed(model_guide.model, model_key), guide_trace)
    model_trace = handlers.trace(handlers.substitute(replayed, data=params)).get_trace(batch)
    return model_trace, guide_trace


def in_plate(site: dict[str, Any], plate: str) -> bool:
    """Whether a site of a trace stands inside the named plate."""
    return any(frame.name == plate for frame in site["cond_indep_stack"])


def log_weights(
    key: jax.Array, model_guide: ModelGuide, params: Params, batch: Batch, given: dict[str, Array] | None = None
) -> LogWeights:
    """Log weights of one particle. `vmap` over keys for more."""
    model_trace, guide_trace = traces(key, model_guide, params, batch, given)
    weights = LogWeights(jnp.zeros(batch.dosage.shape[0]), {}, {}, {})
    for name, site in _sample_sites(model_trace).items():
        log_p = jnp.atleast_1d(site["fn"].log_prob(site["value"]))
        if site["is_observed"]:
            if in_plate(site, CELLS):
                weights = weights._replace(reconstruction=weights.reconstruction + log_p)
            else:  # `numpyro.factor` in the model
                weights.group(site)[name] = SiteLogProbs(log_p, jnp.zeros_like(log_p))
            continue
        log_q = guide_trace[name]["fn"].log_prob(guide_trace[name]["value"])
        weights.group(site)[name] = SiteLogProbs(log_p, jnp.atleast_1d(log_q))
    for name, site in _sample_sites(guide_trace).items():
        if name not in model_trace:  # a penalty: `numpyro.factor` in the guide
            log_q = jnp.atleast_1d(site["fn"].log_prob(site["value"]))
            weights.group(site)[name] = SiteLogProbs(jnp.zeros_like(log_q), log_q)
    return weights


def _sample_sites(trace: dict[str, Any]) -> dict[str, Any]:
    return {name: site for name, site in trace.items() if site["type"] == "sample"}


def local_log_weight(weights: LogWeights) -> Float[Array, "*particle cell"]:
    """Reconstruction plus all local terms, per cell."""
    return sum((site.weight for site in weights.local.values()), start=weights.reconstruction)


def sampled_elbo(weights: LogWeights, batch: Batch) -> Float[Array, "*particle"]:
    """One draw of the data set's ELBO per particle: local terms by cell weight, shared ones by row weight; nats.

    Weights of observations (`Batch.observation_weight`) play no part: they belong to training.
    """
    total = (local_log_weight(weights) * batch.weight).sum(axis=-1)
    total = sum((site.weight.sum(axis=-1) for site in weights.once.values()), start=total)
    return sum(((site.weight * batch.row_weight).sum(axis=-1) for site in weights.shared.values()), start=total)


def iwelbo(log_weight: Float[Array, "particle cell"]) -> Float[Array, " cell"]:
    """Importance-weighted bound in nats per cell: log mean over particles of exp(log weight)."""
    return logsumexp(log_weight, axis=0) - jnp.log(log_weight.shape[0])


def draw_shared(
    key: jax.Array, model_guide: ModelGuide, params: Params, n_particles: int, batch: Batch
) -> dict[str, Float[Array, "particle row ..."]]:
    """Draws from the guide of every shared site for the rows of `batch` (see `batching.empty_batch`)."""

    def draw(particle_key: jax.Array) -> dict[str, Array]:
        guide = handlers.substitute(handlers.seed(model_guide.guide, particle_key), data=params)
        sites = _sample_sites(handlers.trace(guide).get_trace(batch))
        return {name: site["value"] for name, site in sites.items() if not in_plate(site, CELLS)}

    return jax.vmap(draw)(jax.random.split(key, n_particles))


def initial_parameters(key: jax.Array, model_guide: ModelGuide) -> Params:
    """Parameters of model and guide before training. Their shapes cost nothing under `jax.eval_shape`."""
    return {name: site["value"] for name, site in _parameter_sites(key, model_guide).items()}


def effect_parameters(model_guide: ModelGuide) -> frozenset[str]:
    """Names of the parameters that are arrays with one row per perturbation, read from the plates they stand in."""
    found: set[str] = set()

    def look(key: jax.Array) -> Array:
        sites = _parameter_sites(key, model_guide)
        found.update(n for n, s in sites.items() if in_plate(s, PERTURBATIONS) and not isinstance(s["value"], dict))
        return jnp.zeros(())

    jax.eval_shape(look, jax.random.key(0))
    return frozenset(found)


def shared_sites(model_guide: ModelGuide) -> frozenset[str]:
    """Names of the model's sites in the plate of perturbations, parameters aside."""
    found: set[str] = set()

    def look(key: jax.Array) -> Array:
        trace, _ = traces(key, model_guide, {}, empty_batch(model_guide))
        kinds = ("sample", "deterministic")
        found.update(name for name, site in trace.items() if site["type"] in kinds and in_plate(site, PERTURBATIONS))
        return jnp.zeros(())

    jax.eval_shape(look, jax.random.key(0))
    return frozenset(found)


def _parameter_sites(key: jax.Array, model_guide: ModelGuide) -> dict[str, Any]:
    batch = empty_batch(model_guide)
    sites = {name: site for trace in traces(key, model_guide, {}, batch) for name, site in trace.items()}
    return {name: site for name, site in sites.items() if site["type"] == "param"}
