"""The door `experiments.evaluate`: the metrics of a stored model on other cells, genes matched by name."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from experiments import evaluate
from tests.experiments.doors import EVALUATION, from_file_flags, read_json, untimed

SCORES = ("pearson", "pearson_top20", "r2", "r2_top20")
SCORED = {
    *("config.json", "metrics.json", "effects.csv", "mechanisms.csv", "ate.h5ad", "latents.h5ad", "effects.h5ad"),
    "environment.json",
}


def score(run, screen, out, *flags):
    evaluate.main(["--run", str(run), "--out", str(out), *from_file_flags(screen), *EVALUATION, *flags])
    return untimed(out)


def test_the_own_cells_give_the_own_metrics(runs, tmp_path):
    assert score(runs.from_file, runs.screen, tmp_path / "out") == untimed(runs.from_file)
    assert {path.name for path in (tmp_path / "out").iterdir()} == SCORED
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    metrics = read_json(tmp_path / "out" / "metrics.json")
    assert metrics["time/evaluate_s"] > 0 and metrics["memory/peak_gb"] > 0 and "time/train_s" not in metrics
    config = read_json(tmp_path / "out" / "config.json")
    assert config["run"] == str(runs.from_file) and config["data"]["covariate_keys"] == ["batch"]
    for name in ("ate.h5ad", "latents.h5ad"):
        ours, theirs = (anndata.read_h5ad(folder / name) for folder in (tmp_path / "out", runs.from_file))
        assert np.array_equal(ours.X, theirs.X) and ours.obs.equals(theirs.obs) and ours.var.equals(theirs.var)
    for name in ("effects.csv", "mechanisms.csv"):
        assert (tmp_path / "out" / name).read_text() == (runs.from_file / name).read_text()


@pytest.fixture
def shuffled(runs, tmp_path):
    """The screen with its genes in another order and genes the model does not know among them."""
    adata = anndata.read_h5ad(runs.screen)
    rng = np.random.default_rng(0)
    names = [*adata.var_names, "unknown1", "unknown2", "unknown3"]
    counts = np.hstack([adata.X.toarray(), rng.poisson(50, (adata.n_obs, 3))])
    order = rng.permutation(len(names))
    var = pd.DataFrame(index=[names[i] for i in order])
    anndata.AnnData(sp.csr_matrix(counts[:, order]), adata.obs, var).write_h5ad(tmp_path / "shuffled.h5ad")
    return tmp_path / "shuffled.h5ad"


def test_genes_are_matched_by_name(runs, shuffled, tmp_path):
    with pytest.warns(UserWarning, match="3 genes of the data are unknown to the model and left out"):
        metrics = score(runs.from_file, shuffled, tmp_path / "out")
    assert metrics == untimed(runs.from_file)
    assert anndata.read_h5ad(tmp_path / "out" / "ate.h5ad").var_names.tolist() == [f"gene{i:02d}" for i in range(1, 31)]


def test_cells_of_the_training_warn_and_all_count_as_test(runs, tmp_path):
    flags = ["--run", str(runs.from_file), "--data.path", str(runs.screen), "--out", str(tmp_path / "out"), *EVALUATION]
    with pytest.warns(UserWarning, match="172 test cells have names of cells the model was trained on"):
        evaluate.main(flags)
    metrics = read_json(tmp_path / "out" / "metrics.json")
    assert {name for name in metrics if name.startswith(("test/", "val/", "ate/"))} == {
        "test/predictive_iwelbo",
        *(
            f"ate/{cells}/{name}"
            for cells in ("test", "all", "published")
            for name in ("pearson", "pearson_top20", "r2", "r2_top20")
        ),
    }
    assert set(anndata.read_h5ad(tmp_path / "out" / "latents.h5ad").obs.split) == {"test"}


def test_another_seed_draws_anew(runs, tmp_path):
    metrics = score(runs.from_file, runs.screen, tmp_path / "out", "--seed", "1")
    own = untimed(runs.from_file)
    assert metrics.keys() == own.keys() and metrics["test/predictive_iwelbo"] != own["test/predictive_iwelbo"]
    assert metrics["test/predictive_iwelbo"] == pytest.approx(own["test/predictive_iwelbo"], rel=0.05)


def test_overwrite_replaces_an_evaluation_only(runs, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "config.json").write_text("{}")
    (out / "stale.txt").touch()
    score(runs.from_file, runs.screen, out, "--overwrite")
    assert {path.name for path in out.iterdir()} == SCORED
