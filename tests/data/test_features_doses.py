"""Doses as perturbations of their own: names, splits and features, there and back."""

import anndata
import numpy as np
import pandas as pd
import pytest

from samsjax.data import DataConfig, encode_labels, encode_matrix, from_anndata, parse_treatment, treatments
from samsjax.data.encoding import unique_combinations
from samsjax.data.features import FeaturesConfig, PerturbationFeatures, feature_table, features_of_labels, with_features
from samsjax.data.unique_doses import unique_doses
from samsjax.errors import InputError
from tests.data.feature_screens import screen, table

LABELS = ["A", "A", "B", "A+B", "ctrl", "B", "B", "A"]
DOSES = ["0.5", "1", "10", "0.5+10", "1", "0.1", "3", "2"]


def adata(labels=LABELS, doses=DOSES, repeats=4):
    obs = pd.DataFrame({"perturbation": labels * repeats, "dose": doses * repeats})
    obs.index = [f"c{i}" for i in range(len(obs))]
    return anndata.AnnData(np.random.default_rng(0).poisson(3, (len(obs), 4)) + 1.0, obs=obs)


def read(cells, **options):
    return from_anndata(cells, control="ctrl", dosage_key="dose", min_cells_per_gene=0, **options)


def test_each_dose_becomes_a_perturbation():
    plain, data = read(adata()), read(adata(), doses_as_unique=True)
    assert plain.perturbation_names.tolist() == ["A", "B"]
    assert data.perturbation_names.tolist() == ["A", "A@0.5", "A@2", "B@0.1", "B@10", "B@3"]
    assert set(data.dosage.ravel()) == {0, 1}
    # The conditions of the cells have the names they had.
    assert treatments(data).labels.tolist() == treatments(plain).labels.tolist()
    assert np.array_equal(treatments(data).assignment, treatments(plain).assignment)
    assert (data.perturbation_index[data.dosage == 0] == 0).all()


def test_every_name_can_be_asked_for_and_no_other_dose():
    data = read(adata(), doses_as_unique=True)
    for place, name in enumerate(data.perturbation_names.tolist()):
        index, dosage = parse_treatment(name, data.perturbation_names)
        assert (index.tolist(), dosage.tolist()) == ([place], [1])
    assert parse_treatment("A@.50", data.perturbation_names)[0].tolist() == [1]
    assert parse_treatment("B@10+A@0.5", data.perturbation_names)[0].tolist() == [1, 4]
    assert parse_treatment("A@1", data.perturbation_names)[0].tolist() == [0]
    with pytest.raises(InputError, match=r"unknown perturbation 'A@0.25' .* doses are perturbations of their own here"):
        parse_treatment("A@0.25", data.perturbation_names)


def test_a_split_over_doses_goes_by_the_real_ones():
    options = {"split": "doses", "held_out_doses": "highest"}
    plain, data = read(adata(), **options), read(adata(), doses_as_unique=True, **options)
    assert np.array_equal(plain.split, data.split)
    tested = data.perturbation_index[data.split == "test"][data.dosage[data.split == "test"] != 0]
    assert {"A@2", "B@10"} <= set(data.perturbation_names[tested])


def test_combinations_of_doses_can_be_perturbations_too():
    data = read(adata(), doses_as_unique=True, combinations_as_unique=True)
    assert "A@0.5+B@10" in data.perturbation_names.tolist() and data.dosage.shape[1] == 1
    with pytest.raises(InputError, match=r"combinations_as_unique off or doses_as_unique on"):
        read(adata(), combinations_as_unique=True)


def test_other_cells_are_read_in_the_names_of_a_model():
    data = read(adata(), doses_as_unique=True)
    again = read(adata(), doses_as_unique=True, vocabulary=data.perturbation_names, split="test")
    assert np.array_equal(again.perturbation_index, data.perturbation_index)
    only = read(adata(["A"], ["1"]), doses_as_unique=True, vocabulary=data.perturbation_names, split="test")
    assert set(only.perturbation_index.ravel()) == {0}
    with pytest.raises(InputError, match=r"not in the vocabulary: A@7"):
        read(adata(["A"], ["7"]), doses_as_unique=True, vocabulary=data.perturbation_names, split="test")


@pytest.mark.parametrize(
    ("labels", "doses", "message"),
    [
        (["A", "ctrl"], ["1", "1"], "every dose is 1.*dosage_key"),
        (["A", "ctrl"], ["-1", "1"], "dose -1.0 of A"),
        (["A", "ctrl"], [None, "1"], "dose nan of A"),
        (["A", "ctrl"], ["0", "1"], "dose 0 for A"),
        (["A", "A@0.5", "ctrl"], ["0.5", "1", "1"], "duplicated doses of perturbations .*: A@0.5"),
    ],
)
def test_doses_that_are_refused(labels, doses, message):
    with pytest.raises(InputError, match=message):
        read(adata(labels, doses), doses_as_unique=True)


def test_unused_columns_of_a_matrix_leave_the_vocabulary():
    found = unique_doses(encode_matrix(np.array([[2.0, 0, 0.5], [0, 0, 0]]), ["A", "unused", "B"]))
    assert found.perturbation_names.tolist() == ["A@2", "B@0.5"]
    assert found.perturbation_index.tolist() == [[0, 1], [0, 0]] and found.dosage.tolist() == [[1, 1], [0, 0]]
    assert unique_combinations(found).perturbation_names.tolist() == ["A@2+B@0.5"]


def test_slots_ascend_by_the_new_names():
    found = unique_doses(encode_labels(["A+A2", "ctrl"], control="ctrl", doses=["5+1", 1]))
    names = found.perturbation_names.tolist()  # "A2" sorts before "A@5"
    assert names == ["A2", "A@5"] and found.perturbation_index[0].tolist() == [0, 1]


def test_doses_have_the_features_of_their_perturbation_and_the_logarithm(tmp_path):
    path = table(tmp_path, name=["A", "B", "C"], f=[1, 2, 5])
    data = with_features(read(adata(), doses_as_unique=True), FeaturesConfig(source="table", path=path))
    assert data.features.names == ("f", "log_dose")
    assert data.features.values[:, 0].tolist() == [1, 1, 1, 2, 2, 2]
    np.testing.assert_array_equal(data.features.values[:, 1], np.log([1, 0.5, 2, 0.1, 10, 3]))
    # What nobody measured: another dose, a perturbation without cells, and both. `A` is a dose of 1 that cells carry.
    assert {name: row.tolist() for name, row in data.features.others.items()} == {"B": [2, 0], "C": [5, 0]}
    known = feature_table(data)
    found = features_of_labels(known, ["A@0.25", "C", "C@4", "A@0.5"]).values
    assert found.tolist() == [[1, np.log(0.25)], [5, 0], [5, np.log(4)], [1, np.log(0.5)]]


def test_rows_of_a_table_may_be_doses_themselves(tmp_path):
    names = ["A", "A@0.5", "A@2", "B@0.1", "B@10", "B@3"]
    path = table(tmp_path, name=names, f=range(6))
    found = with_features(read(adata(), doses_as_unique=True), FeaturesConfig(source="table", path=path)).features
    assert found.names == ("f",) and found.values[:, 0].tolist() == list(range(6))


def test_one_dose_says_nothing(tmp_path):
    path = table(tmp_path, name=["A", "B"], f=[1, 2])
    cells = read(adata(["A", "B", "ctrl"], ["2", "2", "1"]), doses_as_unique=True, split_seed=1)
    settings = {"source": "table", "path": path}
    with pytest.raises(InputError, match=r"1 features are the same .*: log_dose"):
        with_features(cells, FeaturesConfig(**settings))
    with pytest.warns(UserWarning, match=r"dropped: log_dose"):
        assert with_features(cells, FeaturesConfig(constant="drop", **settings)).features.names == ("f",)


def test_random_features_are_shared_by_doses_and_shuffling_leaves_doses_alone():
    data = with_features(read(adata(), doses_as_unique=True), FeaturesConfig(source="random", n_components=2))
    assert len(np.unique(data.features.values[:, 0])) == 2 and data.features.names[-1] == "log_dose"
    found = with_features(data, FeaturesConfig(shuffled=True))
    assert np.array_equal(found.features.values[:, 2], data.features.values[:, 2])
    table_of_two = with_features(
        read(adata(), doses_as_unique=True), FeaturesConfig(source="random", n_components=2, shuffled=True)
    )
    swapped = data.features.values[[3, 3, 3, 0, 0, 0], :2]
    assert np.array_equal(table_of_two.features.values[:, :2], swapped)


def test_doses_of_composed_models_have_no_feature(tmp_path):
    own = PerturbationFeatures(("f",), np.arange(4.0)[:, None])
    data = screen(doses=[0.5, 1, 2, 3], features=own)
    assert "log_dose" not in feature_table(data).names
    assert not DataConfig().doses_as_unique
