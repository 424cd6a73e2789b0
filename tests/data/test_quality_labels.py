"""Quality labels of an AnnData: which cells thresholds come from, columns, stored rules, ready labels, refusals."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from samsjax.data import DataConfig, QualityRule, cell_statistics, from_anndata, learn_rule, read_h5ad
from samsjax.data.studies import study
from samsjax.errors import InputError
from tests.data.study_files import adamson

GENES = ["MT-CO1", "MT-ND1", "RPL3", "RPS6", "HBA1", "GATA1", "KLF1", "ACTB"]
FIVE = ("n_counts", "n_genes", "percent_mito", "percent_ribo", "percent_hb")
IDLE = pytest.mark.filterwarnings("ignore:no training cell fails")
RANDOM = {"split": "column", "split_key": "fold"}


def screen(n=200, seed=0, matrix=sp.csr_matrix, genes=GENES):
    """A fifth of the cells is broken: few counts, of which most are mitochondrial; whatever their perturbation."""
    rng = np.random.default_rng(seed)
    broken = np.arange(n) % 10 < 2
    rates = np.where(broken[:, None], 0.3, 1) * rng.gamma(30, 1, (n, 1)) * np.linspace(0.2, 1, len(genes))
    rates[:, 0] = np.where(broken, 15, 3) * rng.gamma(30, 1 / 30, n)
    counts = rng.poisson(rates) + (np.arange(len(genes)) == len(genes) - 1)
    obs = pd.DataFrame(
        {
            "perturbation": rng.permutation((["control", "A", "B", "A+B"] * n)[:n]),
            "n_umis": counts.sum(axis=1) * 40 + rng.integers(0, 40, n),
            "p_mito": rng.beta(2, 30, n) + 0.5 * broken,
            "doublet": rng.permutation(n) < 6,
            "fold": rng.permutation((["train", "train", "val", "test"] * n)[:n]),
            "is_broken": broken,
            "verdict": np.where(broken, "Fail ", "pass"),
            "qc_pass": ~broken,
            "batch": "x",
        },
        index=[f"cell{i}" for i in range(n)],
    )
    return anndata.AnnData(matrix(counts), obs=obs, var=pd.DataFrame(index=genes))


def refused(message, adata=None, **options):
    with pytest.raises(InputError, match=message):
        from_anndata(screen() if adata is None else adata, **options)


def test_without_criteria_there_are_no_labels():
    data = from_anndata(screen())
    assert data.failed is None and data.criteria == () and data.quality_rule is None


@IDLE
def test_labels_are_those_of_the_rule_learnt_from_training_cells():
    adata = screen()
    data = from_anndata(adata, quality_criteria="auto", quality_mads=2.5, **RANDOM)
    statistics = cell_statistics(adata.X, GENES)
    train = (adata.obs.fold == "train").to_numpy()
    rule = learn_rule({name: values[train] for name, values in statistics.items()}, 2.5)
    assert data.criteria == FIVE and data.quality_rule == rule
    assert np.array_equal(data.failed, rule.failed(statistics))
    assert data.is_failed[adata.obs.is_broken].mean() > 0.8 > 0.3 > data.is_failed[~adata.obs.is_broken].mean()


@IDLE
def test_held_out_cells_decide_no_threshold():
    adata, changed = screen(), screen()
    held = (changed.obs.fold != "train").to_numpy()
    changed.X[held] = changed.X[held] * 7
    one, two = (from_anndata(a, quality_criteria="auto", **RANDOM) for a in (adata, changed))
    assert one.quality_rule == two.quality_rule and np.array_equal(one.failed[~held], two.failed[~held])
    one, two = (from_anndata(a, quality_criteria="auto", quality_split="all", **RANDOM) for a in (adata, changed))
    assert one.quality_rule != two.quality_rule


@IDLE
@pytest.mark.parametrize("matrix", [np.asarray, sp.csr_array, sp.csc_matrix])
def test_storage_of_counts_and_order_of_cells_do_not_matter(matrix):
    expected = from_anndata(screen(), quality_criteria="auto", **RANDOM)
    adata = screen(matrix=matrix)
    assert np.array_equal(from_anndata(adata, quality_criteria="auto", **RANDOM).failed, expected.failed)
    order = np.random.default_rng(3).permutation(adata.n_obs)
    mixed = from_anndata(adata[order], quality_criteria="auto", **RANDOM)
    assert np.array_equal(mixed.failed, expected.failed[order]) and mixed.quality_rule == expected.quality_rule


@IDLE
@pytest.mark.parametrize("backed", [False, True])
def test_files_and_stored_rules(tmp_path, backed):
    screen().write_h5ad(tmp_path / "one.h5ad")
    config = DataConfig(path=tmp_path / "one.h5ad", quality_criteria=("auto",), backed=backed)
    learnt = read_h5ad(config)
    assert learnt.quality_rule is not None
    other = screen(seed=5)
    other.write_h5ad(tmp_path / "two.h5ad")
    config = DataConfig(path=tmp_path / "two.h5ad", split="test", backed=backed)
    found = read_h5ad(config, vocabulary=["A", "B"], gene_names=learnt.gene_names, quality_rule=learnt.quality_rule)
    assert np.array_equal(found.failed, learnt.quality_rule.failed(cell_statistics(other.X, GENES)))
    assert found.quality_rule == learnt.quality_rule and found.criteria == FIVE


@IDLE
def test_a_rule_is_one_of_the_kept_genes():
    adata = screen()
    adata.X[:, 0] = sp.csr_matrix((adata.n_obs, 1), dtype=int)
    adata.X.eliminate_zeros()
    with pytest.warns(UserWarning, match="MT-CO1"):
        data = from_anndata(adata, quality_criteria="auto")
    statistics = cell_statistics(data.x, data.gene_names)
    assert np.array_equal(data.failed, data.quality_rule.failed(statistics))


@IDLE
def test_columns_replace_genes_of_a_panel():
    adata = screen(genes=["G1", "G2", "G3", "G4"])
    options = {"quality_columns": {"n_counts": "n_umis", "percent_mito": "p_mito"}, "quality_mads": 2, **RANDOM}
    data = from_anndata(adata, quality_criteria="auto", **options)
    assert [(c.name, c.source) for c in data.quality_rule.criteria] == [
        ("n_counts", "n_umis"),
        ("n_genes", "counts"),
        ("percent_mito", "p_mito"),
    ]
    values = {
        "n_counts": adata.obs.n_umis.to_numpy(float),
        "n_genes": cell_statistics(adata.X, adata.var_names)["n_genes"],
        "percent_mito": adata.obs.p_mito.to_numpy(),
    }
    assert np.array_equal(data.failed, data.quality_rule.failed(values)) and data.failed[:, 2].any()
    assert data.quality_rule.measurable(cell_statistics(adata.X, adata.var_names)).names == ("n_genes",)

    # A stored rule finds its columns again, also under another name.
    renamed = adata.copy()
    renamed.obs = renamed.obs.rename(columns={"n_umis": "totals"})
    stored = {"quality_rule": data.quality_rule, **RANDOM}
    assert np.array_equal(from_anndata(adata, **stored).failed, data.failed)
    again = from_anndata(renamed, quality_criteria="auto", quality_columns={"n_counts": "totals"}, **stored)
    assert np.array_equal(again.failed, data.failed)
    refused("unknown quality_columns in adata.obs 'n_umis'", renamed, **stored)


@IDLE
def test_columns_of_continuous_values():
    adata = screen(matrix=np.asarray)
    adata.X = np.log1p(adata.X)
    data = from_anndata(adata, counts=False, quality_criteria="auto", quality_columns={"percent_mito": "p_mito"})
    assert data.criteria == ("percent_mito",) and data.failed.any()
    refused("n_genes need raw counts, and these are continuous", adata, counts=False, quality_criteria="n_genes")
    refused("auto finds none", adata, counts=False, quality_criteria="auto")


def test_a_column_of_doublets():
    adata = screen()
    data = from_anndata(adata, quality_criteria="doublet", quality_columns={"doublet": "doublet"})
    assert np.array_equal(data.failed[:, 0], adata.obs.doublet) and data.quality_rule.names == ("doublet",)


@IDLE
def test_doublets_are_predicted_only_when_named(monkeypatch):
    asked = []

    def predicted(x, seed):
        asked.append(seed)
        return np.arange(x.shape[0]) % 20 == 0

    monkeypatch.setattr("samsjax.data.quality.labels.predicted_doublets", predicted)
    from_anndata(screen(), quality_criteria="auto")
    assert asked == []
    data = from_anndata(screen(), quality_criteria=("doublet", "n_counts"), split_seed=4)
    assert asked == [0] and data.criteria == ("n_counts", "doublet")  # no seed of the user's: labels are the data's
    assert data.failed[:, 1].sum() == 10 and data.quality_rule.criteria[1].source == "predicted"


@pytest.mark.parametrize("key", ["is_broken", "verdict"])
@pytest.mark.parametrize("convert", [lambda column: column, lambda column: column.astype("category")])
def test_ready_labels(key, convert):
    adata = screen()
    adata.obs[key] = convert(adata.obs[key])
    data = from_anndata(adata, quality_key=key)
    assert np.array_equal(data.failed[:, 0], screen().obs.is_broken)
    assert data.criteria == (key,) and data.quality_rule is None


def test_several_columns_of_ready_labels():
    adata = screen()
    adata.obs["other"] = adata.obs.doublet.astype(int)
    data = from_anndata(adata, quality_key=("is_broken", "other"))
    assert data.criteria == ("is_broken", "other")
    assert np.array_equal(data.is_failed, adata.obs.is_broken | adata.obs.doublet)


def test_a_criterion_that_fails_no_training_cell_is_told():
    with pytest.warns(UserWarning, match=r"no training cell fails .*n_counts \(threshold -.*learns nothing"):
        from_anndata(screen(), quality_criteria="n_counts", quality_mads=50)


def test_failed_cells_leave_all_splits_of_data_of_good_quality():
    data = from_anndata(screen(), quality_key="is_broken")
    good = data.of_good_quality()
    assert (good.split[data.is_failed] == "none").all() and data.is_failed.any()
    assert np.array_equal(good.split[~data.is_failed], data.split[~data.is_failed])


@pytest.mark.filterwarnings("ignore:.*are left out")
def test_a_study_passes_the_rule_on():
    rule = QualityRule((learn_rule({"n_counts": np.array([1.0, 2, 3])}, 1).criteria[0],))
    data = study("adamson").from_anndata(adamson(), quality_rule=rule)
    assert data.quality_rule == rule and data.failed.shape == (data.n_cells, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality_criteria": "n_count"}, "unknown quality criterion 'n_count'. Did you mean 'n_counts'"),
        ({"quality_criteria": "auto", "quality_mads": 0}, "quality_mads must be > 0, got 0"),
        ({"quality_criteria": "auto", "quality_mads": np.nan}, "quality_mads must be > 0, got nan"),
        ({"quality_criteria": "auto", "quality_split": "test"}, "unknown quality_split 'test'"),
        (
            {"quality_criteria": "auto", "quality_columns": {"n_umis": "n_umis"}},
            "unknown quality criterion of .*n_umis",
        ),
        ({"quality_columns": {"n_counts": "n_umis"}}, "quality_columns gives values of n_counts, which .* not ask for"),
        (
            {"quality_criteria": "n_genes", "quality_columns": {"n_counts": "n_umis"}},
            "quality_columns gives values of n_counts",
        ),
        (
            {"quality_criteria": "auto", "quality_key": "is_broken"},
            "quality_key is_broken holds ready labels: leave out",
        ),
        ({"quality_columns": {"n_counts": "n_umis"}, "quality_key": "is_broken"}, "quality_key is_broken holds ready"),
        ({"quality_key": "is_brokn"}, "unknown quality_key in adata.obs 'is_brokn'. Did you mean 'is_broken'"),
        ({"quality_key": "n_umis"}, "column 'n_umis' of adata.obs should hold only true, .* pass, .* but holds"),
        ({"quality_key": "qc_pass"}, r"'qc_pass' holds True and False .* ~adata.obs\['qc_pass'\].astype\(bool\)"),
        ({"quality_key": ("is_broken", "is_broken")}, "duplicated quality criteria: is_broken"),
        (
            {"quality_criteria": "auto", "quality_columns": {"n_counts": "umis"}},
            "unknown quality_columns in adata.obs 'umis'",
        ),
        (
            {"quality_criteria": "auto", "quality_columns": {"n_counts": "batch"}},
            "values of 'n_counts' in the column 'batch' are not numbers",
        ),
        (
            {"quality_criteria": "doublet", "quality_columns": {"doublet": "n_umis"}},
            "column 'n_umis' of adata.obs should hold only 0 and 1, but holds",
        ),
    ],
)
def test_refused_options(options, message):
    refused(message, **options)


def test_genes_that_are_not_there():
    adata = screen(genes=["ENSG1", "ENSG2", "ENSG3"])
    refused(
        r"percent_mito, percent_hb cannot be measured: none of the 3 genes used .*the first: ENSG1.*"
        "quality_columns percent_mito COLUMN",
        adata,
        quality_criteria=("percent_hb", "n_counts", "percent_mito"),
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_missing_values_of_a_column(value):
    adata = screen()
    adata.obs.loc["cell3", "p_mito"] = value
    options = {"quality_criteria": "auto", "quality_columns": {"percent_mito": "p_mito"}}
    refused(
        f"quality column 'p_mito' must be finite; 1 values are not, the first is {value} in row 3", adata, **options
    )


def test_missing_ready_labels():
    adata = screen()
    adata.obs["label"] = np.where(np.arange(adata.n_obs) == 3, None, "fail")
    refused("column 'label' .* holds missing values", adata, quality_key="label")


@IDLE
def test_what_contradicts_a_stored_rule():
    rule = from_anndata(screen(), quality_criteria=("n_counts", "percent_mito")).quality_rule
    refused("a stored quality rule .* and ready labels .* exclude", quality_rule=rule, quality_key="is_broken")
    refused("n_genes is not what the stored quality rule judges by", quality_rule=rule, quality_criteria="n_genes")
    columns = {"quality_criteria": "auto", "quality_columns": {"n_counts": "n_umis"}}
    refused("stored threshold of 'n_counts' belongs to counts .* 'n_umis'", quality_rule=rule, **columns)
    assert (
        from_anndata(screen(), quality_rule=rule, quality_criteria=("percent_mito", "n_counts")).criteria == rule.names
    )
    options = {"vocabulary": ["A", "B"], "split": "test"}
    refused("no training cells to learn thresholds .* pass the quality_rule", quality_criteria="auto", **options)


def test_flags_of_the_command_line():
    from experiments.fit import command_from

    flags = ["--data.quality-criteria", "n_counts", "percent_mito", "--data.quality-mads", "4"]
    columns = ["--data.quality-columns", "n_counts", "n_umis", "percent_mito", "p_mito"]
    config = command_from(["--out", "run", "--data.path", "a.h5ad", *flags, *columns]).data
    expected = DataConfig(
        path=Path("a.h5ad"),
        quality_criteria=("n_counts", "percent_mito"),
        quality_mads=4.0,
        quality_columns={"n_counts": "n_umis", "percent_mito": "p_mito"},
    )
    assert config == expected and hash(config) == hash(expected)


def test_papalexi(shared_data_dir):
    """Whole-transcriptome values of a panel; cells were filtered before, so that few fail."""
    config = DataConfig(
        path=shared_data_dir / "papalexi21_dev_rep12.h5ad",
        quality_criteria=("n_counts", "n_genes", "percent_mito"),
        quality_columns={"n_counts": "n_umis", "n_genes": "n_genes", "percent_mito": "p_mito"},
    )
    with pytest.warns(UserWarning, match=r"no training cell fails the quality criteria n_counts \(threshold -566\)"):
        data = read_h5ad(config)
    shares = dict(zip(data.criteria, data.failed.mean(axis=0), strict=True))
    assert 0.05 < shares["percent_mito"] < 0.1 and 0 < shares["n_genes"] < 0.01 and shares["n_counts"] == 0
    assert data.quality_rule.measurable(cell_statistics(data.x, data.gene_names)).criteria == ()
