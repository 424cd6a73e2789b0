"""Pathway evaluation: is the pathway of a perturbed gene written in its mask, its effect, or only in its expression?

Perturbations of one pathway should share mechanisms. Here a classifier predicts the pathway of a perturbation that it
did not train on from any table (perturbation, feature): inclusion probabilities of masks, effect means, measured
average effects on genes. All tables go through the same folds, the same classifier and the same shuffled labels:

    pathways = load_pathways("pathways.json")
    labels = pathway_labels(names, pathways, gene_of)
    scores = pathway_scores({"mask": probability, "effect": mean, "expression": ate}, labels, groups=genes)

The classifier is multinomial logistic regression with an L2 penalty and equal weight for every pathway. Why this one: a
linear probe is what "written in" commonly means; it can weigh noisy genes down, so that expression is a strong baseline
(nearest neighbours pay for each noisy gene and decide ties among sparse masks at random); it is convex, so nothing
depends on a start or an order. Tables differ in width, unit and noise: each is centred and divided by one number, so
that its rows have mean squared length 1, and gets the penalty that suits it, chosen within the training folds. No
column is scaled by itself, which would give the rarest latent dimension and the noisiest gene as much weight as others.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from samsjax.errors import InputError, check_range, listing


class PathwayScore(NamedTuple):
    """How well one table of features predicts pathways. Scores lie in [0, 1], higher is better."""

    features: str
    """Name of the table."""
    balanced_accuracy: float
    """Mean over pathways of the share of its perturbations that were recognised; chance is 1 / `n_pathways`."""
    balanced_accuracy_shuffled: float
    """Mean of the same over shuffled labels."""
    balanced_accuracy_shuffled_sd: float
    """Standard deviation over shuffles."""
    balanced_accuracy_p: float
    """Share of labellings, shuffled ones and the given one, that score at least as high; at best 1 / (shuffles + 1)."""
    macro_f1: float
    """Mean over pathways of F1; a pathway never predicted has F1 0."""
    macro_f1_shuffled: float
    macro_f1_shuffled_sd: float
    macro_f1_p: float
    n_perturbations: int
    """Perturbations that were scored."""
    n_pathways: int
    """Pathways to choose from."""


class PathwayScores(NamedTuple):
    """Scores of all tables, and what they are about."""

    rows: list[PathwayScore]
    """One per table, in the order given."""
    members: dict[str, int]
    """Perturbations of each pathway that was used."""
    left_out: dict[str, int]
    """Perturbations of each pathway that has fewer groups than folds, and was not used."""
    n_unlabelled: int
    """Perturbations without a pathway."""


class _Task(NamedTuple):
    """One labelling of the perturbations and the folds it is cross-validated in."""

    pathway: np.ndarray
    """int (perturbation,)."""
    fold: np.ndarray
    """int (perturbation,)."""


def load_pathways(path: Path | str) -> dict[str, str]:
    """The pathway of each gene, from a JSON object that lists the genes of each pathway.

    Raises:
        InputError: if the file is missing, is no such object, or a gene is in two pathways: which one a perturbation
            of it should be recognised as is for you to decide.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read pathways from {path}: {error}") from error
    if not isinstance(content, dict) or not content:
        raise InputError(f'{path} must hold a JSON object {{"pathway": ["gene", ...]}}, got {type(content).__name__}')
    found: dict[str, set[str]] = {}
    for pathway, genes in content.items():
        if not isinstance(genes, list) or not all(isinstance(gene, str) for gene in genes):
            raise InputError(f"pathway {pathway!r} of {path} must be a list of gene names, got {genes!r:.80}")
        for gene in genes:
            found.setdefault(gene, set()).add(pathway)
    double = [f"{gene} ({', '.join(sorted(of))})" for gene, of in found.items() if len(of) > 1]
    if double:
        raise InputError(f"genes in more than one pathway of {path}: {listing(double)}; keep each in one")
    return {gene: min(of) for gene, of in found.items()}


def pathway_labels(
    perturbations: Sequence[str] | np.ndarray,
    pathways: Mapping[str, str],
    gene_of: Mapping[str, str] | None = None,
) -> list[str | None]:
    """The pathway of each perturbation, None where its gene has none.

    Args:
        perturbations: names, such as genes or sgRNA ids.
        pathways: gene -> pathway.
        gene_of: perturbation -> gene, where names are not genes; a perturbation it does not know has no pathway.

    Raises:
        InputError: if no perturbation has a pathway, which means that names do not match.
    """
    names = [str(name) for name in perturbations]
    genes = names if gene_of is None else [gene_of.get(name) for name in names]
    labels = [None if gene is None else pathways.get(gene) for gene in genes]
    if not any(label is not None for label in labels):
        raise InputError(
            f"none of the perturbations ({listing(names, 4)}) is a gene of a pathway ({listing(pathways, 4)}): "
            "give gene_of, perturbation -> gene"
        )
    return labels


def pathway_scores(
    features: Mapping[str, np.ndarray],
    labels: Sequence[str | None],
    *,
    groups: Sequence[str] | np.ndarray | None = None,
    n_folds: int = 5,
    n_shuffles: int = 100,
    penalties: Sequence[float] = (1e-1, 1e-2, 1e-3),
    seed: int = 0,
) -> PathwayScores:
    """Cross-validated prediction of pathways from each table of features, beside the same with shuffled labels.

    Every perturbation is predicted once, by a classifier trained on the other folds, and scores pool all predictions.
    Folds are stratified by pathway. The penalty of each fold's classifier is the one with the best balanced accuracy in
    a cross-validation over its training folds. A shuffle hands the labels out anew among groups, draws new folds and
    repeats all of this; the tables share folds and shuffles, so that their scores are paired. The same seed gives the
    same scores. Some 350 perturbations of 8 pathways with 100 shuffles take about a minute per table.

    Args:
        features: tables (perturbation, feature) by name.
        labels: (perturbation,) pathways, None = not used.
        groups: (perturbation,) names of what must not be torn apart by folds and shuffles, such as the gene that
            several sgRNAs target; by default each perturbation is its own group.
        n_folds: folds, at least 3; a pathway with fewer groups is left out, and listed in `left_out`.
        n_shuffles: shuffled labellings per table.
        penalties: to choose from, see `fit_logistic`; weights refer to rows of mean squared length 1.
        seed: of folds and shuffles.

    Raises:
        InputError: if tables and labels disagree in length, features are not finite, a group has two pathways, or
            fewer than two pathways can be used.
    """
    check_range("n_folds", n_folds, low=3)
    check_range("n_shuffles", n_shuffles, low=2)
    check_range("seed", seed, low=0)
    penalties = _strongest_first(penalties)
    tables = {name: _checked_table(name, table, len(labels)) for name, table in features.items()}
    group_names = np.arange(len(labels)).astype(str) if groups is None else np.asarray(groups, dtype=str)
    if group_names.shape != (len(labels),):
        raise InputError(f"groups has shape {group_names.shape}, expected ({len(labels)},)")
    used, left_out = _usable_pathways(labels, group_names, n_folds)
    rows = np.array([row for row, label in enumerate(labels) if label in used])
    pathway = np.searchsorted(used, [str(labels[row]) for row in rows])
    _, group = np.unique(group_names[rows], return_inverse=True)
    tasks = _tasks(pathway, group, n_folds, n_shuffles, np.random.default_rng(seed))
    return PathwayScores(
        rows=[_score(name, table[rows], tasks, len(used), penalties) for name, table in tables.items()],
        members={name: int((pathway == number).sum()) for number, name in enumerate(used)},
        left_out={name: sum(label == name for label in labels) for name in left_out},
        n_unlabelled=sum(label is None for label in labels),
    )


def fit_logistic(
    features: np.ndarray, pathway: np.ndarray, n_pathways: int, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Multinomial logistic regression in which every pathway has the same total weight.

    Minimises the sum over perturbations of w_i x log loss_i, w_i = 1 / (pathways x members of i's pathway), plus
    penalty / 2 x the sum of squared weights.

    Args:
        features: (perturbation, feature).
        pathway: int (perturbation,), each of 0..`n_pathways` - 1 at least once.
        n_pathways: how many there are.
        penalty: positive; intercepts are free.

    Returns:
        Weights (feature, pathway) and intercepts (pathway,).
    """
    n, n_features = features.shape
    case_weight = 1 / (n_pathways * np.bincount(pathway, minlength=n_pathways)[pathway])
    target = np.eye(n_pathways)[pathway]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, intercepts = flat[:-n_pathways].reshape(n_features, n_pathways), flat[-n_pathways:]
        logits = features @ weights + intercepts
        log_probability = logits - logsumexp(logits, axis=1, keepdims=True)
        loss = -case_weight @ log_probability[np.arange(n), pathway] + penalty / 2 * (weights**2).sum()
        slope = case_weight[:, None] * (np.exp(log_probability) - target)
        return loss, np.append((features.T @ slope + penalty * weights).ravel(), slope.sum(axis=0))

    start = np.zeros((n_features + 1) * n_pathways)
    best = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000, "gtol": 1e-6}).x
    return best[:-n_pathways].reshape(n_features, n_pathways), best[-n_pathways:]


def classification_scores(truth: np.ndarray, predicted: np.ndarray, n_pathways: int) -> tuple[float, float]:
    """Balanced accuracy and macro F1 of int (perturbation,) pathways, each of which occurs in `truth`."""
    confusion = np.zeros((n_pathways, n_pathways))
    np.add.at(confusion, (truth, predicted), 1)
    hits, n_true, n_predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    return float((hits / n_true).mean()), float((2 * hits / (n_true + n_predicted)).mean())


def _strongest_first(penalties: Sequence[float]) -> list[float]:
    if not len(penalties):
        raise InputError("penalties is empty: give at least one")
    for penalty in penalties:
        check_range("penalties", penalty, above=0.0)
    return sorted(penalties, reverse=True)


def _checked_table(name: str, table: np.ndarray, n_perturbations: int) -> np.ndarray:
    table = np.asarray(table, dtype=np.float64)
    if table.ndim != 2 or len(table) != n_perturbations or table.shape[1] == 0:
        raise InputError(
            f"features {name!r} have shape {table.shape}, expected (perturbation, feature), {n_perturbations} rows"
        )
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(bad):
        raise InputError(f"features {name!r} are not finite for {len(bad)} perturbations, the first in row {bad[0]}")
    return table


def _usable_pathways(labels: Sequence[str | None], groups: np.ndarray, n_folds: int) -> tuple[list[str], list[str]]:
    """Names of the pathways with a group for each fold, and of the others."""
    of_group: dict[str, str] = {}
    for group, label in zip(groups.tolist(), labels, strict=True):
        if label is not None and of_group.setdefault(group, label) != label:
            raise InputError(f"group {group!r} has two pathways, {of_group[group]!r} and {label!r}")
    n_groups = Counter(of_group.values())
    used = sorted(pathway for pathway, n in n_groups.items() if n >= n_folds)
    if len(used) < 2:
        found = listing(f"{pathway}: {n}" for pathway, n in sorted(n_groups.items()))
        raise InputError(
            f"at least two pathways need {n_folds} perturbed genes each, one per fold; there are {found}; "
            "use fewer folds or other pathways"
        )
    return used, sorted(set(n_groups) - set(used))


def _tasks(
    pathway: np.ndarray, group: np.ndarray, n_folds: int, n_shuffles: int, rng: np.random.Generator
) -> list[_Task]:
    """The given labelling, then shuffled ones."""
    of_group = np.zeros(group.max() + 1, dtype=int)
    of_group[group] = pathway
    labellings = [of_group, *(rng.permutation(of_group) for _ in range(n_shuffles))]
    return [_Task(labelling[group], _folds(labelling, n_folds, rng)[group]) for labelling in labellings]


def _folds(pathway: np.ndarray, n_folds: int, rng: np.random.Generator) -> np.ndarray:
    """Fold of each group, int (group,): each pathway spreads evenly, and so does the whole."""
    order = rng.permutation(len(pathway))
    order = order[np.argsort(pathway[order], kind="stable")]
    fold = np.empty(len(pathway), dtype=int)
    fold[order] = np.arange(len(pathway)) % n_folds
    return fold


def _score(name: str, table: np.ndarray, tasks: list[_Task], n_pathways: int, penalties: list[float]) -> PathwayScore:
    compact = _compact(table)
    scores = np.array(
        [
            classification_scores(task.pathway, _predict(compact, task, n_pathways, penalties), n_pathways)
            for task in tasks
        ]
    )
    given, shuffled = scores[0], scores[1:]
    # Rounding must not tell a score from an equal one.
    p = (1 + (shuffled >= given - 1e-12).sum(axis=0)) / len(scores)
    mean, sd = shuffled.mean(axis=0), shuffled.std(axis=0, ddof=1)
    accuracy, f1 = np.stack([given, mean, sd, p], axis=1).tolist()
    return PathwayScore._make([name, *accuracy, *f1, len(table), n_pathways])


def _compact(table: np.ndarray) -> np.ndarray:
    """Centred rows of mean squared length 1, rotated into as few columns as hold them.

    The penalty and the intercepts make the classifier blind to shift and rotation, so this changes no prediction, and
    thousands of genes cost no more than there are perturbations. Labels are not involved.
    """
    centred = table - table.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    rotated = left * singular
    length = np.sqrt((rotated**2).sum(axis=1).mean())
    largest = np.abs(table).max()
    return rotated / length if length > 1e-12 * largest else np.zeros_like(rotated)


def _predict(features: np.ndarray, task: _Task, n_pathways: int, penalties: list[float]) -> np.ndarray:
    """Pathway of each perturbation, int (perturbation,), by a classifier that has not seen its fold."""
    predicted = np.empty(len(features), dtype=int)
    for fold, penalty in enumerate(_chosen_penalties(features, task, n_pathways, penalties)):
        held = task.fold == fold
        weights, intercepts = fit_logistic(features[~held], task.pathway[~held], n_pathways, penalty)
        predicted[held] = (features[held] @ weights + intercepts).argmax(axis=1)
    return predicted


def _chosen_penalties(features: np.ndarray, task: _Task, n_pathways: int, penalties: list[float]) -> list[float]:
    """For each fold, the penalty with which the other folds predict one another best; the strongest of equal ones.

    A classifier that has seen neither of two folds serves both: it predicts each on behalf of the other.
    """
    n_folds = task.fold.max() + 1
    if len(penalties) == 1:
        return penalties * n_folds
    predicted = np.empty((n_folds, len(penalties), len(features)), dtype=int)
    for a, b in combinations(range(n_folds), 2):
        in_a, in_b = task.fold == a, task.fold == b
        seen = ~(in_a | in_b)
        for place, penalty in enumerate(penalties):
            weights, intercepts = fit_logistic(features[seen], task.pathway[seen], n_pathways, penalty)
            choice = (features @ weights + intercepts).argmax(axis=1)
            predicted[a, place, in_b], predicted[b, place, in_a] = choice[in_b], choice[in_a]
    chosen = []
    for fold in range(n_folds):
        others = task.fold != fold
        truth = task.pathway[others]
        scores = [classification_scores(truth, choice[others], n_pathways)[0] for choice in predicted[fold]]
        chosen.append(penalties[int(np.argmax(np.round(scores, 12)))])
    return chosen
