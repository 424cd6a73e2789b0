"""The simulations of the papers through the doors: fitted, written with their truth, and read back as files."""

import json

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

from experiments import evaluate, fit, output
from experiments.fit_command import command_from
from experiments.run_files import write_run
from experiments.screens import load_data
from samsjax.data import treatments
from samsjax.data.simulations import SIMULATIONS, simulation, simulation_name
from samsjax.errors import InputError
from samsjax.inference.checkpoint import load
from samsjax.reporting import truth_to_anndata
from tests.experiments.doors import (
    CONTINUOUS,
    EVALUATION,
    MODEL,
    SMALL,
    assert_same_bits,
    from_file_flags,
    read_json,
    refused,
    untimed,
)

SETTINGS = {"sams": (*MODEL, *EVALUATION, *CONTINUOUS), "svae_plus": (*MODEL, *EVALUATION)}
SIZES = (
    *("--simulation.n-genes", "20", "--simulation.n-latent", "3", "--simulation.n-hidden", "8"),
    *("--simulation.n-perturbations", "5", "--simulation.n-control-cells", "40", "--simulation.train-cells", "20"),
    *("--simulation.val-cells", "5", "--simulation.test-cells", "5"),
)
TINY = {"n_perturbations": 3, "n_control_cells": 8, "n_genes": 9, "n_latent": 3}
TINY_SCREEN = TINY | {"n_without_effect": 0, "n_doubles": 2, "cells_per_single": 4, "cells_per_double": 3}
TINY_OF = {
    "screen": TINY_SCREEN,
    "artifacts": TINY_SCREEN | {"n_mito_genes": 2, "n_ribo_genes": 1, "n_confounded": 1},
    "doses": TINY_SCREEN | {"doses": (0.5, 2.0)},
    "features": TINY_SCREEN | {"n_features": 4},
    "sams": TINY | {"n_hidden": 9, "train_cells": 3, "val_cells": 1, "test_cells": 1},
    "svae_plus": TINY | {"n_hidden": 9, "train_cells": 3, "val_cells": 1, "test_cells": 1},
    "gim": {"n_variables": 5, "n_train_functions": 3, "n_test_functions": 1, "n_features": 3, "n_control_cells": 8}
    | {"cells_per_context": 3, "n_held_out_controls": 2},
}


@pytest.fixture(scope="module", params=["sams", pytest.param("svae_plus", marks=pytest.mark.slow)])
def simulated(request, tmp_path_factory):
    """The name of a simulation, and a run that drew it."""
    out = tmp_path_factory.mktemp(request.param) / "run"
    fit.main(["--out", str(out), "--simulation", request.param, *SIZES, *SETTINGS[request.param]])
    return request.param, out


def test_the_run_holds_the_simulation_and_its_truth(simulated):
    name, run = simulated
    command = command_from(["--out", "run", "--simulation", name, *SIZES])
    data, truth = SIMULATIONS[name].simulate(command.simulation, seed=0)
    config = read_json(run / "config.json")
    assert (config["simulation_name"], config["study"]) == (name, None)
    assert config["simulation"]["n_perturbations"] == 5 and config["simulation"]["train_cells"] == 20
    stored = anndata.read_h5ad(run / "simulation.h5ad")
    assert stored.shape == (190, 20) and stored.obs["split"].tolist() == data.split.tolist()
    x = stored.X.toarray() if sp.issparse(stored.X) else stored.X
    assert np.array_equal(x, data.x.toarray() if sp.issparse(data.x) else data.x)
    assert np.array_equal(stored.uns["truth"]["mask"], truth.mask)
    metrics = read_json(run / "metrics.json")
    assert {"mask/f1", "ate/all/pearson", "test/predictive_iwelbo"} <= set(metrics)
    assert all(np.isfinite(value) for value in metrics.values())
    assert "log2(" not in anndata.read_h5ad(run / "ate.h5ad").uns["samsjax"]["unit"] or name == "svae_plus"


def test_a_file_gives_the_fit_of_the_simulation_it_holds(simulated, tmp_path):
    name, run = simulated
    flags = (*from_file_flags(run / "simulation.h5ad"), *SETTINGS[name])
    fit.main(["--out", str(tmp_path / "run"), *flags])
    assert_same_bits(load(tmp_path / "run" / "model").params, load(run / "model").params)
    own = {key: value for key, value in untimed(run).items() if not key.startswith("mask/")}
    assert untimed(tmp_path / "run") == own
    assert read_json(tmp_path / "run" / "config.json")["simulation_name"] is None


def test_a_stored_model_scores_its_simulation_alike(simulated, tmp_path):
    name, run = simulated
    transform = CONTINUOUS[-2:] if name == "sams" else ()
    flags = ["--run", str(run), *from_file_flags(run / "simulation.h5ad"), *EVALUATION, *transform]
    evaluate.main(["--out", str(tmp_path / "scores"), *flags])
    own = {key: value for key, value in untimed(run).items() if not key.startswith("mask/")}
    assert untimed(tmp_path / "scores") == own


def test_scales_of_counts_are_refused_before_anything_is_read(simulated, unwritten, capsys, monkeypatch):
    name, run = simulated
    if name == "svae_plus":
        pytest.skip("its values are counts")
    monkeypatch.setattr(evaluate, "read_with_new", lambda *args: pytest.fail("the file was read"))
    flags = ["--run", run, "--data.path", run / "simulation.h5ad", "--out", unwritten / "scores"]
    refused(evaluate.main, flags, ["'log2_cp10k' need counts", "--evaluation.effects.transform counts"], capsys)


@pytest.mark.parametrize("name", SIMULATIONS)
def test_every_truth_becomes_a_file(name, tmp_path):
    data, truth = SIMULATIONS[name].simulate(SIMULATIONS[name].config(**TINY_OF[name]), seed=1)
    truth_to_anndata(data, treatments(data), truth).write_h5ad(tmp_path / "simulation.h5ad")
    stored = anndata.read_h5ad(tmp_path / "simulation.h5ad")
    assert sp.issparse(stored.X) == sp.issparse(data.x) == SIMULATIONS[name].counts
    assert np.issubdtype(stored.X.dtype, np.integer) == SIMULATIONS[name].counts
    assert set(stored.var) == {"theta"} if SIMULATIONS[name].counts else {"noise_sd"}
    spread = truth.theta if SIMULATIONS[name].counts else truth.noise_sd
    assert np.array_equal(stored.var.iloc[:, 0], spread) and np.array_equal(stored.layers["mean"], truth.mean)
    assert np.array_equal(stored.obsm["z_basal"], truth.z_basal)
    assert (stored.obs["perturbation"] == "control").to_numpy().tolist() == data.is_control.tolist()


def test_the_table_of_simulations():
    for name, entry in SIMULATIONS.items():
        assert simulation(name) is entry and simulation_name(entry.config()) == name
    with pytest.raises(InputError, match=r"unknown simulation 'svae'. Did you mean 'svae_plus'"):
        simulation("svae")


TABLES = {"config.json", "environment.json", "history.csv", "rotations.csv", "effects.csv", "metrics.json"}


@pytest.mark.parametrize("everything", [True, False])
def test_a_run_is_written_with_or_without_large_files_and_metrics_last(runs, tmp_path, monkeypatch, everything):
    present = []

    def write(path, value):
        present.append({entry.name for entry in path.parent.iterdir()})
        path.write_text(json.dumps(output.plain(value)))

    monkeypatch.setattr(output, "write_json", write)
    command = command_from(["--out", str(runs.simulated), *SMALL])
    data, truth = load_data(command)
    stored = load(runs.simulated / "model")
    metrics = write_run(command, stored, data, truth, tmp_path, everything=everything).metrics
    written = {path.name for path in tmp_path.iterdir()}
    assert written == (TABLES if not everything else {path.name for path in runs.simulated.iterdir()})
    assert present[-1] == written - {"metrics.json"} and read_json(tmp_path / "metrics.json") == metrics
    assert untimed(tmp_path) == untimed(runs.simulated)
    for name in ("history.csv", "effects.csv"):
        assert (tmp_path / name).read_text() == (runs.simulated / name).read_text()
    assert read_json(tmp_path / "config.json") == read_json(runs.simulated / "config.json")
