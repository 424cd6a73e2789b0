"""Are the targets of interventions found? Scores of (context, variable) entries against the true targets."""

from typing import NamedTuple

import numpy as np

from samsjax.causal.metrics import auroc, average_precision
from samsjax.errors import InputError


class TargetAgreement(NamedTuple):
    """Pooled over all entries, and averaged over contexts; best 1."""

    auroc: float
    """Probability that a true entry scores higher than another one, in whatever contexts."""
    average_precision: float
    """Area under the precision-recall curve of all entries."""
    macro_auroc: float
    """Mean over contexts with both kinds of entries: scores are compared within a context only."""
    macro_average_precision: float
    """Mean over contexts that have targets."""
    share: float
    """Share of entries that are targets: the average precision of a score without information."""


def target_agreement(targets: np.ndarray, scores: np.ndarray) -> TargetAgreement:
    """How well scores rank true targets above other variables.

    Args:
        targets: bool (context, variable).
        scores: (context, variable); larger = more likely a target.

    Raises:
        InputError: for tables of other shapes, or scores that are not finite.
    """
    if targets.ndim != 2 or targets.shape != np.shape(scores) or not len(targets):
        raise InputError(f"targets {targets.shape} and scores {np.shape(scores)} must both be (context, variable)")
    each = [(auroc(t, s), average_precision(t, s)) for t, s in zip(targets, scores, strict=True)]
    areas, precisions = np.array(each).T
    return TargetAgreement(
        auroc(targets, scores), average_precision(targets, scores), _mean(areas), _mean(precisions), targets.mean()
    )


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
