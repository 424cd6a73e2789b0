"""Probes of what a model knows of cells: each set of features shows what it holds of the label, and nothing else."""

from dataclasses import replace
from importlib import import_module

import jax
import numpy as np
import pytest

import samsjax
from samsjax.errors import InputError
from samsjax.evaluation.posterior_effects import posterior_effects
from samsjax.evaluation.quality import QualityConfig, disentanglement
from samsjax.evaluation.quality.disentanglement import HIDDEN, _kept, _offset
from tests import small

CONFIG = QualityConfig(n_particles=4)
KEY = jax.random.key(0)
MODULE = import_module("samsjax.evaluation.quality.disentanglement")


@pytest.fixture(scope="module")
def screen():
    return small.screen()


@pytest.fixture(scope="module")
def fitted(screen):
    return samsjax.fit(screen, small.MODEL, small.TRAIN, progress=False)


def failing(data, failed):
    return replace(data, failed=np.asarray(failed)[:, None], criteria=("artifact",))


def everything(data):
    return np.arange(data.n_cells)


def test_labels_that_have_nothing_to_do_with_cells_are_at_chance(fitted, screen):
    data = failing(screen, np.random.default_rng(0).random(screen.n_cells) < 0.3)
    found = disentanglement(KEY, fitted, data, everything(data), CONFIG)
    assert list(found) == ["z_basal", HIDDEN, "offset", "counts"]
    for probes in found.values():
        assert list(probes) == ["linear", "mlp"]
        for result in probes.values():
            assert abs(result.auroc - 0.5) < 3 * result.chance_error and result.n_failed == data.is_failed.sum()


def test_each_set_of_features_tells_what_it_holds(fitted, screen):
    offset = _offset(KEY, fitted, failing(screen, screen.is_control), everything(screen))
    totals = np.asarray(screen.x.sum(axis=1)).ravel()
    by_perturbation = failing(screen, offset[:, 0] > np.median(offset[:, 0]))
    by_total = failing(screen, totals < np.quantile(totals, 0.25))
    perturbed = disentanglement(KEY, fitted, by_perturbation, everything(screen), CONFIG)
    small_cells = disentanglement(KEY, fitted, by_total, everything(screen), CONFIG)
    assert perturbed["offset"]["mlp"].auroc > 0.95
    assert small_cells["counts"]["linear"].auroc > 0.95
    assert small_cells["offset"]["linear"].auroc < 0.65


def test_a_model_that_is_not_told_of_quality_has_one_result_for_both_ways_of_encoding(fitted, screen):
    data = failing(screen, np.random.default_rng(0).random(screen.n_cells) < 0.3)
    found = disentanglement(KEY, fitted, data, everything(data), CONFIG)
    assert found[HIDDEN] is found["z_basal"]


def test_a_label_that_the_encoder_puts_into_the_state_is_seen_unless_it_is_hidden(fitted, screen, monkeypatch):
    def told(key, fitted, data, cells, n_particles):
        return {"z_basal": data.failed[cells].astype(np.float32)}

    monkeypatch.setattr(MODULE, "posterior_latents", told)
    data = failing(screen, np.random.default_rng(0).random(screen.n_cells) < 0.3)
    found = disentanglement(KEY, fitted, data, everything(data), CONFIG)
    assert [result.auroc for result in found["z_basal"].values()] == [1.0, 1.0]
    assert [result.auroc for result in found[HIDDEN].values()] == [0.5, 0.5]


def test_sites_a_model_does_not_have_are_left_out(fitted, screen, monkeypatch):
    monkeypatch.setattr(MODULE, "posterior_latents", lambda *args: {})
    monkeypatch.setattr(MODULE, "posterior_effects", lambda *args: None)
    found = disentanglement(KEY, fitted, small.labelled(screen), everything(screen), CONFIG)
    assert list(found) == ["counts"]


def test_offsets_are_sums_over_perturbations_of_dosage_times_mean_effect(fitted, screen):
    double = np.flatnonzero((screen.dosage != 0).sum(axis=1) > 1)[:1]
    control = np.flatnonzero(screen.is_control)[:1]
    dosed = replace(screen, dosage=screen.dosage * np.float32(0.5))
    mean = posterior_effects(KEY, fitted).mean
    expected = 0.5 * mean[screen.perturbation_index[double[0]]].sum(axis=0)
    np.testing.assert_allclose(_offset(KEY, fitted, dosed, double)[0], expected, rtol=1e-5)
    assert (_offset(KEY, fitted, dosed, control) == 0).all()


def test_failed_cells_are_kept_when_cells_are_left_out(screen):
    data, rng = failing(screen, np.arange(screen.n_cells) < 40), np.random.default_rng(0)
    kept = _kept(rng, data, everything(data), 100)
    assert len(kept) == 100 and data.is_failed[kept].sum() == 40
    many = failing(screen, np.arange(screen.n_cells) >= 40)
    kept = _kept(rng, many, everything(data), 100)
    assert len(kept) == 100 and (~many.is_failed[kept]).sum() == 40
    assert len(_kept(rng, data, everything(data), 60)) == 60 and data.is_failed[_kept(rng, data, kept, 60)].sum() <= 30


def test_too_few_failed_cells_and_no_labels(fitted, screen):
    data = failing(screen, np.arange(screen.n_cells) < 5)
    found = disentanglement(KEY, fitted, data, everything(data), CONFIG)
    assert np.isnan(found["z_basal"]["linear"].auroc) and "5 of 310 cells failed" in found["counts"]["mlp"].reason
    assert disentanglement(KEY, fitted, data, everything(data)[:0], CONFIG) == {}
    with pytest.raises(InputError, match="no quality labels"):
        disentanglement(KEY, fitted, screen, everything(screen), CONFIG)
