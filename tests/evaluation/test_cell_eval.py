"""Metrics that share a name with cell-eval's agree with them, or differ as stated. Needs `pip install cell-eval`."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose

from samsjax.evaluation.cell_distances import pair_distances
from samsjax.evaluation.metrics import METRICS, Sides

# Its warnings and those of its dependencies are not ours to heed.
pytestmark = pytest.mark.filterwarnings("ignore")
LABELS = np.array([f"P{i}" for i in range(6)])
GENES = np.array([f"g{i}" for i in range(40)])
CELLS_PER_GROUP = 30


@pytest.fixture(scope="module")
def cell_eval():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("cell_eval", reason="cell-eval is not installed; the comparison is optional")


@pytest.fixture(scope="module")
def cells() -> dict[str, np.ndarray]:
    """(group, cell, gene) of either side; the first group are controls. Predictions are more wrong than right."""
    rng = np.random.default_rng(0)
    effect = np.concatenate([np.zeros((1, 40)), rng.standard_normal((6, 40))])
    wrong = effect + np.concatenate([np.zeros((1, 40)), 8 * rng.standard_normal((6, 40))])
    noise = rng.standard_normal((2, 7, CELLS_PER_GROUP, 40))
    return {"real": 5 + effect[:, None] + noise[0], "pred": 5.2 + wrong[:, None] + noise[1]}


@pytest.fixture(scope="module")
def sides(cells) -> Sides:
    means = {side: x.mean(axis=1) for side, x in cells.items()}
    # Effects that single precision holds exactly: cell-eval's tables of differential expression use it.
    real, pred = ((mean[1:] - mean[0]).astype(np.float32).astype(float) for mean in means.values())
    significant = np.abs(real) > 0.8
    significant[5] = False
    return Sides(real, pred, means["real"][0], means["pred"][0], real.mean(axis=0), pred.mean(axis=0), significant)


@pytest.fixture(scope="module")
def pair(cell_eval, cells):
    import anndata
    import pandas as pd

    def side(x: np.ndarray) -> anndata.AnnData:
        names = np.repeat(np.append("control", LABELS), CELLS_PER_GROUP)
        obs = pd.DataFrame({"target": names}, index=[f"c{i}" for i in range(len(names))])
        return anndata.AnnData(x.reshape(-1, 40), obs, pd.DataFrame(index=GENES))

    return cell_eval.PerturbationAnndataPair(
        real=side(cells["real"]), pred=side(cells["pred"]), pert_col="target", control_pert="control"
    )


@pytest.fixture(scope="module")
def tables(cell_eval, sides):
    """Differential expression with the significant genes of `sides`; of the prediction, every gene is significant."""
    import polars as pl

    def table(effect: np.ndarray, significant: np.ndarray):
        fdr = np.where(significant, 0.001, 0.9).ravel()
        return pl.DataFrame(
            {
                "target": np.repeat(LABELS, len(GENES)),
                "feature": np.tile(GENES, len(LABELS)),
                "log2_fold_change": effect.ravel(),
                "p_value": fdr,
                "fdr": fdr,
            }
        )

    everything = np.ones_like(sides.significant)
    return cell_eval.initialize_de_comparison(
        real=table(sides.measured, sides.significant), pred=table(sides.predicted, everything)
    )


def theirs(cell_eval, name: str, data) -> np.ndarray:
    found = cell_eval.metrics_registry.compute(name, data)
    return np.array([found.get(label, np.nan) for label in LABELS], dtype=float)


@pytest.mark.parametrize("name", ["pearson_delta", "mse", "mae", "mse_delta", "mae_delta"])
def test_scores_of_means_agree(name, cell_eval, pair, sides):
    assert_allclose(METRICS[name].function(sides), theirs(cell_eval, name, pair), rtol=1e-5)


@pytest.mark.parametrize("name", ["discrimination_score_l1", "discrimination_score_l2", "discrimination_score_cosine"])
def test_discrimination_agrees_up_to_the_worst_score(name, cell_eval, pair, sides):
    """1 - rank / treatments there, 1 - rank / (treatments - 1) here."""
    found, n = METRICS[name].function(sides), len(LABELS)
    assert len(set(found)) > 2
    assert_allclose(1 - (1 - found) * (n - 1) / n, theirs(cell_eval, name, pair), rtol=1e-10)


@pytest.mark.parametrize("name", ["overlap_at_N", "de_direction_match", "de_spearman_lfc_sig"])
def test_scores_of_significant_genes_agree(name, cell_eval, tables, sides):
    found, expected = METRICS[name].function(sides), theirs(cell_eval, name, tables)
    assert_allclose(found[:5], expected[:5], rtol=1e-6)
    # Without a significant gene, cell-eval says 0 or nothing.
    assert np.isnan(found[5]) and (expected[5] == 0 if name == "overlap_at_N" else np.isnan(expected[5]))


def test_energy_distances_to_controls_agree(cell_eval, pair, cells):
    """The distances are the same; there, means include the pairs of a cell with itself."""

    def from_control(x: np.ndarray) -> np.ndarray:
        def mean(a, b):
            return pair_distances(a, b).mean(dtype=float)

        return np.array([2 * mean(group, x[0]) - mean(group, group) - mean(x[0], x[0]) for group in x[1:]])

    expected = cell_eval.metrics_registry.compute("pearson_edistance", pair)
    found = np.corrcoef(from_control(cells["real"]), from_control(cells["pred"]))[0, 1]
    assert_allclose(found, expected, rtol=1e-4)
