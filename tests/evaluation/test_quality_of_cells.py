"""Models that know the quality of cells: what they predict, by default and when asked, and how they are judged."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import samsjax
from samsjax.errors import InputError
from samsjax.evaluation import generate_cells
from samsjax.evaluation.data_effects import data_effects
from samsjax.evaluation.forward import technical_of
from samsjax.models import CRADLEVAEConfig
from tests import small

CONFIG = CRADLEVAEConfig(n_latent=4, n_hidden=8, mask_prior_prob=0.1, indicators="each")
PUBLISHED = samsjax.EvaluationConfig(4, samsjax.EffectsConfig(n_particles=8), extent="published")


@pytest.fixture(scope="module")
def data():
    """Failed cells have a third of the counts."""
    data = small.labelled(small.screen())
    x = data.x.toarray()
    lost = np.random.default_rng(0).binomial(x, 2 / 3)
    x = np.where(data.is_failed[:, None], x - lost, x)
    x[x.sum(axis=1) == 0, 0] = 1
    return replace(data, x=x, library_size=x.sum(axis=1).astype(np.float32))


@pytest.fixture(scope="module")
def fitted(data):
    return samsjax.fit(data, CONFIG, small.TRAIN, progress=False)


@pytest.fixture(scope="module")
def plain(data):
    return samsjax.fit(data, small.MODEL, small.TRAIN, progress=False)


def test_predicted_cells_are_good_unless_they_shall_fail(data, fitted):
    train = data.cells("train")
    good, failed = (train[data.is_failed[train] == flag] for flag in (False, True))
    for fails, cells, flags in (
        ((), good, [0, 0]),
        (("percent_mito",), failed, [0, 1]),
        (("n_counts", "percent_mito"), failed, [1, 1]),
    ):
        technical = technical_of(fitted, None, {}, fails)
        assert_array_equal(technical.artifacts, flags)
        assert_allclose(np.median(technical.library_sizes), np.median(data.library_size[cells]), rtol=0.05)
    nothing, none = np.zeros(1, int), np.zeros(1, np.float32)
    totals = [
        generate_cells(
            jax.random.key(0), fitted, nothing, none, 200, samsjax.EffectsConfig(fails=fails)
        ).library_size.mean()
        for fails in ((), ("n_counts",))
    ]
    assert totals[1] < 0.5 * totals[0]


def test_effects_are_judged_on_good_cells_by_models_that_know_quality(data, fitted, plain):
    treated = samsjax.treatments(data)
    good = np.flatnonzero(~data.is_failed)
    of = {
        cells: data_effects(data, treated, rows, "log2_cp10k").ate
        for cells, rows in (("good", good), ("all", np.arange(data.n_cells)))
    }
    for model, quality, expected in (
        (fitted, "auto", "good"),
        (fitted, "all", "all"),
        (plain, "auto", "all"),
        (plain, "good", "good"),
    ):
        found = samsjax.evaluate(model, data, replace(PUBLISHED, quality=quality))
        assert found.of_good_cells == (expected == "good")
        assert_allclose(found.data.ate, of[expected], atol=1e-6)


def test_a_full_evaluation_runs_on_good_cells_and_reports_quality(data, fitted):
    config = samsjax.EvaluationConfig(4, samsjax.EffectsConfig(n_particles=8))
    quick = replace(config.scoring, n_bootstrap=10, n_halves=1, cell_metrics=False, min_cells=4)
    found = samsjax.evaluate(fitted, data, replace(config, scoring=quick))
    assert found.of_good_cells and found.quality is not None
    assert 0 <= found.metrics["quality/pass_rate/real"] <= 1
    assert found.metrics["quality/pass_rate/real"] == pytest.approx(found.quality.rates.of("real").overall)
    assert found.interactions is not None and found.scores is not None


def test_quality_that_is_not_known_is_refused(data, fitted, plain):
    unlabelled = replace(data, failed=None, criteria=())
    with pytest.raises(InputError, match="effects on good cells need quality labels"):
        samsjax.evaluate(plain, unlabelled, replace(PUBLISHED, quality="good"))
    with pytest.raises(InputError, match=r"trained with quality labels \(n_counts, percent_mito\)"):
        samsjax.evaluate(fitted, unlabelled, replace(PUBLISHED, quality="all"))
    other = replace(data, criteria=("n_counts", "percent_hb"))
    with pytest.raises(InputError, match="unknown quality criterion of the model 'percent_mito'"):
        samsjax.evaluate(fitted, other, PUBLISHED)
    with pytest.raises(InputError, match=r"unknown quality indicator of the model 'percent_mit'.*'percent_mito'"):
        technical_of(fitted, None, {}, ("percent_mit",))
    with pytest.raises(InputError, match="the model knows no quality of cells"):
        technical_of(plain, None, {}, ("n_counts",))
    never = samsjax.fit(replace(data, failed=np.zeros_like(data.failed)), CONFIG, small.TRAIN, progress=False)
    with pytest.raises(InputError, match="no training cell failed"):
        technical_of(never, None, {}, ("n_counts",))
    with pytest.raises(InputError, match="unknown quality 'goood'"):
        replace(PUBLISHED, quality="goood")


def test_a_stored_model_knows_the_same_of_quality(fitted, tmp_path):
    samsjax.save(fitted, tmp_path / "model")
    loaded = samsjax.load(tmp_path / "model")
    assert loaded.vocabulary == fitted.vocabulary
    assert loaded.vocabulary.artifacts == ("n_counts", "percent_mito")
    assert_array_equal(loaded.failed_library_sizes, fitted.failed_library_sizes)
    assert loaded.quality_rule == fitted.quality_rule
