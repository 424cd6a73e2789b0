"""The door of the Sachs study: a fit scored against a graph and targets, beside scores that know no direction."""

import csv
import json

import numpy as np
import pytest

from experiments import sachs
from samsjax.data.studies.sachs import SACHS, TARGETS
from tests.data.test_sachs import MOLECULES, table
from tests.experiments.doors import refused

SMALL = ("--model.n-restarts", "1", "--model.n-polish-steps", "2", "--model.n-searches", "1", "--model.n-hidden", "4")


@pytest.fixture
def files(tmp_path):
    """A table in which mek follows raf, and a graph that says so."""
    cells = table()
    cells["mek"] += 2 * cells["raf"]
    cells.to_csv(tmp_path / "cells.txt", sep="\t", index=False)
    (tmp_path / "graph.txt").write_text("1. raf --> mek\n2. plc --> pip2\n")
    return tmp_path / "cells.txt", tmp_path / "graph.txt"


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_edges_and_targets_are_scored_and_written(files, tmp_path, capsys):
    cells, graph = files
    out = tmp_path / "run"
    sachs.main(["--data.path", str(cells), "--graph", str(graph), "--out", str(out), *SMALL])
    text = capsys.readouterr().out
    assert "| edges by |" in text and "| partial correlation |" in text and "| marginal screening |" in text
    scores = {(r["kind"], r["method"], r["metric"]): float(r["value"]) for r in rows_of(out / "scores.csv")}
    assert scores["edges", "no edge", "SHD"] == 2 and np.isclose(scores["edges", "no edge", "AP"], 2 / 110)
    assert scores["edges", "correlation", "AP"] >= 0.25  # the strongest pair, in either direction
    assert {metric for _, method, metric in scores if method == "gim"} >= {"AP", "SHD", "AP by condition"}
    edges, targets = rows_of(out / "edges.csv"), rows_of(out / "targets.csv")
    assert len(edges) == 110 and sum(int(row["consensus"]) for row in edges) == 2
    strongest = max(edges, key=lambda row: float(row["correlation"]))
    assert {strongest["parent"], strongest["child"]} == {"raf", "mek"}
    annotated = {(row["condition"], row["molecule"]) for row in targets if row["annotated"] == "1"}
    assert len(targets) == 88 and annotated == {(name, m) for name, group in TARGETS.items() for m in group}
    assert json.loads((out / "config.json").read_text())["model"]["n_restarts"] == 1


def test_undirected_scores_are_those_of_the_regressions(files):
    data = SACHS.load(files[0])
    found = sachs.undirected_scores(data)
    assert all(score.shape == (11, 11) for score in found.values())
    assert np.allclose(found["partial correlation"], found["partial correlation"].T)
    rows = data.cells("train")
    condition = np.where(data.is_control, -1, data.perturbation_index[:, 0])[rows]
    x = data.x[rows].astype(float)
    x = x - np.array([x[condition == c].mean(axis=0) for c in condition])
    x = x / x.std(axis=0)
    others = np.delete(np.arange(11), 1)
    weights = np.linalg.lstsq(x[:, others], x[:, 1], rcond=None)[0]
    assert np.allclose(found["regression"][others, 1], np.abs(weights), rtol=1e-4)
    assert MOLECULES[others[np.abs(weights).argmax()]] == "raf"


def test_files_are_asked_for_and_checked(files, tmp_path, capsys):
    cells, graph = files
    out = ("--out", str(tmp_path / "run"))
    refused(sachs.main, ["--graph", str(graph), *out], ["--data.path is missing"], capsys)
    missing = ["--data.path", str(cells), "--graph", str(tmp_path / "grap.txt"), *out]
    refused(sachs.main, missing, ["no file", "graph.txt"], capsys)
    assert not (tmp_path / "run").exists()
