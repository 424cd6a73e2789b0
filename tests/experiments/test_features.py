"""Features of perturbations through the doors: flags, what is refused before any work, and what a run keeps."""

from dataclasses import fields

import anndata
import numpy as np
import pandas as pd
import pytest

from experiments import fit, screens
from experiments.feature_files import FEATURES, write_perturbation_features
from experiments.fit_checks import check_command
from experiments.fit_command import command_from, settings_of
from experiments.jobs import Job, _data_of
from samsjax import reporting
from samsjax.data import treatments
from samsjax.data.features import FeaturesConfig, read_features, with_features
from samsjax.data.simulate import Truth
from samsjax.errors import InputError
from samsjax.models import MODELS
from tests.data.feature_screens import screen, table
from tests.experiments.doors import SMALL, read_json, refused

RANDOM = ("--features.source", "random", "--features.n-components", "3")
ABLE = [name for name, entry in MODELS.items() if hasattr(entry.config, "feature_prior")]
UNABLE = [name for name, entry in MODELS.items() if name not in ABLE and not entry.config().uses_features]


def command(*flags):
    return command_from(["--out", "out", *map(str, flags)])


@pytest.fixture
def described(tmp_path):
    """A screen with features, one perturbation of which no cell carries."""
    path = table(tmp_path, name=list("ABCDE"), f=[1 / 3, 2, 3, 4, 5], g=[0.1, 1e-300, 1e17, -1, 7])
    return with_features(screen(), FeaturesConfig(source="table", path=path))


def test_flags_say_what_the_configuration_says(tmp_path):
    found = command("--features.source", "smiles", "--features.path", tmp_path / "a.csv", "--features.shuffled")
    assert found.features == FeaturesConfig(source="smiles", path=tmp_path / "a.csv", shuffled=True)
    recorded = settings_of(found)["features"]
    assert set(recorded) == {field.name for field in fields(FeaturesConfig)}
    assert FeaturesConfig(**recorded) == found.features
    assert command().features == FeaturesConfig()


@pytest.mark.parametrize("name", ABLE)
def test_features_switch_a_prior_on_that_learns_from_them(name):
    assert not command("--model", name).model.feature_prior
    assert command("--model", name, *RANDOM).model.feature_prior
    assert command("--model", name, "--features.shuffled").model.feature_prior
    for flag in ("--model.no-feature-prior", "--model.no-feature_prior"):
        off = command("--model", name, *RANDOM, flag)
        assert not off.model.feature_prior
    check_command(command(*RANDOM, "--model.no-feature-prior"))  # an ablation; baselines use the features


@pytest.mark.parametrize("name", UNABLE)
def test_models_that_cannot_use_features_are_refused(name):
    with pytest.raises(InputError, match=rf"--model {name} uses no features .*--model sams_vae --model.feature-prior"):
        check_command(command("--model", name, *RANDOM))


def test_what_is_refused_before_any_work(tmp_path, unwritten, capsys, monkeypatch):
    monkeypatch.setattr(screens, "load_data", lambda _: pytest.fail("work was done"))
    cells = tmp_path / "cells.h5ad"
    out = ("--out", unwritten / "run")
    for flags, words in (
        (("--features.source", "table"), ["source 'table' need", "features.path"]),
        (("--features.source", "table", "--features.path", tmp_path / "no.csv"), ["no file", "no.csv"]),
        (("--features.source", "tabel"), ["tabel"]),
        (("--data.path", cells, "--features.shuffled"), ["a file of cells brings none", "--features.source"]),
        (("--data.path", cells, "--model.feature-prior"), ["needs features of perturbations", "--features.source"]),
    ):
        refused(fit.main, [*out, *flags], words, capsys)


def test_a_folder_that_holds_the_table_is_not_replaced(tmp_path, capsys):
    (tmp_path / "config.json").write_text("{}")
    path = table(tmp_path, name=["A"], f=[1])
    flags = ["--out", tmp_path, "--overwrite", "--features.source", "table", "--features.path", path]
    refused(fit.main, flags, ["holds", "table.csv", "will not be overwritten"], capsys)


def test_a_simulation_is_given_features_and_says_so(capsys):
    data, _ = screens.load_data(command(*SMALL, *RANDOM))
    assert data.features.values.shape == (6, 3)
    assert "the model uses them through model.feature_prior" in capsys.readouterr().err
    assert screens.describe(data).endswith("6 perturbations with 3 features")
    screens.load_data(command(*SMALL, *RANDOM, "--model.no-feature-prior"))
    assert "for baselines alone" in capsys.readouterr().err
    data, _ = screens.load_data(command(*SMALL))
    assert data.features is None


def test_features_go_by_the_split_of_the_file(tmp_path):
    labels = ["A", "B", "C", "control"] * 15
    obs = pd.DataFrame({"perturbation": labels}, index=[f"c{i}" for i in range(60)])
    anndata.AnnData(np.random.default_rng(0).poisson(3, (60, 5)) + 1.0, obs=obs).write_h5ad(tmp_path / "cells.h5ad")
    path = table(tmp_path, name=list("ABC"), f=[1, 1, 2], g=[1, 2, 3])
    flags = ("--data.path", tmp_path / "cells.h5ad", "--data.split", "perturbations")
    given = ("--features.source", "table", "--features.path", path)
    with pytest.raises(InputError, match=r"1 features are the same for all 2 perturbations that train.*: f"):
        screens.load_data(command(*flags, "--data.test-perturbation-names", "C", *given))
    data, _ = screens.load_data(command(*flags, "--data.test-perturbation-names", "A", *given))
    assert data.features.names == ("f", "g")


def test_runs_with_other_features_are_runs_on_other_data():
    commands = [command(*SMALL, *more) for more in ((), RANDOM, (*RANDOM, "--features.seed", "1"))]
    assert (
        len(
            {
                _data_of(Job(None, each, settings_of(each) | {"out": "", "data": {}, "features": str(each.features)}))
                for each in commands
            }
        )
        == 3
    )


def test_a_run_keeps_features_to_the_bit(described, tmp_path):
    write_perturbation_features(tmp_path, described)
    stored = read_features(tmp_path / FEATURES)
    assert stored.perturbations == tuple("ABCDE") and stored.names == ("f", "g")
    assert np.array_equal(stored.values, [*described.features.values, described.features.others["E"]])
    again = with_features(screen(), FeaturesConfig(source="table", path=tmp_path / FEATURES)).features
    assert np.array_equal(again.values, described.features.values) and list(again.others) == ["E"]


def test_a_run_without_features_keeps_no_file(tmp_path):
    write_perturbation_features(tmp_path, screen())
    assert not list(tmp_path.iterdir())


def test_the_file_of_a_simulation_holds_its_features(described, tmp_path):
    n = described.n_cells
    truth = Truth(np.zeros((4, 1), bool), np.zeros((4, 1)), np.zeros((n, 1)), np.ones((n, 8)), np.ones(8))
    path = tmp_path / "simulation.h5ad"
    reporting.truth_to_anndata(described, treatments(described), truth).write_h5ad(path)
    found = anndata.read_h5ad(path).uns["features"]
    assert found["perturbation_names"].tolist() == list("ABCD") and found["names"].tolist() == ["f", "g"]
    assert np.array_equal(found["values"], described.features.values)


@pytest.mark.slow
def test_a_fit_with_features_from_a_table(tmp_path, capsys):
    """The whole door, on a table with one perturbation more than the screen."""
    names = [f"P{i}" for i in range(1, 8)]
    path = table(tmp_path, name=names, f=[0.5, 1, -1, 3, 2, 0, 9], g=[1, 0, 0, 1, 1, 0, 0])
    run = tmp_path / "run"
    fit.main(["--out", str(run), *SMALL, "--features.source", "table", "--features.path", str(path)])
    config = read_json(run / "config.json")
    assert config["features"]["source"] == "table" and config["model"]["feature_prior"] is True
    assert read_features(run / FEATURES).of(["P7"]).tolist() == [[9, 0]]
    assert "6 perturbations with 2 features" in capsys.readouterr().err
    assert anndata.read_h5ad(run / "simulation.h5ad").uns["features"]["values"].shape == (6, 2)
