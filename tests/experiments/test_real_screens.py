"""The door on measured screens: what is known about them comes out. Slow: minutes on two cores."""

import anndata
import numpy as np
import pandas as pd
import pytest

from experiments import fit
from samsjax.evaluation import mask_agreement
from tests.experiments.doors import read_json

pytestmark = pytest.mark.slow

INTERFERON = ["IFNGR1", "IFNGR2", "JAK2", "STAT1"]
NO_EFFECT = ["ATF2", "CD86", "ETV7", "MARCH8", "STAT5A"]


def test_interferon_knock_outs_agree_and_idle_targets_stay_empty(shared_data_dir, tmp_path):
    path = shared_data_dir / "papalexi21_dev_rep12.h5ad"
    fit.main(["--data.path", str(path), "--out", str(tmp_path / "run")])
    ate = anndata.read_h5ad(tmp_path / "run" / "ate.h5ad").to_df()
    assert np.corrcoef(ate.loc[INTERFERON]).min() >= 0.8
    effects = pd.read_csv(tmp_path / "run" / "effects.csv")
    strength = (effects["effect_mean"] ** 2).groupby(effects["perturbation"]).sum() ** 0.5
    assert strength[NO_EFFECT].max() < strength[INTERFERON].min()
    norm = (ate**2).sum(axis=1) ** 0.5
    assert norm[NO_EFFECT].max() < 0.25 * norm[INTERFERON].min()


def test_rotated_masks_are_the_pathways_whatever_the_seed(shared_data_dir, tmp_path):
    """One latent dimension for the interferon pathway, another for SMAD4, none for the targets without effect."""
    path = shared_data_dir / "papalexi21_dev_rep12.h5ad"
    masks = []
    for seed in ("0", "1"):
        fit.main(["--data.path", str(path), "--seed", seed, "--out", str(tmp_path / seed)])
        effects = pd.read_csv(tmp_path / seed / "effects.csv")
        strength = effects.pivot_table("effect_mean", "perturbation", "latent").abs()
        assert strength.idxmax(axis=1)[INTERFERON].nunique() == 1
        assert strength.idxmax(axis=1)["SMAD4"] != strength.idxmax(axis=1)["STAT1"]
        active = effects.pivot_table("inclusion_probability", "perturbation", "latent") > 0.5
        assert active.loc[[*INTERFERON, "SMAD4"]].any(axis=1).all()
        assert not active.loc[NO_EFFECT].any(axis=None)
        assert len(pd.read_csv(tmp_path / seed / "rotations.csv")) == 3
        masks.append(active.to_numpy())
    assert mask_agreement(*masks).f1 >= 0.9


def test_norman_with_transcriptome_totals(shared_data_dir, tmp_path, recwarn):
    flags = ["--data.path", str(shared_data_dir / "norman19_dev.h5ad"), "--data.library-size-key", "n_umis"]
    fit.main([*flags, "--out", str(tmp_path / "run")])
    assert any("261 of 500 genes" in str(warning.message) for warning in recwarn)
    metrics = read_json(tmp_path / "run" / "metrics.json")
    assert metrics["ate/all/pearson"] > 0.6
    ate = anndata.read_h5ad(tmp_path / "run" / "ate.h5ad")
    assert ate.uns["samsjax"]["library_size_source"] == "n_umis"
    # On one exposure, predicted and measured control levels agree.
    assert np.corrcoef(ate.var["model_control"], ate.var["data_control"])[0, 1] > 0.98
    ratio = ate.var["model_control"].sum() / ate.var["data_control"].sum()
    assert 0.85 < ratio < 1.15
