"""Quality statistics and rules: closed forms, hand-made tables, equal results from every storage, JSON, doublets."""

import json
import sys
import types

import numpy as np
import pytest
import scipy.sparse as sp

from samsjax.data import Criterion, QualityRule, cell_statistics, learn_rule
from samsjax.data.quality.doublets import predicted_doublets
from samsjax.data.quality.rule import SIDES
from samsjax.data.quality.statistics import gene_sets
from samsjax.errors import InputError

GENES = ["MT-CO1", "mt-Nd1", "MTOR", "RPS6KA1", "Rpl3", "RP1", "HBA1", "Hbb-bs", "HBP1", "HB(1", "GATA1"]
SETS = {"percent_mito": [0, 1], "percent_ribo": [3, 4], "percent_hb": [6, 7]}


def counts(n=50, genes=GENES, seed=0):
    return np.random.default_rng(seed).poisson(1.5, (n, len(genes)))


def test_gene_sets_go_by_symbol_of_human_and_mouse():
    assert {name: columns.tolist() for name, columns in gene_sets(GENES).items()} == SETS


def test_statistics_are_totals_and_shares():
    x = counts()
    found = cell_statistics(x, GENES)
    assert list(found) == ["n_counts", "n_genes", *SETS]
    assert np.array_equal(found["n_counts"], x.sum(axis=1))
    assert np.array_equal(found["n_genes"], (x > 0).sum(axis=1))
    for name, columns in SETS.items():
        assert np.allclose(found[name], [100 * row[columns].sum() / row.sum() for row in x], rtol=1e-12)


@pytest.mark.parametrize("matrix", [sp.csr_matrix, sp.csr_array, sp.csc_matrix, np.asarray])
@pytest.mark.parametrize("dtype", [np.uint16, np.int64, np.float32])
def test_storage_does_not_matter(matrix, dtype):
    expected, found = cell_statistics(counts(), GENES), cell_statistics(matrix(counts().astype(dtype)), GENES)
    assert all(np.array_equal(found[name], expected[name]) and found[name].dtype == np.float64 for name in expected)


def test_large_counts_do_not_overflow():
    x = sp.csr_matrix(np.full((1, 4), 65_000, dtype=np.uint16))
    found = cell_statistics(x, ["A", "B", "MT-A", "MT-B"])
    assert found["n_counts"] == 260_000 and found["percent_mito"] == 50


def test_an_unmeasured_set_is_left_out_and_not_zero():
    assert list(cell_statistics(counts(genes=["A", "MT-A"]), ["A", "MT-A"])) == ["n_counts", "n_genes", "percent_mito"]
    with pytest.raises(InputError, match=r"2 gene names for counts of shape \(50, 11\)"):
        cell_statistics(counts(), ["A", "B"])


def test_an_empty_cell_is_labelled_by_its_counts():
    x = counts() + 5
    rule = learn_rule(cell_statistics(x, GENES), 3)
    statistics = cell_statistics(np.zeros((1, len(GENES)), dtype=int), GENES)
    assert all(value == 0 for value in statistics.values())
    assert rule.failed(statistics).tolist() == [[True, True, False, False, False]]


def test_a_share_of_less_than_one_count_is_still_a_share():
    assert cell_statistics(np.array([[0.1, 0.3]]), ["MT-A", "B"])["percent_mito"] == pytest.approx(25)


TABLE = {
    "n_counts": np.array([70.0, 90, 100, 110, 400, 69]),  # median 95, |v - m| = 25 5 5 15 305 26: MAD 20
    "n_genes": np.array([5.0, 5, 5, 5, 6, 4]),  # MAD 0
    "percent_mito": np.array([1.0, 1, 1, 1, 1.5, 0]),  # MAD 0
    "percent_hb": np.array([0.0, 2, 4, 6, 8, 10]),  # median 5, MAD 3
    "percent_ribo": np.array([7.0] * 6),  # all equal
}


def test_hand_made_table():
    rule = learn_rule(TABLE, 1)
    expected = {
        "n_counts": ("below", 75.0, 95.0, 20.0, [1, 0, 0, 0, 0, 1]),  # 400 is not too many
        "n_genes": ("below", 5.0, 5.0, 0.0, [0, 0, 0, 0, 0, 1]),  # ties with the threshold pass
        "percent_mito": ("above", 1.0, 1.0, 0.0, [0, 0, 0, 0, 1, 0]),
        "percent_hb": ("above", 8.0, 5.0, 3.0, [0, 0, 0, 0, 0, 1]),  # 8 is at the threshold
        "percent_ribo": ("above", 7.0, 7.0, 0.0, [0, 0, 0, 0, 0, 0]),
    }
    for criterion, column in zip(rule.criteria, rule.failed(TABLE).T, strict=True):
        side, threshold, median, mad, failed = expected[criterion.name]
        assert criterion == Criterion(criterion.name, side, threshold, median, mad, "counts")
        assert column.tolist() == [bool(flag) for flag in failed], criterion.name
    assert rule.n_mads == 1 and rule.names == tuple(TABLE)


def test_every_share_of_failed_cells_is_possible():
    rule = QualityRule((Criterion("n_counts", "below", 10.0),))
    for values, share in (([1.0, 2, 3], 1), ([10.0, 11, 12], 0), ([1.0, 2, 3, 20], 0.75)):
        assert rule.failed({"n_counts": np.array(values)}).mean() == share


def test_more_mads_fail_fewer_cells_and_order_does_not_matter():
    statistics = cell_statistics(counts(400), GENES)
    three, five = (learn_rule(statistics, k).failed(statistics) for k in (3, 5))
    assert (five <= three).all() and five.sum() < three.sum()
    order = np.random.default_rng(1).permutation(400)
    mixed = {name: values[order] for name, values in statistics.items()}
    assert learn_rule(mixed, 3) == learn_rule(statistics, 3)
    assert np.array_equal(learn_rule(mixed, 3).failed(mixed), three[order])


def test_units_of_a_share_do_not_matter():
    share = np.random.default_rng(0).beta(2, 30, 500)
    labels = [learn_rule({"percent_mito": v}, 3).failed({"percent_mito": v}) for v in (share, 128 * share)]
    assert np.array_equal(*labels) and labels[0].any()


def test_a_doublet_is_not_learnt():
    values = {"doublet": np.array([0.0, 1, 1, 1])}
    rule = learn_rule(values, 3)
    assert rule.failed(values)[:, 0].tolist() == [False, True, True, True]
    assert rule.criteria[0].median is None and rule.criteria[0].source == "predicted"


def test_generated_cells_are_judged_by_what_can_be_measured():
    values = {name: np.arange(1.0, 10) for name in SIDES}
    rule = learn_rule(values, 2, sources={"n_counts": "n_umis"})
    x = counts(genes=["A", "MT-A"])
    statistics = cell_statistics(x, ["A", "MT-A"])
    kept = rule.measurable(statistics)
    assert kept.names == ("n_genes", "percent_mito") and kept.n_mads == 2
    assert kept.failed(statistics).shape == (50, 2)
    nothing = kept.measurable({"n_counts": statistics["n_counts"]})
    assert nothing.criteria == () and nothing.failed(statistics).shape == (50, 0)


def test_json_gives_the_rule_back():
    rule = learn_rule({**TABLE, "doublet": np.zeros(6)}, 3.5, sources={"percent_mito": "p_mito"})
    assert QualityRule.from_json(json.loads(json.dumps(rule.as_json()))) == rule


@pytest.mark.parametrize(
    "stored",
    [
        None,
        {},
        {"criteria": 3},
        {"criteria": [{"name": "n_counts"}]},
        {"criteria": [{"name": "n_counts", "side": "left", "threshold": 1.0}]},
        {"criteria": [{"name": "n_counts", "side": "below", "threshold": None}]},
        {"criteria": [{"name": "n_counts", "side": "below", "threshold": 1.0, "more": 2}]},
    ],
)
def test_damaged_json_is_refused(stored):
    with pytest.raises(InputError, match="not a stored quality rule"):
        QualityRule.from_json(stored)


@pytest.mark.parametrize(
    ("statistics", "n_mads", "message"),
    [
        ({"n_count": [1.0]}, 3, "unknown quality criterion 'n_count'. Did you mean 'n_counts'"),
        ({"n_counts": [1.0]}, 0, "n_mads must be > 0, got 0"),
        ({"n_counts": [1.0, np.nan]}, 3, "'n_counts' must be finite .*1 cells are not, the first is nan in row 1"),
        ({"n_counts": []}, 3, "no cells to learn thresholds .*n_counts"),
    ],
)
def test_what_cannot_be_learnt(statistics, n_mads, message):
    with pytest.raises(InputError, match=message):
        learn_rule({name: np.array(values) for name, values in statistics.items()}, n_mads)


def test_what_cannot_be_judged():
    rule = learn_rule(TABLE, 3)
    with pytest.raises(InputError, match=r"percent_hb were not measured; measured: n_counts"):
        rule.failed({name: values for name, values in TABLE.items() if name != "percent_hb"})
    with pytest.raises(InputError, match="'n_genes' must be finite"):  # NaN compares as False: it would pass
        rule.failed({**TABLE, "n_genes": np.full(6, np.nan)})


def test_doublets_without_scrublet_say_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "scrublet", None)
    with pytest.raises(InputError, match=r"pip install 'samsjax\[doublets\]'"):
        predicted_doublets(counts(), seed=0)


@pytest.mark.parametrize(
    ("called", "message"), [(None, "found no threshold"), (ValueError("too few"), "11 genes .*few")]
)
def test_doublets_that_scrublet_cannot_call(monkeypatch, called, message):
    class Scrublet:
        def __init__(self, counts_matrix, **options):
            np.random.seed(options["random_state"])

        def scrub_doublets(self, **options):
            if called is not None:
                raise called
            return np.zeros(50), called

    monkeypatch.setitem(sys.modules, "scrublet", types.SimpleNamespace(Scrublet=Scrublet))
    before = np.random.get_state()[1].copy()
    with pytest.raises(InputError, match=message):
        predicted_doublets(counts(), seed=0)
    assert np.array_equal(np.random.get_state()[1], before)  # the caller's random numbers are their own


def two_types(n=300, n_doublets=25, n_genes=900, seed=0):
    """Cells of three types, the last ones sums of two."""
    rng = np.random.default_rng(seed)
    profiles = rng.gamma(0.3, 1, (3, n_genes))
    kind = rng.integers(0, 3, n)
    x = rng.poisson(1500 * (profiles / profiles.sum(axis=1, keepdims=True))[kind])
    first, second = rng.integers(0, n, (2, n_doublets))
    second = np.where(kind[first] == kind[second], np.flatnonzero(kind == 0)[0], second)
    return np.vstack([x, x[first] + x[second]]), kind[first] != kind[second]


def test_doublets_of_two_types_are_found_and_a_seed_gives_the_same_ones():
    pytest.importorskip("scrublet", reason="needs the extra doublets")
    x, mixed = two_types()
    found = predicted_doublets(sp.csr_matrix(x.astype(np.uint16)), seed=3)
    assert found.dtype == bool and found.shape == (325,)
    assert found[300:][mixed].mean() > 0.8 and found[:300].mean() < 0.05
    np.random.seed(99)
    assert np.array_equal(predicted_doublets(x, seed=3), found)
