"""All metrics of quality of one model in one call."""

from typing import NamedTuple

import jax

from samsjax.data.dataset import PerturbationData
from samsjax.evaluation.model_effects import EffectsConfig
from samsjax.evaluation.quality.cells import check_labelled, held_out
from samsjax.evaluation.quality.config import QualityConfig
from samsjax.evaluation.quality.disentanglement import Probes, disentanglement
from samsjax.evaluation.quality.distances import SOURCES as DISTANCES
from samsjax.evaluation.quality.distances import QualityDistances, quality_distances
from samsjax.evaluation.quality.drawn_cells import draw_cells
from samsjax.evaluation.quality.pass_rates import SOURCES, QualityRates, generated_pass_rates
from samsjax.evaluation.quality.rules import counts_rule
from samsjax.inference.fitted import Fitted


class Quality(NamedTuple):
    """Whether the basal state is free of quality, and what cells drawn from the model look like."""

    probes: dict[str, Probes]
    """By features and kind of probe, of held-out cells, see `disentanglement`."""
    rates: QualityRates | None
    """None for a model of continuous values."""
    distances: QualityDistances

    def metrics(self) -> dict[str, float]:
        """Flat; NaN where something is not defined.

        `quality/probe/<features>/<kind>_auroc` and `..._balanced_accuracy`, 1/2 by chance, with the standard error that
        chance gives the first in `quality/probe/<features>/chance_error`; `quality/pass_rate/<source>` and
        `quality/pass_rate/<criterion>/<source>`, shares; `quality/energy/<source>`, means over conditions.
        """
        return _probe_metrics(self.probes) | _rate_metrics(self.rates) | _distance_metrics(self.distances)


def quality_report(
    key: jax.Array,
    fitted: Fitted,
    data: PerturbationData,
    config: QualityConfig | None = None,
    effects: EffectsConfig | None = None,
) -> Quality:
    """Score a model on the held-out cells of data with quality labels; the same key gives the same bits.

    A model that was trained on good cells only (`data.of_good_quality()`) is scored on `data` with failed cells in
    their splits, as otherwise no held-out cell has failed.

    Args:
        key: decides all draws.
        fitted: any model.
        data: cells with quality labels, encoded in the model's vocabulary.
        config: numbers of cells.
        effects: quality, library size and covariates of generated cells, and the scale of distances.

    Raises:
        InputError: for cells without labels, or settings that do not fit the model.
    """
    config, effects = config or QualityConfig(), effects or EffectsConfig()
    check_labelled(data)
    probe_key, draw_key, distance_key = jax.random.split(key, 3)
    drawn = draw_cells(draw_key, fitted, data, config, effects)
    return Quality(
        disentanglement(probe_key, fitted, data, held_out(data), config),
        generated_pass_rates(drawn, data, counts_rule(data, config.n_mads)) if drawn.means is not None else None,
        quality_distances(distance_key, drawn, data, config, effects.transform),
    )


def _probe_metrics(probes: dict[str, Probes]) -> dict[str, float]:
    metrics = {}
    for features, by_kind in probes.items():
        for kind, result in by_kind.items():
            metrics[f"quality/probe/{features}/{kind}_auroc"] = result.auroc
            metrics[f"quality/probe/{features}/{kind}_balanced_accuracy"] = result.balanced_accuracy
            metrics[f"quality/probe/{features}/chance_error"] = result.chance_error
    return metrics


def _rate_metrics(rates: QualityRates | None) -> dict[str, float]:
    metrics: dict[str, float] = {}
    if rates is None:
        return metrics
    for source in SOURCES:
        found = rates.of(source)
        metrics[f"quality/pass_rate/{source}"] = found.overall
        metrics |= {f"quality/pass_rate/{name}/{source}": value for name, value in found.by_criterion.items()}
    return metrics


def _distance_metrics(distances: QualityDistances) -> dict[str, float]:
    return {f"quality/energy/{source}": distances.mean(source) for source in DISTANCES}
