"""The door `experiments.summarize`: rows, means and spreads, paired differences, and what was published."""

import csv
import json
from math import sqrt

import pytest

from experiments import summarize
from experiments.finished import find_runs
from experiments.fit_command import command_from, settings_of
from experiments.grid import preset
from experiments.published import RELATIVE, published_tables
from experiments.summary import Spread
from experiments.summary import summarize as summary_of
from samsjax.errors import InputError
from tests.experiments.doors import refused

BOUND = "test/predictive_iwelbo"


class Runs:
    """A folder of runs written by hand."""

    def __init__(self, folder):
        self.folder = folder

    def add(self, bound=-1.0, *, name=None, seed=0, model="sams_vae", labels=None, metrics=None, **settings):
        """A run with these settings (two underscores between levels) and metrics."""
        config = {**(labels or {}), "model_name": model, "out": f"run {seed}", "seed": seed}
        for key, value in settings.items():
            group, _, last = key.rpartition("__")
            (config.setdefault(group, {}) if group else config)[last] = value
        found = ({} if bound is None else {BOUND: bound}) | (metrics or {})
        return self.write(config, found, name)

    def add_preset(self, name, arm, bound, *flags, metrics=None):
        """A run of an arm of a preset, with further flags."""
        argv = [*preset(name).flags(arm), "--data.path", "x.h5ad", "--out", "somewhere", *flags]
        return self.write(
            {"preset": name, "arm": arm, **settings_of(command_from(argv))}, {BOUND: bound, **(metrics or {})}
        )

    def write(self, config, metrics, name=None):
        folder = self.folder / (name or f"run{len(list(self.folder.glob('run*')))}")
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "metrics.json").write_text(json.dumps(metrics))
        return folder

    def table(self, *metrics, **relative_to):
        return summary_of(find_runs([self.folder]), metrics, relative_to)

    def rows(self, *metrics, **relative_to):
        return [dict(row) for row in self.table(*metrics, **relative_to).rows]


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path / "runs")


def test_mean_and_sample_deviation_over_both_seeds(runs):
    for bound, seed, split_seed in ((1.0, 0, 0), (2.0, 0, 1), (6.0, 1, 0)):
        runs.add(bound, seed=seed, data__split_seed=split_seed)
    runs.add(4.0, model="cpa_vae")
    assert runs.rows() == [
        {"model": "cpa_vae", "runs": 1, BOUND: Spread(4.0, None, 1)},
        {"model": "sams_vae", "runs": 3, BOUND: Spread(3.0, pytest.approx(sqrt(7)), 3)},
    ]
    text = runs.table().markdown()
    assert f"| model | runs | {BOUND} |" in text
    assert "| cpa_vae | 1 | 4.00 |" in text and "| sams_vae | 3 | 3.00 (2.65) |" in text


def test_a_missing_metric_is_empty(runs):
    runs.add(metrics={"mask/f1": 0.25})
    runs.add(seed=1, metrics={"mask/f1": None, "time/train_s": 0})
    runs.add(model="conditional_vae")
    assert [row["mask/f1"] for row in runs.rows()] == [None, Spread(0.25, None, 1)]
    assert "| conditional_vae | 1 | -1.00 |  |  |" in runs.table().markdown()
    assert "| sams_vae | 2 | -1.00 (0.00) | 0.250 [1 of 2] | 0.00 [1 of 2] |" in runs.table().markdown()
    empty, filled = runs.table().records()
    assert (empty["mask/f1 mean"], empty["mask/f1 sd"], empty["mask/f1 n"]) == (None, None, None)
    assert (filled["mask/f1 mean"], filled["mask/f1 n"]) == (0.25, 1)


def test_settings_that_differ_are_columns(runs):
    runs.add(out="here", overwrite=True, fetch="there", train__n_steps=5, model__guide="correlated", data__path="a")
    runs.add(train__n_steps=30, model__guide="mean_field", data__path="a")
    runs.add(model="cpa_vae", train__n_steps=5, model__scale=1.0, data__path="a")
    assert [(row["model"], row["model.guide"], row["train.n_steps"]) for row in runs.rows()] == [
        ("cpa_vae", "", "5"),
        ("sams_vae", "correlated", "5"),
        ("sams_vae", "mean_field", "30"),
    ]
    assert set(runs.rows()[0]) == {"model", "model.guide", "train.n_steps", "runs", BOUND}


def test_arms_hide_what_they_stand_for(runs):
    for arm, steps in (("a", 5), ("b", 30)):
        for share in (0.0, 0.25, 1.0):
            runs.add(labels={"arm": arm}, train__n_steps=steps, data__train_combinations=share)
    assert [tuple(row.values())[:3] for row in runs.rows()] == [
        (arm, share, 1) for arm in ("a", "b") for share in ("0", "0.25", "1")
    ]
    assert list(runs.rows()[0])[:3] == ["arm", "data.train_combinations", "runs"]


def test_other_files_are_a_column(runs):
    for path in ("a.h5ad", "b.h5ad"):
        runs.add(data__path=path, labels={"arm": path[0]})
    assert [row["data.path"] for row in runs.rows()] == ["a.h5ad", "b.h5ad"]


def test_values_are_in_order_of_size(runs):
    for steps in (1000, 30, 5, None):
        runs.add(train__n_steps=steps)
    assert [row["train.n_steps"] for row in runs.rows()] == ["5", "30", "1000", "None"]


def test_screens_of_other_kinds_keep_their_own_settings_apart(runs):
    runs.add(simulation_name="screen", simulation__n_doubles=3)
    runs.add(simulation_name="sams", simulation__noise=0.5)
    assert [row["simulation_name"] for row in runs.rows()] == ["sams", "screen"]
    assert not [name for name in runs.rows()[0] if name.startswith("simulation.")]


def test_stored_models_on_other_cells_are_rows_too(runs):
    runs.add()
    for model in ("a", "b"):
        runs.write({"run": model, "out": model, "seed": 0, "data": {}}, {BOUND: -2.0})
    assert [(row["model"], row["run"], row["runs"]) for row in runs.rows()] == [
        ("", "a", 1),
        ("", "b", 1),
        ("sams_vae", "", 1),
    ]


def paired_runs(runs):
    """CPA at 0: 10, 20 and 40; SAMS at 0: one more each; SAMS at 0.5: 2 and 4 more, and a run without partner."""
    for split_seed, bound in enumerate((10.0, 20.0, 40.0)):
        settings = {"data__split_seed": split_seed, "data__train_combinations": 0.0}
        runs.add(bound, model="cpa_vae", **settings)
        runs.add(bound + 1, model__mask_prior_prob=0.1, **settings)
    for split_seed, bound in ((0, 12.0), (1, 24.0), (7, 99.0)):
        runs.add(bound, model__mask_prior_prob=0.1, data__split_seed=split_seed, data__train_combinations=0.5)


def test_differences_are_paired(runs):
    paired_runs(runs)
    wanted = {"model": "cpa_vae", "data.train_combinations": "0.0"}
    summary = runs.table(**wanted)
    assert [row[RELATIVE] for row in summary.rows] == [
        Spread(0.0, 0.0, 3),
        Spread(1.0, 0.0, 3),
        Spread(3.0, pytest.approx(sqrt(2)), 2),
    ]
    assert list(summary.rows[0])[-2:] == [BOUND, RELATIVE]
    assert "| 45.00 (47.15) | 3.00 (1.41) [2 of 3] |" in summary.markdown()
    assert (
        f"{RELATIVE}: difference to model=cpa_vae, data.train_combinations=0, paired by seed and data.split_seed."
        in (summary.notes)
    )


def test_a_reference_without_all_columns_agrees_in_the_others(runs):
    paired_runs(runs)
    assert [row[RELATIVE] for row in runs.rows(model="cpa_vae")] == [Spread(0.0, 0.0, 3), Spread(1.0, 0.0, 3), None]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"mode": "cpa_vae"}, ["unknown column 'mode'", "'model'", "data.train_combinations"]),
        ({"model": "cpa"}, ["no row has model=cpa", "cpa_vae, sams_vae"]),
        ({"model": "cpa_vae", "data.train_combinations": "0.5"}, ["no row has", "data.train_combinations: 0, 0.5"]),
    ],
)
def test_unknown_references(runs, wanted, words):
    paired_runs(runs)
    with pytest.raises(InputError) as caught:
        runs.table(**wanted)
    assert all(word in str(caught.value) for word in words), caught.value


def test_the_published_numbers_stand_beside_ours(runs):
    short = ("--train.n-steps", "12", "--evaluation.effects.n-particles", "8")
    for seed, bound in enumerate((-1700.0, -1710.0)):
        split = ("--data.split-seed", str(seed))
        flags = ("--data.train-combinations", "0", *split, *short)
        runs.add_preset("norman_ood", "sams_vae_correlated", bound, *flags, metrics={"ate/published/pearson": 0.5})
        runs.add_preset("norman_ood", "cpa_vae_unique", bound - 3, "--data.train-combinations", "0.25", *split, *short)
    first, second = summary_of(find_runs([runs.folder])).rows
    assert (first["arm"], first["data.train_combinations"], first["runs"]) == ("sams_vae_correlated", "0", 2)
    assert first[f"published {BOUND}"] == Spread(-1780.43, 18.11)
    assert (first[RELATIVE], first[f"published {RELATIVE}"]) == (Spread(0.0, 0.0, 2), Spread(0.0, 0.0))
    assert first["published ate/published/pearson"] == Spread(0.682, 0.011)
    assert (second[RELATIVE], second[f"published {RELATIVE}"]) == (Spread(-3.0, 0.0, 2), Spread(-9.94, 0.95))
    assert second["ate/published/pearson"] is None
    assert "published val/predictive_iwelbo" not in first  # nothing of ours stands beside it
    text = runs.table().markdown()
    assert "| -1705.00 (7.07) | -1780.43 (18.11) | 0.00 (0.00) | 0.00 (0.00) | 0.500 (0.000) | 0.682 (0.011) |" in text
    assert (
        "Settings that differ from the preset norman_ood: train.n_steps 12 instead of 30000; "
        "evaluation.effects.n_particles 8 instead of 2500."
    ) in text


def test_runs_of_the_published_settings_say_so(runs):
    runs.add_preset("norman_data_efficiency", "cpa_vae", -1.0, "--data.train-combinations", "0.5", "--seed", "4")
    runs.add_preset("norman_data_efficiency", "svae_plus_unique", -1.0, "--data.train-combinations", "0.6")
    table = runs.table()
    assert "Settings that differ from the preset norman_data_efficiency: none." in table.notes
    assert [row[f"published {BOUND}"] for row in table.rows] == [Spread(-1775.48, 3.98), None]
    assert RELATIVE not in table.rows[0]  # the reference was not run


def test_a_preset_of_another_version_is_a_name(runs):
    runs.add(labels={"preset": "yesterday", "arm": "a"})
    assert runs.rows() == [{"arm": "a", "runs": 1, BOUND: Spread(-1.0, None, 1)}]


def test_published_tables():
    text = """
| time | cost |
|---|---|
| a | 1 |

| x/y | 0 | 1 |
|---|---|---|
| a | 1.5 (0.1) | -2 (0) |
| b ||3 (1)|

no table | here"""
    assert published_tables(text) == {"x/y": {"a": ((1.5, 0.1), (-2.0, 0.0)), "b": (None, (3.0, 1.0))}}
    assert published_tables(None) == {}
    with pytest.raises(ValueError, match=r"'1\.5' is not of the form"):
        published_tables("| x/y | 0 |\n| a | 1.5 |")


def test_unfinished_and_doubled_runs_do_not_count(runs):
    runs.add(1.0)
    runs.add(1.0, name=".seed-1.abc/new", seed=1)
    runs.add(1.0, out="elsewhere")
    (runs.folder / "lonely").mkdir()
    (runs.folder / "lonely" / "metrics.json").write_text("{}")
    with pytest.warns(UserWarning, match=r"run1 has the settings and the seed of .*run0, and is left out"):
        assert [row["runs"] for row in runs.rows()] == [1]
    with pytest.warns(UserWarning, match="left out"):
        assert len(find_runs([runs.folder, runs.folder / "run0", runs.folder])) == 1


@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
@pytest.mark.parametrize("content", ["", "[1]", "\udcff"])
def test_damaged_runs(runs, capsys, name, content):
    (runs.add() / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    refused(summarize.main, [runs.folder], [name, "is damaged"], capsys)


@pytest.fixture
def two(runs):
    paired_runs(runs)
    runs.add(1.0, model="svae_plus", data__split_seed=0, data__train_combinations=0.0, metrics={"val/r2": 3})
    return runs.folder


def test_the_door_writes_both_formats(two, tmp_path, capsys):
    reference = ("--relative-to", "model=cpa_vae", "data.train-combinations=0")
    for name in ("table.md", "table.csv"):
        summarize.main([str(two), "--metrics", BOUND, "val/r2", *reference, "--out", str(tmp_path / name)])
    printed = capsys.readouterr().out
    text = (tmp_path / "table.md").read_text()
    assert text in printed and f"written to {tmp_path / 'table.csv'}" in printed
    header = f"| model | data.train_combinations | runs | {BOUND} | {RELATIVE} | val/r2 |"
    assert text.startswith(header) and "| svae_plus | 0 | 1 | 1.00 | -9.00 | 3.00 |" in text
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["cpa_vae", "sams_vae", "sams_vae", "svae_plus"]
    assert float(rows[2][f"{RELATIVE} sd"]) == pytest.approx(sqrt(2)) and rows[2][f"{RELATIVE} n"] == "2"
    assert rows[0]["val/r2 mean"] == "" and float(rows[3]["val/r2 mean"]) == 3


def test_an_existing_table_stays(two, tmp_path, capsys):
    (tmp_path / "table.md").write_text("mine")
    flags = [two, "--out", tmp_path / "table.md"]
    refused(summarize.main, flags, ["table.md exists; choose another --out or add --overwrite"], capsys)
    summarize.main([*map(str, flags), "--overwrite"])
    assert "cpa_vae" in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], ["name at least one folder"]),
        (["nowhere"], ["no folder at nowhere"]),
        (["."], ["no finished run in .", "config.json"]),
        (
            ["runs", "--metrics", "test/predictive_iwelb"],
            ["unknown metric 'test/predictive_iwelb'", "'test/predictive_iwelbo'"],
        ),
        (["runs", "--relative-to", "cpa_vae"], ["--relative-to cpa_vae should read COLUMN=VALUE"]),
        (["runs", "--out", "table.txt"], ["table.txt must end in .md or .csv"]),
        (["runs", "--out", "runs.md/table.md"], ["there is no folder runs.md"]),
        (["runs", "--out", "folder.md"], ["folder.md exists"]),
    ],
)
def test_bad_input(two, tmp_path, monkeypatch, capsys, flags, words):
    (tmp_path / "folder.md").mkdir()
    monkeypatch.chdir(tmp_path if flags != ["."] else tmp_path / "folder.md")
    refused(summarize.main, flags, words, capsys)
