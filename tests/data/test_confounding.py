"""Confounding of quality labels with perturbations: an exact test, no warning by chance or for trifles, haemoglobin."""

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, fisher_exact

from samsjax.data import PerturbationData, confounding, from_anndata
from samsjax.errors import InputError

HAEMOGLOBIN = "quality criterion 'percent_hb' differs between perturbations"


def labelled(failed, treatment, criteria=("n_counts",)):
    """Cells of treatments 0 (control), 1, 2, ... with these labels."""
    n, treatment = len(treatment), np.asarray(treatment)
    return PerturbationData(
        x=np.ones((n, 2), dtype=np.uint16),
        perturbation_index=np.maximum(treatment - 1, 0).reshape(-1, 1).astype(np.int32),
        dosage=(treatment > 0).reshape(-1, 1).astype(np.float32),
        library_size=np.full(n, 2, dtype=np.float32),
        gene_names=np.array(["g0", "g1"]),
        perturbation_names=np.array([f"P{i}" for i in range(1, treatment.max() + 1)]),
        cell_names=np.array([f"c{i}" for i in range(n)]),
        split=np.full(n, "train"),
        failed=np.asarray(failed, dtype=bool).reshape(n, -1),
        criteria=criteria,
    )


def test_shares_and_odds_of_a_hand_made_table():
    # control: 1 of 4 fails; P1: 3 of 4; P2: 0 of 2
    rows = confounding(labelled([1, 0, 0, 0, 1, 1, 1, 0, 0, 0], [0] * 4 + [1] * 4 + [2] * 2))
    assert {row.treatment: row[1:7] for row in rows} == {
        "control": ("n_counts", 4, 0.25, 3 / 6, -0.25, (1 * 3) / (3 * 3)),
        "P1": ("n_counts", 4, 0.75, 1 / 6, 0.75 - 1 / 6, (3 * 5) / (1 * 1)),
        "P2": ("n_counts", 2, 0.0, 4 / 8, -0.5, 0.0),
    }


def test_p_values_are_twice_the_smaller_tail_of_fishers_test():
    rng = np.random.default_rng(0)
    treatment, failed = rng.integers(0, 6, 300), rng.random(300) < 0.2
    failed |= (treatment == 3) & (rng.random(300) < 0.5)
    rows = confounding(labelled(failed, treatment))
    p = []
    for row in rows:
        cells = treatment == (0 if row.treatment == "control" else int(row.treatment[1:]))
        table = [[(cells & failed).sum(), (cells & ~failed).sum()], [(~cells & failed).sum(), (~cells & ~failed).sum()]]
        tails = [fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")]
        p.append(min(1, 2 * min(tails)))
    assert np.allclose([row.p_value for row in rows], p, rtol=1e-9)
    q = [row.q_value for row in rows]
    assert np.allclose(q, false_discovery_control(p)) and q == sorted(q)
    assert rows[0].treatment == "P3" and rows[0].is_confounded and not any(row.is_confounded for row in rows[1:])


def test_any_comes_before_several_criteria():
    failed = np.array([[1, 0], [0, 1], [0, 0], [1, 0], [0, 0], [0, 0]])
    rows = confounding(labelled(failed, [0, 0, 0, 1, 1, 1], ("n_counts", "percent_hb")))
    assert [row.criterion for row in rows] == ["any"] * 2 + ["n_counts"] * 2 + ["percent_hb"] * 2
    assert {row.treatment: row.failed for row in rows[:2]} == {"control": 2 / 3, "P1": 1 / 3}


@pytest.mark.parametrize("outcome", [0, 1])
def test_labels_that_are_all_equal_say_nothing(outcome):
    rows = confounding(labelled([outcome] * 6, [0, 0, 1, 1, 2, 2]))
    assert all(row.p_value == 1 and row.difference == 0 and np.isnan(row.odds_ratio) for row in rows)


def test_cells_without_labels_are_refused():
    data = labelled([0] * 4, [0, 0, 1, 1])
    bare = PerturbationData(**{**vars(data), "failed": None, "criteria": ()})
    with pytest.raises(InputError, match="carry no quality labels"):
        confounding(bare)


def screen(fail_rate, n_each=150, n_treatments=12, seed=0):
    """An AnnData with ready labels, drawn with a rate for each treatment; the first is the control."""
    rng = np.random.default_rng(seed)
    treatment = np.repeat(np.arange(n_treatments), n_each)
    labels = np.array(["control", *[f"P{i}" for i in range(1, n_treatments)]])[treatment]
    failed = rng.random(len(treatment)) < np.broadcast_to(fail_rate, n_treatments)[treatment]
    obs = pd.DataFrame({"perturbation": labels, "failed": failed}, index=[f"c{i}" for i in range(len(labels))])
    return anndata.AnnData(rng.poisson(2.0, (len(labels), 5)) + 1, obs=obs)


def messages(adata, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        from_anndata(adata, **options)
    return [str(warning.message) for warning in caught if "no training cell fails" not in str(warning.message)]


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5])
def test_independent_labels_do_not_warn(rate):
    """Also not with a few cells for each of many perturbations."""
    for seed in range(5):
        assert messages(screen(rate, seed=seed), quality_key="failed") == []
        assert messages(screen(rate, n_each=6, n_treatments=100, seed=seed), quality_key="failed") == []


def test_a_negligible_difference_does_not_warn_however_certain():
    rates = np.where(np.arange(4) == 1, 0.15, 0.1)
    adata = screen(rates, n_each=8000, n_treatments=4)
    row = confounding(from_anndata(adata, quality_key="failed"))[0]
    assert row.treatment == "P1" and row.q_value < 1e-10 and not row.is_confounded
    assert messages(adata, quality_key="failed") == []


@pytest.mark.parametrize(("rate", "others"), [(0.4, 0.1), (0.1, 0.5)])
def test_confounded_labels_warn_and_name_the_perturbation(rate, others):
    [text] = messages(screen(np.where(np.arange(12) == 7, rate, others)), quality_key="failed")
    assert text.startswith("quality labels are confounded with perturbations: P7 (") and "of 150 cells fail" in text


def blood(share, n_each=120, seed=0):
    """K562-like counts: the last of six treatments makes `share` of its cells express haemoglobin."""
    rng = np.random.default_rng(seed)
    genes = ["MT-CO1", "RPL3", "HBG1", "HBG2", "GATA1", "KLF1", "ACTB", "GAPDH"]
    treatment = np.repeat(np.arange(6), n_each)
    rates = np.tile([4.0, 12, 1, 1, 5, 5, 30, 30], (len(treatment), 1)) * rng.gamma(50, 1 / 50, (len(treatment), 1))
    erythroid = (treatment == 5) & (rng.random(len(treatment)) < share)
    rates[erythroid, 2:4] = 20
    names = np.array(["control", "P1", "P2", "P3", "P4", "KLF1"])[treatment]
    obs = pd.DataFrame({"perturbation": names}, index=[f"c{i}" for i in range(len(names))])
    return anndata.AnnData(rng.poisson(rates) + (np.arange(8) == 6), obs=obs, var=pd.DataFrame(index=genes))


def test_haemoglobin_of_an_erythroid_perturbation_is_named_as_biology():
    found = messages(blood(0.7), quality_criteria="auto")
    assert any(text.startswith("quality labels are confounded") and "KLF1 (" in text for text in found)
    [advice] = [text for text in found if HAEMOGLOBIN in text]
    assert "KLF1 (" in advice
    assert advice.endswith("(--data.quality-criteria n_counts n_genes percent_mito percent_ribo)")
    assert messages(blood(0.7), quality_criteria=("percent_mito", "percent_ribo")) == []
    [alone] = [text for text in messages(blood(0.7), quality_criteria="percent_hb") if HAEMOGLOBIN in text]
    assert alone.endswith("(label cells by other criteria)")


def test_haemoglobin_without_an_effect_does_not_warn():
    assert messages(blood(0.0), quality_criteria="auto") == []


def test_a_stored_rule_is_not_judged_again():
    adata = blood(0.7)
    with warnings.catch_warnings(action="ignore"):
        rule = from_anndata(adata, quality_criteria="auto").quality_rule
    assert rule is not None and messages(adata, quality_rule=rule) == []


def test_haemoglobin_in_k562_cells_of_norman(shared_data_dir):
    """Perturbations that make K562 cells erythroid, as in the paper of the screen, fail by haemoglobin."""
    adata = anndata.read_h5ad(shared_data_dir / "norman19_dev.h5ad")
    [advice] = [text for text in messages(adata, quality_criteria="auto") if HAEMOGLOBIN in text]
    assert "CBL+CNN1 (" in advice
