"""Scores and predictions of a fitted model.

- `bounds`: predictive importance-weighted bound per cell, posterior latents.
- `data_effects`, `model_effects`: average treatment effects measured and predicted, in the scales of `transforms`.
- `metrics`: agreement of the two. `masks`: agreement with a known mask. `posterior_effects`: effects in latent space.
- `evaluate`: all of it in one call.
"""

from samsjax.evaluation.bounds import posterior_latents, predictive_iwelbo
from samsjax.evaluation.data_effects import AverageEffects, data_effects
from samsjax.evaluation.evaluate import Evaluation, EvaluationConfig, evaluate
from samsjax.evaluation.masks import MaskAgreement, mask_agreement, mask_average_precision
from samsjax.evaluation.metrics import effect_scores
from samsjax.evaluation.model_effects import EffectsConfig, model_effects
from samsjax.evaluation.posterior_effects import PosteriorEffects, posterior_effects
from samsjax.evaluation.transforms import TRANSFORMS

__all__ = [
    "TRANSFORMS",
    "AverageEffects",
    "EffectsConfig",
    "Evaluation",
    "EvaluationConfig",
    "MaskAgreement",
    "PosteriorEffects",
    "data_effects",
    "effect_scores",
    "evaluate",
    "mask_agreement",
    "mask_average_precision",
    "model_effects",
    "posterior_effects",
    "posterior_latents",
    "predictive_iwelbo",
]
