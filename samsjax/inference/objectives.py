"""Objectives by name, and programs whose bound is in nats per cell."""

from collections.abc import Callable
from typing import Any

import numpyro.infer as infer
from numpyro import handlers

from samsjax.effects import ARTIFACTS, CELLS, PERTURBATIONS
from samsjax.inference.config import TrainConfig
from samsjax.inference.log_weights import in_plate
from samsjax.inference.published import Reweighting, SpreadObjective
from samsjax.types import Batch, ModelGuide


def training_objective(config: TrainConfig) -> Any:
    """The NumPyro objective to climb."""
    if config.objective == "iwelbo":
        return SpreadObjective(config.n_particles, importance_weighted=True)
    if config.reweighting is not None:
        reweighting = Reweighting(config.reweighting, config.reweighting_factors)
        return SpreadObjective(config.n_particles, reweighting=reweighting)
    return validation_objective(config)


def validation_objective(config: TrainConfig) -> Any:
    """The plain evidence lower bound, which also judges parameters found by climbing another objective."""
    elbo = infer.Trace_ELBO if config.objective == "sampled_kl" else infer.TraceMeanField_ELBO
    return elbo(num_particles=config.n_particles, vectorize_particles=True)


class without_lone_terms(handlers.scale):
    """A program whose sites outside the plates of cells, perturbations and artefacts count nothing in a bound.

    No weight of a batch reaches them, so they would count again in every one.
    """

    def __init__(self, fn: Callable[[Batch], Any]) -> None:
        super().__init__(fn, scale=1.0)
        self.scale = 0.0

    def process_message(self, msg: Any) -> None:  # noqa: D102 (NumPyro's)
        if msg["type"] == "sample" and not any(in_plate(msg, plate) for plate in (CELLS, PERTURBATIONS, ARTIFACTS)):
            super().process_message(msg)


def per_cell_programs(model_guide: ModelGuide, n_cells: int) -> tuple[Callable[[Batch], Any], Callable[[Batch], Any]]:
    """(model, guide) for an objective in nats per cell of a training set of `n_cells`."""
    scale = 1.0 / n_cells
    return handlers.scale(model_guide.model, scale=scale), handlers.scale(model_guide.guide, scale=scale)
