"""One evaluation of a fitted model: bounds, treatment effects against the data, masks against the truth if known."""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import numpy as np

from samsjax.data.dataset import SPLITS, PerturbationData
from samsjax.data.encoding import Treatments, treatments
from samsjax.errors import check_range
from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.bounds import predictive_iwelbo
from samsjax.evaluation.data_effects import data_effects
from samsjax.evaluation.masks import mask_agreement, mask_average_precision
from samsjax.evaluation.metrics import effect_scores
from samsjax.evaluation.model_effects import EffectsConfig, model_effects
from samsjax.evaluation.posterior_effects import PosteriorEffects, posterior_effects
from samsjax.inference.fitted import Fitted


@dataclass(frozen=True)
class EvaluationConfig:
    """How much to draw when scoring a model."""

    iwelbo_particles: int = 100
    """Draws per cell of the predictive bound."""
    effects: EffectsConfig = field(default_factory=EffectsConfig)
    """Treatment effects: draws, scale, library size."""

    def __post_init__(self) -> None:
        check_range("iwelbo_particles", self.iwelbo_particles, low=1)


class Evaluation(NamedTuple):
    """Scores and the tables behind them."""

    metrics: dict[str, float]
    """Flat: `test/predictive_iwelbo`, `ate/<reference>/pearson`, `mask/f1`, ... The reference says which cells measure
    the effects: those of a split, `all`, or `published`: treatments with test cells, measured on all cells."""
    treatments: Treatments
    model: AverageEffects
    """Predicted effects of every treatment of the data."""
    data: AverageEffects
    """Measured effects with all cells as reference."""
    effects: PosteriorEffects | None
    """None for a model without effects in latent space."""


def evaluate(
    fitted: Fitted,
    data: PerturbationData,
    config: EvaluationConfig | None = None,
    *,
    seed: int = 0,
    true_mask: np.ndarray | None = None,
) -> Evaluation:
    """Score a model on data encoded in its vocabulary; the same seed gives the same bits.

    Args:
        fitted: the model.
        data: cells with a split; splits without cells are left out of the metrics.
        config: numbers of draws.
        seed: decides all draws.
        true_mask: bool (perturbation, latent) if known; rows in the order of the model's perturbations. Compared
            for models with masks only.
    """
    config = config or EvaluationConfig()
    bound_key, effect_key, mask_key = jax.random.split(jax.random.key(seed), 3)
    treated = treatments(data)
    metrics: dict[str, float] = {}
    for split in ("test", "val"):
        cells = data.cells(split)
        if len(cells):
            bound = predictive_iwelbo(bound_key, fitted, data, cells, config.iwelbo_particles)
            metrics[f"{split}/predictive_iwelbo"] = float(bound.mean(dtype=np.float64))
    predicted = model_effects(
        effect_key, fitted, treated.labels, treated.perturbation_index, treated.dosage, config.effects
    )
    for name in SPLITS:
        cells = data.cells(name)
        if (treated.assignment[cells] >= 0).any():
            metrics |= _scores(data_effects(data, treated, cells, predicted.transform), predicted, name)
    measured = data_effects(data, treated, np.arange(data.n_cells), predicted.transform)
    metrics |= _scores(measured, predicted, "all")
    tested = np.unique(treated.assignment[data.cells("test")])
    if (tested >= 0).any():
        metrics |= _scores(measured, predicted, "published", treated.labels[tested[tested >= 0]])
    effects = posterior_effects(mask_key, fitted)
    if true_mask is not None and effects is not None and effects.sparse:
        agreement = mask_agreement(true_mask, effects.mask)
        metrics |= {f"mask/{name}": getattr(agreement, name) for name in ("precision", "recall", "f1")}
        precision = mask_average_precision(true_mask, effects.inclusion_probability, agreement)
        metrics["mask/average_precision"] = precision
    return Evaluation(metrics, treated, predicted, measured, effects)


def _scores(
    measured: AverageEffects, predicted: AverageEffects, reference: str, labels: np.ndarray | None = None
) -> dict[str, float]:
    """`ate/<reference>/...` over the treatments `labels`, by default all that were measured."""
    labels = measured.labels if labels is None else labels
    scores = effect_scores(measured.of(labels), predicted.of(labels))
    return {f"ate/{reference}/{score}": value for score, value in scores.items()}
