"""What CRADLE-VAE is for: effects and cells of good quality where poor quality goes with perturbations."""

import jax
import numpy as np
import pytest

import samsjax
from samsjax.data.artifact_simulation import simulate_artifacts
from samsjax.evaluation import counterfactual, generate_cells, true_effects
from samsjax.evaluation.quality import QualityConfig, disentanglement

pytestmark = pytest.mark.slow
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def screen():
    return simulate_artifacts(seed=0)


@pytest.fixture(scope="module")
def cradle(screen):
    return samsjax.fit(screen[0], samsjax.CRADLEVAEConfig(), seed=0, progress=False)


def error_of_confounded(fitted, data, truth):
    """Root mean square over genes and confounded treatments."""
    treated = samsjax.treatments(data)
    true = true_effects(data, treated, truth).ate
    arms = (treated.labels, treated.perturbation_index, treated.dosage)
    found = samsjax.model_effects(KEY, fitted, *arms, samsjax.EffectsConfig(n_particles=300)).ate
    confounded = (truth.confounded[treated.perturbation_index] & (treated.dosage > 0)).any(axis=1)
    return np.sqrt(((found - true)[confounded] ** 2).mean())


def test_effects_on_good_cells_are_better_than_those_of_a_model_that_does_not_know_quality(screen, cradle):
    sams = samsjax.fit(screen[0], samsjax.SAMSVAEConfig(), seed=0, progress=False)
    assert error_of_confounded(cradle, *screen) < 0.6 * error_of_confounded(sams, *screen)


def test_masks_are_recovered(screen, cradle):
    effects = samsjax.posterior_effects(KEY, cradle)
    assert samsjax.mask_agreement(screen[1].mask, effects.mask).f1 > 0.9


def test_the_artefact_is_recovered_in_cells(screen, cradle):
    """Failed cells made good are nearer to their truth than decoded as they are; good cells stay."""
    data, truth = screen
    failed = np.flatnonzero(truth.failed & (data.split == "test"))
    good = truth.good_mean[failed]
    wanted = np.log2(1 + 1e4 * good / good.sum(axis=1, keepdims=True))
    made_good, as_is = (
        counterfactual(KEY, cradle, data, failed, fails, transform="log2_cp10k") for fails in ((), None)
    )
    assert ((made_good - wanted) ** 2).mean() < 0.5 * ((as_is - wanted) ** 2).mean()


def test_generated_cells_have_the_mitochondrial_share_of_their_quality(screen, cradle):
    data, truth = screen
    mito = np.char.startswith(data.gene_names.astype(str), "MT-")
    share = np.asarray(data.x[:, mito].sum(axis=1)).ravel() / data.library_size
    nothing, none = np.zeros(1, int), np.zeros(1, np.float32)
    for fails, cells in (((), ~truth.failed), (cradle.vocabulary.artifacts, truth.failed)):
        x = generate_cells(KEY, cradle, nothing, none, 1000, samsjax.EffectsConfig(fails=fails)).x
        found = x[:, mito].sum() / x.sum()
        measured = np.average(share[cells & data.is_control], weights=data.library_size[cells & data.is_control])
        assert found == pytest.approx(measured, rel=0.15)


def test_a_cell_encoded_as_good_says_little_of_its_quality(screen, cradle):
    """Which is what the penalty is about: the same cells' counts tell quality almost surely."""
    found = disentanglement(KEY, cradle, screen[0], screen[0].cells("test"), QualityConfig())
    hidden = found["z_basal_label_hidden"]["mlp"].auroc
    assert hidden < 0.7 and found["counts"]["mlp"].auroc > 0.97
    assert hidden < found["offset"]["mlp"].auroc + 0.05  # as little as the perturbation, which goes with quality, says
