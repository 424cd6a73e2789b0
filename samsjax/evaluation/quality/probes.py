"""Can the quality of a cell be told from features of it? Cross-validated classifiers, and what chance would give.

A classifier is trained on some of the cells and asked about the others. Cells that failed count as much in its loss as
all others together, so both numbers are 1/2 for features that say nothing, however few cells failed.
"""

from typing import NamedTuple

import numpy as np

from samsjax.errors import InputError, check_choice, check_range
from samsjax.evaluation.cell_space import cell_table
from samsjax.evaluation.quality.fitting import KINDS, Kind, fitted_scores

N_FOLDS = 5
CHANCE_QUANTILE = 1.645
"""One-sided 95 % quantile of a normal distribution."""


class ProbeResult(NamedTuple):
    """How well failed cells were told from others. Numbers are NaN, with a reason, where there were too few."""

    auroc: float
    """Probability that a failed cell has a higher score than another cell, mean over folds: 1/2 by chance."""
    balanced_accuracy: float
    """Mean of the shares of failed and of other cells that were recognised, mean over folds: 1/2 by chance."""
    auroc_sd: float
    """Standard deviation of the area over folds."""
    chance_error: float
    """Standard error that `auroc` would have if features said nothing of the label: see `_chance_error`."""
    n_cells: int
    n_failed: int
    reason: str | None = None
    """Why there are no numbers; None if there are."""

    @property
    def at_chance(self) -> bool:
        """Whether the area is no larger than chance gives in 19 of 20 cases; False where it is NaN."""
        return self.auroc <= 0.5 + CHANCE_QUANTILE * self.chance_error


def probe(
    features: np.ndarray,
    label: np.ndarray,
    *,
    kind: Kind = "linear",
    folds: int = N_FOLDS,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> ProbeResult:
    """Predict a label from features in cells that the classifier was not trained on.

    Features are standardised by the cells trained on. Folds hold equal shares of failed cells.

    Args:
        features: (cell, feature).
        label: bool (cell,), such as `data.is_failed`.
        kind: linear = logistic regression; mlp = a network with one hidden layer, which also sees combinations.
        folds: how many times another part of the cells is held back.
        seed: decides the folds, and where the network starts.
        groups: (cell,) of anything that can be sorted; cells of one group are held back together. Folds are then only
            as equal as groups allow.

    Returns:
        Numbers of NaN and a reason if there are fewer than 2 x `folds` failed or other cells, or if a fold would be
        left without one of them.

    Raises:
        InputError: for features that are no table of finite numbers, another number of labels or groups, labels that
            are not bool, an unknown kind, or fewer than two folds.
    """
    check_choice("kind of probe", kind, KINDS)
    check_range("folds", folds, low=2)
    features, label = _checked(features, label, groups)
    n_failed = int(label.sum())
    if min(n_failed, len(label) - n_failed) < 2 * folds:
        reason = f"{n_failed} of {len(label)} cells failed; {folds} folds need {2 * folds} that did and that did not"
        return _undefined(label, reason)
    fold = folds_of(label, folds, seed, groups)
    if any(len(np.unique(label[fold == f])) < 2 for f in range(folds)):
        return _undefined(label, f"groups leave one of {folds} folds without failed cells, or without others")
    return cross_validated(features, label, fold, kind, seed)


def cross_validated(features: np.ndarray, label: np.ndarray, fold: np.ndarray, kind: str, seed: int) -> ProbeResult:
    """`probe` with the fold of each cell given, int (cell,) from 0 without gaps, both labels in each."""
    areas, accuracies = [], []
    for held_back in range(fold.max() + 1):
        train, test = fold != held_back, fold == held_back
        scores = fitted_scores(
            kind, standardized(features, train), label, balanced(label, train), np.random.default_rng(seed)
        )
        areas.append(auroc(scores[test], label[test]))
        recognised = (scores[test] > 0) == label[test]
        accuracies.append((recognised[label[test]].mean() + recognised[~label[test]].mean()) / 2)
    return ProbeResult(
        auroc=float(np.mean(areas)),
        balanced_accuracy=float(np.mean(accuracies)),
        auroc_sd=float(np.std(areas, ddof=1)),
        chance_error=_chance_error(label, fold),
        n_cells=len(label),
        n_failed=int(label.sum()),
    )


def auroc(scores: np.ndarray, label: np.ndarray) -> float:
    """Probability that a cell with the label scores higher than one without; ties count half. NaN without both."""
    from scipy.stats import rankdata

    n, others = int(label.sum()), int((~label).sum())
    if not n or not others:
        return float("nan")
    return float((rankdata(scores)[label].sum() - n * (n + 1) / 2) / (n * others))


def standardized(features: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Mean 0 and standard deviation 1 in the cells `train`, bool (cell,). Features constant there become 0."""
    mean, sd = features[train].mean(axis=0), features[train].std(axis=0)
    varies = sd > 1e-6 * np.abs(features[train]).max(axis=0)  # what is below is rounding of single precision
    return np.where(varies, (features - mean) / np.where(varies, sd, 1.0), 0.0)


def balanced(label: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Weights of cells: both labels sum to half the number of cells `train`, others have weight 0."""
    n = np.where(label, (label & train).sum(), (~label & train).sum())
    return np.where(train, train.sum() / (2 * n), 0.0)


def folds_of(label: np.ndarray, folds: int, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    """The fold of each cell, int (cell,), with equal shares of both labels; see `probe` for groups."""
    rng = np.random.default_rng(seed)
    fold = np.empty(len(label), dtype=int)
    if groups is None:
        for rows in (np.flatnonzero(label), np.flatnonzero(~label)):
            fold[rng.permutation(rows)] = np.arange(len(rows)) % folds
        return fold
    names, group = np.unique(groups, return_inverse=True)
    n = np.stack([np.bincount(group, weights=part, minlength=len(names)) for part in (label, ~label)])
    filled, place = np.zeros((2, folds)), np.empty(len(names), dtype=int)
    order = rng.permutation(len(names))
    for g in order[np.argsort(-n[0, order], kind="stable")]:  # Large groups first: small ones even out the folds.
        place[g] = np.lexsort(filled[::-1])[0]
        filled[:, place[g]] += n[:, g]
    return place[group]


def _chance_error(label: np.ndarray, fold: np.ndarray) -> float:
    """Standard error of the mean area over folds when the scores say nothing of the label.

    Source: Mann and Whitney (1947) for the variance in one fold; Nadeau and Bengio (2003) for the mean over folds,
    whose classifiers were trained on much the same cells: 1 / folds + cells held back / cells trained on, in place of
    1 / folds. Differs: their correction is applied to the variance under chance instead of the observed one.
    """
    n = np.stack([np.bincount(fold, weights=part) for part in (label, ~label)])
    folds = n.shape[1]
    variance = (n.sum(axis=0) + 1) / (12 * n.prod(axis=0))
    return float(np.sqrt(variance.mean() * (1 / folds + 1 / (folds - 1))))


def _undefined(label: np.ndarray, reason: str) -> ProbeResult:
    nan = float("nan")
    return ProbeResult(nan, nan, nan, nan, len(label), int(label.sum()), reason)


def _checked(features: np.ndarray, label: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    features, label = cell_table("features", features).astype(np.float64), np.asarray(label)
    if label.dtype != bool or label.shape != (len(features),):
        raise InputError(f"label is {label.dtype} {label.shape}, expected bool ({len(features)},), one per cell")
    if groups is not None and np.shape(groups) != label.shape:
        raise InputError(f"groups have shape {np.shape(groups)}, expected ({len(features)},), one per cell")
    return features, label
