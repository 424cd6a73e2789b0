"""What scores are given to: anything that predicts the average effect of a treatment, a fitted model or a baseline."""

from typing import NamedTuple, Protocol

import jax

from samsjax.data.encoding import Treatments
from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.model_effects import EffectsConfig, model_effects
from samsjax.inference.fitted import Fitted


class Predictor(Protocol):
    """One interface for models and baselines."""

    @property
    def name(self) -> str:
        """Short name, as tables print it."""
        ...

    @property
    def description(self) -> str:
        """One sentence on how it predicts."""
        ...

    def effects(self, treated: Treatments) -> AverageEffects:
        """Predicted effects of all treatments, in their order; a row of NaN where it can say nothing."""
        ...


class ModelPredictor(NamedTuple):
    """A fitted model as a `Predictor`."""

    key: jax.Array
    fitted: Fitted
    config: EffectsConfig
    name: str = "model"

    @property
    def description(self) -> str:
        """One sentence on how it predicts."""
        return "the fitted model: posterior mean effect on cells like the training cells"

    def effects(self, treated: Treatments) -> AverageEffects:
        """Posterior mean effects, `model_effects`."""
        return model_effects(
            self.key, self.fitted, treated.labels, treated.perturbation_index, treated.dosage, self.config
        )
