"""Held-out perturbations and doses: nothing held out is trained on, shares are nested, groups stay whole."""

import hashlib
import warnings
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from samsjax.data.anndata import DataConfig, read_h5ad
from samsjax.data.encoding import Encoding, encode_labels
from samsjax.data.held_out import held_out_doses, held_out_perturbations
from samsjax.data.perturbation_groups import cluster_perturbations, load_features, load_groups
from samsjax.data.splits import hold_out_cells
from samsjax.errors import InputError

NAMES = [f"P{i}" for i in range(10)]
PATHWAY = {name: "abcab"[i % 5] for i, name in enumerate(NAMES)}  # a and b have four each, c has two


def encoded(labels, doses=None):
    return encode_labels(np.asarray(labels), control="control", doses=doses)


def screen(n=8):
    """Ten perturbations, some pairs of them and controls, in no order."""
    labels = [*NAMES, "P0+P1", "P2+P3", "P4+P9", "control", "control"] * n
    return encoded(np.random.default_rng(0).permutation(labels))


def dosed(doses=(0.1, 1.0, 10.0, 100.0), n=5):
    """A, B and C at all doses, D at two, pairs at unequal doses, and controls."""
    rows = [(name, dose) for name in "ABC" for dose in doses] + [("D", 1.0), ("D", 10.0), ("control", 0.0)]
    rows = [(name, str(dose)) for name, dose in rows] + [("A+B", f"{doses[0]}+{doses[-1]}"), ("B+D", "1.0+1.0")]
    labels, texts = zip(*rows * n, strict=True)
    return encoded(labels, pd.Series(texts))


def shuffled(encoding, seed=1):
    order = np.random.default_rng(seed).permutation(len(encoding.dosage))
    return order, Encoding(encoding.perturbation_index[order], encoding.dosage[order], encoding.perturbation_names)


def carried(encoding, split, *names):
    applied = (encoding.dosage != 0) & np.isin(split, names)[:, None]
    return set(encoding.perturbation_names[encoding.perturbation_index[applied]].tolist())


def held(encoding, split):
    return carried(encoding, split, "test") - carried(encoding, split, "train", "val")


def doses_of(encoding, split, name, *of):
    cells = (encoding.perturbation_names[encoding.perturbation_index] == name) & (encoding.dosage != 0)
    return set(encoding.dosage[cells & np.isin(split, of)[:, None]].tolist())


@pytest.mark.parametrize("share", [0.01, 0.2, 0.25, 0.5, 0.8])
def test_a_share_of_the_perturbations_is_tested_wherever_a_cell_carries_one(share):
    encoding = screen()
    for seed in range(5):
        split = held_out_perturbations(encoding, share=share, seed=seed)
        out = held(encoding, split)
        assert len(out) == max(1, np.ceil(share * 10))
        carries = np.isin(encoding.perturbation_names[encoding.perturbation_index], list(out)) & (encoding.dosage != 0)
        assert ((split == "test") == carries.any(axis=1)).all()
        assert set(split[encoding.n_parts == 0]) == {"train", "val"}
        n_others = (split != "test").sum()
        assert (split == "val").sum() == np.ceil(0.2 * n_others) and (split == "train").sum() > 0


def test_held_out_perturbations_are_nested_in_the_share_and_a_seed_decides_them():
    encoding = screen()
    for seed in range(5):
        sets = [held(encoding, held_out_perturbations(encoding, share=s, seed=seed)) for s in (0.1, 0.2, 0.5, 0.7)]
        assert sets[0] < sets[1] < sets[2] < sets[3]
    splits = [held_out_perturbations(encoding, seed=seed).tolist() for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]
    assert len({frozenset(held(encoding, held_out_perturbations(encoding, seed=s))) for s in range(20)}) > 5


@pytest.mark.parametrize("groups", [None, PATHWAY])
def test_the_order_of_cells_does_not_decide_what_is_held_out(groups):
    encoding = screen()
    order, other = shuffled(encoding)
    one, two = (held_out_perturbations(of, groups=groups, seed=2) for of in (encoding, other))
    assert ((one[order] == "test") == (two == "test")).all()
    doses = dosed()
    order, other = shuffled(doses)
    with pytest.warns(UserWarning, match="train whole"):
        one, two = (held_out_doses(of, place="inside", seed=2) for of in (doses, other))
    assert ((one[order] == "test") == (two == "test")).all()


def test_the_order_of_the_vocabulary_and_names_nobody_carries_decide_nothing():
    encoding = screen()
    names = encoding.perturbation_names
    back = len(names) - encoding.perturbation_index
    other = Encoding(back.astype(np.int32), encoding.dosage, np.array(["unused", *names[::-1].tolist()]))
    assert np.array_equal(held_out_perturbations(encoding, seed=3), held_out_perturbations(other, seed=3))
    doses = dosed()
    names = doses.perturbation_names
    other = Encoding(
        (len(names) - doses.perturbation_index).astype(np.int32), doses.dosage, np.append("x", names[::-1])
    )
    with pytest.warns(UserWarning, match="train whole"):
        assert np.array_equal(held_out_doses(doses, seed=4), held_out_doses(other, seed=4))


def test_groups_stay_whole_and_are_taken_until_the_share_is_reached():
    encoding = screen()
    seen = set()
    for seed in range(12):
        out = held(encoding, held_out_perturbations(encoding, share=0.2, groups=PATHWAY, seed=seed))
        pathways = {PATHWAY[name] for name in out}
        assert out == {name for name in NAMES if PATHWAY[name] in pathways} and len(pathways) == 1
        seen |= pathways
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            more = held(encoding, held_out_perturbations(encoding, share=0.45, groups=PATHWAY, seed=seed))
        sizes = sorted(sum(PATHWAY[name] == pathway for name in NAMES) for pathway in {PATHWAY[n] for n in more})
        assert out < more and sizes in ([2, 4], [4, 4])
    assert seen == set("abc")


def test_one_name_one_group_and_a_large_group():
    encoding = screen()
    assert held(encoding, held_out_perturbations(encoding, names=["P3", "P9"], seed=0)) == {"P3", "P9"}
    assert held(encoding, held_out_perturbations(encoding, names=["c"], groups=PATHWAY, seed=0)) == {"P2", "P7"}
    two = {name: "rest" if i else "one" for i, name in enumerate(NAMES)}
    seed = next(seed for seed in range(9) if np.random.default_rng(seed).permutation(2)[0] == 1)
    with pytest.warns(UserWarning, match="9 of 10 perturbations are held out, not 20%"):
        held_out_perturbations(encoding, groups=two, seed=seed)


def test_perturbations_that_lose_all_cells_to_others_are_named():
    encoding = encoded(["A", "A+B", "C", "control"] * 5)
    with pytest.warns(UserWarning, match="1 perturbations occur only in combinations that are held out.*: B$"):
        split = held_out_perturbations(encoding, names=["A"], seed=0)
    assert carried(encoding, split, "train", "val") == {"C"}


@pytest.mark.parametrize("groups", [None, PATHWAY])
@pytest.mark.parametrize("names", [(), ("b",)])
@pytest.mark.filterwarnings("ignore:.* perturbations are held out.*, not:UserWarning")
def test_perturbations_held_out_for_validation_have_no_training_cells(groups, names):
    """Cells to test and sides of controls stay; else, whatever carries none of them trains, and nothing validates."""
    encoding = screen()
    names = names if groups else tuple({"b": "P3"}[name] for name in names)
    control = encoding.n_parts == 0
    for seed in range(5):
        today = held_out_perturbations(encoding, share=0.2, names=names, groups=groups, seed=seed)
        split = held_out_perturbations(encoding, share=0.2, names=names, groups=groups, val_share=0.25, seed=seed)
        trained = carried(encoding, split, "train")
        out = carried(encoding, split, "val") - trained
        assert ((split == "test") == (today == "test")).all() and (split[control] == today[control]).all()
        of_out = np.isin(encoding.perturbation_names[encoding.perturbation_index], list(out)) & (encoding.dosage != 0)
        assert ((split == "val") == np.where(control, today == "val", of_out.any(axis=1) & (split != "test"))).all()
        n_left = 10 - len(held(encoding, today))
        assert out | trained == set(NAMES) - held(encoding, today)
        if groups:
            assert {PATHWAY[name] for name in out}.isdisjoint(PATHWAY[name] for name in trained)
        else:
            assert len(out) == np.ceil(0.25 * n_left)


def test_validation_perturbations_are_nested_and_follow_those_tested_in_one_shuffle():
    encoding = encoded(np.tile([*NAMES, "control"], 8))
    for seed in range(5):
        splits = [held_out_perturbations(encoding, share=0.2, val_share=v, seed=seed) for v in (0.1, 0.25, 0.5, 0.8)]
        sets = [held(encoding, np.where(split == "val", "test", split)) for split in splits]
        assert [len(of) for of in sets] == [3, 4, 6, 9] and sets[0] < sets[1] < sets[2] < sets[3]
        # Tested and validated are the first of the order in which more would be tested.
        assert sets[2] == held(encoding, held_out_perturbations(encoding, share=0.6, seed=seed))


@pytest.mark.parametrize(
    ("options", "digest"),
    [
        ({"share": 0.3}, "17e6c514dd634060"),
        ({"names": ["P3"]}, "7065d3b6e74e9918"),
        ({"groups": PATHWAY}, "c1ac3663498385c4"),
    ],
)
def test_without_a_share_for_validation_splits_are_those_they_were(options, digest):
    """Labels to the bit as they were before there was such a share, and for one seed for good."""
    split = held_out_perturbations(screen(), seed=1, **options)
    assert hashlib.sha256("".join(split).encode()).hexdigest()[:16] == digest
    assert np.array_equal(split, hold_out_cells(split == "test", seed=1))


@pytest.mark.parametrize("place", ["inside", "highest", "lowest"])
def test_one_dose_of_every_perturbation_with_three_is_tested(place):
    encoding = dosed()
    inner = set()
    for seed in range(8):
        with pytest.warns(UserWarning, match="^1 of 4 perturbations train whole: 1 have fewer than 3 doses$"):
            split = held_out_doses(encoding, place=place, seed=seed)
        every = np.unique(encoding.dosage[encoding.dosage != 0])
        at_held = np.zeros_like(encoding.dosage, dtype=bool)
        for name in "ABC":
            (out,) = set(every.tolist()) - doses_of(encoding, split, name, "train", "val")
            assert {"highest": out == every[-1], "lowest": out == every[0], "inside": out in every[1:-1]}[place]
            inner.add((name, out))
            at_held |= (encoding.perturbation_names[encoding.perturbation_index] == name) & (
                encoding.dosage == np.float32(out)
            )
        assert ((split == "test") == at_held.any(axis=1)).all()  # combinations too, D only beside another
        assert doses_of(encoding, split, "D", "train") == {1.0, 10.0}
        assert set(split[encoding.n_parts == 0]) <= {"train", "val"}
    assert len(inner) == (6 if place == "inside" else 3)


def test_of_three_doses_the_inner_one_is_tested():
    encoding = encoded(["A", "control"] * 15, pd.Series([0.5, 0, 1, 0, 7, 0] * 5))
    split = held_out_doses(encoding, seed=0)
    assert doses_of(encoding, split, "A", "test") == {1.0} and (split == "test").sum() == 5


def test_given_doses_are_tested_wherever_a_perturbation_with_three_has_them():
    rows = [("A", d) for d in (0.1, 1, 10)] + [("B", d) for d in (1, 2, 3, 10)] + [("C", d) for d in (4, 5, 6)]
    labels, doses = zip(*[*rows, ("D", 0.1), ("control", 0)] * 4, strict=True)
    encoding = encoded(labels, pd.Series(doses))
    with pytest.warns(UserWarning, match="2 of 4 .*: 1 have fewer than 3 doses, 1 have none of the held-out doses"):
        split = held_out_doses(encoding, doses=[0.1, 10], seed=0)
    assert doses_of(encoding, split, "A", "test") == {np.float32(0.1), 10.0}
    assert doses_of(encoding, split, "B", "test") == {10.0}
    assert carried(encoding, split, "test") == {"A", "B"} and doses_of(encoding, split, "D", "train")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: held_out_perturbations(encoded(["control"] * 3), seed=0), "no cell carries a perturbation"),
        (
            lambda: held_out_perturbations(encoded(["A", "control"] * 3), seed=0),
            "no perturbed .* all 3 carry .* A;",
        ),
        (lambda: held_out_perturbations(encoded(["A+B", "A+C"] * 3), names=["A"], seed=0), "no perturbed cell .* left"),
        (lambda: held_out_perturbations(screen(), share=0, seed=0), "share must be > 0 and < 1, got 0"),
        (lambda: held_out_perturbations(screen(), share=1.0, seed=0), "got 1.0"),
        (lambda: held_out_perturbations(screen(), val_share=1, seed=0), "val_share must be >= 0 and < 1, got 1"),
        (
            lambda: held_out_perturbations(encoded(["A", "B", "control"] * 3), names=["A"], val_share=0.1, seed=0),
            "no perturbed cell .* left to train: all 6 carry the held-out perturbations A, B;",
        ),
        (
            lambda: held_out_perturbations(screen(), names=["a", "b"], groups=PATHWAY, val_share=0.5, seed=0),
            "no perturbed cell .* left to train",
        ),
        (
            lambda: held_out_perturbations(encoded(["A"] * 3), names=["A"], val_share=0.1, seed=0),
            "no perturbed cell .* left to train",
        ),
        (
            lambda: [
                held_out_perturbations(encoded(["A", "A+B", "C", "D"] * 3), names=["A"], val_share=0.1, seed=seed)
                for seed in range(9)
            ],
            "no perturbed cell would be left to validate: .* combinations that are tested",
        ),
        (lambda: held_out_perturbations(screen(), names=["p33"], seed=0), "unknown perturbation.* Did you mean 'P3'"),
        (
            lambda: held_out_perturbations(screen(), names=["d"], groups=PATHWAY, seed=0),
            "unknown group.*: a, b, c",
        ),
        (
            lambda: held_out_perturbations(screen(), groups={**PATHWAY, "P3": ""}, seed=0),
            "1 perturbations of the cells have no group: P3. The names nearest to 'P3' are P3",
        ),
        (
            lambda: held_out_perturbations(screen(), groups=dict.fromkeys(NAMES, "a"), seed=0),
            "no perturbed cell .* left",
        ),
        (lambda: held_out_doses(screen(), seed=0), r"no perturbation has 3 doses \(most: 1\).*dosage_key"),
        (lambda: held_out_doses(encoded(["control"] * 3), seed=0), "no cell carries a perturbation"),
        (lambda: held_out_doses(dosed(), place="middle", seed=0), "unknown place .* Known: inside, highest, lowest"),
        (lambda: held_out_doses(dosed(), doses=[5, 10], seed=0), "has the dose 5; their doses: 0.1, 1, 10, 100"),
        (lambda: held_out_doses(dosed(), doses=[0.1, 1, 10, 100], seed=0), "are all that A, B, C has: hold out fewer"),
        (lambda: hold_out_cells(np.ones(3, bool), seed=0), "no training cell is left among 3 cells"),
    ],
)
@pytest.mark.filterwarnings("ignore:.* perturbations are held out.*, not:UserWarning")
@pytest.mark.filterwarnings("ignore:.* perturbations occur only in combinations:UserWarning")
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()


def table(tmp_path, **columns):
    path = tmp_path / "table.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def blobs(n=12, n_clusters=3, seed=0):
    """Perturbations in well-separated clusters; the features differ in scale by 1e6."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % n_clusters
    centres = np.eye(n_clusters) * 100
    return truth, (centres[truth] + rng.normal(size=(n, n_clusters))) * [1.0, 1e-3, 1e3]


def as_sets(groups):
    return {frozenset(name for name in groups if groups[name] == group) for group in groups.values()}


def test_clusters_are_those_of_the_features_whatever_their_order_and_units():
    truth, features = blobs()
    names = np.array([f"P{i}" for i in range(len(truth))])
    found = cluster_perturbations(names, features, 3)
    assert as_sets(found) == {frozenset(names[truth == cluster].tolist()) for cluster in range(3)}
    order = np.random.default_rng(1).permutation(len(names))
    assert cluster_perturbations(names[order], features[order], 3) == found
    assert as_sets(cluster_perturbations(names, features * [7, 1e4, 1] - 3, 3)) == as_sets(found)
    assert len(as_sets(cluster_perturbations(names, features))) == 3  # the root of 12, rounded
    twice = np.repeat(features[:4], 3, axis=0)
    assert as_sets(cluster_perturbations(names, twice, 12)) == {frozenset(names[i : i + 3]) for i in range(0, 12, 3)}


def test_tables_are_read_by_name_in_any_order(tmp_path):
    path = table(tmp_path, drug=["B ", "NA", "A", "unused"], pathway=["x", "y", " x", "z"])
    assert load_groups(path) == {"A": "x", "B": "x", "NA": "y", "unused": "z"}
    path = table(tmp_path, drug=["B", "NA", "A", "unused"], f=[1, 2, 3, "many"], g=[0.5, 1e3, -2, ""])
    assert load_features(path, ["A", "B", "NA"]).tolist() == [[3, -2], [1, 0.5], [2, 1e3]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"name": ["A", "B"]}, "must have a column of perturbations and at least one more"),
        ({"name": [], "f": []}, "0 rows of columns name, f"),
        ({"name": ["A", "A", "B"], "f": [1, 2, 3]}, "duplicated perturbations in .*table.csv: A"),
        ({"name": ["A", "b1"], "f": [1, 2]}, "1 perturbations of the cells are not in .*: B1. The names nearest .* b1"),
        (
            {"name": ["A", "B1"], "f": [1, np.nan]},
            "1 features .* no finite numbers, the first '' .* 'f' of .* 'B1'",
        ),
        ({"name": ["A", "B1"], "f": ["inf", 1]}, "the first 'inf' in column 'f' of perturbation 'A'"),
        ({"name": ["A", "B1"], "f": ["high", 1]}, "the first 'high'"),
        ({"name": ["A", "B1", "C"], "f": [1, 1, 2], "g": [1, 2, 3]}, "1 features of .* the same for all 2 .*: f;"),
    ],
)
def test_tables_of_features_that_are_refused(tmp_path, columns, message):
    path = table(tmp_path, **columns)
    with pytest.raises(InputError, match=message):
        load_features(path, ["A", "B1"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,pathway,f\nA,x,1\n", "two columns, perturbation and group; it has 3: name, pathway, f"),
        ("name,pathway\nA,x\nB,\nC\n", "2 perturbations of .* have no group: B, C"),
        ("name,pathway\nA,x,1\nB,y,2\n", "more entries than its header names columns: name, pathway"),
        ("name,pathway\nA,x\nB,y,2\n", "cannot read a table of perturbations"),
        ("", "cannot read a table of perturbations"),
        (None, "cannot read a table of perturbations from .*No such file"),
    ],
)
def test_tables_of_groups_that_are_refused(tmp_path, text, message):
    path = tmp_path / "groups.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_groups(path)


def test_clusters_that_are_refused():
    _, features = blobs()
    names = [f"P{i}" for i in range(12)]
    for wrong, message in ((13, "<= 12, got 13"), (1, "n_feature_clusters must be >= 2")):
        with pytest.raises(InputError, match=message):
            cluster_perturbations(names, features, wrong)
    with pytest.raises(InputError, match="1 perturbation cannot be clustered"):
        cluster_perturbations(["A"], features[:1])
    features[:, 1] = 0.1
    with pytest.raises(InputError, match="features in columns 1 are constant"):
        cluster_perturbations(names, features)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "perturbations", "test_perturbations": 1}, "test_perturbations must be > 0 and < 1, got 1"),
        (
            {"perturbation_groups": "a.csv"},
            "groups 'a.csv' is for the split 'perturbations', not .*'random'",
        ),
        ({"split": "perturbations", "val_perturbations": 1}, "val_perturbations must be >= 0 and < 1, got 1"),
        ({"val_perturbations": 0.2}, "val_perturbations '0.2' is for the split 'perturbations', not for 'random'"),
        ({"split": "perturbations", "test_doses": (1.0,)}, "test_doses .* is for the split 'doses'"),
        ({"split": "doses", "test_doses": (0.0,)}, "test_doses must be > 0, got 0"),
        ({"split": "doses", "held_out_doses": "middle"}, "unknown held_out_doses 'middle'"),
        (
            {"split": "perturbations", "perturbation_groups": "a.csv", "perturbation_features": "b.csv"},
            "both group the perturbations: give one",
        ),
        (
            {"split": "perturbations", "perturbation_features": "b.csv", "test_perturbation_names": "A"},
            "test_perturbation_names A name no cluster",
        ),
        ({"split": "perturbations", "n_feature_clusters": 3}, "n_feature_clusters 3 needs perturbation_features"),
        ({"split": "perturbations", "perturbation_features": "b", "n_feature_clusters": 1}, "must be >= 2, got 1"),
    ],
)
def test_settings_that_contradict_each_other(options, message):
    with pytest.raises(InputError, match=message):
        DataConfig(**options)


def test_other_cells_inherit_the_settings_of_a_split_without_harm():
    config = DataConfig(split="perturbations", perturbation_groups="a.csv", test_perturbation_names="x")
    assert config.perturbation_groups == Path("a.csv") and config.test_perturbation_names == ("x",)
    assert replace(config, split="test").perturbation_groups == Path("a.csv")


def file(tmp_path):
    labels = ["control", *NAMES, "P0+P1"] * 6
    doses = np.repeat([1.0, 2.0, 3.0], 24)
    counts = np.random.default_rng(0).poisson(3.0, (len(labels), 5)) + 1
    obs = pd.DataFrame({"perturbation": labels, "dose": doses}, index=[f"c{i}" for i in range(len(labels))])
    anndata.AnnData(counts.astype(np.float32), obs=obs).write_h5ad(tmp_path / "screen.h5ad")
    return DataConfig(path=tmp_path / "screen.h5ad")


def test_flags_reach_the_rules(tmp_path):
    config = file(tmp_path)
    groups = table(tmp_path, name=NAMES, pathway=[PATHWAY[name] for name in NAMES])

    def found(**options):
        data = read_h5ad(replace(config, **options))
        return data, held(Encoding(data.perturbation_index, data.dosage, data.perturbation_names), data.split)

    data, out = found(split="perturbations", test_perturbations=0.3, split_seed=1)
    assert len(out) == 3
    assert found(split="perturbations", test_perturbations=0.3, split_seed=1)[0].split.tolist() == data.split.tolist()
    assert found(split="perturbations", test_perturbation_names=("P4",))[1] == {"P4"}
    data, out = found(split="perturbations", test_perturbation_names=("P4",), val_perturbations=0.3)
    assert (
        len(carried(Encoding(data.perturbation_index, data.dosage, data.perturbation_names), data.split, "train")) == 6
    )
    named = {"perturbation_groups": groups, "test_perturbation_names": ("c",)}
    assert found(split="perturbations", **named)[1] == {"P2", "P7"}
    truth = np.arange(10) % 5
    columns = {f"f{i}": np.eye(5)[truth][:, i] for i in range(5)}
    clustered = {"perturbation_features": table(tmp_path, name=NAMES, **columns), "n_feature_clusters": 5}
    out = found(split="perturbations", **clustered)[1]
    assert len(out) == 2 and len({truth[NAMES.index(name)] for name in out}) == 1
    data, out = found(split="doses", dosage_key="dose", held_out_doses="highest")
    assert not out and set(data.dosage[data.split == "test"].ravel().tolist()) - {0} == {3.0}
    assert ((data.split == "test") == (data.dosage == 3).any(axis=1)).all()
    assert found(split="doses", dosage_key="dose", test_doses=(1.0,))[0].dosage[data.split == "test"].max() == 3
    with pytest.raises(InputError, match="no perturbation has 3 doses"):
        found(split="doses")


def test_parts_are_held_out_where_combinations_are_perturbations_of_their_own(tmp_path):
    config = replace(
        file(tmp_path), combinations_as_unique=True, split="perturbations", test_perturbation_names=("P1",)
    )
    data = read_h5ad(config)
    tested = {data.perturbation_names[i] for i in data.perturbation_index[data.split == "test", 0]}
    assert tested == {"P1", "P0+P1"}
