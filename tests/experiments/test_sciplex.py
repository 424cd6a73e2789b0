"""The preset for sci-Plex 3: what its tasks hold out, whose annotations they read, and that they run."""

import csv

import anndata
import numpy as np
import pandas as pd
import pytest

from experiments import sciplex
from experiments.finished import differences, flat
from experiments.fit_command import command_from, settings_of
from experiments.grid import expand, narrowed
from experiments.sciplex import GRID, HELD_OUT_DRUGS, annotated, write_pathways
from samsjax.data.perturbation_groups import load_groups
from samsjax.errors import InputError
from tests.data.study_files import counts_of
from tests.experiments.doors import EVALUATION, MODEL, read_json
from tests.experiments.test_unseen import SCORED

DRUGS = (*HELD_OUT_DRUGS, "A-366", "ABT-737", "(+)-JQ1", "Belinostat")
DOSES = (10, 1000, 10000)
SMALL = ("--data.min-umis", "1", "--data.min-cells", "2", "--data.max-cells", "6")
TINY = (*MODEL, "--train.n-steps", "4", "--model.mask-prior-prob", "0.5", *EVALUATION, *SCORED)


def settings(arm, *flags):
    tokens = [*GRID.flags(arm), "--data.path", "s.h5ad", *flags, "--out", "x"]
    return flat(settings_of(command_from(tokens)))


def write_screen(path):
    """Six cells of every drug and dose, 40 of the vehicle, all of one line."""
    cells = [(drug, dose, False, "A549") for drug in DRUGS for dose in DOSES for _ in range(6)]
    cells += [("Vehicle", 0, True, "A549")] * 40
    obs = pd.DataFrame(cells, columns=["product_name", "dose", "vehicle", "cell_line"])
    obs.index = [f"cell{i}" for i in range(len(obs))]
    var = pd.DataFrame(index=[f"g{i}" for i in range(8)])
    anndata.AnnData(counts_of(len(obs), 8), obs=obs, var=var).write_h5ad(path)


def write_annotations(path):
    """Every second drug is in Epigenetics; the vehicle stands there, too."""
    rows = [(drug, "CO", ("Epigenetics", "DNA Damage")[i % 2]) for i, drug in enumerate(DRUGS)]
    rows.append(("control", "CS(C)=O", "Vehicle"))
    pd.DataFrame(rows, columns=["drug", "smiles", "pathway"]).to_csv(path, index=False)


def test_what_each_task_holds_out():
    doses = {arm: settings(arm) for arm in GRID.arms if arm.startswith("s1_")}
    found = {(each["data.held_out_doses"], each["model.dose"]) for each in doses.values()}
    assert found == {(place, curve) for place in ("inside", "highest") for curve in ("linear", "hill_shared")}
    assert all(each["data.split"] == "doses" and not each["model.feature_prior"] for each in doses.values())
    drugs, pathway = settings("s2_features"), settings("s3_features")
    assert drugs["data.test_perturbation_names"] == list(HELD_OUT_DRUGS) and len(set(HELD_OUT_DRUGS)) == 9
    assert pathway["data.test_perturbation_names"] == ["Epigenetics"]
    assert {each["data.split"] for each in (drugs, pathway)} == {"perturbations"}
    assert {settings(arm)["data.cell_line"] for arm in GRID.arms} == {"A549"}


@pytest.mark.parametrize("task", ["s2", "s3"])
def test_controls_differ_in_features_alone(task):
    base = settings(f"{task}_features")
    assert base["model.feature_prior"] and base["features.source"] == "smiles" and base["features.n_components"] == 32
    assert differences(settings(f"{task}_shuffled"), base, []).keys() == {"features.shuffled"}
    changed = differences(settings(f"{task}_random"), base, []).keys()
    assert changed == {"features.source", "features.path", "features.undefined", "features.constant"}


def test_one_pathway_at_a_time_replaces_the_default(tmp_path):
    grid = narrowed(GRID, arms=["s3_random"], vary=["data.test-perturbation-names=Cell Cycle,MAPK"], seeds=[0])
    runs = expand(grid, ["--data.path", "s.h5ad"], tmp_path)
    found = [command_from(run.argv).data.test_perturbation_names for run in runs]
    assert found == [("Cell Cycle",), ("MAPK",)] and len({run.folder for run in runs}) == 2


def test_annotations_go_to_the_arms_that_read_them(tmp_path):
    grid = annotated(GRID, tmp_path / "my drugs.csv", tmp_path / "groups.csv")
    for arm in GRID.arms:
        found = flat(settings_of(command_from([*grid.flags(arm), "--data.path", "s.h5ad", "--out", "x"])))
        reads = "smiles" in GRID.arms[arm]
        assert found["features.path"] == (str(tmp_path / "my drugs.csv") if reads else None)
        groups = str(tmp_path / "groups.csv") if arm.startswith("s3_") else None
        assert found["data.perturbation_groups"] == groups


def test_pathways_are_written_once(tmp_path):
    write_annotations(tmp_path / "drugs.csv")
    path = tmp_path / "out" / "pathways.csv"
    write_pathways(tmp_path / "drugs.csv", path)
    write_pathways(tmp_path / "drugs.csv", path)
    groups = load_groups(path)
    assert groups["Dacinostat"] == "Epigenetics" and groups["CUDC-907"] == "DNA Damage" and len(groups) == 14
    path.write_text("drug,pathway\nDacinostat,MAPK\n")
    with pytest.raises(InputError, match="holds other pathways"):
        write_pathways(tmp_path / "drugs.csv", path)
    assert path.read_text().endswith("MAPK\n")


def table(folder):
    with (folder / "summary.csv").open(newline="") as lines:
        return {row["arm"]: row for row in csv.DictReader(lines)}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*left out:UserWarning")
def test_it_runs_on_a_small_file(tmp_path):
    """All three tasks; the features come from a table, so that RDKit is not needed."""
    write_screen(tmp_path / "s.h5ad")
    write_annotations(tmp_path / "drugs.csv")
    values = np.random.default_rng(0).standard_normal((len(DRUGS), 3))
    pd.DataFrame(values, index=DRUGS, columns=["f1", "f2", "f3"]).to_csv(tmp_path / "f.csv", index_label="drug")
    shared = ("--data.path", str(tmp_path / "s.h5ad"), "--seeds", "0", *SMALL, *TINY)
    given = ("--features.source", "table", "--features.path", str(tmp_path / "f.csv"), "--features.undefined", "refuse")
    drugs = ("--annotations", str(tmp_path / "drugs.csv"))
    out = {task: tmp_path / task for task in ("s1", "s2", "s3")}
    sciplex.main(["--out", str(out["s1"]), "--arms", "s1_hill_inside", *shared])
    features = (*given, "--features.n-components", "2")
    sciplex.main(["--out", str(out["s2"]), "--arms", "s2_features", *shared, *features])
    sciplex.main(["--out", str(out["s3"]), *drugs, "--arms", "s3_random", *shared, "--features.n-components", "2"])
    assert float(table(out["s1"])["s1_hill_inside"]["scores/model/pearson_delta mean"])
    for task, arm in (("s2", "s2_features"), ("s3", "s3_random")):
        row = table(out[task])[arm]
        assert float(row["unseen/model/pearson_delta mean"])
        assert row["unseen/feature_ridge/pearson_delta mean"] and row["unseen/feature_nearest/pearson_delta mean"]
        config = read_json(out[task] / arm / "seed-0" / "config.json")
        assert (config["preset"], config["study"], config["model"]["dose"]) == ("sciplex", "sciplex", "hill_shared")
