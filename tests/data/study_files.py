"""Small screens in the layouts of the published files, for the tests of studies and of the doors."""

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

N_CELLS = 240


def counts_of(n, genes, seed=0):
    rng = np.random.default_rng(seed)
    return sp.csr_matrix(rng.poisson(1.0, (n, genes)) + np.eye(n, genes, dtype=int) + (np.arange(genes) == 0))


def log_normalised(x):
    return sp.csr_matrix(np.log1p(x.toarray() * 1e4 / x.sum(axis=1)))


def names(prefix, n):
    return [f"{prefix}{i}" for i in range(n)]


def norman_layout(labels, x):
    """The processed file: `labels` are controls "", genes and pairs in the order of the guides, such as `B+A`."""
    parts = [label.split("+") if label else [] for label in labels]
    both = [[*part, "NegCtrl0", "NegCtrl0"][:2] for part in parts]
    obs = pd.DataFrame(
        {"guide_identity": [f"{a}_{b}__{a}_{b}" for a, b in both], "gemgroup": np.arange(len(labels)) % 8 + 1},
        index=names("cell", len(labels)),
    )
    for gene in sorted({gene for part in parts for gene in part}):
        obs[f"guide_{gene}"] = [float(gene in part) for part in parts]
    obs["guide_ids"] = [",".join(part) for part in parts]
    var = pd.DataFrame({"highly_variable": np.arange(x.shape[1]) % 3 != 1}, index=names("gene", x.shape[1]))
    return anndata.AnnData(log_normalised(x), obs=obs, var=var, layers={"counts": x})


def norman():
    rng = np.random.default_rng(1)
    labels = rng.choice(["", "A", "B", "C", "B+A", "A+C", "C+B", "D+A", "D+B"], N_CELLS).tolist()
    adata = norman_layout(labels, counts_of(N_CELLS, 12))
    adata.obs.loc[adata.obs.guide_A.astype(bool), "guide_identity"] += "_x"  # any text will do
    return adata


def replogle_layout(ids, x):
    """The filtered file: one pair of guides a cell."""
    obs = pd.DataFrame({"sgID_AB": pd.Categorical(ids)}, index=names("cell", len(ids)))
    return anndata.AnnData(x, obs=obs, var=pd.DataFrame(index=names("ENSG", x.shape[1])))


def replogle():
    rng = np.random.default_rng(2)
    ids = [f"G{i}_{sign}_5371{i}.23-P1P2|G{i}_+_99{i}.23-P1" for i in range(6) for sign in "+-"]
    ids += ["non-targeting_00028|non-targeting_01", "non-targeting_00741|non-targeting_00002"]
    return replogle_layout(rng.choice(ids, N_CELLS), counts_of(N_CELLS, 9))


def adamson_layout(labels, x):
    """The file of the experiment: target and plasmid of each cell, `*` and None where they are not known."""
    obs = pd.DataFrame({"perturbation": labels}, index=names("cell", len(labels)))
    obs["UMI count"] = 50.0
    return anndata.AnnData(x.astype(np.float32), obs=obs, var=pd.DataFrame(index=names("G", x.shape[1])))


def adamson():
    rng = np.random.default_rng(3)
    labels = ["63(mod)_pBA580", "Gal4-4(mod)_pBA582", "CREB1_pDS269", "DDIT3_pDS263", "DDIT3_pDS999", "*", None]
    x = counts_of(N_CELLS, 9).tolil()
    x[19:, 8] = 0  # at most 19 cells
    adata = adamson_layout(rng.choice(labels, N_CELLS), x.tocsr())
    adata.obs.iloc[5] = ["CREB1_pDS269", np.nan]
    return adata


DIXIT_GUIDES = ["INTERGENIC393453", "sgCREB1_2", "sgCREB1_4", "sgE2F4_6", "sgEGR1_2", "sgNR2C2_10"]
DIXIT_CELLS = [
    *([], ["INTERGENIC393453"], ["sgCREB1_2"], ["sgCREB1_2", "sgCREB1_4"], ["INTERGENIC393453", "sgE2F4_6"]),
    *(["sgCREB1_4", "sgE2F4_6"], ["sgEGR1_2", "sgNR2C2_10"], ["sgCREB1_2", "sgEGR1_2"], ["sgE2F4_6", "sgEGR1_2"]),
    ["sgCREB1_2", "sgE2F4_6", "sgEGR1_2"],
]


def dixit_layout(cells, x, *, text=False):
    """The raw file: `cells` are lists of guides; with `text`, columns of guides hold "True" and "False"."""
    obs = pd.DataFrame({"cluster": "tfs_highmoi", "guide": [";".join(cell) for cell in cells]})
    for guide in DIXIT_GUIDES:
        obs[guide] = [str(guide in cell) if text else guide in cell for cell in cells]
    obs.index = names("cell", len(cells))
    return anndata.AnnData(x, obs=obs, var=pd.DataFrame(index=names("ENSG", x.shape[1])))


def dixit(text=False):
    return dixit_layout((DIXIT_CELLS * N_CELLS)[:N_CELLS], counts_of(N_CELLS, 9), text=text)


LAYOUTS = {"norman": norman, "replogle": replogle, "adamson": adamson, "dixit": dixit}

SINGLES = ["", "ATF4", "CREB1", "DDIT3", "E2F4", "EGR1"]
PAIRS = ["", "CREB1", "E2F4", "EGR1", "NR2C2", "CREB1+E2F4", "CREB1+EGR1", "E2F4+EGR1"]
N_SMALL, N_DROPPED, N_GENES = 120, 5, 8


def small(name):
    """A file of a study of which 120 cells and 8 genes are used.

    What is used is the same in the files of single perturbations, and in those of pairs, whatever else they hold, so
    that models of both are compiled once.
    """
    x, drop = counts_of(N_SMALL, N_GENES), np.zeros((N_DROPPED, N_GENES), dtype=int)
    longer = sp.csr_matrix(sp.vstack([x, drop + 1]))
    singles, pairs = ((of * N_SMALL)[:N_SMALL] for of in (SINGLES, PAIRS))
    if name == "replogle":
        return replogle_layout([f"{label or 'non-targeting'}_+_53.23-P1P2|{label}_-_9.2-P1" for label in singles], x)
    if name == "adamson":
        labels = [f"{label}_pDS269" if label else "63(mod)_pBA580" for label in singles] + ["*"] * N_DROPPED
        return adamson_layout(labels, sp.csr_matrix(sp.hstack([longer, np.zeros((len(labels), 1), dtype=int)])))
    if name == "norman":
        variable = np.zeros((N_SMALL, 12), dtype=int)
        variable[:, np.arange(12) % 3 != 1] = x.toarray()
        return norman_layout(pairs, sp.csr_matrix(variable))
    guide = {"CREB1": "sgCREB1_4", "E2F4": "sgE2F4_6", "EGR1": "sgEGR1_2", "NR2C2": "sgNR2C2_10"}
    cells = [[guide[part] for part in label.split("+")] if label else ["INTERGENIC393453"] for label in pairs]
    return dixit_layout(cells + [[]] * N_DROPPED, longer)
