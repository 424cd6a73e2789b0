"""The published objectives that are no plain evidence lower bound: importance-weighted, and re-weighted.

Both spread each shared term over the cells that carry its perturbation, by one over their number among the training
cells, and reduce the log weights of `log_weights` to one number per particle and cell. So spread and averaged over an
epoch the shared terms count once. (Plain bounds count them exactly in every step, with less noise.) The importance-
weighted form is a bound per cell given spread shared terms, not one of the joint model.

Source: SAMS-VAE, specification 4.1-4.3.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpyro.infer.elbo
from jaxtyping import Array, Float

from samsjax.errors import InputError, check_choice, unknown_name
from samsjax.inference.log_weights import LogWeights, SiteLogProbs, iwelbo, log_weights
from samsjax.types import Batch, ModelGuide

ReweightingKind = Literal["prior", "term", "prior_per_cell", "term_per_cell"]


class Reweighting(NamedTuple):
    """Factors by site name.

    `prior` multiplies log p, `term` multiplies log p and log q. `prior_per_cell` and `term_per_cell` add the factor to
    the weight 1 / N_t with which a cell carries a shared term: its total weight becomes 1 + factor x N_t.
    """

    kind: ReweightingKind
    factors: Mapping[str, float]


def check_reweighting(kind: str | None, factors: Mapping[str, float]) -> None:
    """Raises: InputError for an unknown kind, or a kind without factors or factors without a kind."""
    if kind is not None:
        check_choice("reweighting", kind, get_args(ReweightingKind))
    if (kind is None) != (not factors):
        raise InputError(f"reweighting {kind!r} with factors {dict(factors)}: give both or none")


def terms_by_cell(
    weights: LogWeights, batch: Batch, reweighting: Reweighting | None = None
) -> dict[str, Float[Array, " cell"]]:
    """One particle's terms by site, shared ones spread over the cells that carry them.

    Raises:
        InputError: for factors of sites the model does not have.
    """
    kind, factors = ("prior", {}) if reweighting is None else reweighting
    per_cell = kind.endswith("_per_cell")
    sites = [*weights.local, *weights.shared]
    legal = list(weights.shared) if per_cell else [*sites, *weights.once]
    for name in factors:
        if name not in legal:
            raise unknown_name(f"site for reweighting {kind!r}", name, legal)
    spread = jnp.where(batch.row_cells > 0, 1.0 / jnp.maximum(batch.row_cells, 1.0), 0.0)
    observation_weight = 1.0 if batch.observation_weight is None else batch.observation_weight
    terms = {"reconstruction": observation_weight * weights.reconstruction}
    for name, site in weights.local.items():
        terms[name] = _scaled(site, kind, 1.0, factors.get(name))
    for name, site in weights.shared.items():
        terms[name] = _carried(_scaled(site, kind, spread, factors.get(name)), batch)
    for name, site in weights.once.items():
        # Spread over all training cells, for which the batch's weights stand: few may carry an artefact.
        by_place = _scaled(site, kind, 1.0 / batch.weight.sum(), factors.get(name))
        terms[name] = jnp.broadcast_to(by_place.sum(), weights.reconstruction.shape)
    return terms


def _scaled(site: SiteLogProbs, kind: str, weight: Any, factor: float | None) -> Array:
    """Log p - log q under `weight`, re-weighted by `factor` if there is one."""
    if factor is None:
        return weight * (site.prior - site.guide)
    changed = weight + factor if kind.endswith("_per_cell") else weight * factor
    return changed * site.prior - (changed if kind.startswith("term") else weight) * site.guide


def _carried(by_row: Float[Array, " row"], batch: Batch) -> Float[Array, " cell"]:
    """Sum over a cell's perturbations, whatever their dosage."""
    return ((batch.dosage != 0) * by_row[batch.perturbation_index]).sum(axis=-1)


class SpreadObjective(numpyro.infer.elbo.ELBO):
    """NumPyro objective: minus the mean over cells, by weight, of a reduction over particles."""

    def __init__(
        self, n_particles: int, *, importance_weighted: bool = False, reweighting: Reweighting | None = None
    ) -> None:
        self.importance_weighted = importance_weighted
        self.reweighting = reweighting
        super().__init__(num_particles=n_particles)

    def loss(self, rng_key, param_map, model, guide, *args, **kwargs) -> Float[Array, ""]:  # noqa: D102 (NumPyro's)
        (batch,) = args
        programs = ModelGuide(model, guide, batch.x.shape[1], batch.rows.shape[0])

        def total(key: jax.Array) -> Float[Array, " cell"]:
            weights = log_weights(key, programs, param_map, batch)
            return sum(terms_by_cell(weights, batch, self.reweighting).values(), start=jnp.zeros(batch.x.shape[0]))

        by_particle = jax.vmap(total)(jax.random.split(rng_key, self.num_particles))
        by_cell = iwelbo(by_particle) if self.importance_weighted else by_particle.mean(axis=0)
        return -(by_cell * batch.weight).sum() / batch.weight.sum()
