"""What scanpy opens: shapes, names and keys of the AnnData objects that results are written as."""

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import samsjax
from samsjax import reporting
from samsjax.errors import InputError
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
