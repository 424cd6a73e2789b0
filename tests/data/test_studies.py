"""Studies on small files of their public layouts: labels, controls, splits, and downloads without a network."""

import hashlib
import subprocess
import sys
import types
from math import ceil

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

from samsjax.data import from_anndata, parse_treatment, treatments
from samsjax.data.studies import STUDIES, NormanConfig, Remote, Study, fetch, study
from samsjax.errors import InputError
from tests.data.study_files import LAYOUTS, N_CELLS, adamson, dixit, names, norman, norman_layout, replogle

LEFT_OUT = pytest.mark.filterwarnings("ignore:.*left out:UserWarning")


def refused(message, name, adata, **options):
    with pytest.raises(InputError, match=message):
        STUDIES[name].from_anndata(adata, STUDIES[name].settings(**options))


@LEFT_OUT
@pytest.mark.parametrize("backed", [False, True])
@pytest.mark.parametrize("name", LAYOUTS)
def test_files_and_memory_agree(tmp_path, name, backed):
    adata = LAYOUTS[name]()
    adata.write_h5ad(tmp_path / "screen.h5ad")
    data, expected = STUDIES[name].load(tmp_path / "screen.h5ad", backed=backed), STUDIES[name].from_anndata(adata)
    assert np.array_equal(data.x.toarray(), expected.x.toarray()) and data.x.dtype == np.uint16
    for field in ("perturbation_index", "dosage", "library_size", "gene_names", "cell_names", "split"):
        assert np.array_equal(getattr(data, field), getattr(expected, field)), field
    assert np.array_equal(data.library_size, data.x.sum(axis=1).A1) and data.is_control.any()


def test_norman_perturbations_controls_and_genes():
    adata = norman()
    data = study("norman").from_anndata(adata)
    assert data.perturbation_names.tolist() == ["A", "B", "C", "D"] and data.control_name == "non-targeting"
    guides = adata.obs[["guide_A", "guide_B", "guide_C", "guide_D"]].to_numpy()
    table = np.zeros((N_CELLS, 5))
    np.put_along_axis(table, np.where(data.dosage > 0, data.perturbation_index, 4), 1, axis=1)
    assert np.array_equal(table[:, :4], guides)
    assert data.gene_names.tolist() == adata.var_names[adata.var.highly_variable].tolist()
    assert np.array_equal(data.x.toarray(), adata.layers["counts"][:, adata.var.highly_variable.to_numpy()].toarray())
    assert study("norman").from_anndata(adata, NormanConfig(highly_variable=False)).n_genes == 12


def expected_ood(labels, n_guides, fraction, seed):
    """The published rule, once more, with scikit-learn."""
    train_test_split = pytest.importorskip("sklearn.model_selection").train_test_split
    pairs, others = np.flatnonzero(n_guides == 2), np.flatnonzero(n_guides < 2)
    combinations = sorted(set(labels[pairs]))
    np.random.default_rng(seed).shuffle(combinations)
    trained = combinations[: int(fraction * len(combinations))]
    tested = combinations[len(combinations) - ceil(0.25 * len(combinations)) :]
    rest, test = train_test_split(pairs, test_size=0.2, random_state=seed)
    train, val = train_test_split(rest, test_size=0.2, random_state=seed)
    split = np.full(len(labels), "none", dtype="U5")
    for part, rows, allowed in (("train", train, trained), ("val", val, trained), ("test", test, tested)):
        split[[row for row in rows if labels[row] in allowed]] = part
    train, val = train_test_split(others, test_size=0.2, random_state=seed)
    split[train], split[val] = "train", "val"
    return split


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("fraction", [0, 0.5, 0.75, 1])
def test_norman_holds_out_the_published_pairs(fraction, seed):
    adata = norman()
    data = study("norman").from_anndata(adata, NormanConfig(train_combinations=fraction, split_seed=seed))
    n_guides = adata.obs.filter(regex="guide_[A-D]$").sum(axis=1).to_numpy()
    assert data.split.tolist() == expected_ood(adata.obs.guide_identity.to_numpy(), n_guides, fraction, seed).tolist()


def norman_from_dev(folder):
    dev = anndata.read_h5ad(folder / "norman19_dev.h5ad")
    labels = ["" if label == "control" else str(label) for label in dev.obs.perturbation]
    return dev, norman_layout(labels, sp.csr_matrix(dev.X))


@pytest.mark.parametrize("seed", range(5))
def test_norman_rules_on_real_cells(shared_data_dir, seed):
    dev, adata = norman_from_dev(shared_data_dir)
    data = study("norman").from_anndata(adata, NormanConfig(split_seed=seed, min_cells_per_gene=0))
    plain = from_anndata(dev, min_cells_per_gene=0, split_seed=seed)
    assert data.perturbation_names.tolist() == plain.perturbation_names.tolist()
    assert np.array_equal(data.dosage, plain.dosage)
    assert np.array_equal(data.perturbation_index, plain.perturbation_index)
    expected = expected_ood(adata.obs.guide_identity.to_numpy(), (plain.dosage > 0).sum(axis=1), 0.75, seed)
    assert data.split.tolist() == expected.tolist()
    pairs = (data.dosage > 0).sum(axis=1) == 2
    assert not (data.split[~pairs] == "test").any() and (data.split[pairs] == "test").any()


def test_norman_data_efficiency_on_real_cells(shared_data_dir):
    _, adata = norman_from_dev(shared_data_dir)
    options = {"split": "combination_cells", "min_cells_per_gene": 0}
    some, every = (
        study("norman").from_anndata(adata, NormanConfig(train_combinations=f, **options)).split for f in (0.25, 1)
    )
    pairs = adata.obs.guide_identity.str.contains("NegCtrl").to_numpy() == 0
    assert (some[pairs] == "train").sum() == int(0.25 * (every[pairs] == "train").sum())
    assert ((some == "test") == (every == "test")).all() and ((some == "val") == (every == "val")).all()


def test_norman_pairs_as_perturbations_of_their_own():
    adata = norman()
    data = study("norman").from_anndata(adata, NormanConfig(combinations_as_unique=True))
    assert data.perturbation_names.tolist() == ["A", "A+B", "A+C", "A+D", "B", "B+C", "B+D", "C"]
    assert data.dosage.shape == (N_CELLS, 1) and set(data.dosage.ravel()) == {0, 1}
    assert data.split.tolist() == study("norman").from_anndata(adata).split.tolist()
    assert treatments(data).labels.tolist() == data.perturbation_names.tolist()


def test_a_stored_model_brings_its_own_genes_and_perturbations():
    adata = norman()
    del adata.var["highly_variable"]
    with pytest.warns(UserWarning, match="10 genes of the data are unknown to the model"):
        data = study("norman").from_anndata(adata, gene_names=["gene7", "gene0"], vocabulary=["D", "C", "B", "A"])
    assert data.gene_names.tolist() == ["gene7", "gene0"] and data.perturbation_names.tolist() == ["D", "C", "B", "A"]


def test_replogle_guide_pairs_are_whole_names():
    adata = replogle()
    data = study("replogle").from_anndata(adata)
    ids = adata.obs.sgID_AB.astype(str).to_numpy()
    control = np.array(["non-targeting" in label for label in ids])
    assert data.perturbation_names.tolist() == sorted(set(ids[~control])) and len(data.perturbation_names) == 12
    assert np.array_equal(data.is_control, control)
    assert data.perturbation_names[data.perturbation_index[~control, 0]].tolist() == ids[~control].tolist()
    assert (
        data.split.tolist() == from_anndata(adata, perturbation_key="sgID_AB", control=ids[control][0]).split.tolist()
    )
    for label in treatments(data).labels:
        index, _ = parse_treatment(label, data.perturbation_names, separator="&", control_name="non-targeting")
        assert data.perturbation_names[index].tolist() == [label]


def test_adamson_targets_and_what_is_left_out():
    adata = adamson()
    with pytest.warns(UserWarning) as said:
        data = study("adamson").from_anndata(adata)
    label = adata.obs.perturbation
    kept = label.notna().to_numpy() & (label != "*").to_numpy() & (np.arange(N_CELLS) != 5)
    assert data.cell_names.tolist() == adata.obs_names[kept].tolist()
    assert data.perturbation_names.tolist() == ["CREB1", "DDIT3"] and data.control_name == "control"
    assert np.array_equal(data.is_control, label[kept].str.contains("(mod)", regex=False))
    assert data.gene_names.tolist() == names("G", 8)
    texts = [str(warning.message) for warning in said]
    assert f"{(~kept).sum()} of 240 cells are left out: {(label == '*').sum()} are labelled '*'" in texts[0]
    assert "1 of 9 genes have counts in fewer than 20 cells" in texts[1]


@pytest.mark.parametrize("text", [False, True])
def test_dixit_guides_become_genes(text):
    adata = dixit(text)
    with pytest.warns(UserWarning, match="48 of 240 .*: 24 with more than 2 perturbed genes, 24 in which no guide"):
        data = study("dixit").from_anndata(adata)
    assert data.perturbation_names.tolist() == ["CREB1", "E2F4", "EGR1", "NR2C2"]
    assert set(treatments(data).labels) == {
        *("CREB1", "E2F4", "CREB1+E2F4", "EGR1+NR2C2", "CREB1+EGR1", "E2F4+EGR1"),
    }
    assert data.is_control.sum() == 24
    pairs = (data.dosage > 0).sum(axis=1) == 2
    labels = np.array(["none", *treatments(data).labels])[treatments(data).assignment + 1]
    assert data.split.tolist() == expected_ood(labels, np.where(pairs, 2, 1), 0.75, 0).tolist()


@LEFT_OUT
def test_dixit_options():
    adata = dixit()
    settings = study("dixit").settings
    data = study("dixit").from_anndata(adata, settings(max_perturbations=3, without_guides_as_control=True))
    assert data.n_cells == N_CELLS and data.is_control.sum() == 48
    adata.obs["combined_guides"] = [f"{N_CELLS - len(guide):04d}{guide}" for guide in adata.obs.guide]
    own = study("dixit").from_anndata(adata).split
    assert own.tolist() != study("dixit").from_anndata(dixit()).split.tolist()
    refused("unknown perturbation_key .*'combined'", "dixit", adata, perturbation_key="combined")
    refused("max_perturbations must be >= 1, got 0", "dixit", adata, max_perturbations=0)


def without(adata, *columns):
    adata.obs = adata.obs.drop(columns=list(columns))
    return adata


def with_column(adata, name, values):
    adata.obs[name] = values
    return adata


@pytest.mark.parametrize(
    ("name", "adata", "options", "message"),
    [
        (
            "norman",
            replogle,
            {"layer": None},
            "no column per guide, such as guide_KLF1.*The file of the study 'norman'",
        ),
        ("norman", replogle, {}, r"unknown layer 'counts'.*study 'norman' holds whole counts in layers\['counts'\]"),
        ("norman", lambda: without(norman(), "guide_identity"), {}, "unknown perturbation_key .*'guide_identity'"),
        ("norman", lambda: with_column(norman(), "guide_A", 2.0), {}, "column 'guide_A' .* only 0 and 1, .*holds 2.0"),
        ("norman", lambda: with_column(norman(), "guide_A", np.nan), {}, "'guide_A' .*holds missing values"),
        ("norman", lambda: with_column(norman(), "guide_identity", None), {}, "240 of 240 cells have no label"),
        ("norman", norman, {"layer": "raw"}, "layer 'raw' has genes of its own"),
        ("norman", norman, {"obsm_key": "g"}, "obsm_key 'g': the perturbations of a study are read by its own rule"),
        ("norman", norman, {"dosage_key": "d"}, "dosage_key 'd'"),
        ("norman", norman, {"layer": None}, "adata.X holds fractional .*'counts' .whole numbers"),
        ("replogle", norman, {}, "unknown perturbation_key in adata.obs 'sgID_AB'.*holds whole counts in X"),
        ("adamson", replogle, {}, "unknown perturbation_key in adata.obs 'perturbation'"),
        ("adamson", lambda: with_column(adamson(), "empty", None), {}, "no cell is left: .*UMI count, empty"),
        ("dixit", replogle, {}, "no column per guide, such as sgCREB1_2"),
        ("dixit", lambda: with_column(dixit(), "sgCREB1_2", "yes"), {}, "column 'sgCREB1_2' .*holds yes"),
        (
            "adamson",
            lambda: with_column(without(adamson(), "UMI count"), "perturbation", "1(mod)_p"),
            {},
            "no perturbed cells: every cell of the screen is a control",
        ),
    ],
)
def test_refused_layouts_and_options(name, adata, options, message):
    refused(message, name, adata(), **options)


def test_highly_variable_genes_must_be_marked():
    adata = norman()
    adata.var["highly_variable"] = adata.var.highly_variable.astype(str)
    refused("should be True for some genes", "norman", adata)
    del adata.var["highly_variable"]
    refused("adata.var has no column 'highly_variable'.*give highly_variable=False", "norman", adata)


def test_names_are_suggested(tmp_path):
    with pytest.raises(InputError, match=r"unknown study 'normann'. Did you mean 'norman'"):
        study("normann")
    with pytest.raises(
        InputError, match=r"unknown option of the study 'norman' 'split_sed'. Did you mean 'split_seed'"
    ):
        study("norman").load(tmp_path / "norman.h5ad", split_sed=1)
    with pytest.raises(InputError, match=r"no file .*norman.h5ad"):
        study("norman").load(tmp_path / "norman.h5ad")
    with pytest.raises(InputError, match="study 'adamson' takes settings AdamsonConfig, not NormanConfig"):
        study("adamson").from_anndata(adamson(), NormanConfig())


CONTENT = b"\x89HDF\r\n\x1a\n" + bytes(100)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def network(monkeypatch):
    """A pretended pooch: serves `content`, keeps a file whose hash is the known one, refuses a wrong hash."""
    state = types.SimpleNamespace(content=CONTENT, downloads=0, error=None)

    def retrieve(url, known_hash, fname, path, progressbar):
        target = path / fname
        if target.is_file() and known_hash in (None, f"sha256:{hashlib.sha256(target.read_bytes()).hexdigest()}"):
            return str(target)
        if state.error is not None:
            raise state.error
        state.downloads += 1
        if known_hash not in (None, f"sha256:{hashlib.sha256(state.content).hexdigest()}"):
            raise ValueError(f"SHA256 hash of downloaded file ({fname}) does not match the known hash")
        path.mkdir(parents=True, exist_ok=True)
        target.write_bytes(state.content)
        return str(target)

    logger = types.SimpleNamespace(setLevel=lambda level: None)
    monkeypatch.setitem(sys.modules, "pooch", types.SimpleNamespace(retrieve=retrieve, get_logger=lambda: logger))
    monkeypatch.setattr(sys.modules["samsjax.data.studies.fetch"], "_size_at", lambda address: 1234)
    return state


def published(**known):
    base = STUDIES["norman"]
    remote = Remote(source="somewhere", filename="file.h5ad", address="https://example.org/file", **known)
    return Study("toy", "Toy et al.", "toys", remote, base.settings, base.annotate)


def test_first_download_prints_its_hash_and_later_ones_check_it(tmp_path, network):
    said = []
    path = fetch(study("norman"), tmp_path / "new", say=said.append)
    assert path == tmp_path / "new" / "norman.h5ad" and path.read_bytes() == CONTENT
    text = "\n".join(said)
    for part in ("Norman et al.", "figshare file 34027562", "1234 bytes, says the server", DIGEST, "UNVERIFIED"):
        assert part in text
    assert (tmp_path / "new" / "norman.h5ad.sha256").read_text() == f"{DIGEST}  norman.h5ad\n"
    said.clear()
    assert fetch(study("norman"), tmp_path / "new", say=said.append) == path and network.downloads == 1
    assert "already there" in said[0] and "as at the first download" in said[1]
    path.write_bytes(CONTENT + b"changed")
    network.content = CONTENT + b"other"
    with pytest.raises(InputError, match=r"cannot download .*norman.*ValueError: SHA256 hash .* Get it by hand"):
        fetch(study("norman"), tmp_path / "new", say=said.append)


def test_published_hash_and_size_are_checked(tmp_path, network):
    said = []
    fetch(published(sha256=DIGEST, n_bytes=len(CONTENT)), tmp_path, say=said.append)
    assert f"size: {len(CONTENT)} bytes\n" in said[0] and said[1] == f"sha256 {DIGEST}: as published"
    assert not (tmp_path / "file.h5ad.sha256").exists()
    with pytest.raises(InputError, match="does not match"):
        fetch(published(sha256="0" * 64), tmp_path, say=said.append)
    with pytest.raises(InputError, match=r"is not the published .h5ad file of 5 bytes"):
        fetch(published(n_bytes=5), tmp_path / "again", say=said.append)


def test_other_content_is_not_kept(tmp_path, network, capsys):
    network.content = b"<html>try again later</html>"
    with pytest.raises(InputError, match=r"what is in .*norman.h5ad \(28 bytes\) is not an .h5ad file"):
        fetch(study("norman"), tmp_path)
    assert list(tmp_path.iterdir()) == []
    said = capsys.readouterr()
    assert "figshare file 34027562" in said.err and said.out == ""


def test_no_network(tmp_path, network):
    network.error = ConnectionError("name resolution failed")
    with pytest.raises(InputError, match=r"cannot download .*dixit.*ConnectionError: name resolution.*Expected: whole"):
        fetch(study("dixit"), tmp_path, say=lambda text: None)


def test_a_file_without_address_is_described(tmp_path):
    with pytest.raises(InputError, match=r"no download address .*'replogle'.*Get it by hand.*SAMS-VAE.*sgID_AB"):
        fetch(study("replogle"), tmp_path)


def test_pooch_is_optional(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(InputError, match=r"pip install 'samsjax\[datasets\]'"):
        fetch(study("norman"), tmp_path)


NO_ADDRESS = ["replogle", "adamson", "sachs", "sciplex"]


def test_nothing_unverified_is_on_record():
    """Whoever adds a hash or a size has checked the file; then this list grows."""
    assert [name for name, entry in STUDIES.items() if entry.remote.sha256 or entry.remote.n_bytes] == []
    assert [name for name, entry in STUDIES.items() if entry.remote.address is None] == NO_ADDRESS
    assert {name: entry.name for name, entry in STUDIES.items()} == {name: name for name in STUDIES}


def test_importing_studies_is_light():
    code = (
        "import sys, samsjax.data.studies; "
        "sys.exit(' '.join({'pandas', 'anndata', 'h5py', 'pooch', 'requests'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
