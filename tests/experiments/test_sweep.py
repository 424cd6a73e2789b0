"""The door `experiments.sweep`: which runs a grid has, that it continues where it stopped, and what failures do."""

import csv
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import samsjax
from experiments import screens, sweep
from experiments.fit_command import command_from, settings_of
from experiments.grid import Grid, Run, expand, narrowed
from samsjax.errors import InputError
from samsjax.inference.training import DivergenceError
from tests.data.study_files import LAYOUTS
from tests.experiments.doors import EVALUATION, MODEL, SMALL, from_file_flags, read_json, refused, untimed

SCORES = {"config.json", "environment.json", "history.csv", "rotations.csv", "effects.csv", "metrics.json"}
REST = {"mechanisms.csv", "model", "ate.h5ad", "latents.h5ad", "effects.h5ad", "training.npz"}
GRID = Grid(
    common="--model.n-latent 3 --train.n-steps 5",
    arms={"one": "--model sams_vae --train.n-steps 6", "two": "--model cpa_vae"},
    vary={"train.batch-size": ("32", "64"), "evaluation.effects.paired": ("True", "false")},
    seeds=(0, 7),
)


def runs_of(grid, *flags, out="out", **chosen):
    options = {"arms": (), "vary": (), "seeds": ()} | chosen
    return expand(narrowed(grid, **options), flags, Path(out))


def settings(run: Run):
    return settings_of(command_from(run.argv))


def test_a_grid_is_every_arm_with_every_setting_and_every_seed():
    runs = runs_of(GRID)
    assert len(runs) == len({run.folder for run in runs}) == 16
    assert {(run.arm, *run.varied.values(), run.seed) for run in runs} == {
        (arm, size, paired, seed)
        for arm in ("one", "two")
        for size in ("32", "64")
        for paired in ("True", "false")
        for seed in (0, 7)
    }
    first = runs[0]
    assert first.label == "one, train.batch-size=32, evaluation.effects.paired=True, seed 0"
    assert first.folder.as_posix() == "out/one,train.batch-size=32,evaluation.effects.paired=True/seed-0"
    for run in runs:
        found = settings(run)
        assert (found["seed"], found["out"]) == (run.seed, str(run.folder))
        assert found["train"]["batch_size"] == int(run.varied["train.batch-size"])
        assert found["evaluation"]["effects"]["paired"] is (run.varied["evaluation.effects.paired"] == "True")


def test_later_flags_count():
    assert [settings(run)["train"]["n_steps"] for run in runs_of(GRID)[:2]] == [6, 5]
    varied = runs_of(GRID, vary=["train.n_steps=8,9"])
    assert sorted({settings(run)["train"]["n_steps"] for run in varied}) == [8, 9]
    assert {settings(run)["train"]["n_steps"] for run in runs_of(GRID, "--train.n-steps", "10")} == {10}
    assert {settings(run)["model_name"] for run in runs_of(GRID, "--model=svae_plus")} == {"svae_plus"}


def test_the_command_line_chooses_arms_settings_and_seeds():
    runs = runs_of(GRID, arms=["two"], vary=["train.batch-size=16"], seeds=[3])
    assert {(run.arm, run.varied["train.batch-size"], run.seed) for run in runs} == {("two", "16", 3)}
    (alone,) = runs_of(Grid())
    assert alone.folder.as_posix() == "out/seed-0" and alone.label == "seed 0" and alone.arm == ""


def test_folders_are_names_for_every_file_system():
    (run,) = runs_of(Grid(vary={"data.path": ("/some where/a:b.h5ad",)}))
    assert run.folder.as_posix() == "out/data.path=_some_where_a_b.h5ad/seed-0"
    assert run.argv[:2] == ("--data.path", "/some where/a:b.h5ad")


@pytest.mark.parametrize(
    ("flags", "chosen", "words"),
    [
        (["--seed", "3"], {}, ["--seed is one seed", "--seeds 0 1 2"]),
        (["--train.batch_size=3"], {}, ["varies train.batch-size", "--vary train.batch-size=V1,V2"]),
        (["--evaluation.effects.no-paired"], {}, ["--vary evaluation.effects.paired=V1,V2"]),
        ([], {"arms": ["oen"]}, ["unknown arm 'oen'", "'one'", "one, two"]),
        ([], {"vary": ["train.n-steps"]}, ["--vary train.n-steps should read NAME=V1,V2"]),
        ([], {"vary": ["train.n-steps=1,,2"]}, ["should read NAME=V1,V2"]),
        ([], {"vary": ["=1"]}, ["should read NAME=V1,V2"]),
        ([], {"vary": ["seed=1,2"]}, ["seed is the same for a whole grid", "use --seeds"]),
        ([], {"vary": ["train.n-steps=1", "train.n_steps=2"]}, ["train.n-steps is given twice"]),
        ([], {"vary": ["train.n-steps=1,1"]}, ["two runs have the folder"]),
        ([], {"seeds": [1, 1]}, ["two runs have the folder"]),
    ],
)
def test_contradictions(flags, chosen, words):
    with pytest.raises(InputError) as caught:
        runs_of(GRID, *flags, **chosen)
    assert all(word in str(caught.value) for word in words), caught.value


def test_arms_belong_to_presets():
    with pytest.raises(InputError, match=r"--arms cpa_vae: this grid has no arms; use --vary model=cpa_vae"):
        runs_of(Grid(), arms=["cpa_vae"])


MODELS = ("--vary", "model=sams_vae,cpa_vae")
GRID_FLAGS = ("--seeds", "0", "1", *MODELS, "--vary", "train.patience=1,40")
ONE = ("--seeds", "0", "--vary", "model=sams_vae", "--vary", "train.patience=40")
FOLDER = Path("model=sams_vae,train.patience=40") / "seed-0"


@pytest.fixture(scope="module")
def flags(runs):
    """Those of the run `from_file`, which is a member of the grid."""
    return (*from_file_flags(runs.screen), "--data.covariate-keys", "batch", *MODEL, *EVALUATION)


@pytest.fixture(scope="module")
def grid(tmp_path_factory, flags):
    """Two models, two settings, two seeds."""
    out = tmp_path_factory.mktemp("sweep") / "grid"
    sweep.main(["--out", str(out), *GRID_FLAGS, *flags])
    return out


@pytest.fixture
def copy(grid, tmp_path):
    """A grid of one's own, to be continued."""
    return shutil.copytree(grid, tmp_path / "grid")


def run_folders(out):
    return sorted(path.parent for path in out.rglob("metrics.json"))


def table(out):
    with (out / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_table_of_four_rows_with_two_runs_each(grid):
    rows = table(grid)
    assert [(row["model"], row["train.patience"], row["runs"]) for row in rows] == [
        ("cpa_vae", "1", "2"),
        ("cpa_vae", "40", "2"),
        ("sams_vae", "1", "2"),
        ("sams_vae", "40", "2"),
    ]
    for row in rows:
        folder = grid / f"model={row['model']},train.patience={row['train.patience']}"
        values = [untimed(folder / f"seed-{seed}")["test/predictive_iwelbo"] for seed in (0, 1)]
        assert float(row["test/predictive_iwelbo mean"]) == pytest.approx(sum(values) / 2)
        assert float(row["test/predictive_iwelbo sd"]) == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert len((grid / "summary.md").read_text().split("\n\n")[0].splitlines()) == 2 + 4


def test_a_run_is_what_its_command_line_makes(grid, runs):
    assert {path.name for path in (grid / FOLDER).iterdir()} == SCORES
    assert untimed(grid / FOLDER) == untimed(runs.from_file)
    config, alone = (read_json(path / "config.json") for path in (grid / FOLDER, runs.from_file))
    assert config.pop("out") == str(grid / FOLDER) and alone.pop("out") == str(runs.from_file)
    assert config == alone


def test_a_grid_continues_where_it_stopped(grid, copy, flags, capsys):
    gone = run_folders(copy)[2]
    shutil.rmtree(gone)
    (copy / "summary.csv").unlink()
    kept = {folder: (folder / "metrics.json").stat().st_mtime_ns for folder in run_folders(copy)}
    sweep.main(["--out", str(copy), *GRID_FLAGS, *flags])
    assert len(kept) == 7 and {folder: (folder / "metrics.json").stat().st_mtime_ns for folder in kept} == kept
    assert untimed(gone) == untimed(grid / gone.relative_to(copy))
    assert [row["runs"] for row in table(copy)] == ["2"] * 4
    printed = capsys.readouterr()
    assert "8 runs, 7 of them finished before" in printed.err and "1 of 1: model=cpa_vae" in printed.err
    assert f"written to {copy / 'summary.md'}" in printed.out and "| cpa_vae | 40 | 2 |" in printed.out


def test_runs_with_other_settings_are_refused_before_anything_is_fitted(copy, flags, monkeypatch):
    monkeypatch.setattr(screens, "load_data", None)
    shutil.rmtree(run_folders(copy)[0])
    with pytest.raises(
        InputError, match=r"seed-\d holds a run with train.n_steps 20, and this one has 21; .*overwrite"
    ):
        sweep.main(["--out", str(copy), *GRID_FLAGS, *flags, "--train.n-steps", "21"])
    assert len(run_folders(copy)) == 7


def test_overwrite_replaces_runs_with_other_settings(copy, flags):
    stored = copy / FOLDER / "config.json"
    config, before = read_json(stored), untimed(copy / FOLDER)
    stored.write_text(stored.read_text().replace('"n_steps": 20', '"n_steps": 19'))
    sweep.main(["--out", str(copy), "--overwrite", *ONE, *flags])
    assert read_json(stored) == {**config, "out": str(copy / FOLDER), "overwrite": True}
    assert untimed(copy / FOLDER) == before


def test_seeds_trained_together_agree_with_runs_alone(grid, flags, tmp_path, monkeypatch):
    members = []

    def counted(data, model, train, *, seeds):
        members.append(list(seeds))
        return fit_many(data, model, train, seeds=seeds)

    fit_many = samsjax.fit_many
    monkeypatch.setattr(samsjax, "fit_many", counted)
    sweep.main(["--out", str(tmp_path / "grid"), "--together", "--seeds", "0", "1", *ONE[2:], *flags])
    assert members == [[0, 1]]
    for seed in (0, 1):
        folder = FOLDER.with_name(f"seed-{seed}")
        together, alone = (untimed(out / folder) for out in (tmp_path / "grid", grid))
        assert together["test/predictive_iwelbo"] == pytest.approx(alone["test/predictive_iwelbo"], rel=1e-3)
        configs = [read_json(out / folder / "config.json") for out in (tmp_path / "grid", grid)]
        assert configs[0] | {"out": ""} == configs[1] | {"out": ""}


def test_scores_are_not_all(copy, flags):
    before = untimed(copy / FOLDER)
    sweep.main(["--out", str(copy), "--write", "all", *ONE, *flags])
    assert {path.name for path in (copy / FOLDER).iterdir()} == SCORES | REST
    assert untimed(copy / FOLDER) == before


def test_a_failing_run_does_not_stop_the_others(tmp_path, flags, capsys):
    with pytest.raises(SystemExit) as caught:
        sweep.main(["--out", str(tmp_path / "grid"), "--vary", "model=svae_plus,sams_vae", *flags])
    assert caught.value.code == 1
    assert [row["model"] for row in table(tmp_path / "grid")] == ["sams_vae"]
    assert [path.name for path in (tmp_path / "grid").iterdir() if path.is_dir()] == ["model=sams_vae"]
    told = capsys.readouterr().err
    assert "1 of 2: model=svae_plus, seed 0: error: " in told and "--data.combinations-as-unique" in told
    assert told.splitlines()[-1] == "1 of 2 runs failed: model=svae_plus, seed 0"


@pytest.fixture
def failing(monkeypatch):
    """Every fit diverges; collects which data were loaded and what was to be fitted."""
    loaded, fitted, load = [], [], screens.load_data

    def recorded(command):
        loaded.append((command.simulation.effect_size, command.seed))
        return load(command)

    def diverge(data, model, train, *, seed):
        fitted.append((type(model).__name__, seed))
        raise DivergenceError("training diverged")

    monkeypatch.setattr(screens, "load_data", recorded)
    monkeypatch.setattr(samsjax, "fit", diverge)
    return loaded, fitted


def test_a_screen_is_drawn_once_for_all_models(tmp_path, failing, capsys):
    loaded, fitted = failing
    screens = ("--vary", "simulation.effect-size=1,2.5")
    with pytest.raises(SystemExit) as caught:
        sweep.main(["--out", str(tmp_path / "grid"), *MODELS, *screens, "--seeds", "0", "1", *SMALL])
    assert caught.value.code == 1 and not (tmp_path / "grid").exists()
    assert loaded == [(1.0, 0), (1.0, 1), (2.5, 0), (2.5, 1)]
    assert sorted(fitted) == sorted((model, seed) for model in ("SAMSVAEConfig", "CPAVAEConfig") for seed in (0, 1) * 2)
    told = capsys.readouterr().err
    assert told.count("error: training diverged") == 8 and "8 of 8 runs failed" in told


def test_a_file_is_read_once_for_all_models_and_seeds(runs, tmp_path, failing):
    loaded, fitted = failing
    vary = ("--seeds", "0", "1", "2", *MODELS, "--vary", "train.n-steps=1,2")
    with pytest.raises(SystemExit):
        sweep.main(["--out", str(tmp_path / "grid"), *vary, *from_file_flags(runs.screen)])
    assert len(loaded) == 1 and len(fitted) == 12
    assert [seed for _, seed in fitted] == [0, 1, 2] * 4


def test_the_file_of_a_study_is_downloaded_once(tmp_path, failing, monkeypatch):
    asked, screen = [], tmp_path / "norman.h5ad"
    LAYOUTS["norman"]().write_h5ad(screen)

    def fetched(command):
        asked.append(command.fetch)
        return replace(command, fetch=None, data=replace(command.data, path=screen))

    monkeypatch.setattr(screens, "fetched", fetched)
    with pytest.raises(SystemExit):
        sweep.main(["--out", str(tmp_path / "grid"), "--study", "norman", "--fetch", str(tmp_path), *MODELS])
    assert asked == [tmp_path, None]  # the second time the file is read


def test_unreadable_data_fail_all_their_runs(runs, tmp_path, failing, capsys):
    files = f"data.path={tmp_path / 'no.h5ad'},{runs.screen}"
    with pytest.raises(SystemExit):
        sweep.main(["--out", str(tmp_path / "grid"), "--vary", files, *MODELS])
    told = capsys.readouterr().err
    assert told.count("error: no file") == 2 and told.count("error: training diverged") == 2


def test_interruption_keeps_what_is_finished(copy, flags, monkeypatch, capsys):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    shutil.rmtree(run_folders(copy)[0])
    monkeypatch.setattr(samsjax, "fit", interrupt)
    with pytest.raises(SystemExit) as caught:
        sweep.main(["--out", str(copy), *GRID_FLAGS, *flags])
    assert caught.value.code == 130 and "the same command continues" in capsys.readouterr().err
    assert len(run_folders(copy)) == 7


def test_the_list_of_runs_is_that_of_the_grid(tmp_path, grid, flags, capsys):
    sweep.main(["--out", str(tmp_path / "grid"), "--list", *GRID_FLAGS, *flags])
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert all(line[:3] == ["python", "-m", "experiments.fit"] for line in lines) and not (tmp_path / "grid").exists()
    found = {command_from(line[3:]).out.relative_to(tmp_path / "grid") for line in lines}
    assert found == {folder.relative_to(grid) for folder in run_folders(grid)}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ["--vary", "model=sams_vae,cpa_vae", "--model.mask-prior-prob", "0.1"],
            ["--model.mask-prior-prob", "model=cpa_vae"],
        ),
        (["--vary", "model=sams_vae,cpa_va"], ["model=cpa_va, seed 0", "unknown model 'cpa_va'", "'cpa_vae'"]),
        (["--vary", "train.n-steps=5,0"], ["n_steps must be >= 1, got 0"]),
        (["--study", "norman"], ["--study norman needs its file"]),
        (["--nonsense", "3"], ["--nonsense"]),
        (["--write", "nothing"], ["'scores', 'all'"]),
        (["--arms", "cpa_vae"], ["this grid has no arms"]),
    ],
)
def test_a_mistake_in_the_last_run_is_found_before_the_first_fit(unwritten, capsys, monkeypatch, flags, words):
    monkeypatch.setattr(screens, "load_data", None)
    refused(sweep.main, ["--out", unwritten / "grid", *flags], words, capsys)


def test_a_table_of_another_kind_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(screens, "load_data", None)
    (tmp_path / "summary.md").write_text("mine")
    with pytest.raises(InputError, match=r"summary.md is not the table of a grid"):
        sweep.main(["--out", str(tmp_path), *SMALL])
    assert (tmp_path / "summary.md").read_text() == "mine"


def test_the_out_folder_is_needed(capsys):
    refused(sweep.main, [], ["--out"], capsys)
