"""Features of perturbations: what a table says of whom, what is refused, and what becomes of constants and controls."""

from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from samsjax.data.features import (
    FeaturesConfig,
    FeatureTable,
    PerturbationFeatures,
    feature_scale,
    feature_table,
    features_of_labels,
    read_features,
    with_features,
)
from samsjax.data.perturbation_groups import load_features
from samsjax.errors import InputError
from tests.data.feature_screens import screen, table

VALUES = {"A": [0.1, 5.0, 1], "B": [0.7, -3.25, 2], "C": [1e-300, 1 / 3, 4], "D": [2.0, 1e17, 9], "E": [-1.0, 0.5, 3]}


def csv(tmp_path, names="ECADB", **changed):
    rows = {name: changed.get(name, VALUES[name]) for name in names}
    columns = {f"f{k}": [row[k] for row in rows.values()] for k in range(3)}
    return table(tmp_path, name=list(rows), **columns)


def config(path, **options):
    return FeaturesConfig(source="table", path=path, **options)


def test_a_table_is_read_by_name_and_to_the_bit(tmp_path):
    found = with_features(screen(), config(csv(tmp_path))).features
    assert found.names == ("f0", "f1", "f2")
    assert found.values.tolist() == [VALUES[name] for name in "ABCD"]
    assert {name: row.tolist() for name, row in found.others.items()} == {"E": VALUES["E"]}


def test_the_reader_is_that_of_groups(tmp_path):
    path = csv(tmp_path)
    assert np.array_equal(
        load_features(path, list("DABC")), with_features(screen(), config(path)).features.values[[3, 0, 1, 2]]
    )


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize("key", [None, "X_chem"])
def test_an_anndata_says_the_same(tmp_path, kind, key):
    names, values = list(VALUES), np.array(list(VALUES.values()))
    held = values if key is None else np.zeros((5, 2))
    adata = anndata.AnnData(kind(held), obs=pd.DataFrame(index=names))
    adata.obsm["X_chem"] = kind(values)
    adata.write_h5ad(tmp_path / "drugs.h5ad")
    found = with_features(screen(), config(tmp_path / "drugs.h5ad", obsm_key=key)).features
    assert found.values.tolist() == [VALUES[name] for name in "ABCD"] and list(found.others) == ["E"]
    assert found.names == (("0", "1", "2") if key is None else ("X_chem_0", "X_chem_1", "X_chem_2"))


def test_columns_of_a_data_frame_in_obsm_are_named(tmp_path):
    adata = anndata.AnnData(np.zeros((2, 1)), obs=pd.DataFrame(index=["A", "B"]))
    adata.obsm["chem"] = pd.DataFrame({"mass": [1.0, 2.0], "charge": [0.0, 1.0]}, index=["A", "B"])
    adata.write_h5ad(tmp_path / "drugs.h5ad")
    assert read_features(tmp_path / "drugs.h5ad", "chem").names == ("mass", "charge")


def test_features_stay_with_cells_that_are_chosen_or_split_anew(tmp_path):
    data = with_features(screen(), config(csv(tmp_path)))
    for same in (data.subset(np.arange(4)), data.with_split(data.split[::-1]), data.of_good_quality()):
        assert same.features is data.features


@pytest.mark.parametrize(
    ("changed", "names", "message"),
    [
        ({}, "ABC", r"1 perturbations of the cells are not in .*table.csv: D\. *"),
        ({}, "ABCDD", None),
        ({"B": [1, "", 2]}, "ABCD", "1 features of .* no finite .*, the first '' in column 'f1' of perturbation 'B'"),
        ({"D": [1, 2, "high"]}, "ABCD", "the first 'high' in column 'f2' of perturbation 'D'"),
        ({"D": [1, "1_0", 3]}, "ABCD", "the first '1_0'"),
        ({"A": [1, 2, "inf"]}, "ABCD", "the first 'inf'"),
        ({"A": [3, 5, 1], "B": [3, 6, 2], "C": [3, 7, 3]}, "ABCD", "1 features are the same for all 3 .*: f0; .*drop"),
    ],
)  # fmt: skip
def test_tables_that_are_refused(tmp_path, changed, names, message):
    path = csv(tmp_path, names, **changed)
    if message is None:
        path.write_text(path.read_text() + "A,1,2,3\n")
        message = "duplicated perturbations in .*: A"
    with pytest.raises(InputError, match=message):
        with_features(screen(), config(path))


def test_the_nearest_names_are_said(tmp_path):
    path = table(tmp_path, name=["Dasatinib", "Nilotinib"], f=[1, 2])
    with pytest.raises(InputError, match=r"not in .*: dasatinb. The names nearest to 'dasatinb' are Dasatinib"):
        with_features(screen(labels=("dasatinb", "Nilotinib"), held=()), config(path))


def test_an_anndata_that_is_refused(tmp_path):
    path = tmp_path / "drugs.h5ad"
    adata = anndata.AnnData(np.array([[1.0, np.nan], [1, 2]]), obs=pd.DataFrame(index=["A", "B"]))
    adata.obsm["chem"] = np.eye(2)
    adata.write_h5ad(path)
    with pytest.raises(InputError, match=r"unknown obsm_key in .*'chm'. Did you mean 'chem'"):
        read_features(path, "chm")
    with pytest.raises(InputError, match=r"1 features .* the first nan in column '1' of perturbation 'A'"):
        with_features(screen(labels=("A", "B"), held=()), config(path))
    with pytest.raises(InputError, match=r"obsm_key 'chem' is for an \.h5ad file"):
        read_features(csv(tmp_path), "chem")
    with pytest.warns(UserWarning, match="not unique"):  # anndata's own
        anndata.AnnData(obs=pd.DataFrame(index=["A", "A"])).write_h5ad(path)
        with pytest.raises(InputError, match=r"duplicated perturbations in .*: A"):
            read_features(path)


def test_others_without_numbers_are_left_out_aloud(tmp_path):
    with pytest.warns(UserWarning, match=r"1 perturbations of .* no cell carries .* left out: E"):
        found = with_features(screen(), config(csv(tmp_path, E=["", 1, 2])))
    assert not found.features.others


def test_constants_over_what_trains_are_dropped_if_asked_for(tmp_path):
    # Only D differs in f0, and D does not train.
    path = csv(tmp_path, A=[3, 5, 1], B=[3, 6, 2], C=[3, 7, 3], D=[9, 9, 9])
    with pytest.warns(
        UserWarning, match=r"1 features are the same for all 3 perturbations that train, and are dropped: f0"
    ):
        found = with_features(screen(), config(path, constant="drop")).features
    assert found.names == ("f1", "f2") and found.values[3].tolist() == [9, 9] and found.others["E"].tolist() == [0.5, 3]
    assert with_features(screen(held=("A",)), config(path)).features.names == ("f0", "f1", "f2")
    path = table(tmp_path, name=list("ABCD"), f=[1, 1, 1, 2])
    with pytest.raises(InputError, match=r"no feature is left: all 1"):
        with_features(screen(), config(path, constant="drop"))


def test_a_scale_is_that_of_what_trains(tmp_path):
    data = with_features(screen(), config(csv(tmp_path)))
    scale = feature_scale(data.features, np.array([True, True, True, False]))
    changed = replace(data.features, values=data.features.values + np.array([[0], [0], [0], [1e6]]))
    again = feature_scale(changed, np.array([True, True, True, False]))
    assert np.array_equal(scale.loc, again.loc) and np.array_equal(scale.scale, again.scale)
    np.testing.assert_allclose(scale.standardise(data.features.values)[:3].mean(axis=0), 0, atol=1e-6)


def test_principal_components_are_those_of_what_trains(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(8, 5)) * [1, 10, 100, 1, 1]
    names = [f"P{i}" for i in range(8)]
    data = screen(labels=names, held=names[6:])
    path = table(tmp_path, name=names, **{f"f{k}": values[:, k] for k in range(5)})
    found = with_features(data, config(path, n_components=3)).features.values
    own = (values - values[:6].mean(axis=0)) / values[:6].std(axis=0)
    _, _, axes = np.linalg.svd(own[:6], full_matrices=False)
    np.testing.assert_allclose(np.abs(found), np.abs(own @ axes[:3].T), rtol=1e-9)
    values[6:] += 50
    path = table(tmp_path, name=names, **{f"f{k}": values[:, k] for k in range(5)})
    np.testing.assert_array_equal(with_features(data, config(path, n_components=3)).features.values[:6], found[:6])
    with pytest.raises(InputError, match=r"6 perturbations that train have 5 principal components, not 6"):
        with_features(data, config(path, n_components=6))


def test_shuffling_gives_everybody_the_features_of_another(tmp_path):
    path = csv(tmp_path)
    plain = with_features(screen(), config(path)).features
    found = with_features(screen(), config(path, shuffled=True, seed=3)).features
    assert sorted(map(tuple, found.values)) == sorted(map(tuple, plain.values))
    assert (found.values != plain.values).any(axis=1).all()
    assert np.array_equal(found.others["E"], plain.others["E"])  # the only one that no cell carries
    orders = {
        tuple(with_features(screen(), config(path, shuffled=True, seed=s)).features.values[:, 0]) for s in range(9)
    }
    assert len(orders) > 1
    assert np.array_equal(with_features(screen(), config(path, shuffled=True, seed=3)).features.values, found.values)


def test_features_that_the_data_bring_are_kept_or_shuffled():
    own = PerturbationFeatures(("f",), np.arange(4.0)[:, None], {"E": np.array([7.0])})
    data = screen(features=own)
    assert with_features(data, FeaturesConfig()) is data
    found = with_features(data, FeaturesConfig(shuffled=True)).features
    assert (
        sorted(found.values[:, 0]) == [0, 1, 2, 3] and (found.values != own.values).all() and found.others == own.others
    )
    with pytest.raises(InputError, match=r"the data have no features of perturbations"):
        with_features(screen(), FeaturesConfig(shuffled=True))
    assert feature_table(data).perturbations == ("A", "B", "C", "D", "E")


def test_random_features_are_those_of_the_seed():
    data = screen()
    one, two = (with_features(data, FeaturesConfig(source="random", n_components=5, seed=s)).features for s in (0, 1))
    assert one.values.shape == (4, 5) and (one.values != two.values).all()
    assert np.array_equal(
        one.values, with_features(data, FeaturesConfig(source="random", n_components=5)).features.values
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "tabel"}, "unknown source of features 'tabel'. Did you mean 'table'"),
        ({"source": "table"}, "source 'table' need a file"),
        ({"source": "smiles"}, "source 'smiles' need a file"),
        ({"path": "a.csv"}, "features.path 'a.csv' is for features from the source table.*no source is given"),
        ({"source": "random", "path": "a.csv"}, "features.path .* not for 'random'"),
        ({"source": "targets", "n_components": 3}, "features.n_components '3' .* not for 'targets'"),
        ({"source": "targets", "column": "gene"}, "column 'gene' is one of a file, and none is named"),
        ({"source": "table", "path": "a.csv", "n_bits": 8}, "features.n_bits '8' .* not for 'table'"),
        ({"source": "smiles", "path": "a.csv", "radius": 3}, "radius and n_bits are those of descriptors 'morgan'"),
        ({"source": "random", "n_components": 0}, "n_components must be >= 1"),
        ({"source": "random", "undefined": "drop"}, r"features.undefined 'drop' .* not for 'random'"),
        ({"constant": "keep"}, "unknown constant 'keep'"),
        ({"seed": -1}, "seed must be >= 0"),
    ],
)
def test_settings_that_contradict_each_other(options, message):
    with pytest.raises(InputError, match=message):
        FeaturesConfig(**options)


def test_features_of_nobody_must_be_like_the_others():
    with pytest.raises(InputError, match=r"must be 2 finite numbers each; not so: E, F"):
        others = {"E": np.zeros(1), "F": np.array([0, np.nan]), "G": np.zeros(2)}
        PerturbationFeatures(("f", "g"), np.zeros((1, 2)), others)


def test_labels_that_nobody_knows():
    known = FeatureTable(("A", "A@2"), ("f", "log_dose"), np.array([[1.0, 0], [1, np.log(2)]]), "here")
    assert features_of_labels(known, ["A@0.25", "A", "A@2"]).values.tolist() == [
        [1, np.log(0.25)],
        [1, 0],
        [1, np.log(2)],
    ]
    for label, message in (
        ("A@0", "dose 0 for label 'A@0'"),
        ("A@-1", "dose -1.0 of label 'A@-1'"),
        ("A@nan", "dose nan"),
        ("A@much", "not in here: A@much"),
        ("B@1", "not in here: B@1"),
    ):
        with pytest.raises(InputError, match=message):
            features_of_labels(known, [label])
    with pytest.raises(
        InputError, match=r"here has no feature 'log_dose', so there are no features of 'A@0.5': ask .*'A'"
    ):
        features_of_labels(known.columns(np.array([0])), ["A@0.5"])
