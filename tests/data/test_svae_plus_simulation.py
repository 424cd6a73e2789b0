"""The simulation of the SVAE+ paper: its steps agree with the reference, its counts with what it promises."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from samsjax.data import treatments
from samsjax.data.sams_simulation import decode, latent_states
from samsjax.data.svae_plus_simulation import (
    PUBLISHED,
    SVAEPlusSimulationConfig,
    shares_of_cells,
    simulate_svae_plus,
)
from samsjax.errors import InputError
from samsjax.evaluation.data_effects import data_effects

SMALL = SVAEPlusSimulationConfig(
    n_genes=30,
    n_latent=6,
    n_perturbations=12,
    n_control_cells=500,
    train_cells=60,
    val_cells=20,
    test_cells=20,
    n_hidden=10,
    counts_per_gene=3e4,
)


@pytest.fixture(scope="module")
def screen():
    return simulate_svae_plus(SMALL, seed=3)


def test_latents_and_shares_match_reference(parity):
    numbers = parity("sim_svae_plus")
    z = latent_states(numbers["z0"], numbers["label"].astype(int), numbers["prior_mean"])
    assert_allclose(z, numbers["z"], rtol=1e-12)
    shares = shares_of_cells(decode(numbers["z"], [numbers[name] for name in ("W1", "W2", "W3", "W4")]))
    assert_allclose(shares, numbers["decoder_out"], rtol=1e-5)


def test_layout_matches_reference(parity):
    numbers = parity("sim_svae_plus")
    published = replace(PUBLISHED, n_perturbations=5, n_latent=3, n_genes=45, train_cells=4, val_cells=2, test_cells=1)
    data, _ = simulate_svae_plus(published, seed=0)
    assert_array_equal(data.split, numbers["split"])
    assert_array_equal(data.perturbation_index[:, 0], numbers["label"].astype(int))
    assert not data.is_control.any()


def test_every_gene_sums_to_the_asked_total(screen):
    data, truth = screen
    assert_allclose(truth.mean.sum(axis=0, dtype=np.float64), SMALL.counts_per_gene, rtol=1e-5)
    totals = np.asarray(data.x.sum(axis=0)).ravel()
    assert (np.abs(totals - SMALL.counts_per_gene) < 5 * np.sqrt(SMALL.counts_per_gene)).all()


def test_counts_are_poisson_whole_numbers_with_row_sums_as_exposure(screen):
    data, truth = screen
    assert sp.issparse(data.x)
    assert data.x.dtype == np.int32
    assert data.library_size_source == "row_sum"
    x = data.x.toarray()
    assert_array_equal(data.library_size, x.sum(axis=1))
    assert_allclose(((x - truth.mean) ** 2 / truth.mean).mean(), 1.0, atol=0.02)
    assert_array_equal(truth.theta, np.inf)
    assert truth.noise_sd is None


def test_controls_have_no_effect_and_stand_in_every_split(screen):
    data, _ = screen
    assert data.is_control.sum() == 500
    assert_array_equal(data.is_control[-500:], True)
    assert [data.is_control[data.cells(name)].sum() for name in ("train", "val", "test")] == [300, 100, 100]
    effects = data_effects(data, treatments(data), np.arange(data.n_cells), "counts")
    z = np.abs(effects.ate / effects.standard_error)
    assert (z.mean(axis=1) > 3).all()
    controls = data.x[data.is_control].toarray()
    difference = controls[:250].mean(axis=0) - controls[250:].mean(axis=0)
    assert np.abs(difference / np.sqrt(controls.var(axis=0) * 2 / 250)).max() < 4


def test_masks_have_one_to_three_targets_some_drawn_twice():
    config = replace(SMALL, n_perturbations=1500, n_control_cells=0, train_cells=1, val_cells=0, test_cells=0)
    _, truth = simulate_svae_plus(config, seed=0)
    n_targets = np.bincount(truth.mask.sum(axis=1), minlength=4) / 1500
    # 1, 2 or 3 draws from 6 with equal probability, duplicates collapsed
    expected = np.array([0, 1 + 1 / 6 + 1 / 36, 5 / 6 + 15 / 36, 20 / 36]) / 3
    assert_allclose(n_targets, expected, atol=0.04)
    assert_array_equal(truth.effect != 0, truth.mask)
    _, bernoulli = simulate_svae_plus(replace(config, targets="bernoulli", mask_prob=0.25), seed=0)
    assert_allclose(bernoulli.mask.mean(), 0.25, atol=0.02)


def test_mechanisms_do_not_depend_on_the_number_of_cells(screen):
    _, truth = simulate_svae_plus(replace(SMALL, n_control_cells=0, train_cells=7), seed=3)
    assert_array_equal(truth.effect, screen[1].effect)


def test_a_cell_without_counts_gets_one():
    data, _ = simulate_svae_plus(replace(SMALL, counts_per_gene=5.0), seed=0)
    assert data.library_size.min() == 1


def test_default_sizes_are_those_of_the_paper():
    data, truth = simulate_svae_plus(PUBLISHED)
    assert data.x.shape == (70_000, 100)
    assert_allclose(data.x.sum() / 7e6, 14.3, atol=0.05)
    assert truth.mask.shape == (100, 15)
    assert data.split[:700].tolist() == ["train"] * 500 + ["val"] * 100 + ["test"] * 100


def test_a_seed_decides_every_bit():
    (a, truth_a), (b, truth_b), (c, _) = (simulate_svae_plus(SMALL, seed=s) for s in (1, 1, 2))
    assert_array_equal(a.x.toarray(), b.x.toarray())
    for left, right in zip(truth_a, truth_b, strict=True):
        assert_array_equal(left, right)
    assert (a.x != c.x).nnz > 0


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"n_latent": 41}, "n_latent <= n_hidden <= n_genes, got 41, 40, 100"),
        ({"n_genes": 39}, "n_latent <= n_hidden <= n_genes, got 15, 40, 39"),
        ({"max_targets": 0}, "max_targets must be >= 1, got 0"),
        ({"targets": "some"}, "unknown targets 'some'"),
        ({"counts_per_gene": 1e10}, "counts_per_gene must be > 0.0 and <= 1000000000.0"),
        ({"effect_size_sd": -1.0}, "effect_size_sd must be >= 0.0, got -1.0"),
        ({"test_cells": -1}, "test_cells must be >= 0, got -1"),
    ],
)
def test_impossible_screens_are_refused(option, message):
    with pytest.raises(InputError, match=message):
        SVAEPlusSimulationConfig(**option)


def test_negative_seeds_are_refused():
    with pytest.raises(InputError, match="seed must be >= 0, got -1"):
        simulate_svae_plus(SMALL, seed=-1)
