"""The door `experiments.fit`: what it writes, that a seed decides it, and how it treats folders that exist."""

import csv
import os
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace

import anndata
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from experiments import fit, run_files, screens
from experiments.fit_checks import check_command
from experiments.fit_command import command_from, settings_of
from samsjax import reporting
from samsjax.errors import InputError
from samsjax.evaluation import evaluate, gene_responses
from samsjax.inference.checkpoint import load
from samsjax.inference.training import DivergenceError
from tests.experiments.doors import (
    EVALUATION,
    MODEL,
    ROOT,
    SMALL,
    assert_same_bits,
    from_file_flags,
    read_json,
    untimed,
)

FILES = {
    *("config.json", "metrics.json", "history.csv", "rotations.csv", "effects.csv", "mechanisms.csv", "model"),
    *("ate.h5ad", "latents.h5ad", "effects.h5ad", "training.npz", "environment.json"),
}
SCORES = ("pearson", "pearson_top20", "r2", "r2_top20")
METRICS = {
    *("test/predictive_iwelbo", "val/predictive_iwelbo"),
    *(f"ate/{split}/{score}" for split in ("train", "val", "test", "all", "published") for score in SCORES),
    *("time/compile_s", "time/train_s", "time/steps", "time/evaluate_s", "memory/peak_gb"),
}
MASKS = {"mask/precision", "mask/recall", "mask/f1", "mask/average_precision"}
PERTURBATIONS = [f"P{i}" for i in range(1, 7)]


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_files(runs):
    assert names(runs.simulated) == FILES | {"simulation.h5ad"}
    assert names(runs.from_file) == FILES
    assert names(runs.screen.parent) == {"simulated", "from_file", "screen.h5ad"}


def test_metrics(runs):
    simulated, from_file = (read_json(run / "metrics.json") for run in (runs.simulated, runs.from_file))
    assert set(simulated) == METRICS | MASKS
    assert set(from_file) == METRICS
    assert all(isinstance(value, int | float) and np.isfinite(value) for value in simulated.values())
    assert all(-1 <= simulated[name] <= 1 for name in METRICS if "pearson" in name)
    assert all(simulated[name] <= 1 for name in METRICS if "/r2" in name)
    assert all(0 <= simulated[name] <= 1 for name in MASKS)
    assert all(simulated[name] >= 0 for name in METRICS if name.startswith("time/"))
    assert simulated["time/steps"] == 20 and 0.1 < simulated["memory/peak_gb"] < 200


def field_tree(value):
    """Names of all fields, nested as the dataclasses are; entries of a mapping count as fields."""
    if isinstance(value, dict):
        return key_tree(value)
    if not is_dataclass(value):
        return None
    return {field.name: field_tree(getattr(value, field.name)) for field in fields(value)}


def key_tree(value):
    return {name: key_tree(item) for name, item in value.items()} if isinstance(value, dict) else None


def flags_of(settings, prefix="--"):
    """The flags that say what a config.json says."""
    flags = []
    for name, value in settings.items():
        flag = prefix + name.replace("_", "-")
        if isinstance(value, dict):
            flags += flags_of(value, f"{flag}.")
        elif isinstance(value, bool):
            flags.append(flag if value else f"{prefix}no-{name.replace('_', '-')}")
        elif isinstance(value, list):
            flags += [flag, *map(str, value)]
        else:
            flags += [flag, str(value)]
    return flags


@pytest.mark.parametrize("which", ["simulated", "from_file"])
def test_config_is_complete_and_reads_back(runs, which):
    config = read_json(getattr(runs, which) / "config.json")
    chosen = {name: config.pop(name) for name in ("model_name", "study", "simulation_name")}
    simulated = "screen" if which == "simulated" else None
    assert chosen == {"model_name": "sams_vae", "study": None, "simulation_name": simulated}
    command = command_from(flags_of(config))
    check_command(command)
    assert key_tree(config) == field_tree(command)
    assert settings_of(command) == chosen | config
    assert config["simulation"]["n_genes"] == 30 or which == "from_file"
    assert config["train"]["n_steps"] == 20 and config["evaluation"]["effects"]["n_particles"] == 8


def test_history(runs):
    with (runs.simulated / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "step", "train_objective", "val_elbo", "learning_rate", "seconds", "rotated"]
    assert [int(row["epoch"]) for row in rows] == list(range(1, 11))
    assert [int(row["step"]) for row in rows] == list(range(2, 21, 2))  # 172 training cells in batches of 86
    assert all(np.isfinite(float(value)) for row in rows for value in row.values())
    assert float(rows[-1]["val_elbo"]) > float(rows[0]["val_elbo"])


def test_effects_table(runs):
    table = pd.read_csv(runs.simulated / "effects.csv")
    assert table.perturbation.tolist() == np.repeat(PERTURBATIONS, 4).tolist()
    assert table.latent.tolist() == list(range(4)) * 6
    assert table.inclusion_probability.between(0, 1).all() and (table.effect_sd >= 0).all()
    assert not table.isna().any().any()
    latents = anndata.read_h5ad(runs.simulated / "latents.h5ad").obs
    train = latents.treatment[latents.split == "train"]
    carried = [sum(name in label.split("+") for label in train) for name in PERTURBATIONS]
    assert table.groupby("perturbation").n_training_cells.first().tolist() == carried


def test_mechanisms(runs, tmp_path, capsys):
    """Those of a model with effects set by hand: so short a fit finds none."""
    rng = np.random.default_rng(0)
    fitted = load(runs.simulated / "model")
    logits = np.where(rng.random((6, 4)) < [0.0, 0.3, 0.5, 0.9], 3.0, -3.0)
    params = fitted.params | {"mask_logits": logits, "E_loc": rng.standard_normal((6, 4))}
    fitted = replace(fitted, params=jax.tree.map(jnp.float32, params))
    command = command_from(["--out", str(tmp_path), *SMALL])
    data, _ = screens.load_data(command)
    scores = evaluate(fitted, data, command.evaluation)
    run_files.write_results(tmp_path, fitted, data, scores, command.evaluation, seed=0)
    table = pd.read_csv(tmp_path / "mechanisms.csv", keep_default_na=False)
    assert table.latent.tolist() == list(range(4)) and table.name[0] == "unused"
    assert table.n_perturbations.tolist() == (logits > 0).sum(axis=0).tolist()
    assert table.name.nunique() == 4 and (table.genes_up != "").tolist() == [False, True, True, True]
    effects = pd.read_csv(tmp_path / "effects.csv")
    assert effects.columns.tolist()[:3] == ["perturbation", "latent", "latent_name"]
    assert effects.latent_name.tolist() == table.name.tolist() * 6
    assert anndata.read_h5ad(tmp_path / "latents.h5ad").var.name.tolist() == table.name.tolist()
    responses = gene_responses(jax.random.fold_in(jax.random.key(0), 2), fitted, scores.effects)
    by_library = reporting.mechanisms_table(fitted, scores.effects, responses)
    assert (tmp_path / "mechanisms.csv").read_text() == by_library.to_csv(index=False)
    fit.say_mechanisms(tmp_path / "mechanisms.csv")
    assert capsys.readouterr().out == reporting.mechanisms_summary(by_library) + "\n"


def test_a_model_without_effects_has_no_mechanisms(runs, tmp_path, capsys):
    flags = [*from_file_flags(runs.screen), *MODEL, *EVALUATION, "--model", "conditional_vae"]
    fit.main(["--out", str(tmp_path / "run"), *flags])
    assert not names(tmp_path / "run") & {"effects.csv", "mechanisms.csv"}
    assert "name" not in anndata.read_h5ad(tmp_path / "run" / "latents.h5ad").var
    assert "mechanisms" not in capsys.readouterr().out


def test_treatment_effects(runs):
    ate, screen = (anndata.read_h5ad(path) for path in (runs.simulated / "ate.h5ad", runs.screen))
    labels = sorted(set(screen.obs.perturbation) - {"control"})
    assert ate.obs_names.tolist() == labels and len(labels) == 9
    assert ate.var_names.tolist() == screen.var_names.tolist()
    assert set(ate.layers) == {"model_se", "data", "data_se"} and set(ate.var) == {"model_control", "data_control"}
    values = screen.X.toarray().astype(float)
    scaled = np.log2(1 + 1e4 * values / values.sum(axis=1, keepdims=True))
    mean = {label: scaled[(screen.obs.perturbation == label).to_numpy()].mean(axis=0) for label in [*labels, "control"]}
    expected = np.array([mean[label] - mean["control"] for label in labels])
    assert np.allclose(ate.layers["data"], expected, atol=1e-4)
    assert np.allclose(ate.var.data_control, mean["control"], atol=1e-4)
    for values in (ate.X, *ate.layers.values()):
        assert values.shape == (9, 30) and np.isfinite(values).all()
    assert (ate.layers["model_se"] >= 0).all() and (ate.var.model_control >= 0).all()
    assert ate.uns["samsjax"] == {
        "scale": "log2_cp10k",
        "unit": "log2(1 + counts per 10,000)",
        "library_size": "training cells",
        "library_size_median": pytest.approx(np.median(values_of_training_cells(screen)), rel=0.01),
        "library_size_source": "row_sum",
        "n_particles": 8,
        "paired": True,
        "noise": "marginal",
        "covariates": {},
        "reference": "control",
        "data_cells": "all",
    }
    metrics = read_json(runs.simulated / "metrics.json")
    assert metrics["ate/all/pearson"] == pytest.approx(np.corrcoef(ate.layers["data"].ravel(), ate.X.ravel())[0, 1])


def values_of_training_cells(screen):
    return screen.X.toarray().sum(axis=1)[(screen.obs.split == "train").to_numpy()]


def test_latents(runs):
    latents, screen = (anndata.read_h5ad(path) for path in (runs.from_file / "latents.h5ad", runs.screen))
    assert latents.obs_names.tolist() == screen.obs_names.tolist()
    assert latents.obs.split.tolist() == screen.obs.split.tolist()
    assert latents.obs.treatment.tolist() == screen.obs.perturbation.tolist()
    assert latents.obs.batch.tolist() == screen.obs.batch.tolist()
    assert np.array_equal(latents.obs.library_size, screen.X.toarray().sum(axis=1))
    assert latents.shape == (270, 4) and np.isfinite(latents.X).all()
    assert np.array_equal(latents.obsm["X_samsvae"], latents.X)
    control = (latents.obs.treatment == "control").to_numpy()
    assert np.array_equal(latents.X[control], latents.obsm["X_samsvae_basal"][control])
    assert not np.allclose(latents.X[~control], latents.obsm["X_samsvae_basal"][~control])


def test_simulation_file_holds_the_truth(runs):
    simulation = anndata.read_h5ad(runs.simulated / "simulation.h5ad")
    truth = simulation.uns["truth"]
    assert truth["perturbation_names"].tolist() == PERTURBATIONS
    assert truth["mask"].shape == truth["effect"].shape == (6, 3)
    assert np.array_equal(truth["mask"], truth["effect"] != 0) and not truth["mask"][-1].any()
    assert simulation.layers["mean"].shape == simulation.shape == (270, 30)


def test_environment(runs):
    environment = read_json(runs.simulated / "environment.json")
    assert environment["packages"]["jax"] == jax.__version__
    assert environment["device"]["platform"] == jax.devices()[0].platform


def test_a_file_gives_the_fit_of_the_simulation_it_holds(runs):
    assert_same_bits(load(runs.simulated / "model").params, load(runs.from_file / "model").params)
    assert untimed(runs.from_file) == {k: v for k, v in untimed(runs.simulated).items() if k not in MASKS}


def test_the_seed_decides_everything(runs, tmp_path):
    flags = [*from_file_flags(runs.screen), *MODEL, *EVALUATION]
    for seed in "01":
        fit.main(["--out", str(tmp_path / seed), "--seed", seed, *flags])
    same, other = tmp_path / "0", tmp_path / "1"
    params = load(runs.from_file / "model").params
    assert_same_bits(load(same / "model").params, params)
    assert untimed(same) == untimed(runs.from_file)
    assert (same / "effects.csv").read_text() == (runs.from_file / "effects.csv").read_text()
    for a, b in zip(jax.tree.leaves(load(other / "model").params), jax.tree.leaves(params), strict=True):
        assert not np.array_equal(a, b)
    assert all(value != untimed(same)[name] for name, value in untimed(other).items())
    assert names(tmp_path) == {"0", "1"}


@pytest.mark.slow
def test_a_new_process_gives_the_same_bits(runs, tmp_path):
    command = [sys.executable, "-m", "experiments.fit", "--out", str(tmp_path / "run"), *SMALL]
    environment = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "test" in done.stdout and "written to" in done.stdout
    assert "270 cells (172 train, 44 val, 54 test; 60 controls), 30 genes, 6 perturbations" in done.stderr
    assert untimed(tmp_path / "run") == untimed(runs.simulated)
    assert_same_bits(load(tmp_path / "run" / "model").params, load(runs.simulated / "model").params)


def test_overwrite_replaces_a_run(runs, run_copy, capsys):
    (run_copy / "stale.txt").write_text("from the earlier run")
    flags = [*from_file_flags(runs.screen), *MODEL, *EVALUATION]
    with pytest.raises(InputError, match="exists; choose another --out or add --overwrite"):
        fit.main(["--out", str(run_copy), *flags])
    assert (run_copy / "stale.txt").is_file()
    fit.main(["--out", str(run_copy), "--overwrite", *flags])
    assert names(run_copy) == FILES and names(run_copy.parent) == {"copy"}
    assert read_json(run_copy / "config.json")["overwrite"] is True
    assert untimed(run_copy) == untimed(runs.from_file)
    assert f"written to {run_copy}" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["thesis.tex", "data/counts.csv"])
def test_overwrite_spares_what_is_no_run(unwritten, tmp_path, content):
    folder = tmp_path / "mine"
    (folder / content).parent.mkdir(parents=True)
    (folder / content).write_text("mine")
    with pytest.raises(InputError, match=r"not a result of samsjax \(it has no config.json\)"):
        fit.main(["--out", str(folder), "--overwrite", *SMALL])
    assert (folder / content).read_text() == "mine"


def test_a_failure_leaves_nothing_behind(unwritten, monkeypatch):
    def diverge(*args, **kwargs):
        raise DivergenceError("training diverged")

    monkeypatch.setattr(fit, "fit", diverge)
    with pytest.raises(DivergenceError):
        fit.main(["--out", str(unwritten / "run"), *SMALL])
    with pytest.raises(DivergenceError):
        fit.main(["--out", str(unwritten / "new" / "deep" / "run"), *SMALL])


def test_a_failed_overwrite_keeps_the_old_run(run_copy, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_files, "write_results", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit.main(["--out", str(run_copy), "--overwrite", *SMALL])
    assert names(run_copy) == FILES and names(run_copy.parent) == {"copy"}
