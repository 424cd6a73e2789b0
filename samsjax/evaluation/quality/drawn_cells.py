"""Cells drawn for comparison: of control and every treatment, from the model and about the mean of each treatment."""

from typing import NamedTuple

import jax
import numpy as np
import scipy.sparse as sp

from samsjax.data.counts import Matrix
from samsjax.data.dataset import PerturbationData
from samsjax.data.encoding import Treatments
from samsjax.evaluation.forward import technical_of
from samsjax.evaluation.generated_cells import generate_cells
from samsjax.evaluation.known import known_treatments
from samsjax.evaluation.model_effects import EffectsConfig
from samsjax.evaluation.quality.cells import (
    condition_key,
    conditions,
    generator,
    of_quality,
    with_totals_of,
)
from samsjax.evaluation.quality.config import QualityConfig
from samsjax.evaluation.quality.mean_cells import learn_mean_cells
from samsjax.inference.fitted import Fitted
from samsjax.likelihoods import models_counts


class Drawn(NamedTuple):
    """Cells of some conditions, equally many of each."""

    x: Matrix
    """(cell, gene), conditions one after the other; sparse if counts."""
    totals: np.ndarray
    """float64 (cell,): the library sizes they were drawn with."""
    known: np.ndarray
    """bool (condition,): where something can be said. Other conditions have no cells."""

    def rows(self, condition: int) -> slice:
        """The cells of a condition; none where nothing can be said."""
        n = self.x.shape[0] // max(1, int(self.known.sum()))
        place = int(self.known[:condition].sum())
        return slice(place * n, (place + int(self.known[condition])) * n)

    @property
    def condition(self) -> np.ndarray:
        """Of each cell, int (cell,)."""
        return np.repeat(np.flatnonzero(self.known), self.x.shape[0] // max(1, int(self.known.sum())))


class DrawnCells(NamedTuple):
    """What a model is judged by."""

    compared: Treatments
    """The conditions, see `conditions`."""
    wanted: np.ndarray
    """bool (cell,): measured cells of the quality that was asked for."""
    model: Drawn
    means: Drawn | None
    """Cells about means; None for continuous values."""


def draw_cells(
    key: jax.Array,
    fitted: Fitted,
    data: PerturbationData,
    config: QualityConfig | None = None,
    effects: EffectsConfig | None = None,
) -> DrawnCells:
    """Draw cells of control and every treatment, of the quality `effects.fails` says.

    Args:
        key: decides all draws. Every condition has its own, the same whichever others are drawn.
        fitted: the model. It says nothing of perturbations without training cells (unless `effects.untrained`), nor of
            combinations if it knows only one perturbation per cell.
        data: cells with quality labels. Library sizes, and the means to draw cells about, are those of the training
            cells of that quality.
        config: numbers of cells.
        effects: quality, library size and covariates of the cells. Without a library size they have those of training
            cells of the same quality.

    Raises:
        InputError: for cells without labels, or as `generate_cells`.
    """
    config, effects = config or QualityConfig(), effects or EffectsConfig()
    choice_key, model_key, mean_key = jax.random.split(key, 3)
    wanted = of_quality(data, effects.fails)
    fitted = with_totals_of(fitted, data, wanted, effects.fails)
    compared = conditions(choice_key, data, config.max_treatments)
    means = None
    if models_counts(fitted.config.likelihood):
        means = _about_means(mean_key, fitted, data, wanted, compared, config, effects)
    return DrawnCells(compared, wanted, _from_model(model_key, fitted, compared, config, effects), means)


def _from_model(
    key: jax.Array, fitted: Fitted, compared: Treatments, config: QualityConfig, effects: EffectsConfig
) -> Drawn:
    arms = compared.perturbation_index, compared.dosage
    known = known_treatments(fitted, *arms, untrained=effects.untrained)
    counts = models_counts(fitted.config.likelihood)
    x, totals = [], []
    for row in np.flatnonzero(known).tolist():
        arm = compared.perturbation_index[row], compared.dosage[row]
        own = generate_cells(condition_key(key, compared, row), fitted, *arm, config.n_cells, effects)
        x.append(sp.csr_matrix(own.x) if counts else own.x)
        totals.append(own.library_size.astype(np.float64))
    return Drawn(sp.vstack(x, format="csr") if counts else np.concatenate(x), np.concatenate(totals), known)


def _about_means(
    key: jax.Array,
    fitted: Fitted,
    data: PerturbationData,
    wanted: np.ndarray,
    compared: Treatments,
    config: QualityConfig,
    effects: EffectsConfig,
) -> Drawn:
    learnt = learn_mean_cells(data, np.flatnonzero(wanted & (data.split == "train")), compared)
    given = technical_of(fitted, effects.library_size, {}, effects.fails).library_sizes
    x, totals = [sp.csr_matrix((0, data.n_genes))], [np.zeros(0)]
    for row in np.flatnonzero(learnt.known).tolist():
        rng = generator(condition_key(key, compared, row))
        totals.append(rng.choice(np.asarray(given), config.n_cells).astype(np.float64))
        x.append(sp.csr_matrix(learnt.draw(rng, row, totals[-1])))
    return Drawn(sp.vstack(x, format="csr"), np.concatenate(totals), learnt.known)
