"""The preset for perturbations nobody measured: its arms differ in features alone, and all of them run."""

import csv

import numpy as np
import pandas as pd
import pytest

from experiments import unseen
from experiments.finished import differences, flat
from experiments.fit_command import command_from, settings_of
from experiments.screens import load_data
from experiments.unseen import GRID
from samsjax.data import simulate, treatments
from samsjax.reporting import truth_to_anndata
from tests import small
from tests.experiments.doors import EVALUATION, MODEL, SIMULATION, read_json

SIZES = (*SIMULATION, "--simulation.n-features", "3", "--simulation.held-out", "0.34")
SCORED = (
    *("--evaluation.extent", "scores", "--evaluation.scoring.min-cells", "4", "--evaluation.scoring.n-bootstrap", "10"),
    *("--evaluation.scoring.n-halves", "1", "--evaluation.scoring.no-cell-metrics"),
    *("--evaluation.scoring.metrics", "pearson_delta", "mse_delta", "--evaluation.effects.noise", "mean"),
)
TINY = (*MODEL, "--train.n-steps", "4", "--model.mask-prior-prob", "0.5", *EVALUATION, *SCORED)
"""Masks are on as often as not: after few steps of training, effects are then not all zero."""


def settings(arm, *flags):
    return flat(settings_of(command_from([*GRID.flags(arm), *flags, "--out", "x"])))


def test_arms_differ_in_features_alone():
    found = {arm: settings(arm) for arm in GRID.arms}
    base = found["features"]
    assert base["model.feature_prior"] and base["simulation_name"] == "features" and base["features.source"] is None
    assert differences(found["shuffled"], base, []).keys() == {"features.shuffled"}
    assert differences(found["random"], base, []).keys() == {"features.source"}
    assert differences(found["none"], base, []).keys() == {"model.feature_prior"}
    assert all(f"| {arm} |" in unseen.__doc__ for arm in GRID.arms)


def test_cells_of_all_arms_are_the_same_and_features_are_not():
    data = {arm: load_data(command_from([*GRID.flags(arm), *SIZES, "--out", "x"]))[0] for arm in GRID.arms}
    first = data["features"]
    for other in data.values():
        assert (other.x != first.x).nnz == 0 and (other.split == first.split).all()
    values = {arm: each.features.values for arm, each in data.items()}
    assert (values["none"] == first.features.values).all()  # for baselines
    assert np.allclose(np.sort(values["shuffled"], axis=0), np.sort(first.features.values, axis=0))
    assert (values["shuffled"] != first.features.values).any(axis=1).all()
    assert values["random"].shape[0] == 6 and not np.isin(values["random"], first.features.values).any()


@pytest.mark.slow
def test_it_runs_on_the_simulation(tmp_path):
    out, arms = tmp_path / "unseen", ("features", "none")
    unseen.main(["--out", str(out), "--arms", *arms, "--seeds", "0", *SIZES, *TINY])
    with (out / "summary.csv").open(newline="") as table:
        rows = {row["arm"]: row for row in csv.DictReader(table)}
    assert list(rows) == list(arms)
    for predictor in ("training_mean", "feature_ridge", "feature_nearest"):
        same = {row[f"unseen/{predictor}/pearson_delta mean"] for row in rows.values()}
        assert len(same) == 1 and -1 <= float(same.pop()) <= 1
    assert float(rows["features"]["unseen/model/pearson_delta mean"])
    assert read_json(out / "features" / "seed-0" / "config.json")["preset"] == "unseen"


@pytest.mark.slow
def test_it_runs_on_a_file_with_groups_held_out(tmp_path):
    """Every arm, in two commands; the doubles of the file are in both groups."""
    data, truth = simulate(small.SCREEN, seed=0)
    truth_to_anndata(data, treatments(data), truth).write_h5ad(tmp_path / "screen.h5ad")
    names = data.perturbation_names.tolist()
    values = np.random.default_rng(0).standard_normal((len(names), 2))
    pd.DataFrame(values, index=names, columns=["f1", "f2"]).to_csv(tmp_path / "f.csv", index_label="perturbation")
    groups = pd.DataFrame({"perturbation": names, "group": ["first", "second"] * (len(names) // 2)})
    groups.to_csv(tmp_path / "groups.csv", index=False)
    file = ("--data.path", str(tmp_path / "screen.h5ad"), "--data.split", "perturbations")
    file = (
        *file,
        "--data.perturbation-groups",
        str(tmp_path / "groups.csv"),
        "--data.test-perturbation-names",
        "first",
    )
    given = ("--features.source", "table", "--features.path", str(tmp_path / "f.csv"))
    out = ("--out", str(tmp_path / "out"), "--seeds", "0")
    unseen.main([*out, "--arms", "features", "shuffled", "none", *file, *given, *TINY])
    unseen.main([*out, "--arms", "random", *file, *TINY])
    with (tmp_path / "out" / "summary.csv").open(newline="") as table:
        rows = {row["arm"]: row for row in csv.DictReader(table)}
    assert list(rows) == list(GRID.arms)
    for arm in ("features", "shuffled", "random"):
        assert rows[arm]["unseen/model/pearson_delta mean"] == rows[arm]["scores/model/pearson_delta mean"] != ""
