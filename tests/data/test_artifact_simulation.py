"""The simulated screen with failed cells: only failed cells differ from the screen, and in the stated way."""

import zlib
from dataclasses import fields, replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from samsjax.data import ArtifactSimulationConfig, SimulationConfig, simulate, simulate_artifacts, treatments
from samsjax.data.artifact_simulation import CRITERION
from samsjax.data.quality.statistics import cell_statistics
from samsjax.data.simulate import draw_screen
from samsjax.data.simulations import simulation
from samsjax.errors import InputError
from samsjax.evaluation.data_effects import data_effects
from tests import small

SMALL = ArtifactSimulationConfig(
    n_genes=80,
    n_latent=4,
    n_perturbations=10,
    n_without_effect=4,
    n_doubles=3,
    n_control_cells=800,
    cells_per_single=200,
    cells_per_double=100,
    n_confounded=4,
    gene_mean_log_sd=1.0,
    failed_share=0.25,
    confounding=0.5,
    n_mito_genes=6,
    n_ribo_genes=4,
)
PLAIN = SimulationConfig(**{field.name: getattr(SMALL, field.name) for field in fields(SimulationConfig)})
ONLY_NAMED = replace(SMALL, artifact_size=0.0)
ONLY_SHIFT = replace(SMALL, mito_factor=1.0, ribo_factor=1.0, failed_total=1.0)


@pytest.fixture(scope="module")
def plain():
    return simulate(PLAIN, seed=3)


@pytest.fixture(scope="module")
def screen():
    return simulate_artifacts(SMALL, seed=3)


def carries_confounded(data, truth):
    return (truth.confounded[data.perturbation_index] & (data.dosage > 0)).any(axis=1)


def test_the_screen_without_artefact_is_what_it_was():
    """Numbers of the simulation before it could be asked for artefacts."""
    data, _ = simulate(small.SCREEN, seed=3)
    assert (data.x.sum(), data.x.nnz, zlib.crc32(data.x.toarray().tobytes())) == (54102, 3715, 1844700876)


def test_everything_but_the_counts_of_failed_cells_is_that_of_the_screen(plain, screen):
    (data, truth), (other, its_truth) = screen, plain
    good = ~truth.failed
    assert 0 < good.sum() < data.n_cells
    assert_array_equal(data.x[good].toarray(), other.x[good].toarray())
    assert (data.x[~good] != other.x[~good]).nnz > 0
    for name in ("perturbation_index", "dosage", "split", "cell_names", "perturbation_names"):
        assert_array_equal(getattr(data, name), getattr(other, name))
    for name in ("mask", "effect", "z_basal", "theta"):
        assert_array_equal(getattr(truth, name), getattr(its_truth, name))
    assert_array_equal(truth.good_mean, its_truth.mean)
    assert_array_equal(truth.mean[good], its_truth.mean[good])
    assert_array_equal(data.library_size, np.asarray(data.x.sum(axis=1)).ravel())


def test_without_failures_the_counts_are_those_of_the_screen(plain):
    data, truth = simulate_artifacts(replace(SMALL, failed_share=0.0, confounding=0.0), seed=3)
    assert_array_equal(data.x.toarray(), plain[0].x.toarray())
    assert_array_equal(truth.mean, truth.good_mean)
    assert not data.failed.any() and not truth.failed.any()


def test_well_expressed_genes_have_names_that_tell_quality(plain, screen):
    data, truth = screen
    mito, ribo = (np.char.startswith(data.gene_names, prefix) for prefix in ("MT-", "RP"))
    assert (mito.sum(), ribo.sum()) == (6, 4)
    assert {"MT-1", "MT-6", "RPS1", "RPL1", "RPS2", "RPL2"} <= set(data.gene_names)
    assert_array_equal(data.gene_names[~(mito | ribo)], plain[0].gene_names[~(mito | ribo)])
    expression = truth.good_mean.mean(axis=0)
    assert expression[mito | ribo].min() > np.median(expression)
    # every gene can have a name, and none need have one
    for n_genes in (10, 11, 80):
        names = simulate_artifacts(replace(SMALL, n_genes=n_genes), seed=0)[0].gene_names
        assert np.char.startswith(names, "MT-").sum() == 6
    unnamed = simulate_artifacts(replace(SMALL, n_mito_genes=0, n_ribo_genes=0), seed=0)[0]
    assert np.char.startswith(unnamed.gene_names, "gene").all()


def test_as_many_cells_fail_as_asked(screen):
    data, truth = screen
    confounded = carries_confounded(data, truth)
    for cells, share in ((data.is_control, 0.25), (~data.is_control & ~confounded, 0.25), (confounded, 0.625)):
        n = cells.sum()
        assert abs(truth.failed[cells].mean() - share) < 4 * np.sqrt(share * (1 - share) / n)
    unconfounded = simulate_artifacts(replace(SMALL, confounding=0.0), seed=3)[1]
    assert abs(unconfounded.failed[confounded].mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / confounded.sum())
    assert simulate_artifacts(replace(SMALL, confounding=1.0), seed=3)[1].failed[confounded].all()


def test_failing_depends_on_nothing_but_the_perturbation(screen):
    data, truth = screen
    for cells in (data.is_control, carries_confounded(data, truth)):
        features = np.column_stack([truth.z_basal, np.log(truth.good_mean.sum(axis=1))])[cells]
        fail = truth.failed[cells]
        error = features.std(axis=0) * np.sqrt(1 / fail.sum() + 1 / (~fail).sum())
        assert (np.abs(features[fail].mean(axis=0) - features[~fail].mean(axis=0)) < 4 * error).all()


@pytest.mark.parametrize(("n_confounded", "n_idle"), [(0, 0), (1, 0), (4, 2), (9, 4), (10, 4)])
def test_half_of_the_confounded_do_nothing_as_far_as_there_are(n_confounded, n_idle):
    _, truth = simulate_artifacts(replace(SMALL, n_confounded=n_confounded), seed=1)
    idle = ~truth.mask.any(axis=1)
    assert idle.sum() == 4
    assert (truth.confounded.sum(), truth.confounded[idle].sum()) == (n_confounded, n_idle)


def test_totals_fall_by_the_factor(screen):
    _, truth = screen
    totals, good_totals = (mean.sum(axis=1, dtype=np.float64) for mean in (truth.mean, truth.good_mean))
    assert_allclose(totals, np.where(truth.failed, 0.5, 1.0) * good_totals, rtol=1e-5)


def test_without_a_shift_only_named_genes_rise_by_their_factors():
    data, truth = simulate_artifacts(ONLY_NAMED, seed=3)
    ratio = truth.mean[truth.failed] / truth.good_mean[truth.failed]
    mito, ribo = (np.char.startswith(data.gene_names, prefix) for prefix in ("MT-", "RP"))
    rest = ratio[:, ~(mito | ribo)].mean(axis=1, keepdims=True)
    assert_allclose(
        ratio / rest, np.broadcast_to(np.where(mito, 4.0, np.where(ribo, 1.5, 1.0)), ratio.shape), rtol=1e-4
    )


@pytest.mark.parametrize("interaction", [0.0, 0.4, 1.0])
def test_the_artefact_moves_the_states_of_failed_cells(interaction):
    config = replace(ONLY_SHIFT, interaction=interaction)
    data, truth = simulate_artifacts(config, seed=3)
    effects = (data.dosage[..., None] * truth.effect[data.perturbation_index]).sum(axis=1)
    # float64 states as the simulation has them: masks, effects and artefact are known to float32
    moved = truth.z_basal + (1 - interaction) * effects + truth.artifact[0]
    drawn = draw_screen(PLAIN, seed=3)
    expected = drawn.library_size[:, None] * drawn.shares(moved)
    assert_allclose(truth.mean[truth.failed], expected[truth.failed], rtol=1e-4)


def test_the_artefact_is_dense_and_as_large_as_asked():
    for seed in range(3):
        _, truth = simulate_artifacts(SMALL, seed=seed)
        assert truth.artifact.shape == (1, 4) and truth.artifact.all()
        assert_allclose(np.sqrt((truth.artifact**2).mean()), 1.5, rtol=1e-6)


def test_counts_of_failed_cells_scatter_around_their_means(screen):
    data, truth = screen
    x, mean = data.x.toarray()[truth.failed], truth.mean[truth.failed]
    z = (x - mean) / np.sqrt(mean + mean**2 / truth.theta)
    assert_allclose(z.mean(), 0.0, atol=0.02)
    assert_allclose((z**2).mean(), 1.0, atol=0.1)


def test_pooled_effects_of_confounded_perturbations_are_biased_and_those_of_good_cells_are_not(screen):
    data, truth = screen
    treated = treatments(data)
    singles = np.searchsorted(treated.labels, data.perturbation_names)
    # of perturbations that do nothing the true effect is known without any model of counts: zero
    nothing = ~truth.mask.any(axis=1)
    seen = np.asarray((data.x > 0).mean(axis=0)).ravel() > 0.2

    def mean_square(cells, chosen):
        effects = data_effects(data, treated, cells)
        assert_array_equal(effects.labels, treated.labels)
        z = (effects.ate / effects.standard_error)[singles[chosen]][:, seen]
        return (z**2).mean()

    everything, good = np.arange(data.n_cells), np.flatnonzero(~truth.failed)
    assert mean_square(everything, nothing & truth.confounded) > 4.0
    assert 0.4 < mean_square(everything, nothing & ~truth.confounded) < 1.8
    for chosen in (nothing & truth.confounded, nothing & ~truth.confounded):
        assert 0.4 < mean_square(good, chosen) < 1.8


def test_true_labels_are_one_criterion(screen):
    data, truth = screen
    assert data.criteria == (CRITERION,) and data.quality_rule is None
    assert_array_equal(data.failed[:, 0], truth.failed)
    assert_array_equal(data.of_good_quality().split == "none", truth.failed)


def test_measured_labels_come_from_the_counts_and_find_most_failed_cells(screen):
    data, truth = simulate_artifacts(replace(SMALL, labels="measured"), seed=3)
    assert_array_equal(data.x.toarray(), screen[0].x.toarray())
    assert_array_equal(truth.failed, screen[1].failed)
    assert data.criteria == data.quality_rule.names and "percent_mito" in data.criteria
    assert_array_equal(data.failed, data.quality_rule.failed(cell_statistics(data.x, data.gene_names)))
    of_failed, of_good = data.is_failed[truth.failed].mean(), data.is_failed[~truth.failed].mean()
    assert of_failed > 0.4 and of_good < 0.5 * of_failed


def test_a_seed_decides_every_bit(screen):
    (data, truth), (again, its_truth), (other, _) = screen, *(simulate_artifacts(SMALL, seed=s) for s in (3, 4))
    assert_array_equal(data.x.toarray(), again.x.toarray())
    assert_array_equal(data.gene_names, again.gene_names)
    for left, right in zip(truth, its_truth, strict=True):
        assert_array_equal(left, right)
    assert (data.x != other.x).nnz > 0


def test_it_is_a_simulation_of_the_table():
    assert simulation("artifacts").simulate is simulate_artifacts
    assert simulation("artifacts").config is ArtifactSimulationConfig


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"failed_share": 1.0}, "failed_share must be >= 0.0 and < 1.0, got 1.0"),
        ({"confounding": 1.5}, "confounding must be >= 0.0 and <= 1.0, got 1.5"),
        ({"interaction": -0.1}, "interaction must be >= 0.0 and <= 1.0, got -0.1"),
        ({"n_confounded": 101}, "n_confounded must be >= 0 and <= 100, got 101"),
        ({"failed_total": 0.0}, "failed_total must be > 0.0, got 0.0"),
        ({"n_genes": 20}, r"n_mito_genes \(13\) and n_ribo_genes \(8\) are more than n_genes \(20\)"),
        ({"labels": "measure"}, "unknown labels 'measure'. Did you mean 'measured'"),
        ({"max_active": 13}, r"max_active \(13\) cannot exceed n_latent \(12\)"),
    ],
)
def test_impossible_screens_are_refused(option, message):
    with pytest.raises(InputError, match=message):
        ArtifactSimulationConfig(**option)


def test_negative_seeds_are_refused():
    with pytest.raises(InputError, match="seed must be >= 0, got -1"):
        simulate_artifacts(SMALL, seed=-1)
