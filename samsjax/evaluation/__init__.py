"""Scores and predictions of a fitted model.

- `bounds`: predictive importance-weighted bound per cell, posterior latents.
- `data_effects`, `model_effects`: average treatment effects measured and predicted, in the scales of `transforms`.
- `metrics`: agreement of the two. `masks`: agreement with a known mask. `posterior_effects`: effects in latent space.
- `stability`: agreement of fits with each other, up to the order and signs of latents.
- `gene_responses`: what movements in latent space do to genes. `forward`: what it shares with `model_effects`.
- `evaluate`: all of it in one call.
"""

from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.bounds import posterior_latents, predictive_iwelbo
from samsjax.evaluation.data_effects import data_effects
from samsjax.evaluation.evaluate import Evaluation, EvaluationConfig, evaluate
from samsjax.evaluation.gene_responses import GeneResponses, gene_responses
from samsjax.evaluation.masks import (
    CalibrationBin,
    MaskAgreement,
    mask_agreement,
    mask_average_precision,
    mask_calibration,
)
from samsjax.evaluation.metrics import effect_scores
from samsjax.evaluation.model_effects import EffectsConfig, model_effects
from samsjax.evaluation.posterior_effects import PosteriorEffects, posterior_effects
from samsjax.evaluation.stability import Member, PairAgreement, Stability, pair_agreement, stability
from samsjax.evaluation.transforms import TRANSFORMS

__all__ = [
    "TRANSFORMS",
    "AverageEffects",
    "CalibrationBin",
    "EffectsConfig",
    "Evaluation",
    "EvaluationConfig",
    "GeneResponses",
    "MaskAgreement",
    "Member",
    "PairAgreement",
    "PosteriorEffects",
    "Stability",
    "data_effects",
    "effect_scores",
    "evaluate",
    "gene_responses",
    "mask_agreement",
    "mask_average_precision",
    "mask_calibration",
    "model_effects",
    "pair_agreement",
    "posterior_effects",
    "posterior_latents",
    "predictive_iwelbo",
    "stability",
]
