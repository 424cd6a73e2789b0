"""The border to AnnData: equal results from every storage, exposures, genes by name, and every refusal."""

import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from samsjax.data.anndata import DataConfig, from_anndata, read_h5ad
from samsjax.errors import InputError

LABELS = ["control", "A", "B", "B+A", "A+control"]


def screen(n=60, genes=8, seed=0, matrix=sp.csr_matrix, **layers):
    """Cells with every label; each gene and each cell has counts."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(1.0, (n, genes)) + np.eye(n, genes, dtype=int)
    counts[:, 0] += 1
    obs = pd.DataFrame(
        {
            "perturbation": (LABELS * n)[:n],
            "total": rng.uniform(500, 900, n),
            "batch": rng.choice(["x", "y"], n),
            "fold": (["train", "train", "val", "test"] * n)[:n],
        },
        index=[f"cell{i}" for i in range(n)],
    )
    var = pd.DataFrame(index=[f"gene{i}" for i in range(genes)])
    layers = {name: make(counts) for name, make in layers.items()}
    return anndata.AnnData(matrix(counts) if matrix else None, obs=obs, var=var, layers=layers)


def dense(x):
    return x.toarray() if sp.issparse(x) else x


def assert_same(one, two):
    assert np.array_equal(dense(one.x), dense(two.x)) and one.x.dtype == two.x.dtype
    for name in (
        "perturbation_index",
        "dosage",
        "library_size",
        "gene_names",
        "perturbation_names",
        "cell_names",
        "split",
    ):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert one.exposure_scale == two.exposure_scale


def refused(message, adata=None, config=None, **options):
    with pytest.raises(InputError, match=message):
        from_anndata(screen() if adata is None else adata, config, **options)


def test_cells_labels_and_sizes():
    adata = screen()
    data = from_anndata(adata, covariate_keys="batch", split_seed=3)
    assert isinstance(data.x, sp.csr_matrix) and data.x.dtype == np.uint16
    assert np.array_equal(data.x.toarray(), adata.X.toarray())
    assert data.perturbation_names.tolist() == ["A", "B"]
    assert data.is_control.tolist() == [label == "control" for label in adata.obs.perturbation]
    assert np.array_equal(data.perturbation_index[1], data.perturbation_index[4])  # A and A+control
    assert np.array_equal(data.library_size, adata.X.sum(axis=1).A1) and data.library_size.dtype == np.float32
    assert data.library_size_source == "row_sum" and data.exposure_scale == 1
    assert data.covariates["batch"].tolist() == adata.obs.batch.tolist()
    assert data.cell_names.tolist() == adata.obs_names.tolist()
    assert {name: len(data.cells(name)) for name in ("train", "val", "test")} == {"train": 38, "val": 10, "test": 12}


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.uint8, np.bool_, np.float64])
@pytest.mark.parametrize("matrix", [np.asarray, sp.csr_matrix, sp.csc_matrix, sp.csr_array, sp.csc_array])
def test_storage_and_type_do_not_matter(matrix, dtype):
    adata = screen()
    values = adata.X.toarray().clip(0, 1 if dtype is np.bool_ else None)
    adata.X = sp.csr_matrix(values)
    expected = from_anndata(adata)
    adata.X = matrix(values.astype(dtype))
    found = from_anndata(adata)
    assert_same(found, expected)
    assert sp.issparse(found.x) == (matrix is not np.asarray)


def test_unsorted_duplicate_and_zero_entries_are_read_without_changing_them():
    adata = screen()
    expected = from_anndata(adata)
    coo = sp.coo_matrix(adata.X)
    rows, columns, values = (np.concatenate([part, part[::-1]]) for part in (coo.row, coo.col, coo.data))
    values[: len(coo.data)] -= 1
    values[len(coo.data) :] = 1
    order = np.argsort(rows, kind="stable")
    indptr = np.searchsorted(rows[order], np.arange(adata.n_obs + 1))
    loose = sp.csr_matrix((values[order], columns[order], indptr), shape=adata.shape)
    adata.X = loose
    before = [part.copy() for part in (adata.X.data, adata.X.indices, adata.X.indptr)]
    assert_same(from_anndata(adata), expected)
    assert all(map(np.array_equal, before, (adata.X.data, adata.X.indices, adata.X.indptr)))


def test_large_counts_take_uint32_and_larger_are_refused():
    adata = screen(matrix=np.array)
    adata.X[3, 0] = 70_000
    assert from_anndata(adata).x.dtype == np.uint32
    adata.X[3, 1] = 2**32
    refused(r"adata.X holds counts above 4294967295 .*first: 4.29497e\+09 in cell 'cell3', gene 'gene1'", adata)


@pytest.mark.parametrize("matrix", [np.asarray, sp.csr_matrix, sp.csc_matrix])
@pytest.mark.parametrize("layer", [None, "counts", "raw"])
def test_file_backed_and_memory_agree(tmp_path, matrix, layer):
    adata = screen(matrix=matrix, counts=matrix, other=np.asarray)
    adata.raw = adata.copy()
    adata.obsm["doses"] = np.zeros((adata.n_obs, 2))
    adata.write_h5ad(tmp_path / "screen.h5ad")
    config = DataConfig(path=tmp_path / "screen.h5ad", layer=layer, library_size_key="total")
    expected = from_anndata(adata, config)
    assert_same(read_h5ad(config), expected)
    assert_same(read_h5ad(DataConfig(**{**vars(config), "backed": True})), expected)
    backed = anndata.read_h5ad(config.path, backed="r")
    assert_same(from_anndata(backed, config), expected)
    backed.file.close()


def test_backed_file_with_a_table_of_doses(tmp_path):
    adata = screen()
    expected = from_anndata(adata)
    adata.obsm["doses"] = sp.csr_matrix([[label.count("B"), label.count("A")] for label in adata.obs.perturbation])
    adata.uns["names"] = ["B", "A"]
    adata.write_h5ad(tmp_path / "screen.h5ad")
    for backed in (False, True):
        config = DataConfig(path=tmp_path / "screen.h5ad", obsm_key="doses", obsm_names_key="names", backed=backed)
        assert_same(read_h5ad(config), expected)


def test_table_of_doses_as_data_frame():
    adata = screen()
    expected = from_anndata(adata)
    table = [[label.count("B"), label.count("A")] for label in adata.obs.perturbation]
    adata.obsm["doses"] = pd.DataFrame(table, columns=["B", "A"], index=adata.obs_names)
    assert_same(from_anndata(adata, obsm_key="doses"), expected)


def test_empty_x_with_a_layer():
    adata = screen(matrix=None, counts=sp.csr_matrix)
    assert from_anndata(adata, layer="counts").n_genes == 8
    refused(r"adata.X is empty: name the layer .*'counts' \(whole numbers\)", adata)


def test_doses_of_a_column():
    adata = screen()
    adata.obs["dose"] = ["0.5+2" if label == "B+A" else "1" for label in adata.obs.perturbation]
    data = from_anndata(adata, dosage_key="dose")
    assert data.dosage[3].tolist() == [2, 0.5]
    adata.obs["dose"] = pd.array([None if label == "control" else 3 for label in adata.obs.perturbation], dtype="Int64")
    assert from_anndata(adata, dosage_key="dose").dosage[3].tolist() == [3, 3]


def test_totals_are_scaled_to_the_panel_by_the_training_cells():
    adata = screen()
    data = from_anndata(adata, library_size_key="total")
    train = data.cells("train")
    sums = adata.X.sum(axis=1).A1
    assert data.exposure_scale == sums[train].sum() / adata.obs.total.to_numpy()[train].sum()
    assert data.library_size[train].astype(float).sum() == pytest.approx(sums[train].sum(), rel=1e-6)
    assert np.allclose(data.library_size / adata.obs.total, data.exposure_scale)
    assert data.library_size_source == "total"


def test_stored_scale_is_used():
    data = from_anndata(screen(), library_size_key="total", exposure_scale=0.25)
    assert np.allclose(data.library_size, screen().obs.total * 0.25) and data.exposure_scale == 0.25


def test_continuous_values():
    adata = screen(matrix=np.array)
    adata.X = np.random.default_rng(0).normal(size=adata.shape)
    data = from_anndata(adata, counts=False)
    assert data.x.dtype == np.float32 and (data.library_size == 1).all() and data.library_size_source == "ones"
    adata.X[2, 1] = np.nan
    refused("adata.X holds NaN or infinite values .first: nan in cell 'cell2', gene 'gene1'", adata, counts=False)


def test_rare_genes_are_left_out_with_a_count():
    adata = screen(matrix=np.array)
    adata.X[:, 3] = 0
    with pytest.warns(UserWarning, match="1 of 8 genes have counts in fewer than 1 cells and are left out: gene3"):
        data = from_anndata(adata)
    assert data.n_genes == 7 and "gene3" not in data.gene_names
    assert from_anndata(adata, min_cells_per_gene=0).n_genes == 8
    refused("no gene is left: 8 of 8 genes have counts in fewer than 61 cells", min_cells_per_gene=61)


def test_genes_are_matched_by_name():
    adata = screen()
    wanted = ["gene5", "gene0", "gene7"]
    with pytest.warns(UserWarning, match="5 genes of the data are unknown to the model"):
        data = from_anndata(adata, gene_names=wanted)
    assert data.gene_names.tolist() == wanted
    assert np.array_equal(data.x.toarray(), adata[:, wanted].X.toarray())
    assert np.array_equal(data.library_size, adata[:, wanted].X.sum(axis=1).A1)
    order = adata.var_names[::-1]
    assert_same(from_anndata(adata[:, order], gene_names=adata.var_names), from_anndata(adata))


def test_missing_genes_are_never_zero():
    refused(
        "1 of the 2 genes of the model are not in the data: TP53.*not measured is not 0", gene_names=["gene0", "TP53"]
    )
    refused(
        "none of the 2 genes .*model knows ENSG1, ENSG2, the data have gene0.*Ensembl", gene_names=["ENSG1", "ENSG2"]
    )


def test_vocabulary_of_a_stored_model():
    adata = screen()
    adata = adata[adata.obs.perturbation != "control"].copy()  # no controls, as for cells only to be scored
    adata.obs["fold"] = "test"
    options = {"split": "column", "split_key": "fold"}
    data = from_anndata(adata, vocabulary=["Z", "B", "A"], **options)
    assert data.perturbation_names.tolist() == ["Z", "B", "A"] and data.perturbation_index[0, 0] == 2
    refused(
        "2 perturbations of the cells are not in the vocabulary: B, control", screen(), vocabulary=["A"], control="no"
    )
    refused("no training cell", adata[adata.obs.perturbation != "B"], control="A", **options)


@pytest.mark.parametrize("rule", ["combinations", "combination_cells"])
def test_combinations_can_be_held_out(rule):
    data = from_anndata(screen(100), split=rule, train_combinations=0)
    combination = (data.dosage > 0).sum(axis=1) == 2
    assert not (data.split[combination] == "train").any() and (data.split[combination] == "test").any()


def test_split_column():
    adata = screen()
    assert from_anndata(adata, split="column", split_key="fold").split.tolist() == adata.obs.fold.tolist()


def test_a_second_control_label_that_is_absent_warns():
    with pytest.warns(UserWarning, match="control label 'ctrl' is not in adata.obs"):
        data = from_anndata(screen(), control=("control", "ctrl"))
    assert data.control_name == "control"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"perturbation_key": "condition"},
            "unknown perturbation_key in adata.obs 'condition'.*usually hold.*perturbation",
        ),
        ({"perturbation_key": "pertubation"}, "Did you mean 'perturbation'"),
        ({"library_size_key": "totl"}, "unknown library_size_key in adata.obs 'totl'. Did you mean 'total'"),
        ({"library_size_key": "batch"}, "library sizes 'batch' are not numbers"),
        ({"dosage_key": "dose"}, "unknown dosage_key in adata.obs 'dose'"),
        ({"covariate_keys": ("batsh",)}, "unknown covariate_keys in adata.obs 'batsh'. Did you mean 'batch'"),
        ({"split": "column", "split_key": "folds"}, "unknown split_key in adata.obs 'folds'. Did you mean 'fold'"),
        ({"layer": "count"}, "unknown layer 'count'"),
        ({"obsm_key": "X_guides"}, "unknown obsm_key in adata.obsm 'X_guides'"),
        (
            {"control": "controls"},
            r"control label 'controls' .*Did you mean 'control'.*Most frequent: control \(12 cells\)",
        ),
        ({"exposure_scale": 0.5}, "exposure_scale 0.5 scales the totals of library_size_key"),
        ({"exposure_scale": 0.0, "library_size_key": "total"}, "exposure_scale must be > 0 .* got 0.0"),
        ({"perturbaton_key": "x"}, "unknown option 'perturbaton_key'. Did you mean 'perturbation_key'"),
        ({"split": "columns"}, "unknown split 'columns'. Did you mean 'column'"),
        ({"split": "column"}, "split 'column' with split_key None"),
        ({"split_key": "fold"}, "split 'random' with split_key 'fold'"),
        ({"split_seed": -1}, "split_seed must be >= 0 .*got -1"),
        ({"min_cells_per_gene": -1}, "min_cells_per_gene must be >= 0, got -1"),
        ({"train_combinations": 2}, "train_combinations must be .* got 2"),
        ({"test_combinations": -0.1}, "test_combinations must be .* got -0.1"),
        ({"obsm_names_key": "names"}, "obsm_names_key 'names' names columns of obsm_key, which is not given"),
        ({"obsm_key": "g", "dosage_key": "d"}, "obsm_key 'g' holds the doses: leave out dosage_key 'd'"),
        ({"control": ()}, "control labels must be one or more texts"),
        ({"separator": ""}, "separator '' cannot join names"),
        ({"perturbation_key": "fold", "control": ("train", "val", "test")}, "no perturbed cells"),
    ],
)
def test_refused_options(options, message):
    refused(message, **options)


def changed(column=None, values=None, entry=None, value=None, **attributes):
    adata = screen(matrix=np.array)
    adata.X = adata.X.astype(float)
    if column:
        adata.obs[column] = (values * adata.n_obs)[: adata.n_obs]
    if entry:
        adata.X[entry] = value
    for name, new in attributes.items():
        setattr(adata, name, new)
    return adata


@pytest.mark.parametrize(
    ("adata", "options", "message"),
    [
        (lambda: changed("perturbation", ["A", "A+control"]), {}, "no control cells: every cell of adata.obs"),
        (lambda: changed("perturbation", ["control", None]), {}, "30 of 60 cells have no perturbation label .* row 1"),
        (
            lambda: changed("batch", ["x", "y", np.nan]),
            {"covariate_keys": "batch"},
            "covariate 'batch' is missing .* 20 cells",
        ),
        (lambda: changed("total", [5.0, 0.0]), {"library_size_key": "total"}, "30 are not, the first is 0.0 in row 1"),
        (lambda: changed("total", [5.0, np.nan]), {"library_size_key": "total"}, "the first is nan in row 1"),
        (lambda: changed("total", [np.inf]), {"library_size_key": "total"}, "the first is inf in row 0"),
        (lambda: changed(entry=(4, 2), value=-1), {}, "negative values.*first: -1 in cell 'cell4', gene 'gene2'"),
        (lambda: changed(entry=(4, 2), value=np.nan), {}, "NaN or infinite values .first: nan in cell 'cell4'"),
        (lambda: changed(entry=(4, 2), value=np.inf), {}, "first: inf in cell 'cell4', gene 'gene2'"),
        (lambda: changed(entry=(4, 2), value=1.5), {}, "fractional .* look log-normalised .first: 1.5 in cell 'cell4'"),
        (lambda: changed(entry=(4, 2), value=150.5), {}, "they look normalised"),
        (
            lambda: changed(entry=(slice(4, 6),), value=0),
            {},
            "2 cells have no counts in the 8 genes used: cell4, cell5.*adata",
        ),
        (lambda: changed(obs_names=["c"] * 60), {}, "duplicated cell names: c; rename .*obs_names_make_unique"),
        (lambda: changed(var_names=["g"] * 8), {}, "duplicated gene names: g; rename .*var_names_make_unique"),
        (lambda: screen()[:0], {}, "0 cells and 8 genes"),
        (lambda: screen()[:, :0], {}, "60 cells and 0 genes"),
        (lambda: screen()[[0, 1]], {}, "no training cell is left among 2 cells"),
        (lambda: "screen.h5ad", {}, "got the path 'screen.h5ad': use read_h5ad"),
    ],
)
@pytest.mark.filterwarnings("ignore:(Observation|Variable) names are not unique:UserWarning")
def test_refused_data(adata, options, message):
    refused(message, adata(), **options)


def test_normalised_values_point_to_the_layer_with_counts():
    adata = screen(counts=sp.csr_matrix, scaled=lambda x: x / 7)
    adata.raw = adata.copy()
    adata.X = np.log1p(adata.X.toarray())
    refused(
        r"log-normalised.*'counts' \(whole numbers\), 'scaled' \(not whole numbers\), 'raw' \(whole numbers\)", adata
    )
    refused(
        r"adata.layers\['scaled'\] holds fractional.*other layers .*'counts' \(whole numbers\)", adata, layer="scaled"
    )


def test_table_of_doses_needs_names():
    adata = screen()
    adata.obsm["doses"] = np.ones((60, 2))
    adata.uns["names"] = ["A", "B"]
    refused(r"adata.obsm\['doses'\] does not name its columns.*uns holds names", adata, obsm_key="doses")
    refused("unknown obsm_names_key .*'nams'. Did you mean 'names'", adata, obsm_key="doses", obsm_names_key="nams")
    refused(r"no control cells: every cell of adata.obsm\['doses'\]", adata, obsm_key="doses", obsm_names_key="names")


def test_totals_without_training_cells_need_a_constant():
    adata = screen()
    adata.obs["fold"] = "test"
    options = {"split": "column", "split_key": "fold", "library_size_key": "total", "vocabulary": ["A", "B"]}
    refused("no training cells to scale 'total' by: pass exposure_scale", adata, **options)
    assert from_anndata(adata, exposure_scale=0.5, **options).exposure_scale == 0.5


def unreadable(message, path, **options):
    with pytest.raises(InputError, match=message):
        read_h5ad(DataConfig(path=path, **options))


def test_missing_files(tmp_path):
    (tmp_path / "norman.h5ad").touch()
    unreadable("no data: give the path", None)
    unreadable("no file .*normann.h5ad. Did you mean norman.h5ad", tmp_path / "normann.h5ad")
    unreadable("no file .*xyz. .h5ad files in that folder: norman.h5ad", tmp_path / "xyz")
    unreadable("folder .*nowhere does not exist either", tmp_path / "nowhere" / "a.h5ad")
    unreadable("is a folder, expected an .h5ad file; .h5ad files in it: norman.h5ad", tmp_path)


@pytest.mark.filterwarnings("ignore:Element .* was written without encoding metadata")
@pytest.mark.parametrize("backed", [False, True])
def test_unreadable_files(tmp_path, backed):
    import h5py

    path = tmp_path / "screen.h5ad"
    path.write_text("cell,gene\n")
    unreadable(r"screen.h5ad \(10 bytes\) is not an .h5ad file", path, backed=backed)
    screen().write_h5ad(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    unreadable("cannot read .*damaged, incomplete.*Cause: OSError: .*truncated file", path, backed=backed)
    with h5py.File(path, "w") as file:
        file["something"] = 1
    unreadable("cannot read .*of another layout", path, backed=backed)


def test_damaged_matrix_on_disk(tmp_path):
    import h5py

    path = tmp_path / "screen.h5ad"
    adata = screen(600, matrix=np.asarray)
    adata.write_h5ad(path, compression="gzip")
    with h5py.File(path) as file:
        offset = file["X"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset : offset + 40] = bytes(40)
    path.write_bytes(content)
    for backed in (False, True):
        unreadable("cannot read .*damaged, incomplete", path, backed=backed)


def test_importing_the_package_is_light():
    """No pandas, no plots, no file libraries, no device started, no flag of JAX changed by importing it."""
    code = (
        "import sys, jax; before = dict(jax.config.values); import samsjax; "
        "from jax._src import xla_bridge; "
        "heavy = {'pandas', 'anndata', 'h5py', 'matplotlib'} & set(sys.modules); "
        "sys.exit(' '.join(heavy) or xla_bridge.backends_are_initialized() or before != dict(jax.config.values))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_norman(shared_data_dir):
    config = DataConfig(
        path=shared_data_dir / "norman19_dev.h5ad",
        library_size_key="n_umis",
        split="combinations",
        train_combinations=0.5,
    )
    with pytest.warns(UserWarning, match="261 of 500 genes"):
        data = read_h5ad(config)
    assert (data.n_cells, data.n_genes, data.n_perturbations, data.is_control.sum()) == (2875, 239, 31, 100)
    assert len(np.unique(data.perturbation_index[(data.dosage > 0).sum(axis=1) == 1, 0])) == 18  # singles
    assert np.unique((data.dosage > 0).sum(axis=1)).tolist() == [0, 1, 2]
    train = data.cells("train")
    assert data.library_size[train].sum() == pytest.approx(data.x[train].sum(), rel=1e-5)
    assert data.exposure_scale < 0.1 and data.library_size_source == "n_umis"


def test_papalexi(shared_data_dir):
    config = DataConfig(path=shared_data_dir / "papalexi21_dev_rep12.h5ad", covariate_keys=("bio_rep",))
    data = read_h5ad(config)
    assert (data.n_cells, data.n_genes, data.n_perturbations, data.is_control.sum()) == (15429, 299, 25, 1720)
    assert sorted(set(data.covariates["bio_rep"])) == ["rep_1", "rep_2"]


def test_datlinger(shared_data_dir):
    config = DataConfig(path=shared_data_dir / "datlinger21_jurkat_scifi_7500x2000.h5ad", library_size_key="ncounts")
    data = read_h5ad(config)
    assert (data.n_cells, data.n_genes, data.n_perturbations, data.is_control.sum()) == (7500, 2000, 21, 60)
    assert "TCR" in data.perturbation_names
