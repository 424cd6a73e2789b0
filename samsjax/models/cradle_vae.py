"""CRADLE-VAE: perturbation effects disentangled from technical artefacts.

Generative story, for perturbations t, latent dimensions k, artefacts j and cells i with flags s_ij (1 = the cell failed
quality control by criterion j; observed, without a prior):

    mask_tk  ~ Bernoulli(mask_prior_prob),  E_tk ~ Normal(0, embedding_prior_scale)
    U_jk     ~ Normal(0, artifact_prior_scale)
    z_i      ~ Normal(0, I)                                                                    site `z_basal`
    p_i, a_i = sum_t dosage_it mask_t E_t,  sum_j s_ij U_j;   z_i + p_i + a_i or [z_i, p_i, a_i]    site `z`
    x_i      ~ likelihood(decoder(.), library_size_i)

Guide: q(mask) q(E | mask) q(U) prod_i q(z_i | x_i, p_i, a_i), the first two as in SAMS-VAE (so are the options of
their priors: `inclusion`, `feature_priors`). With the weight
`counterfactual_weight` training is penalised by KL(q(z | x_ref, p_i, a') || q(z | x_i, p_i, a')): encoded under the
flag it does not have, a cell shall be encoded as a reference cell that has it, one of the same perturbations and other
quality. So what an artefact does to a cell is left to U. Predictions have s = 0: effects are those in good cells.

Source: CRADLE-VAE (arXiv 2409.05484), from a specification of its published code; the paper's equations were not
available. Differs: cells are decoded once, under their own flags; the divergence is exact and per cell, between
posteriors under the same draws of the effects, and references are of the other quality (each published choice is an
option, and all together a preset); observations are not weighted by quality; parts are added by default; with several
criteria a cell has the artefacts of those it fails, each with its own posterior, and the flag it does not have is that
of its reference. The published mean-field guide, which cannot run, is SAMS-VAE's with a Gaussian q(U).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.contrib.module import flax_module
from numpyro.distributions.kl import kl_divergence

from samsjax.data.artifacts import Indicators
from samsjax.effects import artifacts, cells
from samsjax.errors import InputError, check_choice, check_range
from samsjax.models.base import DataStatistics, check_sizes
from samsjax.models.interactions import composed_axes
from samsjax.models.parts import (
    additive_axes,
    covariates,
    effect_networks,
    encode_cells,
    first_kernel,
    heads,
    observe_genes,
    observed,
    standard_normal,
)
from samsjax.models.sparse import (
    SparseEffectsConfig,
    SparsePosterior,
    model_shift,
    sparse_effect_parameters,
)
from samsjax.networks import GaussianNetwork, zeros
from samsjax.normalization import normalize
from samsjax.rotation.axes import LatentAxes
from samsjax.types import Batch, ModelGuide, QualityTraining, Reference

_CHOICES = (
    *("indicators", "composition", "artifact_posterior", "reference", "pseudo_cell", "refresh", "divergence"),
    *("reduction", "stop_gradient", "weighting"),
)
Gaussian = tuple[Float[Array, "*pass cell latent"], Float[Array, "*pass cell latent"]]
"""Means and standard deviations."""
Shared = tuple[Float[Array, "cell latent"], Float[Array, "artifact latent"]]
"""What perturbations do to each cell, and artefacts to any."""


@dataclass(frozen=True)
class CRADLEVAEConfig(SparseEffectsConfig):
    """Sizes, priors, guide and counterfactual penalty of CRADLE-VAE."""

    artifact_prior_scale: float = 1.0
    """Prior standard deviation of an artefact's size."""
    indicators: Indicators = "any"
    """Artefacts: one for all cells that fail any criterion, one for each criterion, or none, as in SAMS-VAE."""
    composition: Literal["sum", "concatenation"] = "sum"
    """Basal state, perturbation and artefact are added, or stand side by side (as published)."""
    decoder_n_layers: int | None = None
    """Layers of the decoder; none = n_layers."""
    artifact_posterior: Literal["table", "network"] = "table"
    """q(U): free means and scales, or a network of the indicator's one-hot (as published)."""
    counterfactual_weight: float = 0.1
    """Factor of the penalty, which is in nats per cell; 0 = none."""
    reference: Literal["opposite", "failed"] = "opposite"
    """Reference cells: of the other quality than the cell's own, or always failed ones (as published)."""
    pseudo_cell: Literal["cell", "mean", "median"] = "cell"
    """A reference is a random cell, or the mean or median by gene (as published) of up to 50."""
    refresh: Literal["epoch", "once"] = "epoch"
    """References are drawn for every pass over the data, or once (as published)."""
    divergence: Literal["exact", "shipped"] = "exact"
    """The penalty's KL, or that of the published code, in which squared differences are not divided by a variance."""
    reduction: Literal["mean", "batch_sum"] = "mean"
    """Penalties of cells are averaged as the bound is, or added up over the batch (as published)."""
    stop_gradient: Literal["none", "reference"] = "none"
    """Let the penalty move both posteriors, or only the cell's own."""
    share_globals: bool = True
    """Encode references under the same draws of effects and artefacts; false = under new ones (as published)."""
    weighting: Literal["none", "balanced", "batch_share"] = "none"
    """Weights of observations: none, both qualities alike with mean 1, or those of the published code."""
    penalize_validation: bool = False
    """Judge parameters by a bound with penalty and weights (as published), not by the plain bound."""

    def __post_init__(self) -> None:
        super().__post_init__()
        hints = get_type_hints(type(self))
        for name in _CHOICES:
            check_choice(name, getattr(self, name), get_args(hints[name]))
        if self.decoder_n_layers is not None:
            check_sizes(decoder_n_layers=self.decoder_n_layers)
        check_range("artifact_prior_scale", self.artifact_prior_scale, above=0.0)
        check_range("counterfactual_weight", self.counterfactual_weight, low=0.0)
        if self.counterfactual_weight and self.mean_field_encoder:
            raise InputError(
                "a mean-field encoder does not see the quality of a cell, so there is no counterfactual to penalise: "
                "give counterfactual_weight 0"
            )
        if self.indicators == "none" and (self.counterfactual_weight or self.weighting != "none"):
            raise InputError(
                "without quality indicators there is no counterfactual and no weighting: give counterfactual_weight 0 "
                "and weighting 'none'"
            )

    @property
    def quality_indicators(self) -> Indicators:
        """Which quality labels the model sees."""
        return self.indicators

    @property
    def quality_training(self) -> QualityTraining | None:
        """What training has to say of the quality of cells."""
        if not self.counterfactual_weight and self.weighting == "none":
            return None
        reference = self.reference if self.counterfactual_weight else None
        return QualityTraining(
            reference, self.pseudo_cell, self.refresh, self.weighting, in_validation=self.penalize_validation
        )


def latent_axes(config: CRADLEVAEConfig) -> LatentAxes | None:
    """How latent space can be rotated: as a whole if parts are added, else the space of perturbations alone."""
    effects = sparse_effect_parameters(config)
    if config.composition == "concatenation":
        seen = ("decoder",) if config.mean_field_encoder else ("decoder", "encoder")
        axes = LatentAxes(
            effects=effects,
            into=heads(effect_networks(effects), "loc"),
            out_of=tuple(first_kernel(network, 1) for network in seen),
            log_variances=heads(effect_networks(effects), "log_variance"),
            cells_turn=False,
        )
        return composed_axes(config, axes)
    axes = additive_axes(effects, mean_field_encoder=config.mean_field_encoder)
    if config.indicators == "none":
        return composed_axes(config, axes)
    table = config.artifact_posterior == "table"
    into = (("U_loc",),) if table else heads(["artifact$params"], "loc")
    log_variances = (("U_log_scale",),) if table else heads(["artifact$params"], "log_variance")
    with_artifacts = axes._replace(
        into=(*axes.into, *into),
        out_of=axes.out_of if config.mean_field_encoder else (*axes.out_of, first_kernel("encoder", 2)),
        log_variances=(*axes.log_variances, *log_variances),
    )
    return composed_axes(config, with_artifacts)


def build(config: CRADLEVAEConfig, statistics: DataStatistics) -> ModelGuide:
    """The NumPyro programs of CRADLE-VAE for data of these sizes."""

    def model(batch: Batch) -> None:
        parts = [model_shift(config, statistics, batch)]
        if statistics.n_artifacts:
            shape = (statistics.n_artifacts, config.n_latent)
            with artifacts(statistics.n_artifacts):
                artifact = standard_normal("U", *shape, config.artifact_prior_scale)
            parts.append(_flags(batch) @ artifact)
        with cells(batch):
            z_basal = standard_normal("z_basal", batch.dosage.shape[0], config.n_latent)
            _decode(config, statistics, z_basal, parts, batch)

    def guide(batch: Batch) -> None:
        effects = SparsePosterior(config, statistics, batch)
        parts = [effects.shift()]
        if statistics.n_artifacts:
            posterior = _artifact_posterior(config, statistics)
            with artifacts(statistics.n_artifacts):
                artifact = numpyro.sample("U", posterior)
            parts.append(_flags(batch) @ artifact)
        if batch.reference is None:
            encode_cells("z_basal", config, statistics, batch, *(() if config.mean_field_encoder else parts))
            return
        shared = of_reference = parts[0], artifact
        if not config.share_globals:
            key, artifact_key = jax.random.split(numpyro.prng_key())
            of_reference = effects.another_shift(key), posterior.sample(artifact_key)
        _encode_counterfactually(config, statistics, batch, batch.reference, shared, of_reference)

    return ModelGuide(model, guide, *statistics.sizes, config.quality_training, config.cold_share)


def _flags(batch: Batch) -> Float[Array, "cell artifact"]:
    """Which artefacts the batch's cells carry.

    Raises:
        InputError: for a batch without quality indicators.
    """
    if batch.artifacts is None:
        raise InputError("the model needs cells with quality indicators; this batch has none")
    return batch.artifacts


def _other_flags(batch: Batch, reference: Reference) -> Float[Array, "cell artifact"]:
    """The flags a cell does not have: those of its reference for a cell that passes, none for one that fails."""
    failed = (_flags(batch) > 0).any(axis=-1, keepdims=True)
    return jnp.where(failed, 0.0, reference.artifacts)


def _decode(
    config: CRADLEVAEConfig, statistics: DataStatistics, z_basal: Array, parts: list[Array], batch: Batch
) -> None:
    """Compose the state of the cells from its parts, and observe their genes; inside the plate of cells."""
    if config.composition == "sum":
        z, more = numpyro.deterministic("z", sum(parts, start=z_basal)), []
    else:
        more = [numpyro.deterministic("offset", parts[0]), *parts[1:]]
        numpyro.deterministic("z", jnp.concatenate([z_basal, *more], axis=-1))
        z = z_basal
    observe_genes(config, statistics, z, batch, *more, n_layers=config.decoder_n_layers)


def _artifact_posterior(config: CRADLEVAEConfig, statistics: DataStatistics) -> dist.Distribution:
    """q(U), a Gaussian per indicator."""
    if config.artifact_posterior == "network":
        module = GaussianNetwork(config.n_latent, config.embedding_n_layers, config.embedding_n_hidden)
        identity = jnp.eye(statistics.n_artifacts)
        return dist.Normal(*flax_module("artifact", module, identity)(identity)).to_event(1)
    shape = (statistics.n_artifacts, config.n_latent)
    loc, log_scale = (numpyro.param(f"U_{name}", lambda key: zeros(key, shape)) for name in ("loc", "log_scale"))
    return dist.Normal(loc, jnp.exp(log_scale) + 1e-4).to_event(1)


def _encode_counterfactually(
    config: CRADLEVAEConfig,
    statistics: DataStatistics,
    batch: Batch,
    reference: Reference,
    shared: Shared,
    of_reference: Shared,
) -> None:
    """Sample "z_basal" as `encode_cells` does, and penalise the cells' encoding under the flags they do not have."""
    other = _other_flags(batch, reference)
    with cells(batch):
        encode = _encoder(config, statistics, batch)
        # Both in one call, so that the product of counts and kernel is computed once.
        artifact = jnp.stack([_flags(batch), other]) @ shared[1]
        loc, scale = encode(observed(batch), covariates(batch), shared[0], artifact)
        numpyro.sample("z_basal", dist.Normal(loc[0], scale[0]).to_event(1))
        levels = () if reference.covariates is None else (reference.covariates,)
        wanted = encode(reference.x, levels, of_reference[0], other @ of_reference[1])
        penalty = _divergence(config, wanted, (loc[1], scale[1])) * reference.exists
        n_summed = (batch.weight > 0).sum() if config.reduction == "batch_sum" else 1.0
        numpyro.factor("counterfactual", config.counterfactual_weight * n_summed * penalty)


def _encoder(config: CRADLEVAEConfig, statistics: DataStatistics, batch: Batch) -> Callable[..., Gaussian]:
    """(genes, covariates, offset, artefact) -> the basal state's posterior; leading axes of the last two broadcast."""
    module = GaussianNetwork(config.n_latent, config.n_layers, config.n_hidden)
    nothing = jnp.zeros((batch.dosage.shape[0], config.n_latent))

    def inputs(x: Array, levels: tuple[Array, ...], *parts: Array) -> tuple[Any, ...]:
        return (normalize(x, statistics.genes, config.normalization), *parts, *levels)

    network = flax_module("encoder", module, *inputs(observed(batch), covariates(batch), nothing, nothing))
    return lambda *given: network(*inputs(*given))


def _divergence(config: CRADLEVAEConfig, reference: Gaussian, own: Gaussian) -> Float[Array, " cell"]:
    """KL of the reference's posterior to the cell's own under the other flag, summed over latent dimensions; nats."""
    if config.stop_gradient == "reference":
        reference = jax.lax.stop_gradient(reference)
    if config.divergence == "exact":
        return kl_divergence(dist.Normal(*reference), dist.Normal(*own)).sum(axis=-1)
    ratio = (reference[1] / own[1]) ** 2
    return 0.5 * (ratio - 1.0 - jnp.log(ratio) + (reference[0] - own[0]) ** 2).sum(axis=-1)
