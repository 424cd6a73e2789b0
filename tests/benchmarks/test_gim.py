"""The synthetic benchmark of causal models prints its tables and writes every score."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import gim
from benchmarks.gim import ARMS, GIMBenchmark, measure
from samsjax.errors import InputError
from samsjax.evaluation.interventions import METRICS

SMALL = replace(
    gim.SIMULATION, edges_per_node=1, n_train_functions=4, n_test_functions=2, cells_per_context=6, n_control_cells=40
)


def mean_error(rows, name):
    return np.mean([row["value"] for row in rows if (row["predictor"], row["metric"]) == (name, "mean_error")])


def test_predictors_are_compared_without_any_fit_of_a_causal_model(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(gim, "SIMULATION", SMALL)
    names = ("no effect", "nearest", "ridge")
    rows = measure(
        GIMBenchmark(
            *(2, 4), graphs=("sf",), mechanisms=("linear", "mlp"), predictors=names, arms=(), out=tmp_path / "s.csv"
        )
    )
    text = capsys.readouterr().out
    assert "### sf, linear, shift: 2 seeds" in text and "### sf, mlp, shift: 2 seeds" in text and "| truth |" in text
    with (tmp_path / "s.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(rows) and {row["mechanism"] for row in table} == {"linear", "mlp"}
    assert {row["predictor"] for row in table} == {*names, "marginal screening", "truth"}
    assert {row["group"] for row in table} == {"train", "partly_interior", "partly_edge", "fully"}
    linear = [row for row in rows if row["mechanism"] == "linear"]
    assert {row["metric"] for row in linear if row["predictor"] == "truth"} == set(METRICS)
    errors = {name: mean_error(linear, name) for name in (*names, "truth")}
    assert errors["no effect"] == 1 and errors["truth"] < min(errors["nearest"], errors["ridge"])


def test_a_causal_model_is_scored_on_structure_targets_and_predictions(monkeypatch, capsys):
    monkeypatch.setattr(gim, "SIMULATION", SMALL)
    monkeypatch.setattr(gim, "MODEL", replace(gim.MODEL, n_hidden=4, n_layers=1, n_searches=1))
    small = {"n_features": 3, "restarts": 1, "steps": 2}
    rows = measure(GIMBenchmark(1, 4, graphs=("er",), arms=("gim",), predictors=("no effect",), **small))
    text = capsys.readouterr().out
    assert "| gim | " in text and ("1 of 1" in text or "0 of 1" in text)
    found = {(row["group"], row["metric"]): row["value"] for row in rows if row["predictor"] == "gim"}
    assert found["graph", "acyclic"] == 1 and 0 <= found["graph", "shd"] <= 6
    assert {group for group, metric in found if metric == "target_auroc"} == {"train", *gim.NEW_GROUPS}
    assert all(np.isfinite(found[group, metric]) for group in gim.NEW_GROUPS for metric in METRICS)


def test_tables_leave_out_what_an_arm_does_not_say():
    scores = {("gim", "train"): 0.9, ("gim", "fully"): 0.8, ("gim, free targets", "train"): 0.7}
    scores |= {("marginal screening", "train"): 0.75}
    by = {
        (name, group, metric): [value]
        for (name, group), value in scores.items()
        for metric in ("target_auroc", "target_average_precision")
    }
    rows = {row["targets by"]: row for row in gim._target_table(by)}
    assert rows["gim, free targets"]["fully"] == "-" and rows["gim"]["fully"] == "0.80 (0.80)"
    beats = {name: row["seeds better than screening, train"] for name, row in rows.items()}
    assert beats == {"gim": "1 of 1", "gim, free targets": "0 of 1", "marginal screening": "-"}


def test_names_and_places_are_checked_before_any_work(tmp_path):
    with pytest.raises(InputError, match=r"unknown arm 'gim, oracle'. Did you mean 'gim, oracle graph'"):
        GIMBenchmark(arms=("gim, oracle",))
    with pytest.raises(InputError, match="unknown predictor"):
        GIMBenchmark(predictors=("rigde",))
    with pytest.raises(InputError, match="folder does not exist"):
        GIMBenchmark(out=tmp_path / "none" / "s.csv")
    assert set(ARMS) >= {"gim", "gim, oracle graph", "gim, oracle targets", "gim, empty graph", "gim, free targets"}
