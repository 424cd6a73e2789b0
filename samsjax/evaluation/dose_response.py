"""Dose-response curves: what a model says of perturbations at any dose, beside what was measured at some.

For perturbations that were given alone at several doses: the posterior of the effect on the genes that answer most, at
doses from below the lowest to above the highest; and, for models that have them, of the share of the full effect (the
gate) and of the dose that gives half of it. All doses share draws of effects and cells, so a curve of a draw is smooth,
and differences between doses are not blurred by Monte-Carlo error.

Intervals are those of the effects given the networks (see `effect_posterior`). Under a model with linear doses they say
nothing of how wrong a straight line is.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from samsjax.data.encoding import Treatments
from samsjax.errors import check_range
from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.effect_posterior import effect_draws
from samsjax.evaluation.model_effects import EffectsConfig
from samsjax.inference.batching import empty_batch
from samsjax.inference.fitted import Fitted
from samsjax.inference.log_weights import draw_shared, shared_sites
from samsjax.models.doses import HALF_DOSE, STEEPNESS, hill

PROBABILITIES = (0.05, 0.25, 0.75, 0.95)
"""At the ends of the 90 % and of the 50 % interval."""
BEYOND = 2.0
"""Curves begin at the lowest dose over this factor and end at the highest times it."""


class Band(NamedTuple):
    """Posterior mean and intervals, arrays of one shape."""

    mean: np.ndarray
    low_90: np.ndarray
    low_50: np.ndarray
    high_50: np.ndarray
    high_90: np.ndarray


class Observed(NamedTuple):
    """What was measured at the doses that were given."""

    dose: np.ndarray
    """(dose,), rising."""
    effect: np.ndarray
    """(dose, gene); NaN where nothing was measured."""
    standard_error: np.ndarray
    """(dose, gene)."""


class DoseResponse(NamedTuple):
    """Curves of one perturbation."""

    perturbation: str
    genes: np.ndarray
    """str (gene,): those that answer most to the highest dose, most first."""
    dose: np.ndarray
    """(dose,), rising: where curves are computed."""
    effect: Band
    """(dose, gene), in the units of the effects' transform."""
    gate: Band | None
    """(dose, latent), or (dose, 1) for curves that all latent dimensions share: share of the full effect. None for a
    model with linear doses."""
    half_dose: Band | None
    """(latent,) or (1,): the dose of half the full effect. Its `mean` is that of logarithms, turned back."""
    observed: Observed


class _Series(NamedTuple):
    """The rows of the treatments with one perturbation alone, by rising dose."""

    perturbation: int
    rows: np.ndarray
    dose: np.ndarray


def dose_responses(
    key: jax.Array,
    fitted: Fitted,
    treated: Treatments,
    predicted: AverageEffects,
    measured: AverageEffects,
    config: EffectsConfig | None = None,
    *,
    n_perturbations: int = 9,
    n_genes: int = 3,
    n_doses: int = 16,
    n_draws: int = 48,
    n_cells: int = 16,
) -> list[DoseResponse]:
    """Curves of the perturbations with the largest effects, largest first; none without perturbations at two doses.

    Args:
        key: decides all draws.
        fitted: the model.
        treated: all treatments of the data.
        predicted: the model's effects on them; NaN where it can say nothing, such perturbations are left out.
        measured: effects in the same scale, of some of the treatments.
        config: with which `predicted` were computed.
        n_perturbations: most to show.
        n_genes: of each.
        n_doses: of each curve, evenly spaced in their logarithms.
        n_draws: from the posterior.
        n_cells: over which each draw of an effect is averaged.

    Raises:
        InputError: as `effect_draws`; for no perturbation, gene, or fewer than two doses.
    """
    for name, value, low in (("n_perturbations", n_perturbations, 1), ("n_genes", n_genes, 1), ("n_doses", n_doses, 2)):
        check_range(name, value, low=low)
    series = [one for one in _series(treated) if not np.isnan(predicted.ate[one.rows]).any()]
    largest = [-float(np.abs(predicted.ate[one.rows[-1]]).max()) for one in series]
    curves = _Curves(key, fitted, n_draws) if series else None
    found = []
    for place in np.argsort(largest, kind="stable")[:n_perturbations]:
        one = series[place]
        genes = np.argsort(-np.abs(predicted.ate[one.rows[-1]]), kind="stable")[:n_genes]
        grid = np.geomspace(one.dose[0] / BEYOND, one.dose[-1] * BEYOND, n_doses)
        arms = np.full((n_doses, 1), one.perturbation, np.int32), grid[:, None].astype(np.float32)
        draws = effect_draws(key, fitted, *arms, config, n_draws=n_draws, n_cells=n_cells)[..., genes]
        assert curves is not None
        found.append(
            DoseResponse(
                str(fitted.vocabulary.perturbation_names[one.perturbation]),
                np.asarray(fitted.vocabulary.gene_names, dtype=str)[genes],
                grid,
                _band(draws),
                *curves.of(one.perturbation, grid),
                _observed(treated, one, measured, genes),
            )
        )
    return found


def _series(treated: Treatments) -> Iterator[_Series]:
    """The perturbations that were given alone at two doses or more."""
    alone = (treated.dosage != 0).sum(axis=1) == 1
    slot = treated.dosage.argmax(axis=1)[:, None]
    index, dose = (
        np.take_along_axis(v, slot, axis=1)[:, 0] for v in (treated.perturbation_index, treated.dosage.astype(float))
    )
    for perturbation in np.unique(index[alone]):
        rows = np.flatnonzero(alone & (index == perturbation))
        rows = rows[np.argsort(dose[rows], kind="stable")]
        if len(rows) > 1:
            yield _Series(int(perturbation), rows, dose[rows])


class _Curves:
    """Draws of the curves of all perturbations, if the model has any."""

    def __init__(self, key: jax.Array, fitted: Fitted, n_draws: int) -> None:
        self.draws: tuple[np.ndarray, np.ndarray] | None = None
        model_guide = fitted.model_guide
        if HALF_DOSE in shared_sites(model_guide):
            drawn = draw_shared(key, model_guide, fitted.params, n_draws, empty_batch(model_guide))
            self.draws = np.asarray(drawn[HALF_DOSE]), np.asarray(drawn[STEEPNESS])

    def of(self, perturbation: int, grid: np.ndarray) -> tuple[Band | None, Band | None]:
        """Gates at these doses, and doses of half the effect."""
        if self.draws is None:
            return None, None
        half, steepness = (jnp.asarray(values[:, perturbation, None]) for values in self.draws)
        gate = hill(jnp.asarray(grid)[:, None], half, steepness)
        return _band(np.asarray(gate)), Band(*map(np.exp, _band(np.asarray(half[:, 0]))))


def _band(draws: np.ndarray) -> Band:
    return Band(draws.mean(axis=0, dtype=np.float64), *np.quantile(draws, PROBABILITIES, axis=0))


def _observed(treated: Treatments, one: _Series, measured: AverageEffects, genes: np.ndarray) -> Observed:
    places = {str(label): row for row, label in enumerate(measured.labels)}
    effect, error = (np.full((len(one.rows), len(genes)), np.nan) for _ in range(2))
    for place, row in enumerate(one.rows):
        found = places.get(str(treated.labels[row]))
        if found is not None:
            effect[place], error[place] = measured.ate[found, genes], measured.standard_error[found, genes]
    return Observed(one.dose, effect, error)
