"""Predictions of whole contexts from features, and of the variables that interventions hit, beside the truth.

- `contexts`: the cells and features of perturbations. `prediction`: what is said of one context.
- `predictors`: simple ones, the table `PREDICTORS`.
- `distances`: between measured and predicted cells. `targets`: are the targets found?
- `scores`: every metric with an interval, in one table by predictor and group of contexts.
"""

from samsjax.evaluation.interventions.contexts import Contexts, contexts_of
from samsjax.evaluation.interventions.distances import CellDistances, cell_distances
from samsjax.evaluation.interventions.prediction import Prediction, gaussian_prediction
from samsjax.evaluation.interventions.predictors import PREDICTORS
from samsjax.evaluation.interventions.scores import (
    METRICS,
    InterventionScores,
    Score,
    marginal_scores,
    noise_floor,
    score_contexts,
    score_table,
    summarise,
)
from samsjax.evaluation.interventions.targets import TargetAgreement, target_agreement

__all__ = [
    "METRICS",
    "PREDICTORS",
    "CellDistances",
    "Contexts",
    "InterventionScores",
    "Prediction",
    "Score",
    "TargetAgreement",
    "cell_distances",
    "contexts_of",
    "gaussian_prediction",
    "marginal_scores",
    "noise_floor",
    "score_contexts",
    "score_table",
    "summarise",
    "target_agreement",
]
