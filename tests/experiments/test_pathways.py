"""The door `experiments.pathways`: tables of a run, names to genes, and what it refuses."""

import csv
import json

import numpy as np
import pytest

from experiments import pathways
from samsjax.errors import InputError
from samsjax.inference.checkpoint import load


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "pathways.json"
    path.write_text(json.dumps({"first": ["P1", "P2", "P3"], "second": ["P4", "P5", "P6"], "unseen": ["P7"]}))
    return path


def flags(run, labels, out, *more):
    return ["--run", str(run), "--pathways", str(labels), "--out", str(out), "--n-shuffles", "2", *more]


def test_every_table_of_a_run_is_scored(runs, labels, tmp_path, capsys):
    out = tmp_path / "scores.csv"
    pathways.main(flags(runs.simulated, labels, out, "--n-folds", "3"))
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["features"] for row in rows] == ["mask", "effect", "measured expression"]
    assert all(0 <= float(row["balanced_accuracy"]) <= 1 and row["n_perturbations"] == "6" for row in rows)
    assert "first 3, second 3; without pathway: 0" in capsys.readouterr().out
    assert not list(tmp_path.glob(".*"))


def test_tables_are_those_of_the_run(runs):
    fitted = load(runs.simulated / "model")
    tables = pathways.feature_tables(fitted, runs.simulated, 0)
    assert {name: table.shape for name, table in tables.items()} == {
        "mask": (6, 4),
        "effect": (6, 4),
        "measured expression": (6, 30),
    }
    assert np.isfinite(tables["measured expression"]).all()


def test_genes_of_names():
    assert pathways.genes_of(["AAAS_+_1|AAAS_+_2", "A1_-_3"], "^[^_]+") == ["AAAS", "A1"]
    assert pathways.genes_of(["a", "b"], None) == ["a", "b"]
    with pytest.raises(InputError, match=r"finds no gene in 1 names: b"):
        pathways.genes_of(["a", "b"], "a")
    with pytest.raises(InputError, match="is no regular expression"):
        pathways.genes_of(["a"], "(")


def test_refusals_write_nothing(runs, run_copy, labels, unwritten):
    out = unwritten / "scores.csv"
    (run_copy / "ate.h5ad").unlink()
    for run, more, text in (
        (run_copy, (), "no ate.h5ad.*--write all"),
        (runs.simulated, ("--gene-pattern", "X"), "finds no gene in 6 names"),
        (runs.simulated, ("--n-folds", "5"), "pathways"),
    ):
        with pytest.raises(InputError, match=text):
            pathways.main(flags(run, labels, out, *more))
    with pytest.raises(InputError, match=r"must end in .csv"):
        pathways.main(flags(runs.simulated, labels, unwritten / "scores.h5ad"))
