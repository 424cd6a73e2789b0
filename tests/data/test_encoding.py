"""Labels to indices and back: what must not matter does not, and nothing unreadable passes."""

import dataclasses
import re
import time

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from samsjax.data.dataset import PerturbationData
from samsjax.data.encoding import (
    combination_names,
    encode_labels,
    encode_matrix,
    match_vocabulary,
    parse_treatment,
    treatments,
    unique_combinations,
)
from samsjax.errors import InputError


def as_dicts(encoding):
    names = encoding.perturbation_names
    return [
        {str(names[i]): float(d) for i, d in zip(*row, strict=True) if d}
        for row in zip(encoding.perturbation_index, encoding.dosage, strict=True)
    ]


def same(one, two):
    return all(
        np.array_equal(getattr(one, f.name), getattr(two, f.name))
        and getattr(one, f.name).dtype == getattr(two, f.name).dtype
        for f in dataclasses.fields(one)
    )


def data_of(encoding, **options):
    n = len(encoding.dosage)
    return PerturbationData(
        x=np.ones((n, 1), dtype=np.uint16),
        library_size=np.ones(n, dtype=np.float32),
        gene_names=np.array(["g"]),
        cell_names=np.arange(n).astype(str),
        split=np.full(n, "train"),
        **vars(encoding),
        **options,
    )


def test_labels_become_sorted_names_and_ascending_slots():
    encoding = encode_labels(["B+A", "control", "B", " A + C "], control="control")
    assert encoding.perturbation_names.tolist() == ["A", "B", "C"]
    assert encoding.perturbation_index.tolist() == [[0, 1], [0, 0], [1, 0], [0, 2]]
    assert encoding.dosage.tolist() == [[1, 1], [0, 0], [1, 0], [1, 1]]
    assert (encoding.perturbation_index.dtype, encoding.dosage.dtype) == (np.int32, np.float32)
    assert encoding.n_parts.tolist() == [2, 0, 1, 2]


def test_controls_alone_have_one_empty_slot():
    encoding = encode_labels(["ctrl", "ctrl+ctrl"], control="ctrl")
    assert encoding.dosage.tolist() == [[0], [0]] and len(encoding.perturbation_names) == 0


@pytest.mark.parametrize("seed", range(5))
def test_order_blanks_and_control_parts_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    names = np.array([f"G{i}" for i in range(12)])
    plain, messy = [], []
    for _ in range(200):
        parts = rng.choice(names, size=rng.integers(0, 4), replace=False).tolist()
        plain.append("+".join(parts) or "ctrl")
        shuffled = parts + ["ctrl"] * int(rng.integers(0 if parts else 1, 3))
        rng.shuffle(shuffled)
        messy.append(" +  ".join(shuffled) + " ")
    assert same(encode_labels(plain, control="ctrl"), encode_labels(messy, control=["other", "ctrl"]))


@pytest.mark.parametrize("make", [list, np.array, pd.Series, pd.Categorical, lambda x: np.array(x, dtype=object)])
def test_any_column_of_labels(make):
    labels = ["b", "ctrl", "a|b"]
    found = encode_labels(make(labels), control=("ctrl",), separator="|")
    assert as_dicts(found) == [{"b": 1}, {}, {"a": 1, "b": 1}]


def test_unused_categories_are_no_perturbations():
    labels = pd.Categorical(["A", "ctrl"], categories=["A", "Z", "ctrl"])
    assert encode_labels(labels, control="ctrl").perturbation_names.tolist() == ["A"]


def test_numbers_are_labels():
    assert as_dicts(encode_labels(pd.Series([0, 7]), control="0")) == [{}, {"7": 1}]


def test_numeric_doses_apply_to_all_parts_and_not_to_controls():
    found = encode_labels(["B+A", "ctrl", "B"], control="ctrl", doses=[0.5, np.nan, 2])
    assert as_dicts(found) == [{"A": 0.5, "B": 0.5}, {}, {"B": 2}]


def test_dose_texts_follow_the_order_of_the_label():
    labels = ["B+A", "A+B", "A+ctrl", "ctrl+A", "A+B", "ctrl"]
    doses = ["1.0+0.5", "0.5+1", "2+0", "nan+2", "3", None]
    found = as_dicts(encode_labels(labels, control="ctrl", doses=doses))
    assert found == [{"A": 0.5, "B": 1}] * 2 + [{"A": 2}] * 2 + [{"A": 3, "B": 3}, {}]


@pytest.mark.parametrize(
    ("labels", "doses", "message"),
    [
        (["A", None, np.nan], None, "2 of 3 cells have no perturbation label .* first in row 1"),
        (["A", "B", " "], None, "1 of 3 cells .* row 2"),
        (np.array(["A", "nan"]), None, "1 of 2 cells .* row 1"),
        (["A+"], None, r"label 'A\+' has an empty part"),
        (["A+B+A"], None, r"label 'A\+B\+A' names A more than once"),
        (["A"], [1, 2], "2 doses for 1 cells"),
        (["ctrl", "A"], [1, 0.0], "dose 0 for label 'A' .*row 1.*label such cells as control"),
        (["A"], [-2.5], "dose -2.5 of label 'A'"),
        (["A"], [np.nan], "dose nan of label 'A'"),
        (["A"], [np.inf], "dose inf"),
        (["A"], [1e300], "dose 1e\\+300"),
        (["A"], ["much"], "dose 'much' of A in label 'A' .*is not a number"),
        (["A+B"], ["1+-1"], r"dose -1.0 of B in label 'A\+B'"),
        (["A+B"], ["1+0"], "dose 0 for B"),
        (["A+B"], ["1+nan"], "dose nan of B"),
        (["A+B"], ["1+2+3"], r"doses '1\+2\+3' hold 3 numbers for the 2 parts of label 'A\+B'"),
        (["A", "B"], ["1", None], "dose nan of B"),
    ],
)
def test_refused_labels_and_doses(labels, doses, message):
    with pytest.raises(InputError, match=message):
        encode_labels(labels, control="ctrl", doses=doses)


@pytest.mark.parametrize("separator", ["", "@", ".", "x", "a+"])
def test_refused_separators(separator):
    with pytest.raises(InputError, match=re.escape(f"separator {separator!r} cannot join names")):
        encode_labels(["A"], control="ctrl", separator=separator)


def test_control_must_not_hold_the_separator():
    with pytest.raises(InputError, match="control label 'non-targeting' contains the separator '-'"):
        encode_labels(["A"], control="non-targeting", separator="-")


def test_control_must_be_given():
    with pytest.raises(InputError, match="control labels must be one or more texts"):
        encode_labels(["A"], control=())


def test_two_million_cells_in_seconds():
    rng = np.random.default_rng(0)
    labels = np.array([f"G{i}" for i in range(3000)] + ["ctrl"], dtype=object)[rng.integers(0, 3001, size=2_000_000)]
    start = time.perf_counter()
    encode_labels(labels, control="ctrl")
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix, sp.csc_matrix, sp.coo_matrix, sp.csr_array])
def test_matrix_of_doses(kind):
    matrix = np.array([[0, 0, 0, 0], [0.5, 0, 0, 2], [0, 0, 1, 0]])
    given = kind(matrix)
    found = encode_matrix(given, ["D", "C", "B", "A"])
    assert found.perturbation_names.tolist() == ["A", "B", "C", "D"]  # C is used by no cell, and stays
    assert as_dicts(found) == [{}, {"D": 0.5, "A": 2}, {"B": 1}]
    assert found.perturbation_index.tolist() == [[0, 0], [0, 3], [1, 0]]
    assert np.array_equal(given.toarray() if sp.issparse(given) else given, matrix)


def test_matrix_agrees_with_labels():
    labels = encode_labels(["B+A", "ctrl", "C"], control="ctrl")
    assert same(labels, encode_matrix(np.array([[True, True, False], [False] * 3, [False, False, True]]), list("ABC")))


@pytest.mark.parametrize(
    ("matrix", "names", "message"),
    [
        ([[1.0, -2.0]], "AB", "1 dosages are negative, NaN or infinite .first: -2.0"),
        ([[1.0, np.nan]], "AB", "first: nan"),
        ([[1.0, 1e-60]], "AB", "first: 1e-60"),
        ([[1.0, 1.0]], "ABC", r"shape \(1, 2\) needs one name per column, got 3 names"),
        ([[1.0, 1.0]], "AA", "duplicated perturbation names: A"),
    ],
)
def test_refused_matrices(matrix, names, message):
    with pytest.raises(InputError, match=message):
        encode_matrix(np.array(matrix), list(names))


def test_vocabulary_renumbers_and_keeps_slots_ascending():
    encoding = encode_labels(["A+B", "ctrl", "B"], control="ctrl", doses=[2, 1, 3])
    found = match_vocabulary(encoding, ["Z", "B", "A"])
    assert as_dicts(found) == as_dicts(encoding)
    assert found.perturbation_index.tolist() == [[1, 2], [0, 0], [1, 0]]
    controls = match_vocabulary(encode_labels(["ctrl"], control="ctrl"), ["Z"])
    assert controls.dosage.tolist() == [[0]]


def test_vocabulary_lists_what_it_lacks():
    encoding = encode_labels(["KLF1", "TP53", "ctrl"], control="ctrl")
    with pytest.raises(InputError, match=r"1 perturbations .* vocabulary: KLF1.* nearest to 'KLF1' are KLF2"):
        match_vocabulary(encoding, ["KLF2", "TP53"])


def test_combination_names_ignore_doses():
    encoding = encode_labels(["B+A", "A+B", "ctrl", "B"], control="ctrl", doses=[1, 2, 1, 3])
    assert combination_names(encoding, "+", "ctrl").tolist() == ["A+B", "A+B", "ctrl", "B"]


def test_treatments_are_the_distinct_conditions():
    labels = ["B+A", "ctrl", "A", "A+B", "B", "A"]
    found = treatments(data_of(encode_labels(labels, control="ctrl", doses=[1, 1, 0.5, 1, 1, 1])))
    assert found.labels.tolist() == ["A", "A+B", "A@0.5", "B"]
    assert found.assignment.tolist() == [1, -1, 2, 1, 3, 0]


@pytest.mark.parametrize("seed", range(5))
def test_treatments_read_back(seed):
    rng = np.random.default_rng(seed)
    names = [f"gene {i}" for i in range(9)]
    labels = ["+".join(rng.choice(names, size=rng.integers(1, 4), replace=False)) for _ in range(100)] + ["ctrl"]
    doses = np.float32(rng.choice([1, 0.1, 1 / 3, 2.5, 1e6, 1e-7, 123456.79], size=101))
    data = data_of(encode_labels(labels, control="ctrl", doses=doses), control_name="ctrl")
    found = treatments(data)
    assert found.labels.tolist() == sorted(set(found.labels))
    for label, index, dosage in zip(found.labels, found.perturbation_index, found.dosage, strict=True):
        read = parse_treatment(label, data.perturbation_names, separator="+", control_name="ctrl")
        assert read[0].tolist() == index[dosage > 0].tolist() and read[1].tolist() == dosage[dosage > 0].tolist()
    perturbed = ~data.is_control
    assert np.array_equal(found.dosage[found.assignment[perturbed]], data.dosage[perturbed])
    assert np.array_equal(found.perturbation_index[found.assignment[perturbed]], data.perturbation_index[perturbed])
    assert (found.assignment[~perturbed] == -1).all()


def test_treatments_of_data_with_loose_slots():
    data = data_of(encode_labels(["A+B", "ctrl"], control="ctrl"))
    loose = dataclasses.replace(
        data,
        perturbation_index=np.array([[0, 1, 0], [1, 0, 0]], dtype=np.int32),
        dosage=np.array([[0, 1, 1], [0, 0, 0]], dtype=np.float32),
    )
    assert treatments(loose).perturbation_index.tolist() == [[0, 1, 0]]
    assert treatments(loose).assignment.tolist() == [0, -1]


def test_no_treatments_in_controls():
    found = treatments(data_of(encode_labels(["ctrl"], control="ctrl")))
    assert len(found.labels) == 0 and found.assignment.tolist() == [-1]


def test_ambiguous_treatment_labels_are_refused():
    with pytest.raises(InputError, match=r"duplicated treatment labels .*: X@0.5"):
        treatments(data_of(encode_labels(["X", "X@0.5"], control="ctrl", doses=[0.5, 1])))


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("B", {"B": 1}),
        (" B + A@0.5", {"A": 0.5, "B": 1}),
        ("A+ctrl", {"A": 1}),
        ("ctrl", {}),
        ("x+y", {"x+y": 1}),
        ("A+x+y@2+B", {"A": 1, "B": 1, "x+y": 2}),
        ("d@5", {"d@5": 1}),
        ("d@5@2+A", {"A": 1, "d@5": 2}),
    ],
)
def test_treatments_to_predict(label, expected):
    names = np.array(["A", "B", "d@5", "x+y"])
    index, dosage = parse_treatment(label, names, separator="+", control_name="ctrl")
    assert dict(zip(names[index].tolist(), dosage.tolist(), strict=True)) == expected
    assert index.tolist() == sorted(index) and (index.dtype, dosage.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("KLF2+TP53", "unknown perturbation 'KLF2' in treatment .*Did you mean 'KLF1'.*learned from its own cells"),
        ("KLF1@0", "dose 0 for KLF1"),
        ("KLF1@", "dose '' of KLF1"),
        ("KLF1@-3", "dose -3.0 of KLF1"),
        ("KLF1@inf", "dose inf"),
        ("KLF1+KLF1@2", "names KLF1 more than once"),
        ("KLF1+", "empty part"),
        ("", "empty part"),
    ],
)
def test_refused_treatments(label, message):
    with pytest.raises(InputError, match=message):
        parse_treatment(label, ["KLF1", "TP53"], separator="+", control_name="ctrl")


def test_unique_combinations_have_one_slot_and_one_name_each():
    labels = ["B+A", "ctrl", "B", "A+B", "C+A", "B"]
    found = unique_combinations(encode_labels(labels, control="ctrl", doses=[1, 1, 2, 1, 1, 0.5]))
    assert found.perturbation_names.tolist() == ["A+B", "A+C", "B"]  # A and C alone are gone
    assert as_dicts(found) == [{"A+B": 1}, {}, {"B": 2}, {"A+B": 1}, {"A+C": 1}, {"B": 0.5}]
    assert found.perturbation_index.shape == (6, 1)
    assert (found.perturbation_index.dtype, found.dosage.dtype) == (np.int32, np.float32)


def test_unique_combinations_of_controls_and_singles_are_what_they_were():
    for labels in (["ctrl", "ctrl"], ["A", "ctrl", "B"]):
        encoding = encode_labels(labels, control="ctrl")
        assert same(unique_combinations(encoding), encoding)


def test_unique_combinations_read_back():
    rng = np.random.default_rng(0)
    names = ["A", "B", "x-y", "d@5", "P+Q", "gene 7"]
    dosage = (rng.random((80, len(names))) < 0.4).astype(np.float32)
    dosage[:, -1] *= np.where(dosage.sum(axis=1) == 1, 0.25, 1)
    data = data_of(unique_combinations(encode_matrix(dosage, names)), control_name="ctrl")
    found = treatments(data)
    assert {label.removesuffix("@0.25") for label in found.labels} == set(data.perturbation_names)
    for label, index, dose in zip(found.labels, found.perturbation_index, found.dosage, strict=True):
        reverse = label if "@0.25" in label else "+".join(reversed(label.split("+")))
        for text in (label, reverse, f"ctrl + {label}"):
            read = parse_treatment(text, data.perturbation_names, separator="+", control_name="ctrl")
            assert read[0].tolist() == index.tolist() and read[1].tolist() == dose.tolist(), text


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("B+A", {"A+B": 1}),
        ("A+ctrl+B", {"A+B": 1}),
        ("B+A+C", {"A": 1, "B": 1, "C": 1}),
        ("A+C", {"A": 1, "C": 1}),
        ("B+A@0.5", {"A": 0.5, "B": 1}),
        ("q+x+p", {"p": 1, "q+x": 1}),
    ],
)
def test_order_does_not_matter_for_combinations_with_a_name(label, expected):
    names = np.array(["A", "A+B", "B", "C", "p", "q+x"])
    index, dosage = parse_treatment(label, names, separator="+", control_name="ctrl")
    assert dict(zip(names[index].tolist(), dosage.tolist(), strict=True)) == expected


def test_names_that_differ_only_in_order_are_taken_literally():
    names = ["A+B", "B+A"]
    assert [parse_treatment(name, names)[0].tolist() for name in names] == [[0], [1]]


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        (
            encode_labels(["ctrl", "B+A", "B"], control="ctrl", doses=["1", "0.5+1", "2"]),
            r"combination 'A\+B' has doses 1, 0.5 in row 1 \(1 such cells\).*switch combinations_as_unique off",
        ),
        (encode_matrix(np.eye(3)[[0, 1, 2, 2]] + [[0, 1, 0], *[[0, 0, 0]] * 3], ["A", "B", "A+B"]), r"labels .*: A\+B"),
        (encode_matrix(np.array([[1, 1, 0, 0], [0, 0, 1, 1]]), ["a+b", "c", "a", "b+c"]), r"labels .*: a\+b\+c"),
    ],
)
def test_refused_unique_combinations(encoding, message):
    with pytest.raises(InputError, match=message):
        unique_combinations(encoding)
