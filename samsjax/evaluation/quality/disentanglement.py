"""Is the basal state free of quality? Probes of the quality label from what a model knows of held-out cells.

A basal state that holds no trace of the artefact leaves a probe at chance. An encoder that is told the label can put
it into the basal state or keep it out, so states are also encoded with the label hidden, as if every cell were of good
quality: what is left then is what the counts reveal. Two other probes say what the number means: what the perturbation
alone tells of the label (no model can undo that some perturbations fail more often), and what the counts tell.
"""

from dataclasses import replace

import jax
import numpy as np

from samsjax.data.dataset import PerturbationData
from samsjax.evaluation.bounds import posterior_latents
from samsjax.evaluation.cell_space import principal_axes, project
from samsjax.evaluation.data_effects import dense, transformed
from samsjax.evaluation.posterior_effects import posterior_effects
from samsjax.evaluation.quality.cells import check_labelled, generator, some
from samsjax.evaluation.quality.config import QualityConfig
from samsjax.evaluation.quality.fitting import KINDS
from samsjax.evaluation.quality.probes import ProbeResult, probe
from samsjax.inference.fitted import Fitted
from samsjax.likelihoods import models_counts

Probes = dict[str, ProbeResult]
"""By kind."""
HIDDEN = "z_basal_label_hidden"
N_AXES = 50
"""Principal components that counts are reduced to."""
CELLS_FOR_AXES = 2000


def disentanglement(
    key: jax.Array,
    fitted: Fitted,
    data: PerturbationData,
    cells: np.ndarray,
    config: QualityConfig | None = None,
) -> dict[str, Probes]:
    """Probe the label "fails any criterion" of some cells.

    Args:
        key: decides draws of basal states, the cells left out, and folds.
        fitted: any model; quality may or may not be among what it knows.
        data: cells with quality labels.
        cells: row numbers of cells the model was not trained on.
        config: folds, numbers of cells and draws.

    Returns:
        By features, then by kind of probe. "z_basal", posterior mean; "z_basal_label_hidden", the same encoded as if
        all cells were good (the same result for a model that is not told of quality); "offset", what the perturbations
        of the cell add to its latent state in posterior mean; "counts", principal components of expression and the log
        of the total. Features that the model does not have are left out, and
        all without two cells. Numbers are NaN where too few cells failed.

    Raises:
        InputError: for cells without labels, or as `posterior_latents`.
    """
    config = config or QualityConfig()
    check_labelled(data)
    if len(cells) < 2:
        return {}
    choice_key, latent_key, effect_key, fold_key = jax.random.split(key, 4)
    cells = _kept(generator(choice_key), data, cells, config.max_cells)
    label, seed = data.is_failed[cells], int(jax.random.bits(fold_key, dtype="uint32"))
    found: dict[str, Probes] = {}

    def add(name: str, features: np.ndarray | None) -> None:
        if features is not None:
            found[name] = {kind: probe(features, label, kind=kind, folds=config.folds, seed=seed) for kind in KINDS}

    told = _basal(latent_key, fitted, data, cells, config.n_particles)
    add("z_basal", told)
    hidden = _basal(latent_key, fitted, label_hidden(data), cells, config.n_particles)
    if told is not None and hidden is not None and np.array_equal(told, hidden):
        found[HIDDEN] = found["z_basal"]
    else:
        add(HIDDEN, hidden)
    add("offset", _offset(effect_key, fitted, data, cells))
    add("counts", _expression(fitted, data, cells))
    return found


def label_hidden(data: PerturbationData) -> PerturbationData:
    """The same cells as if all were of good quality."""
    return replace(data, failed=np.zeros_like(data.failed))


def _kept(rng: np.random.Generator, data: PerturbationData, cells: np.ndarray, n_most: int) -> np.ndarray:
    """At most `n_most` cells; of those left out as few failed as can be. Probes do not depend on the share that did."""
    failed = data.is_failed[cells]
    n_good = int((~failed).sum())
    n_failed = min(int(failed.sum()), max(n_most // 2, n_most - n_good))
    parts = some(rng, cells[failed], n_failed), some(rng, cells[~failed], n_most - n_failed)
    return np.sort(np.concatenate(parts))


def _basal(
    key: jax.Array, fitted: Fitted, data: PerturbationData, cells: np.ndarray, n_particles: int
) -> np.ndarray | None:
    """(cell, latent); None for a model without basal state."""
    return posterior_latents(key, fitted, data, cells, n_particles).get("z_basal")


def _offset(key: jax.Array, fitted: Fitted, data: PerturbationData, cells: np.ndarray) -> np.ndarray | None:
    """(cell, latent); None for a model without effects in latent space."""
    effects = posterior_effects(key, fitted)
    if effects is None:
        return None
    return (data.dosage[cells][..., None] * effects.mean[data.perturbation_index[cells]]).sum(axis=1)


def _expression(fitted: Fitted, data: PerturbationData, cells: np.ndarray) -> np.ndarray:
    """(cell, axis): leading components, and for counts the log of the total, which CP10k takes out."""
    counts = models_counts(fitted.config.likelihood)
    values = dense(transformed(data, cells, "log2_cp10k" if counts else "counts"))
    if values.shape[1] > N_AXES:
        values = project(principal_axes(values[:: -(-len(values) // CELLS_FOR_AXES)], N_AXES), values)
    if not counts:
        return values
    return np.column_stack([values, np.log1p(np.asarray(data.x[cells].sum(axis=1), dtype=np.float64).reshape(-1))])
