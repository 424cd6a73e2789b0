"""The simulation of the SAMS-VAE paper: its steps agree with the reference, its data with what it promises."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from samsjax.data import treatments
from samsjax.data.sams_simulation import (
    CONTROL,
    PUBLISHED,
    SAMSSimulationConfig,
    control_cells,
    decode,
    latent_states,
    noise_variance,
    orthogonal,
    simulate_sams,
    unit_variance,
)
from samsjax.errors import InputError
from samsjax.evaluation.data_effects import data_effects

SMALL = SAMSSimulationConfig(
    n_genes=20,
    n_latent=5,
    n_perturbations=12,
    n_control_cells=500,
    train_cells=60,
    val_cells=20,
    test_cells=20,
    mask_prob=0.3,
    n_layers=2,
    n_hidden=8,
)


@pytest.fixture(scope="module")
def screen():
    return simulate_sams(SMALL, seed=3)


def test_latents_and_means_match_reference(parity):
    numbers = parity("sim_sams")
    z = latent_states(numbers["z_basal"], numbers["D"].argmax(axis=1), numbers["latent_effects"])
    assert_allclose(z, numbers["z"], rtol=1e-5, atol=1e-6)
    weights = [numbers[name].T for name in sorted(numbers) if name.startswith("decoder.")]
    mean = unit_variance(decode(numbers["z"].astype(np.float64), weights))
    assert_allclose(mean, numbers["mean"], rtol=1e-5, atol=1e-6)


def test_layout_matches_reference(parity):
    numbers = parity("sim_sams")
    published = replace(PUBLISHED, n_perturbations=6, train_cells=5, val_cells=2, test_cells=1)
    data, _ = simulate_sams(published, seed=0)
    assert_array_equal(data.split, numbers["split"])
    assert_array_equal(data.perturbation_index[:, 0], numbers["treatment"].astype(int))
    assert not data.is_control.any()


def test_noise_is_the_asked_share_of_the_variance(screen):
    data, truth = screen
    assert_allclose(noise_variance(truth.mean, 0.2), truth.mean.var(axis=0, ddof=1) / 4, rtol=1e-5)
    noise = (data.x - truth.mean).var(axis=0)
    total = noise + truth.mean.var(axis=0)
    assert_allclose((noise / total).mean(), 0.2, atol=0.01)
    assert_allclose(noise, truth.noise_sd**2, rtol=0.2)


def test_every_gene_has_unit_variance_before_noise(screen):
    assert_allclose(screen[1].mean.std(axis=0, ddof=1), 1.0, rtol=1e-5)
    assert_array_equal(unit_variance(np.full((4, 2), 3.0)), np.full((4, 2), 3.0))


def test_exponentiated_values_are_positive_without_noise():
    _, linear = simulate_sams(replace(SMALL, noise_fraction=0.0), seed=1)
    data, truth = simulate_sams(replace(SMALL, noise_fraction=0.0, exponentiate=True), seed=1)
    assert_allclose(truth.mean, np.exp(linear.mean), rtol=1e-4)
    assert_array_equal(data.x, truth.mean)


def test_controls_have_no_effect_and_stand_in_every_split(screen):
    data, truth = screen
    assert data.is_control.sum() == 500
    assert [data.is_control[data.cells(name)].sum() for name in ("train", "val", "test")] == [300, 100, 100]
    carried = np.where(data.is_control, CONTROL, data.perturbation_index[:, 0])
    z = latent_states(truth.z_basal, carried, truth.effect)
    assert_array_equal(z[data.is_control], truth.z_basal[data.is_control])
    idle = ~truth.mask.any(axis=1)
    effects = data_effects(data, treatments(data), np.arange(data.n_cells), "counts")
    strength = np.abs(effects.ate / effects.standard_error).mean(axis=1)
    assert (strength[~idle] > 3).all()
    assert (strength[idle] < 2).all()


def test_published_layout_has_no_reference_for_effects():
    data, _ = simulate_sams(replace(SMALL, n_control_cells=0), seed=3)
    with pytest.raises(InputError, match="no control cells"):
        data_effects(data, treatments(data), np.arange(data.n_cells), "counts")


def test_mechanisms_do_not_depend_on_the_number_of_cells(screen):
    _, truth = simulate_sams(replace(SMALL, n_control_cells=0, train_cells=7), seed=3)
    assert_array_equal(truth.effect, screen[1].effect)
    assert_array_equal(truth.effect != 0, truth.mask)


def test_effects_have_the_asked_size_and_both_signs():
    config = replace(SMALL, n_perturbations=2000, n_control_cells=0, train_cells=1, val_cells=0, test_cells=0)
    _, truth = simulate_sams(config, seed=0)
    drawn = truth.effect[truth.mask]
    assert_allclose(truth.mask.mean(), 0.3, atol=0.02)
    assert_allclose(np.abs(drawn).mean(), 5.0, atol=0.05)
    assert_allclose(np.abs(drawn).std(), 0.5, atol=0.05)
    assert_allclose((drawn > 0).mean(), 0.5, atol=0.05)


def test_default_sizes_are_those_of_the_paper():
    data, truth = simulate_sams(PUBLISHED)
    assert data.x.shape == (70_000, 100)
    assert data.x.dtype == np.float32
    assert truth.mask.shape == (100, 15)
    assert data.library_size_source == "ones"
    assert_array_equal(data.library_size, 1.0)
    assert [len(data.cells(name)) for name in ("train", "val", "test")] == [50_000, 10_000, 10_000]
    assert_array_equal(np.sort(data.split)[:1], ["test"])
    assert_array_equal(data.split[:50_000], "train")


@pytest.mark.parametrize("weights", ["orthogonal", "gaussian"])
def test_a_seed_decides_every_bit(weights):
    config = replace(SMALL, decoder_weights=weights)
    (a, truth_a), (b, truth_b), (c, _) = (simulate_sams(config, seed=s) for s in (1, 1, 2))
    assert_array_equal(a.x, b.x)
    for left, right in zip(truth_a, truth_b, strict=True):
        assert_array_equal(left, right)
    assert (a.x != c.x).any()


def test_weights_are_orthonormal_along_their_shorter_side():
    rng = np.random.default_rng(0)
    tall, wide = orthogonal(rng, 9, 4), orthogonal(rng, 4, 9)
    assert_allclose(tall.T @ tall, np.eye(4), atol=1e-12)
    assert_allclose(wide @ wide.T, np.eye(4), atol=1e-12)


def test_controls_are_shared_out_without_losing_any():
    assert control_cells(700, {"train": 500, "val": 100, "test": 100}) == {"train": 500, "val": 100, "test": 100}
    for n in range(12):
        assert sum(control_cells(n, {"train": 5, "val": 0, "test": 2}).values()) == n
    assert control_cells(10, {"train": 5, "val": 0, "test": 2})["val"] == 0


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"n_perturbations": 0}, "n_perturbations must be >= 1, got 0"),
        ({"train_cells": 0}, "train_cells must be >= 1, got 0"),
        ({"val_cells": -1}, "val_cells must be >= 0, got -1"),
        ({"n_control_cells": -1}, "n_control_cells must be >= 0, got -1"),
        ({"n_hidden": 10}, r"n_hidden \(10\) must be at least n_latent \(15\)"),
        ({"n_genes": 10}, r"n_genes \(10\) must be at least n_latent \(15\)"),
        ({"mask_prob": 1.5}, "mask_prob must be >= 0.0 and <= 1.0, got 1.5"),
        ({"noise_fraction": 1.0}, "noise_fraction must be >= 0.0 and < 1.0, got 1.0"),
        ({"decoder_weights": "orthogonl"}, "Did you mean 'orthogonal'"),
        (
            {"n_perturbations": 1, "train_cells": 1, "val_cells": 0, "test_cells": 0, "n_control_cells": 0},
            "one cell has no variance",
        ),
    ],
)
def test_impossible_screens_are_refused(option, message):
    with pytest.raises(InputError, match=message):
        SAMSSimulationConfig(**option)


def test_negative_seeds_are_refused():
    with pytest.raises(InputError, match="seed must be >= 0, got -1"):
        simulate_sams(SMALL, seed=-1)
