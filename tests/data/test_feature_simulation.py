"""The simulated screen with features: effects follow from them in part, and controls tell nothing."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from samsjax.data import treatments
from samsjax.data.feature_simulation import FeatureSimulationConfig, simulate_features
from samsjax.data.features import FeaturesConfig, with_features
from samsjax.errors import InputError
from samsjax.evaluation.true_effects import true_effects

# Few cells and genes: what is looked at are perturbations.
SMALL = FeatureSimulationConfig(
    n_genes=6, n_latent=5, n_control_cells=40, cells_per_single=4, cells_per_double=3, n_perturbations=120
)


@pytest.fixture(scope="module")
def screen():
    return simulate_features(SMALL, seed=2)[0]


def carries(data):
    """Bool (cell, perturbation)."""
    found = np.zeros((data.n_cells, data.n_perturbations), bool)
    cell, slot = np.nonzero(data.dosage)
    found[cell, data.perturbation_index[cell, slot]] = True
    return found


def held_out(data):
    """Bool (perturbation,): no cell trains or validates."""
    return ~carries(data)[data.split != "test"].any(axis=0)


def test_features_never_change_the_screen(screen):
    for setting in ({"n_features": 3}, {"feature_noise": 0.0}):
        other, _ = simulate_features(replace(SMALL, **setting), seed=2)
        assert_array_equal(other.x.toarray(), screen.x.toarray())
        assert_array_equal(other.split, screen.split)
        assert other.features.values.shape == (120, setting.get("n_features", 20))
        assert (other.features.values[:, :3] != screen.features.values[:, :3]).all()


def predicted_well(screens, **control):
    """AUROC of masks told by a linear map of features, for perturbations that taught it nothing; mean of screens."""
    found = []
    for data, truth in screens:
        held, values = held_out(data), with_features(data, FeaturesConfig(**control)).features.values
        told = Ridge(10.0).fit(values[~held], truth.mask[~held]).predict(values[held])
        found += [roc_auc_score(mask[held], told[:, latent]) for latent, mask in enumerate(truth.mask.T)]
    return np.mean(found)


def test_features_tell_the_masks_of_held_out_perturbations_and_controls_do_not():
    screens = [simulate_features(SMALL, seed=seed) for seed in range(3)]
    assert predicted_well(screens) > 0.8
    assert abs(predicted_well(screens, shuffled=True) - 0.5) < 0.15
    assert abs(predicted_well(screens, source="random") - 0.5) < 0.15


def test_sizes_follow_from_features_where_nothing_else_decides_them():
    config = replace(SMALL, residual=0.0, feature_noise=0.0, n_perturbations=400, n_doubles=0)
    data, truth = simulate_features(config, seed=0)
    for mask, effect in zip(truth.mask.T, truth.effect.T, strict=True):
        own = data.features.values[mask]
        assert Ridge(1e-6).fit(own, effect[mask]).score(own, effect[mask]) > 0.999  # linear given the gate
        everyone = Ridge(1e-6).fit(data.features.values, effect).score(data.features.values, effect)
        assert everyone < 0.8  # and not without it


@pytest.mark.parametrize("n_idle", [0, 7, 32])
def test_as_many_do_nothing_as_asked_and_nobody_does_more_than_allowed(n_idle):
    _, truth = simulate_features(replace(SMALL, n_without_effect=n_idle, max_active=2), seed=1)
    assert (~truth.mask.any(axis=1)).sum() == n_idle
    assert truth.mask.sum(axis=1).max() == 2
    assert_array_equal(truth.effect != 0, truth.mask)


def test_every_cell_of_a_held_out_perturbation_is_a_test_cell(screen):
    data = screen
    held = held_out(data)
    assert held.sum() == 30 == SMALL.n_held_out
    tested = carries(data)[:, held].any(axis=1)
    assert (data.split[tested] == "test").all()
    both = tested & ((data.dosage > 0).sum(axis=1) == 2) & carries(data)[:, ~held].any(axis=1)
    assert both.any()  # combinations of a held-out with another one
    others = data.split[~tested]
    assert {"train", "val", "test"} == set(others) and abs((others == "train").mean() - 0.64) < 0.05


def test_none_held_out_leaves_the_random_split(screen):
    data, _ = simulate_features(replace(SMALL, held_out=0.0), seed=2)
    assert not held_out(data).any()
    assert (screen.split[data.split != screen.split] == "test").all()


def test_true_effects_of_genes_are_zero_for_those_that_do_nothing():
    config = replace(
        SMALL, cells_per_single=300, n_control_cells=600, n_perturbations=8, n_without_effect=3, n_doubles=0
    )
    data, truth = simulate_features(config, seed=0)
    true = true_effects(data, treatments(data), truth)
    idle = ~truth.mask.any(axis=1)
    assert (np.abs(true.ate[idle]) < 5 * true.standard_error[idle]).all()
    assert (np.abs(true.ate[~idle]) > 5 * true.standard_error[~idle]).any(axis=1).all()


def test_the_seed_decides_everything():
    (one, truth), (two, again), (other, _) = (simulate_features(SMALL, seed=seed) for seed in (4, 4, 5))
    assert_array_equal(one.x.toarray(), two.x.toarray())
    assert_array_equal(one.features.values, two.features.values)
    assert_array_equal(truth.effect, again.effect)
    assert (one.features.values != other.features.values).any()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"held_out": 1.0}, "held_out must be >= 0.0 and < 1.0"),
        ({"held_out": 0.99}, "leaves fewer than 2 of 120"),
        ({"n_without_effect": 120}, "n_without_effect must be >= 0 and < 120"),
        ({"n_features": 0}, "n_features must be >= 1"),
        ({"n_pathways": 1}, "n_pathways must be >= 2"),
        ({"feature_noise": -1.0}, "feature_noise must be >= 0"),
        ({"residual": 1.5}, "residual must be >= 0.0 and <= 1.0"),
        ({"membership_sharpness": 0.0}, "membership_sharpness must be > 0"),
    ],
)
def test_impossible_settings_are_named(setting, words):
    with pytest.raises(InputError, match=words):
        replace(SMALL, **setting)


def test_a_negative_seed_is_refused():
    with pytest.raises(InputError, match="seed must be >= 0"):
        simulate_features(SMALL, seed=-1)
