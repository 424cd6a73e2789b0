"""Features from target genes, control cells and molecules: what they are in closed form, and whose cells they see."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from samsjax.data.features import FeaturesConfig, with_features
from samsjax.data.features.loadings import gene_loadings
from samsjax.data.features.smiles import require_rdkit
from samsjax.errors import InputError
from tests.data.feature_screens import GENES, screen, table

NEEDS_RDKIT = pytest.mark.skipif(find_spec("rdkit") is None, reason="RDKit is not installed (extra `chemistry`)")


def genes(held=(), **options):
    return screen(labels=("G1", "G3", "G5"), held=held, **options)


def test_targets_are_one_hot():
    found = with_features(genes(), FeaturesConfig(source="targets")).features
    assert found.names == ("G1", "G3", "G5") and np.array_equal(found.values, np.eye(3))


def test_targets_from_a_file(tmp_path):
    path = table(
        tmp_path, drug=["A", "B", "C", "D", "E"], targets=["G1;G2", "G2", "G1 | G7", "G7", "G2"], other=list("vwxyz")
    )
    found = with_features(screen(), FeaturesConfig(source="targets", path=path)).features
    assert found.names == ("G1", "G2", "G7")
    assert found.values.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 0, 1]]
    assert {name: row.tolist() for name, row in found.others.items()} == {"E": [0, 1, 0]}


def test_targets_that_nobody_trains_have_no_feature(tmp_path):
    with pytest.warns(UserWarning, match=r"1 target genes have no feature, because no perturbation that trains .*: G5"):
        found = with_features(genes(held=("G5",)), FeaturesConfig(source="targets")).features
    assert found.names == ("G1", "G3") and found.values[2].tolist() == [0, 0]


def test_targets_of_combinations_and_doses():
    names = np.array(["G1+G2", "G3@0.5", "G5"])
    data = replace(genes(), perturbation_names=names)
    found = with_features(data, FeaturesConfig(source="targets")).features
    assert found.names == ("G1", "G2", "G3", "G5", "log_dose")
    np.testing.assert_allclose(found.values, [[1, 1, 0, 0, 0], [0, 0, 1, 0, np.log(0.5)], [0, 0, 0, 1, 0]])


@pytest.mark.parametrize("source", ["targets", "loadings"])
def test_targets_that_are_refused(tmp_path, source):
    options = {"source": source} | ({"n_components": 2} if source == "loadings" else {})
    data = screen(labels=("G1", "g33"), held=())
    with pytest.raises(InputError, match=r"1 target genes .* not among the 8 genes .*: g33. The genes nearest .* G3"):
        with_features(data, FeaturesConfig(**options))
    path = table(
        tmp_path, drug=list("ABCDE"), gene=["G1", "G2", "", "G9", "G8"], targets=["G1", "G2", "G3", "G4", "none"]
    )
    with pytest.raises(InputError, match=r"1 perturbations of the cells have no target gene: C"):
        with_features(screen(), FeaturesConfig(path=path, column="gene", **options))
    with pytest.raises(InputError, match=r"unknown column of .* 'genes'. Did you mean 'gene'"):
        with_features(screen(), FeaturesConfig(path=path, column="genes", **options))
    with pytest.warns(UserWarning, match=r"1 perturbations of .* that no cell carries act on genes .* left out: E"):
        found = with_features(screen(held=()), FeaturesConfig(path=path, **options)).features
    assert not found.others
    path = table(tmp_path, drug=list("ABCD"), one=list("abcd"), two=list("abcd"))
    with pytest.raises(InputError, match=r"has columns one, two: name the one that holds targets"):
        with_features(screen(), FeaturesConfig(path=path, **options))


def closed_form(data, n):
    """By dense SVD of log-normalised training controls."""
    cells = (data.split == "train") & data.is_control
    x, library = np.asarray(data.x[cells], dtype=float), data.library_size[cells].astype(float)
    logs = np.log1p(x * (np.median(library) / library)[:, None])
    _, size, axes = np.linalg.svd(logs - logs.mean(axis=0), full_matrices=False)
    found = axes[:n].T * size[:n] / np.sqrt(cells.sum() - 1)
    return found * np.sign(found[np.abs(found).argmax(axis=0), np.arange(n)])


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix])
def test_loadings_are_those_of_a_dense_decomposition(kind):
    data = genes()
    found = gene_loadings(replace(data, x=kind(data.x)), 3)
    np.testing.assert_allclose(found, closed_form(data, 3), atol=1e-8)


def test_loadings_of_continuous_values_are_those_of_standardised_ones():
    data = genes()
    x = data.x.astype(np.float32) * np.float32(0.5)
    found = gene_loadings(replace(data, x=x), 2)
    np.testing.assert_allclose(
        gene_loadings(replace(data, x=x * np.arange(1, 9, dtype=np.float32)), 2), found, atol=1e-5
    )
    controls = x[(data.split == "train") & data.is_control].astype(float)
    correlation = np.corrcoef(controls.T) * len(controls) / (len(controls) - 1)
    values, axes = np.linalg.eigh(correlation)
    np.testing.assert_allclose(np.abs(found), np.abs(axes[:, :-3:-1] * np.sqrt(values[:-3:-1])), atol=1e-6)


def test_loadings_see_training_controls_alone():
    data = genes(held=("G5",))
    split = data.split.copy()
    split[-4:] = "test"  # some controls
    data = data.with_split(split)
    seen = (data.split == "train") & data.is_control
    other = replace(data, x=np.where(seen[:, None], data.x, 7 * data.x).astype(np.uint16))
    settings = FeaturesConfig(source="loadings", n_components=3)
    one, two = with_features(data, settings).features, with_features(other, settings).features
    assert np.array_equal(one.values, two.values)
    np.testing.assert_allclose(one.values, closed_form(data, 3)[[1, 3, 5]], atol=1e-8)
    assert set(one.others) == set(GENES) - {"G1", "G3", "G5"}  # any gene can be asked for


def test_loadings_of_several_targets_add_up(tmp_path):
    data = screen(labels=("A", "B"), held=())
    path = table(tmp_path, drug=["A", "B"], targets=["G1;G2", "G2"])
    found = with_features(data, FeaturesConfig(source="loadings", path=path, n_components=2)).features.values
    each = closed_form(data, 2)
    np.testing.assert_allclose(found, [each[1] + each[2], each[2]], atol=1e-8)


def test_loadings_that_cannot_be():
    with pytest.raises(
        InputError, match=r"8 loadings need more than 8 training controls and genes; there are 12 and 8"
    ):
        with_features(genes(), FeaturesConfig(source="loadings", n_components=8))
    data = genes()
    x = data.x.copy()
    x[data.is_control] = np.arange(1, 9)
    with pytest.raises(InputError, match=r"vary in fewer than 2 directions"):
        gene_loadings(replace(data, x=x, library_size=x.sum(axis=1).astype(np.float32)), 2)


def test_target_genes_that_controls_never_vary_in_are_named():
    data = genes()
    x = data.x.copy()
    x[data.is_control, 3] = 0
    data = replace(data, x=x)
    with pytest.warns(UserWarning, match=r"1 target genes are the same in all training controls.*: G3"):
        found = with_features(data, FeaturesConfig(source="loadings", n_components=2)).features
    assert not found.values[1].any()


def test_molecules_need_rdkit(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(InputError, match=r"need RDKit: pip install 'samsjax\[chemistry\]'"):
        require_rdkit()


MOLECULES = {"A": "CCO", "B": "c1ccccc1", "C": "CC(=O)Oc1ccccc1C(=O)O", "D": "CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "E": "O"}


def molecules(tmp_path, **changed) -> Path:
    smiles = MOLECULES | changed
    return table(tmp_path, drug=list(smiles), SMILES=list(smiles.values()), pathway=["x"] * len(smiles))


@NEEDS_RDKIT
def test_descriptors_of_molecules(tmp_path):
    path = molecules(tmp_path)
    with pytest.warns(UserWarning, match=r"features are the same for all 3 .* dropped"):
        found = with_features(screen(), FeaturesConfig(source="smiles", path=path, constant="drop")).features
    weights = found.values[:, found.names.index("MolWt")]
    np.testing.assert_allclose(weights, [46.07, 78.11, 180.16, 194.19], atol=0.02)
    assert list(found.others) == ["E"] and "AvgIpc" in found.names and "Ipc" not in found.names


@NEEDS_RDKIT
def test_fingerprints_of_molecules(tmp_path):
    options = {"source": "smiles", "path": molecules(tmp_path), "descriptors": "morgan", "constant": "drop"}
    with pytest.warns(UserWarning, match=r"dropped"):
        found = with_features(screen(), FeaturesConfig(n_bits=256, **options)).features
    assert set(np.unique(found.values)) == {0, 1} and found.names[0].startswith("bit_")
    with pytest.warns(UserWarning, match=r"dropped"):
        found = with_features(screen(), FeaturesConfig(n_bits=256, n_components=2, **options)).features
    assert found.names == ("component_1", "component_2")


@NEEDS_RDKIT
def test_molecules_that_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"1 SMILES of .* cannot be read, the first 'C1CC' of perturbation 'B': B"):
        with_features(screen(), FeaturesConfig(source="smiles", path=molecules(tmp_path, B="C1CC")))
    with pytest.warns(UserWarning, match=r"1 SMILES of .* no cell needs .* left out: E|dropped"):
        settings = FeaturesConfig(source="smiles", path=molecules(tmp_path, E="?"), constant="drop")
        assert not with_features(screen(), settings).features.others


@NEEDS_RDKIT
def test_descriptors_that_are_not_defined(tmp_path):
    options = {"source": "smiles", "path": molecules(tmp_path, D="[Pt+2]")}  # its atom has no charge that RDKit knows
    with pytest.raises(InputError, match=r"for 1 molecules of the screen \(D\), the first '.*' of 'D': .*BCUT2D_MWHI"):
        with_features(screen(), FeaturesConfig(**options))
    with pytest.warns(UserWarning, match=r"descriptors .* \(D\) and are dropped: .*BCUT2D_MWHI|the same"):
        found = with_features(screen(), FeaturesConfig(undefined="drop", constant="drop", **options)).features
    assert "BCUT2D_MWHI" not in found.names and "MolWt" in found.names and np.isfinite(found.values).all()
