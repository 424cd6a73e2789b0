"""Quality of cells through the doors: labelled by simulation, rule or column; fitted, scored, predicted, cleaned."""

import warnings
from typing import NamedTuple

import anndata
import numpy as np
import pandas as pd
import pytest

from experiments import counterfactual, evaluate, fit, predict
from experiments.fit_checks import check_command
from experiments.fit_command import command_from
from experiments.screens import read_cells
from experiments.stored import data_settings, load_run, read_for
from samsjax.data import DataConfig, QualityRule, cell_statistics, confounding, learn_rule
from samsjax.data.simulations import SIMULATIONS
from samsjax.errors import InputError
from tests.experiments.doors import EVALUATION, MODEL, SIMULATION, from_file_flags, read_json, refused, untimed

pytestmark = pytest.mark.filterwarnings("ignore:quality labels are confounded:UserWarning")
ARTIFACTS = (
    *("--simulation", "artifacts", *SIMULATION, "--simulation.n-mito-genes", "3", "--simulation.n-ribo-genes", "2"),
    *("--simulation.n-confounded", "1", "--simulation.mito-factor", "9"),
)
CRADLE = ("--model", "cradle_vae", *MODEL, *EVALUATION)
CRITERIA = ("n_counts", "n_genes", "percent_mito", "percent_ribo")
READY = ("--data.quality-key", "artifact")


class QualityRuns(NamedTuple):
    """Runs of one screen with artefacts."""

    simulated: object
    """CRADLE-VAE under the true labels of the simulation."""
    by_rule: object
    """CRADLE-VAE on its file, labelled by criteria."""
    plain: object
    """SAMS-VAE on the same."""
    screen: object
    data: object
    """The simulated cells."""


@pytest.fixture(scope="module")
def quality(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quality")
    out = {name: folder / name for name in QualityRuns._fields[:3]}
    fit.main(["--out", str(out["simulated"]), *CRADLE, *ARTIFACTS])
    screen = out["simulated"] / "simulation.h5ad"
    labelled = (*from_file_flags(screen), "--data.quality-criteria", "auto", "--data.quality-mads", "2")
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of idle and of confounded criteria
        fit.main(["--out", str(out["by_rule"]), *CRADLE, *labelled])
        fit.main(["--out", str(out["plain"]), *MODEL, *EVALUATION, *labelled])
    command = command_from(["--out", "run", *ARTIFACTS])
    return QualityRuns(**out, screen=screen, data=SIMULATIONS["artifacts"].simulate(command.simulation, seed=0)[0])


def test_a_simulation_survives_as_a_file(quality):
    flags = ["--out", "run", *from_file_flags(quality.screen), *READY]
    read = read_cells(command_from(flags).data, counts=True)
    assert read.criteria == quality.data.criteria and np.array_equal(read.failed, quality.data.failed)
    assert np.array_equal(read.x.toarray(), quality.data.x.toarray())
    assert read.split.tolist() == quality.data.split.tolist()
    assert np.array_equal(anndata.read_h5ad(quality.screen).obs["failed"], quality.data.is_failed)


def test_ready_labels_have_shares_and_no_thresholds(quality):
    table = pd.read_csv(quality.simulated / "quality.csv")
    failed, train = quality.data.is_failed, quality.data.split == "train"
    assert table.criterion.tolist() == ["artifact"]
    assert table.iloc[0, -2:].tolist() == [pytest.approx(failed[train].mean()), pytest.approx(failed.mean())]
    assert table[["side", "threshold", "median", "mad", "source"]].isna().all(axis=None)
    assert not (quality.simulated / "quality_rule.json").exists()


def test_criteria_have_the_thresholds_of_the_training_cells(quality):
    data, train = quality.data, quality.data.split == "train"
    statistics = cell_statistics(data.x, data.gene_names)
    rule = learn_rule({name: statistics[name][train] for name in CRITERIA}, 2.0)
    failed = rule.failed(statistics)
    for run in (quality.by_rule, quality.plain):
        assert QualityRule.from_json(read_json(run / "quality_rule.json")) == rule
        table = pd.read_csv(run / "quality.csv").set_index("criterion")
        assert table.index.tolist() == ["any", *CRITERIA]
        assert table.failed_all.tolist() == pytest.approx([failed.any(axis=1).mean(), *failed.mean(axis=0)])
        assert table.failed_train.tolist() == pytest.approx(
            [failed[train].any(axis=1).mean(), *failed[train].mean(axis=0)]
        )
        for criterion in rule.criteria:
            row = table.loc[criterion.name]
            numbers = criterion.threshold, criterion.median, criterion.mad
            assert (row.threshold, row["median"], row.mad) == pytest.approx(numbers)
            assert (row.side, row.source) == (criterion.side, "counts")
        assert table.loc["any", ["side", "threshold"]].isna().all()
    assert load_run(quality.by_rule).quality_rule == rule


def test_confounding_is_listed(quality):
    table = pd.read_csv(quality.simulated / "confounding.csv", keep_default_na=False)
    rows = confounding(quality.data)
    assert table.columns.tolist() == list(rows[0]._fields) and len(table) == len(rows) == 10
    assert table.treatment.tolist() == [row.treatment for row in rows]
    assert table.q_value.tolist() == pytest.approx([row.q_value for row in rows])


def test_files_without_labels_have_no_tables_of_quality(runs):
    assert not any((runs.from_file / name).exists() for name in ("quality.csv", "confounding.csv"))


def test_cells_carry_their_quality(quality):
    latents = {run: anndata.read_h5ad(run / "latents.h5ad").obs for run in quality[:3]}
    assert np.array_equal(latents[quality.simulated]["artifact"], quality.data.is_failed)
    rule = load_run(quality.by_rule).quality_rule
    failed = rule.failed(cell_statistics(quality.data.x, quality.data.gene_names))
    for run in (quality.by_rule, quality.plain):
        columns = [f"fails_{name}" for name in CRITERIA]
        assert np.array_equal(latents[run][columns].to_numpy(bool), failed)


def test_other_cells_inherit_how_their_quality_is_told(quality):
    settings = data_settings(quality.by_rule)
    assert settings.quality_criteria == ("auto",) and settings.quality_mads == 2 and settings.quality_key == ()
    assert data_settings(quality.simulated).quality_key == ()


def test_the_help_of_a_door_shows_what_is_inherited(quality, capsys):
    with pytest.raises(SystemExit):
        counterfactual.main(["--run", str(quality.by_rule), "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "by default as the run read its own" in text and "type: ignore" not in text
    assert "auto = whatever the file allows, but doublets only when named. No cell is removed. (default: auto)" in text


def test_other_cells_are_judged_by_the_thresholds_of_the_run_whatever_its_model(quality, tmp_path):
    poor = anndata.read_h5ad(quality.screen)[quality.data.is_failed].copy()
    poor.write_h5ad(tmp_path / "poor.h5ad")
    of_run = QualityRule.from_json(read_json(quality.plain / "quality_rule.json"))
    for run in (quality.by_rule, quality.plain):
        settings = DataConfig(**{**vars(data_settings(run)), "path": tmp_path / "poor.h5ad"})
        read = read_for(run, load_run(run), settings)
        assert read.quality_rule == of_run
        expected = of_run.failed(cell_statistics(quality.data.x[quality.data.is_failed], quality.data.gene_names))
        assert np.array_equal(read.failed, expected) and read.failed.any()
    fitted = load_run(quality.plain)
    assert read_for(quality.plain, fitted, DataConfig(path=quality.screen, split="test")).failed is None


@pytest.mark.parametrize("which", ["simulated", "by_rule", "plain"])
def test_the_own_cells_give_the_own_metrics(quality, tmp_path, which):
    run = getattr(quality, which)
    ready = READY if which == "simulated" else ()
    flags = ("--run", str(run), *from_file_flags(quality.screen), *ready, *EVALUATION)
    evaluate.main(["--out", str(tmp_path / "scores"), *flags])
    own = {name: value for name, value in untimed(run).items() if not name.startswith("mask/")}
    assert untimed(tmp_path / "scores") == own
    for name in ("quality.csv", "confounding.csv"):
        assert (tmp_path / "scores" / name).read_text() == (run / name).read_text()


def test_named_labels_come_before_the_rule(quality, tmp_path):
    settings = {**vars(data_settings(quality.by_rule)), "path": quality.screen, "quality_criteria": ()}
    settings = DataConfig(**{**settings, "quality_key": ("artifact",)})
    read = read_for(quality.by_rule, load_run(quality.by_rule), settings)
    assert read.criteria == ("artifact",) and np.array_equal(read.failed, quality.data.failed)
    flags = ["--data.quality-criteria", "--data.quality-key", "artifact"]
    parsed = command_from(["--out", "x", "--data.path", "a.h5ad", "--data.quality-criteria", "auto", *flags]).data
    assert (parsed.quality_criteria, parsed.quality_key) == ((), ("artifact",))


def test_other_cells_without_labels_are_refused(quality, unwritten, capsys):
    flags = ["--run", quality.simulated, "--data.path", quality.screen, "--out"]
    words = ["the model knows the quality of cells (failed) by labels that came", "--data.quality-key COLUMN"]
    refused(evaluate.main, [*flags, unwritten / "scores", *EVALUATION], words, capsys)
    refused(counterfactual.main, [*flags, unwritten / "cleaned.h5ad"], words, capsys)


def predicted(run, out, *flags):
    own = ["--run", str(run), "--out", str(out), "--perturbations", "P1", "P1+P6", "--effects.n-particles", "8"]
    predict.main([*own, *flags])
    return anndata.read_h5ad(out)


def test_predictions_are_of_the_quality_asked_for(quality, tmp_path):
    good = predicted(quality.simulated, tmp_path / "good.h5ad")
    bad = predicted(quality.simulated, tmp_path / "bad.h5ad", "--effects.fails", "failed")
    assert (good.uns["samsjax"]["quality"], bad.uns["samsjax"]["quality"]) == ("good", "fails failed")
    assert good.uns["samsjax"]["library_size"] == "training cells of good quality"
    assert bad.uns["samsjax"]["library_size"] == "training cells that fail"
    trained = quality.data.subset(quality.data.cells("train"))
    for result, of_kind in ((good, ~trained.is_failed), (bad, trained.is_failed)):
        median = np.median(trained.library_size[of_kind])
        assert result.uns["samsjax"]["library_size_median"] == pytest.approx(median, rel=0.05)
    assert not np.allclose(good.X, bad.X, atol=1e-3)


def test_effects_of_a_run_say_which_cells_they_are_of(quality):
    for run, cells in ((quality.simulated, "good"), (quality.plain, "all")):
        assert anndata.read_h5ad(run / "ate.h5ad").uns["samsjax"]["data_cells"] == cells


@pytest.mark.parametrize(
    ("which", "words"),
    [
        ("simulated", ["unknown quality indicator of the model 'faild'", "Did you mean 'failed'"]),
        ("plain", ["cells that fail faild cannot be predicted", "the model knows no quality of cells"]),
    ],
)
def test_unknown_quality_is_refused(quality, unwritten, capsys, which, words):
    run = getattr(quality, which)
    flags = ["--run", run, "--out", unwritten / "p.h5ad", "--perturbations", "P1", "--effects.fails", "faild"]
    refused(predict.main, flags, words, capsys)


def cleaned(quality, out, *flags):
    own = ["--run", str(quality.simulated), "--data.path", str(quality.screen), *READY, "--out", str(out)]
    counterfactual.main([*own, "--n-particles", "4", *flags])
    return anndata.read_h5ad(out)


def test_artefacts_are_taken_out_of_cells(quality, tmp_path, capsys):
    result = cleaned(quality, tmp_path / "new" / "cleaned.h5ad")
    path = tmp_path / "new" / "cleaned.h5ad"
    assert capsys.readouterr().out == f"270 cells x 30 genes in counts written to {path}\n"
    data, failed = quality.data, quality.data.is_failed
    assert result.obs_names.tolist() == data.cell_names.tolist()
    assert result.var_names.tolist() == data.gene_names.tolist()
    assert np.array_equal(result.obs["artifact"], failed) and set(result.obs["split"]) == {"test"}
    assert result.obs["treatment"].tolist() == anndata.read_h5ad(quality.screen).obs["perturbation"].tolist()
    changed = np.abs(result.X - result.layers["as_is"]).max(axis=1)
    assert np.allclose(result.X[~failed], result.layers["as_is"][~failed], rtol=1e-5)
    assert (changed[failed] > 1e-3).all()
    assert np.allclose(result.X.sum(axis=1), data.library_size, rtol=1e-3)
    said = result.uns["samsjax"]
    assert {name: said[name] for name in ("quality", "model", "scale", "n_particles", "seed", "unit")} == {
        "quality": "good",
        "model": "cradle_vae",
        "scale": "counts",
        "n_particles": 4,
        "seed": 0,
        "unit": "the data's own values",
    }


def test_artefacts_are_put_into_cells_in_another_scale(quality, tmp_path):
    flags = ("--fails", "failed", "--transform", "log2_cp10k", "--seed", "3")
    result = cleaned(quality, tmp_path / "spoilt.h5ad", *flags)
    failed = quality.data.is_failed
    assert np.allclose(result.X[failed], result.layers["as_is"][failed], atol=1e-4)
    assert (np.abs(result.X - result.layers["as_is"]).max(axis=1) > 1e-4)[~failed].all()
    assert result.X.max() < np.log2(1e4 + 1) and result.uns["samsjax"]["quality"] == "fails failed"
    assert np.array_equal(result.X, cleaned(quality, tmp_path / "again.h5ad", *flags).X)
    other = cleaned(quality, tmp_path / "spoilt.h5ad", *flags, "--overwrite", "--seed", "4")
    assert not np.array_equal(other.X, result.X)


def test_a_rule_of_the_run_labels_the_cells_to_clean(quality, tmp_path):
    out = tmp_path / "cleaned.h5ad"
    counterfactual.main(["--run", str(quality.by_rule), "--data.path", str(quality.screen), "--out", str(out)])
    result, latents = anndata.read_h5ad(out), anndata.read_h5ad(quality.by_rule / "latents.h5ad")
    columns = [f"fails_{name}" for name in CRITERIA]
    assert result.obs[columns].equals(latents.obs[columns])


def test_what_cannot_be_cleaned_is_refused(quality, runs, unwritten, capsys):
    own = ["--run", quality.simulated, "--out", unwritten / "cleaned.h5ad"]
    read = ["--data.path", quality.screen, *READY]
    refused(counterfactual.main, own, ["--data.path is missing"], capsys)
    refused(counterfactual.main, [*own, *read, "--fails", "faild"], ["'faild'", "Did you mean 'failed'"], capsys)
    refused(counterfactual.main, [*own, *read, "--transform", "log"], ["log", "log2_cp10k"], capsys)
    refused(counterfactual.main, [*own, *read, "--n-particles", "0"], ["n_particles must be >= 1, got 0"], capsys)
    refused(counterfactual.main, [*own, *read, "--sed", "1"], ["--sed", "--seed"], capsys)
    refused(counterfactual.main, [*own[:3], unwritten / "cleaned.csv", *read], ["must end in .h5ad"], capsys)
    refused(
        counterfactual.main,
        [*own, "--data.path", quality.screen, "--data.quality-key", "atifact"],
        ["'atifact'"],
        capsys,
    )
    plain = ["--run", quality.plain, *own[2:], *read, "--data.quality-criteria"]
    refused(counterfactual.main, plain, ["holds a sams_vae", "--model cradle_vae"], capsys)
    before = quality.screen.read_bytes()
    flags = [*own[:3], quality.screen, "--overwrite", *read]
    refused(counterfactual.main, flags, ["simulation.h5ad is to be read, and will not be overwritten"], capsys)
    assert quality.screen.read_bytes() == before
    refused(counterfactual.main, [], ["--run", "--out"], capsys)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model", "cradle_vae"], ["--model cradle_vae must know", "--simulation screen labels none", "artifacts"]),
        (
            ["--model", "cradle_vae", "--data.path", "a.h5ad"],
            ["--model cradle_vae must know", "--data.quality-criteria auto", "--data.quality-key COLUMN"],
        ),
        (
            ["--evaluation.quality", "good", "--data.path", "a.h5ad"],
            ["--evaluation.quality good must know", "--data.quality-key COLUMN"],
        ),
        (["--data.quality-criteria", "auto"], ["--data.path is missing"]),
        (
            ["--simulation", "artifacts", "--evaluation.effects.fails", "failed"],
            ["cells that fail failed cannot be predicted: the model knows no quality"],
        ),
        (
            ["--model", "cradle_vae", "--simulation", "artifacts", "--evaluation.effects.fails", "n_counts"],
            ["unknown quality indicator of the model 'n_counts'", "Known: failed"],
        ),
        (
            [
                *("--model", "cradle_vae", "--simulation", "artifacts", "--evaluation.effects.fails", "failed"),
                *("--simulation.failed-share", "0", "--simulation.n-confounded", "0"),
            ],
            ["cells that fail failed cannot be predicted: no training cell fails"],
        ),
    ],
)
def test_what_cannot_work_is_refused_before_the_fit(unwritten, capsys, monkeypatch, flags, words):
    monkeypatch.setattr(fit, "fit", lambda *args, **kwargs: pytest.fail("it was fitted"))
    refused(fit.main, ["--out", unwritten / "run", *flags], words, capsys)


def test_what_can_work_is_not_refused():
    cradle = ("--model", "cradle_vae")
    alone = ("--model.indicators", "none", "--model.counterfactual-weight", "0")
    for flags in (
        [*cradle, "--simulation", "artifacts"],
        [*cradle, "--data.path", "a.h5ad", "--data.quality-criteria", "n_counts"],
        [*cradle, "--data.path", "a.h5ad", "--data.quality-key", "failed"],
        [*cradle, *alone],
        ["--simulation", "artifacts", "--evaluation.quality", "good"],
    ):
        check_command(command_from(["--out", "run", *flags]))


def test_other_thresholds_than_those_of_the_run_are_refused(quality, tmp_path):
    flags = ("--run", str(quality.by_rule), "--data.path", str(quality.screen), "--out", str(tmp_path / "out"))
    with pytest.raises(InputError, match=r"--data.quality-mads 4: cells are judged by the thresholds of the run, 2 "):
        evaluate.main([*flags, "--data.quality-mads", "4"])
