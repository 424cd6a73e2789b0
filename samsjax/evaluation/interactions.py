"""Interactions: how far the effect of a combination departs from the sum of its parts' effects, model beside data.

For a combination of the parts 1 .. n the departure is ATE(combination) - sum_i ATE(i), zero for parts that add up in
the scale of the transform. In means it reads m(combination) - sum_i m(i) + (n - 1) m(control): all terms share the
controls, so the measured departure has the variance v(combination) + sum_i v(i) + (n - 1)^2 v(control), not the sum of
the effects' variances. The model's terms share draws of effects and cells (`effect_draws`).

Additive means additive in the transform: parts that act independently on the scale of logarithms multiply in counts.
"""

from typing import NamedTuple

import jax
import numpy as np

from samsjax.data.dataset import PerturbationData
from samsjax.data.encoding import Treatments, treatments
from samsjax.data.labels import write_label
from samsjax.errors import InputError, check_range, listing
from samsjax.evaluation.data_effects import group_moments, transformed
from samsjax.evaluation.effect_posterior import INTERVAL, effect_draws
from samsjax.evaluation.known import known_perturbations
from samsjax.evaluation.model_effects import EffectsConfig
from samsjax.inference.fitted import Fitted

FALSE_DISCOVERY_RATE = 0.05
HOST_VALUES = 2**26
"""Most (draw, treatment, gene) values held at once by default: 256 MB."""


class InteractionSummary(NamedTuple):
    """One number for each combination, all float (combination,); NaN where it is not defined."""

    model_norm: np.ndarray
    """Euclidean norm over genes of the model's departure."""
    data_norm: np.ndarray
    """Euclidean norm over genes of the measured departure, its noise included."""
    noise_norm: np.ndarray
    """Norm that noise alone would give the measured departure: root of the summed squared standard errors."""
    significant: np.ndarray
    """Share of the genes with a standard error whose measured departure is significant at a false discovery rate of
    5 % (two-sided normal tests, Benjamini-Hochberg over the genes of the combination)."""
    correlation: np.ndarray
    """Pearson correlation over genes of model and data."""


class Interactions(NamedTuple):
    """Departures from additivity, in the units of the named transform; rows of NaN where `reason` says why."""

    labels: np.ndarray
    """str (combination,): every combination of the data."""
    model: np.ndarray
    """float32 (combination, gene): posterior mean given the networks."""
    model_sd: np.ndarray
    """float32 (combination, gene): posterior standard deviation."""
    model_low: np.ndarray
    """float32 (combination, gene): lower end of the 90 % posterior interval."""
    model_high: np.ndarray
    """float32 (combination, gene): upper end of the 90 % posterior interval."""
    data: np.ndarray
    """float32 (combination, gene): measured."""
    data_se: np.ndarray
    """float32 (combination, gene): standard error of `data`, the shared controls taken into account."""
    reason: np.ndarray
    """str (combination,): why a part of the row is not defined; empty where all is."""
    summary: InteractionSummary
    transform: str
    """Name in `TRANSFORMS`."""


def interactions(
    key: jax.Array,
    fitted: Fitted,
    data: PerturbationData,
    cells: np.ndarray | None = None,
    config: EffectsConfig | None = None,
    *,
    n_draws: int = 64,
    n_cells: int = 32,
    host_values: int = HOST_VALUES,
) -> Interactions:
    """Departures from additivity of every combination in `data`, predicted and measured.

    A part is measured alone in cells that carry it at the dose of the combination and nothing else. It can be predicted
    alone if it had training cells, alone or in combination, or if the model knows it by its features.

    Args:
        key: decides the model's draws.
        fitted: the model.
        data: cells in the model's vocabulary.
        cells: row numbers of the cells to measure on; all by default. Controls are among them, or else all controls.
        config: scale, library size, covariates.
        n_draws: draws of the shared effects.
        n_cells: cells the model's effects are averaged over.
        host_values: bound on memory.

    Raises:
        InputError: data without combinations or without controls or in another vocabulary, a model of single
            perturbations, and as for `effect_draws`.
    """
    config = config or EffectsConfig()
    check_range("host_values", host_values, low=1)
    if tuple(map(str, data.perturbation_names)) != fitted.vocabulary.perturbation_names:
        raise InputError("the data are not encoded in the model's vocabulary: their perturbations differ from its own")
    cells = np.arange(data.n_cells) if cells is None else cells
    treated = treatments(data)
    combined = np.flatnonzero((treated.dosage != 0).sum(axis=1) > 1)
    if len(combined) == 0:
        raise InputError("the data hold no combination of perturbations: there is no departure from additivity")
    measured, data_se, unmeasured = _measured(data, treated, combined, cells, config.transform)
    model, sd, low, high, unpredicted = _predicted(
        key, fitted, treated, combined, config, n_draws, n_cells, host_values
    )
    return Interactions(
        labels=treated.labels[combined],
        model=model,
        model_sd=sd,
        model_low=low,
        model_high=high,
        data=measured,
        data_se=data_se,
        reason=np.array(["; ".join(filter(None, why)) for why in zip(unmeasured, unpredicted, strict=True)]),
        summary=_summary(model, measured, data_se),
        transform=config.transform,
    )


def _measured(
    data: PerturbationData, treated: Treatments, combined: np.ndarray, cells: np.ndarray, transform: str
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Departures (combination, gene), their standard errors, and why they are missing."""
    controls = cells[treated.assignment[cells] < 0]
    controls = controls if len(controls) else np.flatnonzero(treated.assignment < 0)
    if len(controls) == 0:
        raise InputError("the data have no control cells: effects have no reference")
    chosen = cells[treated.assignment[cells] >= 0]
    present, group = np.unique(treated.assignment[chosen], return_inverse=True)
    control_mean, control_var = group_moments(transformed(data, controls, transform), np.zeros(len(controls), int), 1)
    mean, var = group_moments(transformed(data, chosen, transform), group, len(present))
    position = {treated.labels[row]: place for place, row in enumerate(present)}
    departure, error = np.full((2, len(combined), data.n_genes), np.nan)
    reasons = []
    for place, row in enumerate(combined):
        labels = [treated.labels[row], *_labels_alone(data, treated, row)]
        missing = [label for label in labels if label not in position]
        reasons.append(f"no cells of {listing(missing)} among those measured" if missing else "")
        if missing:
            continue
        rows, n_parts = [position[label] for label in labels], len(labels) - 1
        sign = np.array([1.0] + [-1.0] * n_parts)
        departure[place] = sign @ mean[rows] + (n_parts - 1) * control_mean[0]
        error[place] = np.sqrt(var[rows].sum(axis=0) + (n_parts - 1) ** 2 * control_var[0])
        single = [label for label in labels if np.isnan(var[position[label]]).all()]
        single += [data.control_name] if np.isnan(control_var).all() else []
        reasons[-1] = f"one cell only of {listing(single)}: no standard error" if single else ""
    return departure.astype(np.float32), error.astype(np.float32), reasons


def _labels_alone(data: PerturbationData, treated: Treatments, row: int) -> list[str]:
    """The labels of a combination's parts, each alone at its dose."""
    parts = zip(treated.perturbation_index[row], treated.dosage[row], strict=True)
    return [write_label({str(data.perturbation_names[i]): float(d)}, data.separator) for i, d in parts if d]


def _predicted(
    key: jax.Array,
    fitted: Fitted,
    treated: Treatments,
    combined: np.ndarray,
    config: EffectsConfig,
    n_draws: int,
    n_cells: int,
    host_values: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Posterior mean, sd and interval of the departures, each (combination, gene), and why they are missing."""
    index, dosage = treated.perturbation_index[combined], treated.dosage[combined]
    untrained = ~known_perturbations(fitted)[index] & (dosage != 0)
    names = np.asarray(fitted.vocabulary.perturbation_names)
    reasons = [
        f"no training cells of {listing(names[i[u]])}" if u.any() else "" for i, u in zip(index, untrained, strict=True)
    ]
    known = np.flatnonzero(~untrained.any(axis=1))
    n_slots = index.shape[1]
    group = max(1, host_values // (n_draws * (1 + n_slots) * fitted.statistics.n_genes))
    result = np.full((4, len(combined), fitted.statistics.n_genes), np.nan, np.float32)
    for start in range(0, len(known), group):
        rows = known[start : start + group]
        departure = _departure_draws(key, fitted, index[rows], dosage[rows], config, n_draws, n_cells)
        result[:2, rows] = departure.mean(axis=0), departure.std(axis=0, ddof=1)
        result[2:, rows] = np.quantile(departure, INTERVAL, axis=0)
    return *result, reasons


def _departure_draws(
    key: jax.Array,
    fitted: Fitted,
    index: np.ndarray,
    dosage: np.ndarray,
    config: EffectsConfig,
    n_draws: int,
    n_cells: int,
) -> np.ndarray:
    """Draws (draw, combination, gene) of ATE(combination) - sum of ATE(part); a part of several is computed once."""
    alone_index, alone_dosage = np.zeros((2, index.size, index.shape[1]))
    alone_index[:, 0], alone_dosage[:, 0] = index.ravel(), dosage.ravel()
    rows = np.concatenate([np.hstack([index, dosage]), np.hstack([alone_index, alone_dosage])])
    distinct, place = np.unique(rows.astype(np.float64), axis=0, return_inverse=True)
    arms = np.split(distinct, 2, axis=1)
    effects = effect_draws(key, fitted, arms[0].astype(int), arms[1], config, n_draws=n_draws, n_cells=n_cells)
    combination, part = np.split(place.reshape(-1), [len(index)])
    departure = effects[:, combination]
    for slot, used in zip(part.reshape(index.shape).T, dosage.T != 0, strict=True):
        departure = departure - np.where(used[:, None], effects[:, slot], 0.0)
    return departure


def _summary(model: np.ndarray, data: np.ndarray, data_se: np.ndarray) -> InteractionSummary:
    size_of_model, size_of_data, noise = (
        np.sqrt((values.astype(np.float64) ** 2).sum(axis=1)) for values in (model, data, data_se)
    )
    significant = np.array([_significant_share(d, se) for d, se in zip(data, data_se, strict=True)])
    correlation = np.array([_correlation(m, d) for m, d in zip(model, data, strict=True)])
    return InteractionSummary(size_of_model, size_of_data, noise, significant, correlation)


def _significant_share(departure: np.ndarray, error: np.ndarray) -> float:
    """Share of genes whose departure is significant; genes without any variation have no test."""
    from scipy import stats  # late: importing samsjax stays light

    tested = np.isfinite(departure) & (error > 0)
    if not tested.any():
        return np.nan
    p = 2 * stats.norm.sf(np.abs(departure[tested] / error[tested]))
    return float((stats.false_discovery_control(p) <= FALSE_DISCOVERY_RATE).mean())


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation in float64; NaN where it is not defined."""
    a, b = (values.astype(np.float64) - values.mean(dtype=np.float64) for values in (a, b))
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else np.nan
