"""A fit and an evaluation with everything: scores beside baselines, intervals, checks, and the page that shows them."""

import re

import anndata
import numpy as np
import pandas as pd
import pytest

from experiments import evaluate, fit
from experiments.fit_command import command_from
from experiments.run_files import write_run
from experiments.screens import load_data
from experiments.summary import SCORES
from samsjax.evaluation.baselines import BASELINES
from samsjax.evaluation.evaluate import Evaluation
from samsjax.evaluation.posterior_effects import PosteriorEffects
from samsjax.inference.checkpoint import load
from tests.experiments.doors import EVALUATION, FULL, SMALL, read_json

WITHOUT_FEATURES = tuple(name for name, entry in BASELINES.items() if not entry.needs_features)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("full") / "run"
    fit.main(["--out", str(out), *SMALL, *FULL])
    return out


@pytest.fixture(scope="module")
def elsewhere(run, tmp_path_factory):
    """The run scored on its own cells as if they came from another laboratory: without a split."""
    out = tmp_path_factory.mktemp("full") / "elsewhere"
    with pytest.warns(UserWarning, match="names of cells the model was trained on"):
        screen = str(run / "simulation.h5ad")
        evaluate.main(["--run", str(run), "--data.path", screen, "--out", str(out), *EVALUATION, *FULL])
    return out


def test_model_and_baselines_stand_in_one_table(run):
    scores = pd.read_csv(run / "scores.csv")
    assert list(dict.fromkeys(scores.predictor)) == ["model", *WITHOUT_FEATURES, "half_split", "perfect"]
    pearson = scores[scores.metric == "pearson_delta"].set_index("predictor")
    assert pearson.loc["additive", "n_treatments"] > 0 and pearson.loc["low_rank", "n_treatments"] == 0
    assert (pearson.low <= pearson["mean"])[pearson.low.notna()].all()
    metrics = read_json(run / "metrics.json")
    assert metrics["scores/additive/pearson_delta"] == pytest.approx(pearson.loc["additive", "mean"])
    assert metrics["scores/no_effect/pearson_delta"] is None
    treatments = pd.read_csv(run / "treatment_scores.csv", keep_default_na=False)
    assert set(treatments.in_training) >= {"seen"} and set(treatments.predictor) >= {"model", *WITHOUT_FEATURES}


def test_effects_carry_intervals(run):
    ate = anndata.read_h5ad(run / "ate.h5ad")
    low, high = (np.asarray(ate.layers[name]) for name in ("model_low", "model_high"))
    assert (low <= high).all() and (ate.layers["model_sd"] >= 0).all()
    effects = anndata.read_h5ad(run / "effects.h5ad")
    assert {"inclusion_probability", "sd", "low", "high"} <= set(effects.layers)
    metrics = read_json(run / "metrics.json")
    assert {"coverage/test cells, own intervals", "coverage/true effects, latent space", "check/zeros"} <= set(metrics)


def test_combinations_are_compared_with_their_parts(run):
    table = pd.read_csv(run / "interactions.csv", keep_default_na=False)
    assert len(table) == 3 and table.combination.str.contains("+", regex=False).all()
    assert (table.not_defined_because == "").all() and (table.noise_norm.astype(float) > 0).all()


SECTIONS = ("Scores", "Caveats", "Treatments", "Effects", "Interactions", "Uncertainty and checks")


def test_the_page_shows_everything_and_asks_nothing_of_the_network(run):
    page = (run / "report.html").read_text()
    for title in ("What was run", "Data", "Training", *SECTIONS):
        assert f">{title}</h2>" in page, title
    assert page.count("<figure") >= 5 and "own_training_mean" in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page) and "url(" not in page.replace("url(data:", "")
    assert len(page) < 4e6


def test_another_laboratory_is_scored_beside_the_baselines_of_the_run(run, elsewhere):
    scores = pd.read_csv(elsewhere / "scores.csv")
    assert set(WITHOUT_FEATURES) < set(scores.predictor)
    page = (elsewhere / "report.html").read_text()
    assert "baselines learned from the model" in page and "simulated screen" not in page


def test_a_run_without_training_effects_is_scored_without_baselines(run, tmp_path):
    with pytest.warns(UserWarning, match="without baselines"):
        assert evaluate.stored_training(tmp_path, "log2_cp10k") is None
    with pytest.warns(UserWarning, match="'log2_cp10k', not 'counts'"):
        assert evaluate.stored_training(run, "counts") is None
    assert evaluate.stored_training(run, "log2_cp10k").transform == "log2_cp10k"


def test_an_evaluation_states_effects_as_widely_as_the_run(run, tmp_path):
    effects = PosteriorEffects(np.ones((2, 2)), np.ones((2, 2)), np.full((2, 2), 0.1), sparse=True)
    scores = Evaluation({}, None, None, None, effects)
    (tmp_path / "metrics.json").write_text('{"tempering/factor": 2.0}')
    np.testing.assert_allclose(evaluate.widened_as(tmp_path, scores).effects.sd, 0.2)
    np.testing.assert_array_equal(evaluate.widened_as(run, scores).effects.sd, effects.sd)


def test_runs_of_a_sweep_stand_beside_baselines_too(run, tmp_path):
    command = command_from(["--out", str(tmp_path), *SMALL, *FULL])
    data, truth = load_data(command)
    metrics = write_run(command, load(run / "model"), data, truth, tmp_path, everything=False).metrics
    shown = {name for name in SCORES if not name.startswith("unseen/")} - {"mask/f1"}
    assert shown <= {*metrics, "ate/test/pearson", "ate/test/r2"}
    assert "scores/model/edistance" not in metrics and not any(name.startswith("coverage/") for name in metrics)
    assert not (tmp_path / "report.html").exists()
