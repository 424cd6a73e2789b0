"""The door `experiments.predict`: one file of predicted expression whose numbers say what they are."""

import shutil
from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest

from experiments import evaluate, fit, predict
from experiments.new_perturbations import KnownFeatures
from experiments.stored import load_run
from samsjax.data.features import LOG_DOSE
from samsjax.errors import InputError
from tests.experiments.doors import EVALUATION, FULL, MODEL, SIMULATION, from_file_flags, read_json, refused

LABELS = ["P1+P6", "control", "P6+P1", "P2@2", "P2", "P1@0.5+P3"]


def predicted(run, out, *labels, flags=()):
    predict.main(
        ["--run", str(run), "--out", str(out), "--perturbations", *labels, "--effects.n-particles", "8", *flags]
    )
    return anndata.read_h5ad(out)


@pytest.fixture(scope="module")
def prediction(runs, tmp_path_factory):
    return predicted(runs.from_file, tmp_path_factory.mktemp("predictions") / "new" / "p.h5ad", *LABELS)


def test_rows_and_columns(runs, prediction):
    assert prediction.obs_names.tolist() == LABELS
    assert prediction.var_names.tolist() == anndata.read_h5ad(runs.screen).var_names.tolist()
    assert set(prediction.layers) == {"ate", "ate_se", "ate_sd", "ate_low", "ate_high"}
    for values in (prediction.X, *prediction.layers.values()):
        assert values.shape == (6, 30) and np.isfinite(values).all()
    assert (prediction.layers["ate_se"] >= 0).all() and (prediction.layers["ate_sd"] >= 0).all()
    assert (prediction.layers["ate_low"] <= prediction.layers["ate_high"]).all()


def test_expression_is_control_and_effect(prediction):
    control = prediction.var.control.to_numpy()
    assert np.allclose(prediction.X - control, prediction.layers["ate"], atol=1e-5)
    at = LABELS.index("control")
    assert np.allclose(prediction.layers["ate"][at], 0, atol=1e-6)  # arms differ by rounding only
    assert np.allclose(prediction.layers["ate_se"][at], 0, atol=1e-6)
    assert np.allclose(prediction.X[at], control, atol=1e-5)


def test_the_order_of_a_combination_means_nothing_and_the_dose_does(prediction):
    ate = dict(zip(LABELS, prediction.layers["ate"], strict=True))
    assert np.array_equal(ate["P1+P6"], ate["P6+P1"]) and ate["P1+P6"].any()
    assert ate["P2"].any() and not np.allclose(ate["P2@2"], ate["P2"])


def test_effects_are_those_of_the_fit_for_the_same_draws(runs, prediction):
    fitted = anndata.read_h5ad(runs.from_file / "ate.h5ad")
    shared = [name for name in LABELS if name in fitted.obs_names]
    assert shared
    assert prediction[shared].layers["ate"].shape == fitted[shared].X.shape
    se = np.hypot(prediction[shared].layers["ate_se"], fitted[shared].layers["model_se"])
    assert np.median(np.abs(prediction[shared].layers["ate"] - fitted[shared].X) / np.maximum(se, 1e-3)) < 3


def test_training_cells_of_the_rarest_part(runs, prediction):
    latents = anndata.read_h5ad(runs.from_file / "latents.h5ad").obs
    train = latents.treatment[latents.split == "train"]
    n = {name: sum(name in label.split("+") for label in train) for name in ("P1", "P2", "P3", "P6")}
    expected = [min(n["P1"], n["P6"]), 0, min(n["P1"], n["P6"]), n["P2"], n["P2"], min(n["P1"], n["P3"])]
    assert prediction.obs.n_training_cells.tolist() == expected


def test_the_file_says_what_its_numbers_are(prediction):
    described = dict(prediction.uns["samsjax"])
    assert described.pop("library_size_median") > 0
    assert described == {
        "scale": "log2_cp10k",
        "unit": "log2(1 + counts per 10,000)",
        "library_size": "training cells",
        "library_size_source": "row_sum",
        "n_particles": 8,
        "paired": True,
        "noise": "marginal",
        "covariates": {},
        "reference": "control",
    }


def test_flags_of_the_scale(runs, tmp_path):
    flags = (
        "--effects.transform",
        "counts",
        "--effects.library-size",
        "1000",
        "--effects.noise",
        "mean",
        "--seed",
        "3",
    )
    result = predicted(runs.from_file, tmp_path / "p.h5ad", "P1", flags=flags)
    assert np.allclose(result.X.sum(), 1000, rtol=1e-3) and (result.X >= 0).all()
    described = result.uns["samsjax"]
    assert (described["scale"], described["library_size"], described["noise"]) == ("counts", 1000, "mean")
    assert described["unit"] == "the data's own values"


def test_the_seed_decides_the_draws(runs, prediction, tmp_path, capsys):
    again = predicted(runs.from_file, tmp_path / "again.h5ad", *LABELS)
    assert capsys.readouterr().out == f"6 treatments x 30 genes in log2_cp10k written to {tmp_path / 'again.h5ad'}\n"
    assert np.array_equal(again.X, prediction.X)
    other = predicted(runs.from_file, tmp_path / "again.h5ad", *LABELS, flags=("--seed", "1", "--overwrite"))
    assert not np.array_equal(other.X, prediction.X)
    assert [path.name for path in tmp_path.iterdir()] == ["again.h5ad"]


UNSEEN = ("--simulation", "features", *SIMULATION, "--simulation.n-features", "3", "--simulation.held-out", "0.34")
COLUMNS = ("feature1", "feature2", "feature3")
LEARNED = ("--train.rotation", "off", "--model.mask-prior-prob", "0.5", "--model.cold-start", "0.5")
NEW = {"NEW": [0.5, -1.0, 0.2], "OTHER": [3.0, 0.0, 1.0]}


@pytest.fixture(scope="module")
def featured(tmp_path_factory):
    """A run with features of perturbations, two of six held out, and a table with features of new ones."""
    folder = tmp_path_factory.mktemp("featured")
    fit.main(["--out", str(folder / "run"), *UNSEEN, "--model.feature-prior", *MODEL, *LEARNED, *EVALUATION])
    table(folder / "new.csv", NEW)
    return folder


def table(path, rows, columns=COLUMNS):
    pd.DataFrame.from_dict(rows, orient="index", columns=list(columns)).to_csv(path, index_label="perturbation")
    return path


def held_out(run):
    fitted = load_run(run)
    return [
        name for name, n in zip(fitted.vocabulary.perturbation_names, fitted.n_training_cells, strict=True) if not n
    ]


def test_perturbations_nobody_measured_are_predicted_from_features(featured, tmp_path, capsys):
    unseen, labels = held_out(featured / "run"), ["NEW", "NEW@0.25", "NEW+OTHER@2"]
    seen = next(f"P{i}" for i in range(1, 7) if f"P{i}" not in unseen)
    labels += [unseen[0], f"{seen}+NEW", seen]
    found = predicted(featured / "run", tmp_path / "p.h5ad", *labels, flags=("--features", str(featured / "new.csv")))
    told = dict(zip(labels, found.obs.from_features, strict=True))
    assert told == {
        **{"NEW": "NEW", "NEW@0.25": "NEW", "NEW+OTHER@2": "NEW+OTHER"},
        **{unseen[0]: unseen[0], f"{seen}+NEW": "NEW", seen: ""},
    }
    assert [n > 0 for n in found.obs.n_training_cells] == [name == "" for name in told.values()]
    said = " ".join(capsys.readouterr().err.split())
    assert f"no training cell carries NEW, OTHER, {unseen[0]}: predicted from features alone" in said
    for values in (found.X, *found.layers.values()):
        assert np.isfinite(values).all()
    ate = dict(zip(labels, found.layers["ate"], strict=True))
    assert np.abs(ate["NEW"]).max() > 0 and np.abs(ate["NEW@0.25"]).max() < np.abs(ate["NEW"]).max()
    width = found.layers["ate_high"] - found.layers["ate_low"]
    assert (width[labels.index("NEW")] > 0).any()


def test_what_a_new_perturbation_is_called_decides_nothing_and_its_features_do(featured, tmp_path):
    rows = {"A": NEW["NEW"], "B": NEW["NEW"], "C": [-9.0, 9.0, 9.0]}
    flags = ("--features", str(table(tmp_path / "t.csv", rows)), "--effects.n-particles", "400")
    ate = predicted(featured / "run", tmp_path / "p.h5ad", *rows, flags=flags)
    one, two, other = (ate.layers["ate"][row] for row in range(3))
    error = np.hypot(ate.layers["ate_se"][0], ate.layers["ate_se"][1])
    assert (np.abs(one - two) < 6 * error + 1e-3).all()  # draws differ
    assert np.abs(one - other).max() > 3 * np.abs(one - two).max()


SCORED = (*EVALUATION, *FULL, "--no-report", "--evaluation.extent", "scores", "--evaluation.scoring.no-cell-metrics")


@pytest.mark.slow
def test_a_stored_run_tells_unseen_from_trained_perturbations(featured, tmp_path):
    run, own = featured / "run", from_file_flags(featured / "run" / "simulation.h5ad")
    evaluate.main(["--run", str(run), *own, "--out", str(tmp_path / "scores"), *SCORED])
    metrics = read_json(tmp_path / "scores" / "metrics.json")
    for kind in ("unseen", "trained"):
        names = {name.split("/")[1] for name in metrics if name.startswith(f"{kind}/")}
        assert {"model", "training_mean", "feature_ridge", "feature_nearest"} <= names
    table = pd.read_csv(tmp_path / "scores" / "treatment_scores.csv", keep_default_na=False)
    of_model = table[(table.predictor == "model") & (table.metric == "mse_delta")].set_index("treatment")
    unseen = [set(label.split("+")) & set(held_out(run)) != set() for label in of_model.index]
    assert ((of_model.in_training == "new perturbation") == unseen).all() and 0 < sum(unseen) < len(unseen)
    value = of_model.value.astype(float)
    assert metrics["unseen/model/mse_delta"] == pytest.approx(value[unseen].mean(), rel=1e-5)


@pytest.mark.slow
def test_cells_of_new_perturbations_are_scored(featured, tmp_path):
    screen = anndata.read_h5ad(featured / "run" / "simulation.h5ad")
    label = screen.obs["perturbation"].astype(str)
    screen.obs["perturbation"] = label.where(~label.isin(held_out(featured / "run")), "NEW")
    screen.write_h5ad(tmp_path / "screen.h5ad")
    flags = ["--run", str(featured / "run"), "--features", str(featured / "new.csv"), "--out", str(tmp_path / "scores")]
    with pytest.warns(UserWarning, match="names of cells the model was trained on"):
        evaluate.main([*flags, "--data.path", str(tmp_path / "screen.h5ad"), *SCORED])
    scores = pd.read_csv(tmp_path / "scores" / "treatment_scores.csv", keep_default_na=False)
    new = scores[scores.treatment == "NEW"]
    assert set(new.in_training) == {"new perturbation"}
    values = pd.to_numeric(new[new.metric == "mse_delta"].set_index("predictor").value)
    assert np.isfinite(values[["model", "feature_ridge", "feature_nearest", "training_mean"]]).all()
    assert np.isnan(values["own_training_mean"])
    assert "unseen/model/mse_delta" in read_json(tmp_path / "scores" / "metrics.json")
    assert "NEW" not in load_run(featured / "run").vocabulary.perturbation_names


REFUSED = {
    "nobody's name": (
        ["NEW", "P1x"],
        NEW,
        None,
        ["unknown perturbation 'P1x'", "Did you mean 'P1'", "--features PATH"],
    ),
    "no table": (
        ["NEW"],
        None,
        None,
        ["unknown perturbation 'NEW'", "--features PATH", "feature1, feature2, feature3"],
    ),
    "another name": (["NEW"], {"NEWER": [1.0, 2.0, 3.0]}, None, ["unknown perturbation 'NEW'"]),
    "a repeated name": (
        ["NEW"],
        "perturbation,feature1,feature2,feature3\nNEW,1,2,3\nNEW,1,2,4\n",
        None,
        ["duplicated", "NEW"],
    ),
    "a missing column": (
        ["NEW"],
        {"NEW": [1.0, 2.0]},
        ["feature1", "feature_3"],
        ["lacks 2 of the 3", "feature2, feature3"],
    ),
    "no number": (["NEW"], {"NEW": [1.0, "high", 3.0]}, None, ["'high'", "'feature2'", "'NEW'"]),
    "not finite": (["NEW"], {"NEW": [1.0, np.inf, 3.0]}, None, ["inf", "'feature2'", "'NEW'"]),
    "no value": (["NEW"], {"NEW": [1.0, np.nan, 3.0]}, None, ["feature2", "'NEW'"]),
    "no file": (["NEW"], "", None, ["nowhere.csv"]),
    "a negative dose": (["NEW@-1"], NEW, None, ["dose -1", "NEW"]),
    "no dose": (["NEW@"], NEW, None, ["dose ''", "not a number"]),
    "dose zero": (["P1+NEW@0"], NEW, None, ["dose 0 for NEW"]),
    "named twice": (["NEW+NEW@2"], NEW, None, ["names NEW more than once"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_predicted_from_features_is_named(featured, tmp_path, unwritten, capsys, case):
    labels, rows, columns, words = REFUSED[case]
    path = tmp_path / ("nowhere.csv" if rows == "" else "new.csv")
    if isinstance(rows, dict):
        table(path, rows, columns or COLUMNS)
    elif rows:
        path.write_text(rows)
    flags = ["--run", featured / "run", "--out", unwritten / "p.h5ad", "--perturbations", *labels]
    refused(predict.main, [*flags, *(() if rows is None else ("--features", path))], words, capsys)


def test_rows_of_perturbations_that_trained_are_not_looked_at(featured):
    fitted = load_run(featured / "run")
    rows = {name: [7.0, 7.0, 7.0] for name in fitted.vocabulary.perturbation_names} | NEW
    path = table(featured / "all.csv", rows)
    known = KnownFeatures.of(featured / "run", fitted, path)
    assert known.new_names(fitted, ["P1", "NEW", "control", "P2@3", "OTHER@2", "X"]) == ["NEW", "OTHER"]
    assert known.unmet(fitted) == ["NEW", "OTHER"]
    bigger = known.added_to(fitted, ["NEW"])
    assert bigger.vocabulary.perturbation_names == (*fitted.vocabulary.perturbation_names, "NEW")
    assert known.added_to(fitted, []) is fitted
    with pytest.raises(InputError, match="other features of 'P1' than the run"):
        known.features(["P1"])


def test_columns_are_found_by_name_and_others_are_not_looked_at(featured, tmp_path):
    fitted = load_run(featured / "run")
    path = table(tmp_path / "t.csv", {"NEW": [3.0, "text", 1.0, 2.0]}, ["feature3", "note", "feature1", "feature2"])
    values = KnownFeatures.of(featured / "run", fitted, path).features(["NEW"]).values
    assert values.tolist() == [[1.0, 2.0, 3.0]]


def test_a_run_without_features_says_so(runs, featured, unwritten, capsys):
    flags = ["--run", runs.from_file, "--out", unwritten / "p.h5ad", "--perturbations", "NEW"]
    refused(predict.main, flags, ["unknown perturbation 'NEW'", "its own cells", "--features.source"], capsys)
    words = ["uses no features of perturbations", "--features.source"]
    refused(predict.main, [*flags, "--features", featured / "new.csv"], words, capsys)


def test_a_run_that_lost_its_features_is_damaged(featured, tmp_path, unwritten, capsys):
    run = shutil.copytree(featured / "run", tmp_path / "run")
    (run / "features.csv").unlink()
    flags = ["--run", run, "--out", unwritten / "p.h5ad", "--perturbations", "P1"]
    refused(predict.main, flags, ["damaged", "features.csv is missing"], capsys)


@pytest.fixture
def dosed(featured, tmp_path):
    """A run whose perturbations are doses of A and B, with `log_dose` among their features: names and files only."""
    fitted = load_run(featured / "run")
    names = ("A@0.5", "A@1", "B@1", "B@2", "C@1", "C@4")
    words = fitted.vocabulary._replace(perturbation_names=names, features=("feature1", "feature2", LOG_DOSE))
    rows = {name: [float(ord(name[0])), 1.0, np.log(float(name[2:]))] for name in names}
    rows |= {base: [float(ord(base)), 1.0, 0.0] for base in "ABC"}
    table(tmp_path / "features.csv", rows, ["feature1", "feature2", LOG_DOSE])
    return tmp_path, fitted, words


def test_doses_that_are_perturbations_of_their_own(dosed):
    run, fitted, words = dosed
    fitted = replace(fitted, vocabulary=words)
    path = table(run / "new.csv", {"N": [5.0, 6.0]}, ["feature1", "feature2"])
    known = KnownFeatures.of(run, fitted, path)
    assert known.new_names(fitted, ["A@0.25", "A@.50", "B@2", "N@8", "A@0.250"]) == ["A@0.25", "N@8"]
    values = known.features(["A@0.25", "N@8"]).values
    np.testing.assert_allclose(values, [[65.0, 1.0, np.log(0.25)], [5.0, 6.0, np.log(8)]])
    for label, words_ in {
        "A": "'A' has no dose.*ask for A@DOSE",
        "N": "'N' has no dose",
        "A@-2": "dose -2.0 of A",
        "N@": "dose '' of N",
        "A@0": "dose 0 for A",
    }.items():
        with pytest.raises(InputError, match=words_):
            known.new_names(fitted, [label])
