"""The plates of every model, and the offset that perturbations cause in a cell.

A site inside `cells` is local (one value per cell), a site inside `perturbations` is shared by all cells that carry
the perturbation, one inside `artifacts` by all that carry the artefact. Nothing else in samsjax repeats which site is
which: bounds and evaluations read it from the trace.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpyro
from jaxtyping import Array, Float
from numpyro import handlers

from samsjax.types import Batch

CELLS = "cells"
PERTURBATIONS = "perturbations"
ARTIFACTS = "artifacts"


class weighted(handlers.scale):
    """`numpyro.handlers.scale` that accepts weights of zero, which mark padding."""

    def __init__(self, weight: Float[Array, " _"]) -> None:
        super().__init__(scale=1.0)
        self.scale = weight


@contextmanager
def cells(batch: Batch) -> Iterator[None]:
    """Plate of the batch's cells; a site's log probability counts `batch.weight` times in a bound."""
    with weighted(batch.weight), numpyro.plate(CELLS, batch.dosage.shape[0]):
        yield


@contextmanager
def perturbations(batch: Batch) -> Iterator[None]:
    """Plate of the perturbations the batch instantiates, `batch.rows`, each counted `batch.row_weight` times."""
    with weighted(batch.row_weight), numpyro.plate(PERTURBATIONS, batch.rows.shape[0]):
        yield


@contextmanager
def artifacts(n_artifacts: int) -> Iterator[None]:
    """Plate of the indicators of failed quality control; each counts once in a bound."""
    with numpyro.plate(ARTIFACTS, n_artifacts):
        yield


def offset(effect: Float[Array, "row latent"], batch: Batch) -> Float[Array, "cell latent"]:
    """Sum over a cell's perturbations of dosage x effect: a gather, whatever the number of perturbations."""
    return (batch.dosage[..., None] * effect[batch.perturbation_index]).sum(axis=-2)
