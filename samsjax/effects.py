"""The plates of every model, and the offset that perturbations cause in a cell.

A site inside `cells` is local (one value per cell), a site inside `perturbations` is shared by all cells that carry
the perturbation, one inside `artifacts` by all that carry the artefact, one inside `interactions` by all cells. Nothing
else in samsjax repeats which site is which: bounds and evaluations read it from the trace.
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
INTERACTIONS = "interactions"


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


@contextmanager
def interactions(rank: int) -> Iterator[None]:
    """Plate of the directions in which perturbations of one cell interact; each counts once in a bound."""
    with numpyro.plate(INTERACTIONS, rank):
        yield


def offset(
    effect: Float[Array, "row latent"], batch: Batch, gate: Float[Array, "cell slot _"] | None = None
) -> Float[Array, "cell latent"]:
    """Sum over a cell's perturbations of dosage x effect, or gate x effect if gates are given: a gather, whatever the
    number of perturbations.
    """
    return slot_effects(effect, batch, gate).sum(axis=-2)


def slot_effects(
    effect: Float[Array, "row latent"], batch: Batch, gate: Float[Array, "cell slot _"] | None = None
) -> Float[Array, "cell slot latent"]:
    """The terms of `offset`."""
    strength = batch.dosage[..., None] if gate is None else gate
    return strength * effect[batch.perturbation_index]
