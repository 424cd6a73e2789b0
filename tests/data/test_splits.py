"""Split rules: the published splits bit for bit, agreement with scikit-learn, and what they refuse."""

import re
from itertools import pairwise

import numpy as np
import pytest

from samsjax.data.splits import column_split, held_out_combination_cells, held_out_combinations, random_split
from samsjax.errors import InputError


def rows(split, *names):
    return {name: np.flatnonzero(split == name) for name in names}


@pytest.mark.parametrize("n", [50, 118641])
def test_random_split_is_the_published_one(parity, n):
    reference = parity("splits")
    found = rows(random_split(n, seed=0), "train", "val", "test")
    assert [len(cells) for cells in found.values()] == reference[f"replogle_n{n}.sizes_train_val_test"].tolist()
    for name, cells in found.items():
        if n == 50:
            assert cells.tolist() == sorted(reference[f"replogle_n50.{name}"].tolist())
        else:
            assert np.isin(reference[f"replogle_n118641.{name}_first20_in_returned_order"], cells).all()


def test_norman_rules_are_the_published_ones(parity):
    reference = parity("splits")
    labels, n_parts = reference["norman.guide_identity"], reference["norman.num_guides"]
    cases = [re.fullmatch(r"norman_(ood|eff)\.seed(\d)\.frac([\d.]+?)(\.test0\.25)?", key) for key in reference]
    cases = [case for case in cases if case]
    assert len(cases) == 20
    for case in cases:
        fraction, seed = float(case[3]), int(case[2])
        if case[1] == "ood":
            found = held_out_combinations(labels, n_parts, train_fraction=fraction, test_fraction=0.25, seed=seed)
        else:
            found = held_out_combination_cells(n_parts, fraction=fraction, seed=seed)
        assert found.tolist() == reference[case[0]].tolist(), case[0]


@pytest.mark.parametrize("n", [5, 7, 35, 101, 1000])
@pytest.mark.parametrize("kept", [0.5, 0.7, 0.8, 0.9])
def test_random_split_agrees_with_scikit_learn(n, kept):
    train_test_split = pytest.importorskip("sklearn.model_selection").train_test_split
    rest, test = train_test_split(np.arange(n), train_size=kept, random_state=3)
    train, val = train_test_split(rest, train_size=kept, random_state=3)
    found = rows(random_split(n, seed=3, train_fraction=kept), "train", "val", "test")
    for name, cells in (("train", train), ("val", val), ("test", test)):
        assert found[name].tolist() == sorted(cells), name


@pytest.fixture
def toy():
    rng = np.random.default_rng(0)
    labels = rng.choice(["A", "B", "control", "A+B", "A+C", "B+C", "C+D"], size=300)
    n_parts = np.array([0 if label == "control" else label.count("+") + 1 for label in labels])
    return labels, n_parts


def test_held_out_combinations_are_nested_and_keep_the_test_set(toy):
    labels, n_parts = toy
    splits = [held_out_combinations(labels, n_parts, train_fraction=f, seed=5) for f in (0, 0.25, 0.5, 0.75, 1)]
    for smaller, larger in pairwise(splits):
        assert (larger[smaller == "train"] == "train").all()
        assert ((smaller == "test") == (larger == "test")).all()
    assert not np.isin(splits[0][n_parts >= 2], ["train", "val"]).any()
    assert not (splits[2][n_parts < 2] == "test").any()
    held = np.unique(labels[splits[3] == "test"])
    assert len(held) == 1 and not np.isin(labels[splits[3] == "train"], held).any()


def test_fraction_of_combination_cells_keeps_validation_and_test(toy):
    _, n_parts = toy
    none, half, full = (held_out_combination_cells(n_parts, fraction=f, seed=1) for f in (0, 0.5, 1))
    for name in ("val", "test"):
        assert ((none == name) == (full == name)).all()
    combination = n_parts >= 2
    assert (none[combination] == "train").sum() == 0
    assert (half[combination] == "train").sum() == (full[combination] == "train").sum() // 2
    assert not (full == "none").any()


def test_column_split_reads_synonyms():
    found = column_split(np.array(["train", "Valid", "validation", "val", "TEST", "none"]), "split")
    assert found.tolist() == ["train", "val", "val", "val", "test", "none"]


def test_column_split_without_training_cells_only_on_request():
    assert column_split(["test"], "split", require_train=False).tolist() == ["test"]
    with pytest.raises(InputError, match="no training cell is left among 1 cells in column 'split'"):
        column_split(["test"], "split")


@pytest.mark.parametrize("value", ["ood", float("nan"), "holdout"])
def test_column_split_names_unknown_values(value):
    with pytest.raises(InputError, match=f"column 'fold' holds '{value}'.*legal: train, val, test, none, valid"):
        column_split(["train", value], "fold")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random_split(1, seed=0), "no training cell is left among 1 cells"),
        (lambda: random_split(9, seed=0, train_fraction=0), "train_fraction must be > 0 and <= 1, got 0"),
        (lambda: random_split(9, seed=0, train_fraction=1.5), "got 1.5"),
        (lambda: held_out_combination_cells(np.array([0, 1, 1]), fraction=0.5, seed=0), "no combination to hold out"),
        (lambda: held_out_combination_cells(np.array([2, 2]), fraction=0, seed=0), "no training cell"),
        (lambda: held_out_combination_cells(np.array([2, 2]), fraction=-1, seed=0), "fraction must be .* got -1"),
        (
            lambda: held_out_combinations(np.array(["A+B"]), np.array([2, 0]), train_fraction=1, seed=0),
            "1 labels for 2 cells",
        ),
        (
            lambda: held_out_combinations(np.array(["A+B"] * 5), np.full(5, 2), train_fraction=0, seed=0),
            "no training cell",
        ),
        (
            lambda: held_out_combinations(
                np.array(["A+B"]), np.array([2]), train_fraction=1, test_fraction=float("nan"), seed=0
            ),
            "test_fraction .* got nan",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()
