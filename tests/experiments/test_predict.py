"""The door `experiments.predict`: one file of predicted expression whose numbers say what they are."""

import anndata
import numpy as np
import pytest

from experiments import predict

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
