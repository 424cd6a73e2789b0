"""What scores are given to: anything that predicts the average effect of a treatment, a fitted model or a baseline."""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from samsjax.data.encoding import Treatments
from samsjax.errors import InputError
from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.forward import has_own_totals, in_scale
from samsjax.evaluation.generated_cells import generate_cells
from samsjax.evaluation.known import known_treatments
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

    def cells(self, key: jax.Array, treated: Treatments, row: int, n_cells: int) -> np.ndarray:
        """Cells of one treatment in the scale of the effects, float32 (cell, gene); NaN where it can say nothing."""
        ...


class ModelPredictor(NamedTuple):
    """A fitted model as a `Predictor`.

    Of perturbations without training cells it says what their features say, if it uses features. If not, their effects
    are those of the prior and it says nothing of them (unless `config.untrained`), nor does it of combinations if it
    knows only one perturbation per cell.
    """

    key: jax.Array
    fitted: Fitted
    config: EffectsConfig
    name: str = "model"

    @property
    def description(self) -> str:
        """One sentence on how it predicts."""
        return "the fitted model: posterior mean effect on cells like the training cells"

    def effects(self, treated: Treatments) -> AverageEffects:
        """Posterior mean effects, `model_effects`.

        Raises:
            InputError: if the model can say nothing of any treatment, and as `model_effects`.
        """
        known = self._known(treated)
        if not known.any():
            raise InputError(
                f"the model can predict none of {len(known)} treatments: it knows perturbations with training cells"
                + ("" if self.fitted.config.composes else ", one per cell")
            )
        index, dosage = treated.perturbation_index[known], treated.dosage[known]
        found = model_effects(self.key, self.fitted, treated.labels[known], index, dosage, self.config)
        shape = (len(known), found.ate.shape[1])
        ate, error = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
        ate[known], error[known] = found.ate, found.standard_error
        return found._replace(labels=treated.labels, ate=ate, standard_error=error)

    def cells(self, key: jax.Array, treated: Treatments, row: int, n_cells: int) -> np.ndarray:
        """Cells of `generate_cells`, transformed."""
        if not self._known(treated)[row]:
            return np.full((n_cells, self.fitted.statistics.n_genes), np.nan, np.float32)
        arm = treated.perturbation_index[row], treated.dosage[row]
        drawn = generate_cells(key, self.fitted, *arm, n_cells, self.config)
        x, total = jnp.asarray(drawn.x), jnp.asarray(drawn.library_size)
        scaled = in_scale(x, total, self.config.transform, has_own_totals(self.fitted))
        return np.asarray(scaled, dtype=np.float32)

    def _known(self, treated: Treatments) -> np.ndarray:
        """Bool (treatment,): which ones the model can predict."""
        arms = treated.perturbation_index, treated.dosage
        return known_treatments(self.fitted, *arms, untrained=self.config.untrained)


class Remembered(NamedTuple):
    """A predictor asked once for the effects of all treatments; answers about some of them are looked up."""

    predictor: Predictor
    known: AverageEffects

    @classmethod
    def of(cls, predictor: Predictor, treated: Treatments) -> "Remembered":
        """Ask `predictor` for all of `treated`."""
        return cls(predictor, predictor.effects(treated))

    @property
    def name(self) -> str:
        """Of the predictor."""
        return self.predictor.name

    @property
    def description(self) -> str:
        """Of the predictor."""
        return self.predictor.description

    def effects(self, treated: Treatments) -> AverageEffects:
        """What was said of these treatments, which must be among those asked for."""
        place = {label: row for row, label in enumerate(self.known.labels.tolist())}
        rows = [place[label] for label in treated.labels.tolist()]
        return self.known._replace(
            labels=treated.labels, ate=self.known.ate[rows], standard_error=self.known.standard_error[rows]
        )

    def cells(self, key: jax.Array, treated: Treatments, row: int, n_cells: int) -> np.ndarray:
        """Cells of the predictor."""
        return self.predictor.cells(key, treated, row, n_cells)


def one_treatment(treated: Treatments, row: int) -> Treatments:
    """One treatment as a table of its own, without cells."""
    place = slice(row, row + 1)
    index, dosage = treated.perturbation_index[place], treated.dosage[place]
    return Treatments(treated.labels[place], index, dosage, np.zeros(0, dtype=int))
