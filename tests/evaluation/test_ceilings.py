"""What a perfect prediction scores is told by halves of the cells alone."""

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

from samsjax.data import treatments
from samsjax.evaluation.ceilings import PERFECT, perfect_score
from samsjax.evaluation.scoring import ScoringConfig, score
from tests.evaluation.test_scoring import Told
from tests.evaluation.toy_screens import gaussian_screen

CHECKED = ("pearson_delta", "cosine_logfc", "mse_delta", "mae_delta")


@pytest.mark.parametrize("sd", [2.0, 6.0])
def test_the_truth_scores_what_halves_foretell(sd):
    rng = np.random.default_rng(0)
    effects = {f"T{i:02d}": rng.standard_normal(400) for i in range(20)}
    data = gaussian_screen(rng, effects, 40, 4000, ("train", "test"), sd=sd)
    config = ScoringConfig(n_bootstrap=10, n_halves=10, cell_metrics=False, metrics=CHECKED, baselines=())
    told = Told(effects, np.zeros(400))
    scores = score(jax.random.key(0), [told], data, treatments(data), "counts", config)
    assert_allclose(scores.perfect, scores.mean[0], rtol=0.05)
    worse = np.where([m.higher_is_better for m in scores.metrics], scores.ceiling_mean, -scores.ceiling_mean)
    better = np.where([m.higher_is_better for m in scores.metrics], scores.perfect, -scores.perfect)
    assert (worse < better).all()


def test_nothing_is_said_without_a_rule():
    assert np.isnan(perfect_score("jaccard_top20", 0.5)) and np.isnan(perfect_score("mse", float("nan")))
    assert perfect_score("pearson_delta", -0.1) == 0.0 and perfect_score("pearson_delta", 1.0) == 1.0
    assert {"mse", "edistance"} <= PERFECT.keys()
