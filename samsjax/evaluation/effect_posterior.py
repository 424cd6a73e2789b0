"""Posterior of average treatment effects: how sure the model is of an effect, beside the error of its computation.

Every draw of the shared effects (masks, embeddings) from the guide gives one average effect, over cells whose basal
states, library sizes, covariates and, if they are drawn, counts are the same for all draws, treatments and chunks. So
what differs between draws is the effect, and Monte-Carlo error cancels where draws or treatments are compared.

Networks have no posterior in these models: decoder and encoder are point estimates, and so are embeddings that are
parameters. Intervals are those of the effects given the networks, and the whole uncertainty is larger.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from samsjax.errors import InputError, check_range
from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.forward import Arms, Readout, Technical, arms_of, expressed, technical_of
from samsjax.evaluation.model_effects import VALUES_IN_FLIGHT, EffectsConfig, check_treatments, readout_of
from samsjax.inference.batching import empty_batch
from samsjax.inference.fitted import Fitted
from samsjax.inference.log_weights import draw_shared
from samsjax.models.base import Build, DataStatistics
from samsjax.types import Params

INTERVAL = (0.05, 0.95)
"""Probabilities at the ends of the 90 % interval."""


class _Drawn(NamedTuple):
    """Averages of one chunk of treatments."""

    effects: Float[Array, "draw treatment gene"]
    """Over cells."""
    cell_variance: Float[Array, "treatment gene"]
    """Between cells, of their averages over draws."""
    control: Float[Array, " gene"]
    """Mean of controls."""


def effect_draws(
    key: jax.Array,
    fitted: Fitted,
    perturbation_index: np.ndarray,
    dosage: np.ndarray,
    config: EffectsConfig | None = None,
    *,
    n_draws: int = 64,
    n_cells: int = 32,
    values_in_flight: int = VALUES_IN_FLIGHT,
) -> np.ndarray:
    """Draws from the posterior of the average effect of each treatment against control, given the networks.

    A treatment's draws do not depend on which others are asked for: equal keys, equal shared effects and cells.

    Args:
        key: decides all draws.
        fitted: the model.
        perturbation_index: int (treatment, slot) into the model's perturbations.
        dosage: (treatment, slot), 0 for empty slots.
        config: scale, noise, library size, covariates; `n_particles` and `paired` play no part.
        n_draws: draws of the shared effects.
        n_cells: cells each is averaged over, the same for all.
        values_in_flight: bound on device memory.

    Raises:
        InputError: as for `model_effects`; for fewer than 2 draws or cells.

    Returns:
        float32 (draw, treatment, gene), in the units of `config.transform`. Computed by chunks, but held as a whole.
    """
    chunks = _chunks(key, fitted, perturbation_index, dosage, config, n_draws, n_cells, values_in_flight)
    return np.concatenate([drawn.effects for drawn in chunks], axis=1)


def effect_intervals(
    key: jax.Array,
    fitted: Fitted,
    labels: np.ndarray,
    perturbation_index: np.ndarray,
    dosage: np.ndarray,
    config: EffectsConfig | None = None,
    *,
    n_draws: int = 64,
    n_cells: int = 32,
    values_in_flight: int = VALUES_IN_FLIGHT,
) -> AverageEffects:
    """Posterior mean, standard deviation and 90 % interval of every effect, given the networks; see `effect_draws`.

    Arguments and errors are those of `effect_draws`; `labels` (treatment,) are carried along. Memory holds the draws of
    one chunk of treatments.

    Returns:
        Effects with `sd`, `low` and `high`. `standard_error` is the Monte-Carlo error of the mean over both draws and
        cells, slightly too large; the error of a standard deviation or an end of an interval falls with `n_draws`.
    """
    chunks = _chunks(key, fitted, perturbation_index, dosage, config, n_draws, n_cells, values_in_flight)
    rows, control = [], np.zeros(0, np.float32)
    for drawn in chunks:
        variance = drawn.effects.var(axis=0, ddof=1, dtype=np.float64)
        error = np.sqrt(variance / n_draws + drawn.cell_variance / n_cells)
        low, high = np.quantile(drawn.effects, INTERVAL, axis=0)
        rows.append((drawn.effects.mean(axis=0, dtype=np.float64), error, np.sqrt(variance), low, high))
        control = np.asarray(drawn.control)
    mean, error, sd, low, high = (np.concatenate(part).astype(np.float32) for part in zip(*rows, strict=True))
    transform = (config or EffectsConfig()).transform
    return AverageEffects(np.asarray(labels), mean, error, control, transform, sd, low, high)


def _chunks(
    key: jax.Array,
    fitted: Fitted,
    perturbation_index: np.ndarray,
    dosage: np.ndarray,
    config: EffectsConfig | None,
    n_draws: int,
    n_cells: int,
    values_in_flight: int,
) -> Iterator[_Drawn]:
    """Averages of one chunk of treatments after the other, on the host, the filling cut off."""
    config = config or EffectsConfig()
    check_range("n_draws", n_draws, low=2)
    check_range("n_cells", n_cells, low=2)
    if perturbation_index.shape != dosage.shape:
        raise InputError(f"perturbation_index {perturbation_index.shape} and dosage {dosage.shape} differ in shape")
    check_treatments(fitted, dosage, dosage, config)
    n_genes = fitted.statistics.n_genes
    # A chunk holds a value for every cell, and a result for every draw.
    chunk = max(1, min(len(dosage), values_in_flight // (max(n_cells, n_draws) * n_genes)))
    technical = technical_of(fitted, config.library_size, config.covariates, config.fails)
    readout = readout_of(fitted, config)._replace(paired=True)
    for start in range(0, len(dosage), chunk):
        arms, n_real = arms_of(perturbation_index, dosage, start, chunk)
        drawn = jax.device_get(
            _drawn(key, fitted.params, fitted.statistics, technical, arms, fitted.build, readout, n_draws, n_cells)
        )
        yield _Drawn(drawn.effects[:, :n_real], drawn.cell_variance[:n_real], drawn.control)


@partial(jax.jit, static_argnums=(5, 6, 7, 8))
def _drawn(
    key: jax.Array,
    params: Params,
    statistics: DataStatistics,
    technical: Technical,
    arms: Arms,
    build: Build,
    readout: Readout,
    n_draws: int,
    n_cells: int,
) -> _Drawn:
    """One draw of the shared effects after the other, each on the same cells."""
    model_guide = build(statistics)
    shared_key, local_key = jax.random.split(key)
    shared = draw_shared(shared_key, model_guide, params, n_draws, empty_batch(model_guide))
    keys = jax.random.split(local_key, n_cells)

    def add(total: tuple[Array, Array], draws: dict[str, Array]) -> tuple[tuple[Array, Array], Array]:
        values = expressed(keys, model_guide, params, draws, technical, arms, readout, one_shared=True)
        difference = values[:, 1:] - values[:, :1]
        by_cell, control = total
        return (by_cell + difference / n_draws, control + values[:, 0].mean(axis=0) / n_draws), difference.mean(axis=0)

    shape = (n_cells, arms.dosage.shape[0] - 1, model_guide.n_genes)
    nothing = (jnp.zeros(shape), jnp.zeros(model_guide.n_genes))
    (by_cell, control), effects = jax.lax.scan(add, nothing, shared, length=n_draws)
    return _Drawn(effects, by_cell.var(axis=0, ddof=1), control)
