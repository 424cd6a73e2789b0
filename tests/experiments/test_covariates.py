"""Covariates through the doors: fitted, scored and predicted by flags, remembered by the run."""

import anndata
import numpy as np
import pytest

from experiments import evaluate, fit, predict
from samsjax.errors import InputError
from samsjax.inference.checkpoint import load
from tests.experiments.doors import EVALUATION, MODEL, from_file_flags, untimed

READ = ("--data.covariate-keys", "batch")


@pytest.fixture(scope="module")
def run(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("covariates") / "run"
    flags = (*from_file_flags(runs.screen), *READ, *MODEL, *EVALUATION)
    fit.main(["--out", str(folder), *flags, "--model.covariates", "batch"])
    return folder


def test_the_model_knows_its_levels(run, runs):
    assert load(run / "model").vocabulary.covariates == {"batch": ("one", "two")}
    assert load(runs.from_file / "model").vocabulary.covariates == {}  # read from the file, not asked for
    assert untimed(run) != untimed(runs.from_file)


def test_a_covariate_that_is_not_read_is_refused(runs, unwritten):
    flags = (*from_file_flags(runs.screen), *MODEL, "--model.covariates", "batch")
    with pytest.raises(InputError, match=r"--data.covariate-keys batch"):
        fit.main(["--out", str(unwritten / "run"), *flags])


def test_evaluate_reads_the_covariates_of_the_run(run, runs, tmp_path):
    flags = ["--run", str(run), "--data.path", str(runs.screen), *EVALUATION]
    with pytest.warns(UserWarning, match="names of cells the model was trained on"):
        evaluate.main([*flags, "--out", str(tmp_path / "scores")])
    adata = anndata.read_h5ad(runs.screen)
    adata.obs["batch"] = "three"
    adata.write_h5ad(tmp_path / "other.h5ad")
    flags[3] = str(tmp_path / "other.h5ad")
    with (
        pytest.warns(UserWarning, match="names of cells"),
        pytest.raises(InputError, match="no training cell has: three; known: one, two"),
    ):
        evaluate.main([*flags, "--out", str(tmp_path / "refused")])
    assert not (tmp_path / "refused").exists()


def test_predict_for_one_level(run, tmp_path):
    predicted = {}
    for level in ("one", "two"):
        out = tmp_path / f"{level}.h5ad"
        flags = ("--run", str(run), "--perturbations", "P1", "--effects.n-particles", "8", "--out", str(out))
        predict.main([*flags, "--effects.covariates", "batch", level])
        predicted[level] = anndata.read_h5ad(out)
    assert not np.array_equal(predicted["one"].X, predicted["two"].X)
    with pytest.raises(InputError, match=r"unknown level of the covariate 'batch' 'tow'. Did you mean 'two'"):
        predict.main([*flags[:-1], str(tmp_path / "refused.h5ad"), "--effects.covariates", "batch", "tow"])
