"""What scanpy opens: shapes, names and keys of the AnnData objects that results are written as."""

from dataclasses import fields, replace

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import samsjax
from samsjax import reporting
from samsjax.data import Criterion, QualityRule
from samsjax.errors import InputError
from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.gene_responses import GeneResponses
from tests import small


@pytest.fixture(scope="module")
def data():
    return small.screen()


@pytest.fixture(scope="module")
def fitted(data):
    return samsjax.fit(data, small.MODEL, small.TRAIN, progress=False)


@pytest.fixture(scope="module")
def effects(fitted):
    return samsjax.posterior_effects(jax.random.key(0), fitted)


@pytest.fixture
def latents(data):
    z = np.random.default_rng(0).standard_normal((data.n_cells, 4)).astype(np.float32)
    return {"z": z, "z_basal": z - 1}


def test_effects_are_perturbations_by_latents(fitted, effects, tmp_path):
    responses = GeneResponses(np.arange(4, dtype=np.float32), np.ones((4, 24), np.float32), "log2_cp10k")
    table = reporting.latent_effects_to_anndata(fitted, effects, responses)
    assert list(table.obs_names) == list(fitted.vocabulary.perturbation_names)
    assert table.shape == (6, 4) and table.varm["gene_response"].shape == (4, 24)
    assert_array_equal(table.X, effects.mean)
    low, high = effects.interval(0.9)
    assert_allclose(table.layers["low"], low)
    assert (table.layers["low"] <= table.layers["high"]).all() and np.allclose(table.layers["high"], high)
    assert_array_equal(table.obs["n_training_cells"], fitted.n_training_cells)
    assert_array_equal(table.var["name"], reporting.latent_names(fitted, effects))
    table.write_h5ad(tmp_path / "effects.h5ad")
    assert "gene_response" not in reporting.latent_effects_to_anndata(fitted, effects).varm


def test_latents_carry_the_keys_of_the_model(fitted, data, latents, effects):
    treated = samsjax.treatments(data)
    cells = reporting.latents_to_anndata(fitted, data, treated, latents, 16, effects)
    assert set(cells.obsm) == {"X_samsvae", "X_samsvae_basal"}
    assert_array_equal(cells.X, latents["z"])
    assert_array_equal(cells.obsm["X_samsvae_basal"], latents["z_basal"])
    control = cells.obs["treatment"] == data.control_name
    assert_array_equal(control, data.is_control)
    assert set(cells.obs["treatment"][~control]) == set(treated.labels)


def test_latents_find_their_cells_by_name(fitted, data, latents):
    import anndata
    import pandas as pd

    names = np.append(data.cell_names[::-1], "left out")
    adata = anndata.AnnData(obs=pd.DataFrame(index=names))
    reporting.add_latents(adata, fitted, data, latents)
    assert_array_equal(adata.obsm["X_samsvae"][:-1], latents["z"][::-1])
    assert np.isnan(adata.obsm["X_samsvae"][-1]).all()
    with pytest.raises(InputError, match="1 cells are not in the AnnData.*" + str(data.cell_names[0])):
        reporting.add_latents(adata[:-2].copy(), fitted, data, latents)
    with pytest.raises(InputError, match="5 latents for"):
        reporting.add_latents(adata, fitted, data, {"z": latents["z"][:5]})


@pytest.mark.filterwarnings("ignore:(quality labels are confounded|no training cell fails):UserWarning")
@pytest.mark.parametrize("labels", ["true", "measured"])
def test_a_truth_with_artefacts_is_complete_and_its_labels_can_be_read_back(labels, tmp_path):
    import anndata

    sizes = {field.name: getattr(small.SCREEN, field.name) for field in fields(small.SCREEN)}
    named = {"n_mito_genes": 2, "n_ribo_genes": 1, "n_confounded": 2, "labels": labels}
    data, truth = samsjax.data.simulate_artifacts(samsjax.data.ArtifactSimulationConfig(**sizes, **named))
    reporting.truth_to_anndata(data, samsjax.treatments(data), truth).write_h5ad(tmp_path / "truth.h5ad")
    stored = anndata.read_h5ad(tmp_path / "truth.h5ad")
    assert_array_equal(stored.layers["mean"], truth.mean)
    assert_array_equal(stored.layers["good_mean"], truth.good_mean)
    assert_array_equal(stored.uns["truth"]["artifact"], truth.artifact)
    assert_array_equal(stored.uns["truth"]["confounded"], truth.confounded)
    assert_array_equal(stored.obs["failed"], truth.failed)
    columns = data.criteria if labels == "true" else tuple(f"fails_{name}" for name in data.criteria)
    read = samsjax.data.from_anndata(stored, quality_key=columns, split="column", split_key="split")
    assert_array_equal(read.failed, data.failed)
    assert_array_equal(read.x.toarray(), data.x.toarray())


def test_a_truth_without_artefacts_says_nothing_of_them():
    data, truth = samsjax.simulate(small.SCREEN)
    cells = reporting.truth_to_anndata(data, samsjax.treatments(data), truth)
    assert set(cells.layers) == {"mean"} and set(cells.obs) == {"perturbation", "split"}
    assert set(cells.uns["truth"]) == {"perturbation_names", "mask", "effect"}


def test_latents_carry_the_quality_of_cells(fitted, data, latents):
    labelled, treated = small.labelled(data), samsjax.treatments(data)
    obs = reporting.latents_to_anndata(fitted, labelled, treated, latents, 16).obs
    assert_array_equal(obs[["n_counts", "percent_mito"]], labelled.failed)
    rule = QualityRule((Criterion("n_counts", "below", 9.0), Criterion("percent_mito", "above", 5.0)))
    obs = reporting.latents_to_anndata(fitted, replace(labelled, quality_rule=rule), treated, latents, 16).obs
    assert_array_equal(obs[["fails_n_counts", "fails_percent_mito"]], labelled.failed)
    assert "n_counts" not in obs


@pytest.mark.parametrize("n_parts", [2, 3])
def test_parts_of_a_state_side_by_side_are_named(fitted, data, effects, n_parts):
    z = np.random.default_rng(0).standard_normal((data.n_cells, 4 * n_parts)).astype(np.float32)
    cells = reporting.latents_to_anndata(fitted, data, samsjax.treatments(data), {"z": z}, 16, effects)
    assert list(cells.var_names)[:5] == ["basal0", "basal1", "basal2", "basal3", "perturbation0"]
    assert cells.n_vars == 4 * n_parts and cells.var_names[-1] == ("perturbation3" if n_parts == 2 else "artifact3")
    assert_array_equal(cells.var["name"][4:8], reporting.latent_names(fitted, effects))
    assert (cells.var["name"][:4] == "").all() and (cells.var["name"][8:] == "").all()


@pytest.mark.parametrize(
    ("fails", "said"), [((), ("good", "training cells of good quality", 7.0)), (("a", "b"), ("fails a, b", None, 3.0))]
)
def test_predictions_say_of_which_quality_they_are(fitted, fails, said):
    knowing = replace(
        fitted,
        vocabulary=fitted.vocabulary._replace(artifacts=("a", "b")),
        library_sizes=np.full(4, 7.0, np.float32),
        failed_library_sizes=np.full(4, 3.0, np.float32),
    )
    effects = samsjax.EffectsConfig(fails=fails)
    zeros = np.zeros((1, 24), np.float32)
    predicted = AverageEffects(np.array(["P1"]), zeros, zeros, zeros[0], "log2_cp10k")
    found = reporting.predictions_to_anndata(knowing, predicted, effects, np.array([5])).uns["samsjax"]
    quality, library_size, median = said
    assert (found["quality"], found["library_size_median"]) == (quality, median)
    assert found["library_size"] == (library_size or "training cells that fail")
    unknowing = reporting.predictions_to_anndata(fitted, predicted, samsjax.EffectsConfig(), np.array([5]))
    assert "quality" not in unknowing.uns["samsjax"]
    assert unknowing.uns["samsjax"]["library_size"] == "training cells"
