"""Sachs et al. 2005: are the known signalling graph and the known targets of eight reagents found in single cells?

    python -m experiments.sachs --data.path sachs.2005.log_with_interventions.txt \
        --graph sachs.2005.ground.truth.graph.txt --out runs/sachs

Fits a generative intervention model to eleven molecules under nine conditions, which have one-hot features. Its edges
are scored against the consensus graph, its targets against our annotation of the reagents (common knowledge, unverified
against the paper; see samsjax.data.studies.sachs). Beside it stand simple scores of edges, which know no direction
(correlation, and partial correlation in all cells about the mean of their condition; regression of each molecule on all
others) and marginal screening of targets, the size of the shift of each mean from that of the stimulated cells.

The consensus graph is literature, not truth: it has no feedback, and experts disagree on its edges. Values of eleven
molecules are neither Gaussian nor linear in each other, and two reagents were given instead of the stimulation. Read
scores as agreement with the literature.

Prints two tables and writes edges.csv, targets.csv, scores.csv and config.json into a folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from experiments import output
from experiments.cli import check_seed, parse, run, say
from samsjax.causal.metrics import auroc, average_precision, graph_agreement
from samsjax.data import PerturbationData
from samsjax.data.studies.sachs import SACHS, SachsConfig, annotated_targets, consensus_graph
from samsjax.errors import InputError
from samsjax.evaluation.interventions import contexts_of, marginal_scores, target_agreement
from samsjax.evaluation.interventions.gim import Causes, read_gim
from samsjax.inference.fitted import fit
from samsjax.models import GIMConfig
from samsjax.reporting import markdown_table

PROGRAM = "python -m experiments.sachs"


@dataclass(frozen=True, kw_only=True)
class SachsCommand:
    """One fit to the Sachs table, and how it agrees with what is known."""

    out: Path
    """Folder for the results; must not exist yet, unless it is overwritten."""
    graph: Path
    """Text file of the consensus graph, with lines such as raf --> mek."""
    overwrite: bool = False
    """Replace the results of an earlier run in that folder."""
    seed: int = 0
    """Decides the start of the fit."""
    data: SachsConfig = field(default_factory=SachsConfig)
    model: GIMConfig = field(default_factory=GIMConfig)

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.data.path is None:
            raise InputError("--data.path is missing: give the table of log values with the columns of conditions")


def main(argv: Sequence[str]) -> None:
    """Parse flags, fit, and write everything or nothing."""
    command = parse(SachsCommand, argv, program=PROGRAM, description=__doc__ or "")
    output.check_folder(command.out, overwrite=command.overwrite, inputs=[command.data.path, command.graph])
    data = SACHS.read(command.data)
    consensus = consensus_graph(command.graph, data.gene_names)
    say(f"{data.n_cells} cells, {data.n_genes} molecules, {data.n_perturbations} conditions beside the controls")
    with output.output_folder(command.out, overwrite=command.overwrite) as folder:
        causes = read_gim(fit(data, command.model, seed=command.seed))
        edges, targets = edge_scores(data, consensus, causes), target_scores(data, causes)
        output.write_json(folder / output.CONFIG, output.plain(command))
        output.write_rows(folder / "scores.csv", [*_long("edges", edges), *_long("targets", targets)])
        output.write_rows(folder / "edges.csv", _edges(data, consensus, causes))
        output.write_rows(folder / "targets.csv", _targets(data, causes))
    print(markdown_table(edges), markdown_table(targets), sep="\n\n")
    print(f"written to {command.out}")


def edge_scores(data: PerturbationData, consensus: np.ndarray, causes: Causes) -> list[dict[str, Any]]:
    """Agreement of edges with the consensus, one row per method; "-" for scores that decide on no graph."""
    found = graph_agreement(consensus, causes.model.graph, np.clip(causes.edge_log_odds, -50, 50))
    rows = [_edge_row("gim", found.edge_average_precision, found.edge_auroc, found.shd, found.n_found)]
    pairs = ~np.eye(len(consensus), dtype=bool)
    for name, score in undirected_scores(data).items():
        ranked = consensus[pairs], score[pairs]
        rows.append(_edge_row(name, average_precision(*ranked), auroc(*ranked)))
    n_edges = int(consensus.sum())
    return [*rows, _edge_row("no edge", n_edges / pairs.sum(), 0.5, n_edges, 0)]


def _edge_row(name: str, precision: float, area: float, shd: int | str = "-", n: int | str = "-") -> dict[str, Any]:
    return {"edges by": name, "AP": precision, "AUROC": area, "SHD": shd, "edges": n}


def undirected_scores(data: PerturbationData) -> dict[str, np.ndarray]:
    """Scores of edges (parent, child) from training cells about the mean of their condition."""
    training = contexts_of(data, "train")
    cells = np.concatenate([c - c.mean(axis=0) for c in (*training.cells, training.control)])
    cells = cells / cells.std(axis=0)
    precision = np.linalg.inv(np.cov(cells, rowvar=False))
    spread = np.sqrt(np.diagonal(precision))
    return {
        "correlation": np.abs(np.corrcoef(cells, rowvar=False)),
        "partial correlation": np.abs(precision / spread / spread[:, None]),
        # Column j holds the weights of all others in the regression of j.
        "regression": np.abs(precision / np.diagonal(precision)),
    }


def target_scores(data: PerturbationData, causes: Causes) -> list[dict[str, Any]]:
    """Agreement of targets with the annotation, one row per method."""
    training, truth = contexts_of(data, "train"), annotated_targets(data)
    scores = {
        "gim": causes.target_log_odds[training.numbers],
        "gim, size of shifts": np.abs(causes.strengths * (causes.target_log_odds > 0))[training.numbers],
        "marginal screening": marginal_scores(training.cells, training.control),
    }
    found = {name: target_agreement(truth[training.numbers], score) for name, score in scores.items()}
    chance = truth[training.numbers].mean()
    rows = [
        {"targets by": name, "AP": a.average_precision, "AUROC": a.auroc, "AP by condition": a.macro_average_precision}
        for name, a in found.items()
    ]
    return [*rows, {"targets by": "chance", "AP": float(chance), "AUROC": 0.5, "AP by condition": "-"}]


def _long(kind: str, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"kind": kind, "method": row[f"{kind} by"], "metric": metric, "value": value}
        for row in rows
        for metric, value in row.items()
        if metric != f"{kind} by" and value != "-"
    ]


def _edges(data: PerturbationData, consensus: np.ndarray, causes: Causes) -> list[dict[str, Any]]:
    names, undirected = data.gene_names.tolist(), undirected_scores(data)
    return [
        {
            "parent": names[i],
            "child": names[j],
            "consensus": int(consensus[i, j]),
            "gim": int(causes.model.graph[i, j]),
            "gim_log_odds": float(causes.edge_log_odds[i, j]),
            **{name.replace(" ", "_"): float(score[i, j]) for name, score in undirected.items()},
        }
        for i, j in np.argwhere(~np.eye(len(names), dtype=bool))
    ]


def _targets(data: PerturbationData, causes: Causes) -> list[dict[str, Any]]:
    truth, training = annotated_targets(data), contexts_of(data, "train")
    marginal = marginal_scores(training.cells, training.control)
    return [
        {
            "condition": str(name),
            "molecule": str(molecule),
            "annotated": int(truth[row, column]),
            "gim_log_odds": float(causes.target_log_odds[row, column]),
            "gim_shift": float(causes.strengths[row, column]),
            "marginal_shift": float(marginal[place, column]),
        }
        for place, (row, name) in enumerate(zip(training.numbers.tolist(), training.names, strict=True))
        for column, molecule in enumerate(data.gene_names)
    ]


if __name__ == "__main__":
    run(main)
