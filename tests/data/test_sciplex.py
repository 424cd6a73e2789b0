"""sci-Plex 3 on a small file of its layout: lines, filters, drugs at doses, the vehicle."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from samsjax.data.studies import study
from samsjax.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:.*left out:UserWarning")
SMALL = {"min_umis": 10, "min_cells": 5, "max_cells": 8}
DRUGS = ("(+)-JQ1", "Givinostat")


def screen():
    """Ten cells of every drug, dose and line, twenty of the vehicle, one rare condition, one cell without counts."""
    rows = [(drug, dose, False, line) for drug in DRUGS for dose in (10, 100, 1000, 10000) for line in ("A549", "K562")]
    cells = [row for row in rows for _ in range(10)]
    cells += [("Vehicle", 0, True, line) for line in ("A549", "K562") for _ in range(20)]
    cells += [("Tanespimycin", 100, False, "A549")] * 3
    obs = pd.DataFrame(cells, columns=["product_name", "dose", "vehicle", "cell_line"])
    obs.index = [f"cell{i}" for i in range(len(obs))]
    x = np.random.default_rng(0).poisson(10.0, (len(obs), 6)) + 1
    x[0] = [1, 0, 0, 0, 0, 0]
    obs["n_umis"] = x.sum(axis=1) + 0.0
    return anndata.AnnData(sp.csr_matrix(x), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(6)]))


@pytest.mark.parametrize("backed", [False, True])
def test_drugs_at_doses_of_one_line(tmp_path, backed):
    adata = screen()
    adata.write_h5ad(tmp_path / "s.h5ad")
    data = study("sciplex").load(tmp_path / "s.h5ad", backed=backed, **SMALL)
    assert data.perturbation_names.tolist() == sorted(DRUGS) and data.control_name == "vehicle"
    assert data.is_control.sum() == 20 and data.n_cells == 20 + 8 * 8
    own = adata.obs.loc[data.cell_names]
    assert set(own.cell_line) == {"A549"} and "cell0" not in data.cell_names
    perturbed = ~data.is_control
    assert (
        data.perturbation_names[data.perturbation_index[perturbed, 0]].tolist() == own.product_name[perturbed].tolist()
    )
    assert np.allclose(data.dosage[perturbed, 0], own.dose[perturbed] / 10000)
    assert set(np.unique(own[perturbed].astype({"product_name": str}).groupby(["product_name", "dose"]).size())) == {8}


def test_one_dose_of_each_drug_is_held_out():
    data = study("sciplex").from_anndata(screen(), study("sciplex").settings(**SMALL))
    here = (data.split == "test") & ~data.is_control
    pairs = np.stack([data.perturbation_index[here, 0], data.dosage[here, 0]], axis=1)
    held = {(int(drug), round(float(dose), 4)) for drug, dose in pairs}
    assert len(held) == 2 and {i for i, _ in held} == {0, 1} and {dose for _, dose in held} <= {0.01, 0.1}


def test_doses_can_be_perturbations_of_their_own():
    settings = study("sciplex").settings(**SMALL, doses_as_unique=True, split="random")
    data = study("sciplex").from_anndata(screen(), settings)
    assert data.n_perturbations == 8 and "Givinostat@0.01" in data.perturbation_names


def test_what_is_left_out_is_said():
    adata = screen()
    with pytest.warns(UserWarning) as caught:
        study("sciplex").from_anndata(adata, study("sciplex").settings(**SMALL))
    texts = " ".join(str(w.message) for w in caught)
    assert "1 have fewer than 10 counts" in texts and "1 conditions have fewer than 5 cells" in texts
    assert "Tanespimycin at 100" in texts and "3 of rare conditions, 15 beyond 8 cells" in texts


def test_all_lines_and_totals_of_a_column():
    settings = study("sciplex").settings(**SMALL | {"max_cells": 100}, cell_line="all", umis_key="n_umis")
    data = study("sciplex").from_anndata(screen(), settings)
    assert data.n_cells == 160 - 1 + 40
    with pytest.raises(InputError, match=r"umis_key in adata.obs 'n_umi'"):
        study("sciplex").from_anndata(screen(), study("sciplex").settings(**SMALL, umis_key="n_umi"))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda o: o, {"cell_line": "A459"}, r"unknown cell line 'A459'. Did you mean 'A549'"),
        (lambda o: o.drop(columns="vehicle"), {}, "vehicle_key in adata.obs 'vehicle'"),
        (lambda o: o.assign(vehicle=False), {}, r"20 cells of drugs have no positive dose .* 0.0 of 'Vehicle'"),
        (lambda o: o.assign(dose="high"), {}, "doses 'dose' are not numbers"),
        (lambda o: o.assign(product_name=None), {}, "cells have no drug"),
    ],
)
def test_other_layouts_are_refused(change, options, message):
    adata = screen()
    adata.obs = change(adata.obs)
    with pytest.raises(InputError, match=message):
        study("sciplex").from_anndata(adata, study("sciplex").settings(**SMALL, **options))


def test_limits_must_leave_room():
    with pytest.raises(InputError, match="max_cells must be >= 50"):
        study("sciplex").settings(max_cells=10)
