"""Split rules and halves: the published splits bit for bit, agreement with scikit-learn, and what they refuse."""

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from samsjax.data.encoding import treatments
from samsjax.data.splits import column_split, halves, held_out_combination_cells, held_out_combinations, random_split
from samsjax.errors import InputError
from tests import small


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


@pytest.mark.parametrize("n_kept", [0, 1])
def test_halves_divide_the_training_cells_of_every_treatment(n_kept):
    data = small.screen()
    train = data.cells("train")
    split = data.split.copy()
    split[train[: (len(train) + n_kept) % 2]] = "none"  # once an even, once an odd number of training cells
    data = data.with_split(split)
    assert len(data.cells("train")) % 2 == n_kept
    first, second = halves(data, seed=0)
    one, two = first.cells("train"), second.cells("train")
    assert sorted([*one, *two]) == data.cells("train").tolist() and 0 <= len(one) - len(two) <= 1
    for half, other in ((first, two), (second, one)):
        assert (half.split[other] == "none").all() and half.x is data.x
        rest = data.split != "train"
        assert (half.split[rest] == data.split[rest]).all()
    assignment = treatments(data).assignment
    counts = [np.bincount(assignment[cells] + 1, minlength=assignment.max() + 2) for cells in (one, two)]
    assert np.abs(counts[0] - counts[1]).max() <= 1 and min(counts[0].min(), counts[1].min()) >= 4
    # Leftover cells do not all go the same way.
    assert abs((counts[0] > counts[1]).sum() - (counts[1] > counts[0]).sum()) <= 1


def test_halves_are_random_and_a_seed_decides_them():
    data = small.screen()

    def drawn(seed):
        return halves(data, seed=seed)[0].cells("train").tolist()

    assert drawn(0) == drawn(0) != drawn(1)
    assert drawn((0, 1)) == drawn((0, 1)) != drawn((0, 2)) != drawn(0)
    common = len(set(drawn(0)) & set(drawn(1))) / len(drawn(0))
    assert 0.3 < common < 0.7


def test_halves_do_not_look_at_doses():
    """A screen with doses of its own for every cell still has both halves of each perturbation."""
    data = small.screen()
    doses = np.random.default_rng(0).uniform(0.5, 2, data.dosage.shape).astype(np.float32)
    dosed = replace(data, dosage=data.dosage * doses)
    assert [half.split.tolist() for half in halves(dosed, seed=0)] == [h.split.tolist() for h in halves(data, seed=0)]
