"""Scores and predictions of a fitted model.

- `evaluate`: all of it in one call.
- `scoring`: models and `baselines` beside each other, `predictors` of one interface, by the records of `metrics` and
  `cell_distances`; `noise` of measured effects, `ceilings`; results are `scores`.
- `data_effects`, `model_effects`: average treatment effects measured and predicted, in the scales of `transforms`;
  `count_noise` takes expectations over counts, `true_effects` are those of a simulation.
- `effect_posterior`, `recalibration`, `uncertainty`, `tempering`: how sure the model is; `calibration`: coverage.
- `counterfactual`: measured cells as they would be in another quality.
- `interactions`: departures from additivity. `generated_cells`, `predictive_checks`: cells drawn from the model.
- `bounds`: predictive importance-weighted bound per cell, posterior latents.
- `masks`: agreement with a known mask. `posterior_effects`: effects in latent space.
- `quality`: is the basal state free of cell quality, and do generated cells pass quality control?
- `stability`: agreement of fits with each other, up to the order and signs of latents.
- `gene_responses`: what movements in latent space do to genes. `forward`, `paired_moments`: what predictions share.
"""

from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.baselines import BASELINES, TrainingEffects, fit_baselines, training_effects
from samsjax.evaluation.bounds import posterior_latents, predictive_iwelbo
from samsjax.evaluation.calibration import Calibration, coverage_of_measured, coverage_of_true_effects
from samsjax.evaluation.cell_distances import CELL_METRICS
from samsjax.evaluation.counterfactual import counterfactual
from samsjax.evaluation.data_effects import data_effects
from samsjax.evaluation.differential_expression import differentially_expressed
from samsjax.evaluation.effect_posterior import effect_draws, effect_intervals
from samsjax.evaluation.evaluate import Evaluation, EvaluationConfig, evaluate
from samsjax.evaluation.gene_responses import GeneResponses, gene_responses
from samsjax.evaluation.generated_cells import generate_cells, replicate_cells
from samsjax.evaluation.interactions import Interactions, interactions
from samsjax.evaluation.masks import (
    CalibrationBin,
    MaskAgreement,
    mask_agreement,
    mask_average_precision,
    mask_calibration,
)
from samsjax.evaluation.metrics import METRICS, Metric, effect_scores
from samsjax.evaluation.model_effects import EffectsConfig, model_effects
from samsjax.evaluation.posterior_effects import PosteriorEffects, posterior_effects
from samsjax.evaluation.predictive_checks import PredictiveCheck, predictive_check
from samsjax.evaluation.predictors import ModelPredictor, Predictor
from samsjax.evaluation.quality import Quality, QualityConfig, quality_report
from samsjax.evaluation.scores import Scores, Verdict
from samsjax.evaluation.scoring import ScoringConfig, score
from samsjax.evaluation.stability import Member, PairAgreement, Stability, pair_agreement, stability
from samsjax.evaluation.tempering import Tempering, tempering
from samsjax.evaluation.transforms import TRANSFORMS
from samsjax.evaluation.true_effects import true_effects

__all__ = [
    "BASELINES",
    "CELL_METRICS",
    "METRICS",
    "TRANSFORMS",
    "AverageEffects",
    "Calibration",
    "CalibrationBin",
    "EffectsConfig",
    "Evaluation",
    "EvaluationConfig",
    "GeneResponses",
    "Interactions",
    "MaskAgreement",
    "Member",
    "Metric",
    "ModelPredictor",
    "PairAgreement",
    "PosteriorEffects",
    "PredictiveCheck",
    "Predictor",
    "Quality",
    "QualityConfig",
    "Scores",
    "ScoringConfig",
    "Stability",
    "Tempering",
    "TrainingEffects",
    "Verdict",
    "counterfactual",
    "coverage_of_measured",
    "coverage_of_true_effects",
    "data_effects",
    "differentially_expressed",
    "effect_draws",
    "effect_intervals",
    "effect_scores",
    "evaluate",
    "fit_baselines",
    "gene_responses",
    "generate_cells",
    "interactions",
    "mask_agreement",
    "mask_average_precision",
    "mask_calibration",
    "model_effects",
    "pair_agreement",
    "posterior_effects",
    "posterior_latents",
    "predictive_check",
    "predictive_iwelbo",
    "quality_report",
    "replicate_cells",
    "score",
    "stability",
    "tempering",
    "training_effects",
    "true_effects",
]
