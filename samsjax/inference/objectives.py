"""Objectives by name, and the loss of a batch in nats per cell."""

from collections.abc import Callable
from typing import Any

import numpyro.infer as infer
from numpyro import handlers

from samsjax.errors import check_choice
from samsjax.types import Batch, ModelGuide

OBJECTIVES: dict[str, type] = {
    "analytic_kl": infer.TraceMeanField_ELBO,
    "sampled_kl": infer.Trace_ELBO,
}


def objective(name: str, n_particles: int) -> Any:
    """NumPyro objective: `analytic_kl` (closed-form KL divergences where known) or `sampled_kl`.

    Raises:
        InputError: for an unknown name.
    """
    check_choice("objective", name, list(OBJECTIVES))
    return OBJECTIVES[name](num_particles=n_particles, vectorize_particles=True)


def per_cell(program: Callable[[Batch], Any], n_cells: int) -> Callable[[Batch], Any]:
    """A program whose bound is divided by the number of cells, so that losses are in nats per cell."""
    return handlers.scale(program, scale=1.0 / n_cells)


def per_cell_programs(model_guide: ModelGuide, n_cells: int) -> tuple[Callable[[Batch], Any], Callable[[Batch], Any]]:
    """(model, guide) for an objective in nats per cell of a training set of `n_cells`."""
    return per_cell(model_guide.model, n_cells), per_cell(model_guide.guide, n_cells)
