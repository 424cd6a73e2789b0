"""Agreement of inferred masks with known ones, up to the order of latent dimensions.

Source: SAMS-VAE, specification 8.1. Differs: an empty estimate has precision 1 if nothing was to be found and 0
otherwise (the reference returns NaN).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from samsjax.errors import InputError


class MaskAgreement(NamedTuple):
    """Scores in [0, 1], higher is better, and which estimated latent was matched to which true one."""

    precision: float
    recall: float
    f1: float
    true_latents: np.ndarray
    estimated_latents: np.ndarray


def mask_agreement(truth: np.ndarray, estimate: np.ndarray) -> MaskAgreement:
    """Precision, recall and F1 of a boolean mask under the one-to-one matching of latents with most true positives.

    Args:
        truth: bool (perturbation, true latent).
        estimate: bool (perturbation, latent); the number of latents may differ. Active entries of latents that are
            matched to nothing count as false.

    Raises:
        InputError: if the numbers of perturbations differ.
    """
    if len(truth) != len(estimate):
        raise InputError(f"masks of {len(truth)} and {len(estimate)} perturbations cannot be compared")
    true, found = truth.astype(float), estimate.astype(float)
    overlap = true.T @ found
    rows, columns = linear_sum_assignment(-overlap)
    hits, n_true, n_found = overlap[rows, columns].sum(), true.sum(), found.sum()
    if n_true + n_found == 0:
        return MaskAgreement(1.0, 1.0, 1.0, rows, columns)
    precision = hits / n_found if n_found else 0.0
    recall = hits / n_true if n_true else 1.0
    return MaskAgreement(float(precision), float(recall), float(2 * hits / (n_true + n_found)), rows, columns)


def mask_average_precision(truth: np.ndarray, score: np.ndarray, agreement: MaskAgreement) -> float:
    """Area under the precision-recall curve of a score of entries, such as the inclusion probability.

    Precision at each distinct score, weighted by the recall it adds. Unlike F1 it asks nothing of the threshold.

    Args:
        truth: bool (perturbation, true latent).
        score: (perturbation, latent); larger = more likely active. Entries of unmatched latents count as false, and
            true entries of unmatched latents as never found.
        agreement: the matching of latents, from `mask_agreement`.

    Returns:
        In [0, 1]; NaN if no entry is true.
    """
    label = matched_truth(truth, score.shape[1], agreement)
    order = np.argsort(-score, axis=None, kind="stable")
    ranked, values = label.ravel()[order], score.ravel()[order]
    last_of_ties = np.append(np.diff(values) != 0, True)
    hits = np.cumsum(ranked)[last_of_ties]
    precision = hits / (np.flatnonzero(last_of_ties) + 1)
    return float((precision * np.diff(hits, prepend=0)).sum() / truth.sum()) if truth.any() else float("nan")


def matched_truth(truth: np.ndarray, n_latent: int, agreement: MaskAgreement) -> np.ndarray:
    """The true mask, bool (perturbation, latent), in the latents of an estimate; False in unmatched ones."""
    matched = np.zeros((len(truth), n_latent), dtype=bool)
    matched[:, agreement.estimated_latents] = truth[:, agreement.true_latents]
    return matched


class CalibrationBin(NamedTuple):
    """Entries whose inclusion probability lies in [low, high); the last bin includes 1."""

    low: float
    high: float
    n_entries: int
    stated: float
    """Mean inclusion probability; NaN without entries."""
    true: float
    """Share of the entries that are active in truth; close to `stated` if probabilities mean what they say."""


def mask_calibration(
    truth: np.ndarray,
    probability: np.ndarray,
    agreement: MaskAgreement,
    edges: Sequence[float] = (0.0, 0.1, 0.5, 0.9, 1.0),
) -> list[CalibrationBin]:
    """Whether inclusion probabilities are the frequencies with which entries are active.

    Args:
        truth: bool (perturbation, true latent).
        probability: (perturbation, latent) inclusion probabilities.
        agreement: the matching of latents, from `mask_agreement`; a wrong basis counts as wrong probabilities.
        edges: ascending, from 0 to 1.
    """
    label = matched_truth(truth, probability.shape[1], agreement)
    place = np.clip(np.digitize(probability, edges) - 1, 0, len(edges) - 2)
    bins = []
    for i, (low, high) in enumerate(pairwise(edges)):
        here = place == i
        stated, true = (values[here].mean() if here.any() else float("nan") for values in (probability, label))
        bins.append(CalibrationBin(low, high, int(here.sum()), float(stated), float(true)))
    return bins
