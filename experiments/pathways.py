"""Ask whether the pathway of a perturbed gene is written in its mask, its effect, or only in its measured expression.

    python -m experiments.pathways --run runs/replogle --pathways pathways.json --gene-pattern "^[^_]+" \
        --out pathways.csv

A classifier predicts the pathway of perturbations it did not train on, from each table in turn, and once more with
shuffled labels; see samsjax.evaluation.pathways. --pathways is a JSON object, {"pathway": ["gene", ...]}. Writes one
row per table: balanced accuracy and macro F1, the same for shuffled labels, and how often those score as high.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from experiments import output
from experiments.cli import check_seed, parse, run
from experiments.stored import load_run
from samsjax.data.files import opened
from samsjax.errors import InputError, check_range, listing
from samsjax.evaluation.pathways import PathwayScores, load_pathways, pathway_labels, pathway_scores
from samsjax.evaluation.posterior_effects import posterior_effects
from samsjax.inference.fitted import Fitted
from samsjax.reporting import markdown_table

EXPRESSION = "measured expression"


@dataclass(frozen=True, kw_only=True)
class PathwaysCommand:
    """All settings of a pathway evaluation."""

    run: Path
    """Folder written by experiments.fit."""
    pathways: Path
    """JSON file with the genes of each pathway."""
    out: Path
    """File for the scores (.csv); must not exist."""
    overwrite: bool = False
    """Replace an existing file."""
    gene_pattern: str | None = None
    """Regular expression for the gene in a perturbation's name, such as ^[^_]+; by default the whole name."""
    n_folds: int = 5
    """Folds of the cross-validation; pathways with fewer genes are left out."""
    n_shuffles: int = 100
    """Shuffled labellings to compare with."""
    seed: int = 0
    """Decides folds and shuffles."""

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_range("n_folds", self.n_folds, low=3)
        check_range("n_shuffles", self.n_shuffles, low=2)


def main(argv: Sequence[str]) -> None:
    """Parse flags, score all tables, write one file."""
    command = parse(PathwaysCommand, argv, program="python -m experiments.pathways", description=__doc__ or "")
    output.check_file(command.out, overwrite=command.overwrite, suffix=".csv")
    fitted = load_run(command.run)
    names = fitted.vocabulary.perturbation_names
    genes = genes_of(names, command.gene_pattern)
    labels = pathway_labels(names, load_pathways(command.pathways), dict(zip(names, genes, strict=True)))
    tables = feature_tables(fitted, command.run, command.seed)
    # A perturbation without training cells has the prior as its mask, and one never given alone no measured effect.
    known = (fitted.n_training_cells > 0) & np.isfinite(tables[EXPRESSION]).all(axis=1)
    scores = pathway_scores(
        {name: table[known] for name, table in tables.items()},
        [label for label, is_known in zip(labels, known, strict=True) if is_known],
        groups=np.asarray(genes)[known],
        n_folds=command.n_folds,
        n_shuffles=command.n_shuffles,
        seed=command.seed,
    )
    with output.output_file(command.out, overwrite=command.overwrite, suffix=".csv") as path:
        output.write_rows(path, [row._asdict() for row in scores.rows])
    print(summary(scores))
    print(f"written to {command.out}")


def genes_of(names: Sequence[str], pattern: str | None) -> list[str]:
    """The gene in each perturbation's name.

    Raises:
        InputError: for a pattern that is none, or names without a match.
    """
    if pattern is None:
        return list(names)
    try:
        found = [re.search(pattern, name) for name in names]
    except re.error as error:
        raise InputError(f"--gene-pattern {pattern!r} is no regular expression: {error}") from error
    unmatched = [name for name, match in zip(names, found, strict=True) if match is None]
    if unmatched:
        raise InputError(f"--gene-pattern {pattern!r} finds no gene in {len(unmatched)} names: {listing(unmatched, 4)}")
    return [match.group() for match in found if match is not None]


def feature_tables(fitted: Fitted, folder: Path, seed: int) -> dict[str, np.ndarray]:
    """(perturbation, feature) tables by name: masks and effects if the model has them, and measured expression.

    Raises:
        InputError: if the run keeps no measured effects.
    """
    tables: dict[str, np.ndarray] = {}
    effects = posterior_effects(jax.random.key(seed), fitted)
    if effects is not None and effects.sparse:
        tables["mask"] = effects.inclusion_probability
    if effects is not None:
        tables["effect"] = effects.mean
    path = folder / "ate.h5ad"
    if not path.is_file():
        raise InputError(
            f"{folder} has no ate.h5ad, which holds the measured effects; runs of a sweep need --write all"
        )
    with opened(path, lazy=False) as ate:
        measured = dict(zip(map(str, ate.obs_names), np.asarray(ate.layers["data"]), strict=True))
        missing = np.full(ate.n_vars, np.nan)
        rows = [measured.get(name, missing) for name in fitted.vocabulary.perturbation_names]
    tables[EXPRESSION] = np.stack(rows)
    return tables


def summary(scores: PathwayScores) -> str:
    """The scores as a table, and the perturbations behind them."""
    rows = [
        {
            "features": row.features,
            "balanced accuracy": f"{row.balanced_accuracy:.3f}",
            "shuffled": f"{row.balanced_accuracy_shuffled:.3f} ({row.balanced_accuracy_shuffled_sd:.3f})",
            "p": f"{row.balanced_accuracy_p:.3f}",
            "macro F1": f"{row.macro_f1:.3f}",
            "shuffled F1": f"{row.macro_f1_shuffled:.3f} ({row.macro_f1_shuffled_sd:.3f})",
        }
        for row in scores.rows
    ]
    members = ", ".join(f"{name} {n}" for name, n in scores.members.items())
    left_out = ", ".join(f"{name} {n}" for name, n in scores.left_out.items())
    lines = [markdown_table(rows), f"perturbations by pathway: {members}; without pathway: {scores.n_unlabelled}"]
    return "\n".join([*lines, f"left out, fewer genes than folds: {left_out}"] if left_out else lines)


if __name__ == "__main__":
    run(main)
