"""Dose-response curves: known values of a linear-Gaussian model whose effects grow along known Hill curves."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from samsjax.data import treatments
from samsjax.effects import cells, offset, perturbations
from samsjax.errors import InputError
from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.dose_response import dose_responses
from samsjax.evaluation.model_effects import EffectsConfig
from samsjax.inference.fitted import Fitted, Vocabulary, statistics_of
from samsjax.models.doses import HALF_DOSE, STEEPNESS, gates
from samsjax.types import ModelGuide
from tests import small
from tests.evaluation.toy_screens import screen_of

EFFECT = jnp.array([[2.0, 0.0], [0.0, -1.0], [0.5, 0.5]])
LOADING = jnp.array([[1.0, 0.0, 3.0], [0.0, 1.0, -1.0]])
HALF, STEEP = np.array([2.0, 50.0, 1.0]), 2.0
SD = 0.2
CONFIG = EffectsConfig(transform="counts")
GENES = ("a", "b", "c")


def toy(*, curved):
    """x = (z + gate x EFFECT) LOADING + noise, with q(log K) = N(log HALF, SD) and no other doubt; else gate = dose."""
    sites = {HALF_DOSE: (np.log(HALF)[:, None], SD), STEEPNESS: (np.full((3, 1), np.log(STEEP)), 1e-6)}

    def shared(batch, of_guide):
        with perturbations(batch):
            effect = numpyro.sample("E", dist.Normal(EFFECT[batch.rows], 1e-6 if of_guide else 1.0).to_event(1))
            draws = {
                name: numpyro.sample(name, dist.Normal(jnp.asarray(mean)[batch.rows], sd).to_event(1))
                for name, (mean, sd) in sites.items()
                if curved
            }
        return effect, draws

    def model(batch):
        effect, draws = shared(batch, of_guide=False)
        with cells(batch):
            z = numpyro.sample("z_basal", dist.Normal(jnp.zeros((batch.dosage.shape[0], 2)), 1.0).to_event(1))
            mean = (z + offset(effect, batch, gates(draws, batch))) @ LOADING
            numpyro.sample("x", dist.Normal(mean, 0.3).to_event(1), obs=batch.x)

    def guide(batch):
        shared(batch, of_guide=True)
        with cells(batch):
            numpyro.sample("z_basal", dist.Normal(jnp.zeros((batch.dosage.shape[0], 2)), 1.0).to_event(1))

    data = small.gaussian_data(np.zeros((8, 3)), np.arange(8) % 3, np.ones(8), np.full(8, "train"))
    fitted = Fitted(
        config=small.MODEL,
        vocabulary=Vocabulary(GENES, ("A", "B", "C"), "ctrl", "+", "ones", 1.0, {}),
        statistics=statistics_of(data, "none"),
        library_sizes=np.ones(4, np.float32),
        n_training_cells=np.array([3, 3, 2], np.int32),
        covariate_codes=np.zeros((1, 0), np.int32),
        covariate_shares=np.ones(1, np.float32),
        params={},
    )
    fitted.__dict__["build"] = lambda statistics: ModelGuide(model, guide, 3, 3)  # in place of the cached property
    return fitted


@pytest.fixture(scope="module")
def screen():
    """A at four doses, B at two, C at one alone and at another beside A."""
    labels = ["ctrl", "A", "A", "A", "A", "B", "B", "C", "A+C"]
    doses = [1, 30, 0.1, 1, 10, 10, 200, 1, 3]
    treated = treatments(screen_of(labels, np.ones((9, 3), np.int64), doses=np.array(doses, float)))
    gate = np.where(
        treated.dosage > 0, 1 / (1 + (HALF[treated.perturbation_index] / np.maximum(treated.dosage, 1e-9)) ** STEEP), 0
    )
    effect = (gate[..., None] * np.asarray(EFFECT)[treated.perturbation_index]).sum(axis=1) @ np.asarray(LOADING)
    exact = AverageEffects(treated.labels, effect, np.full_like(effect, 0.1), np.zeros(3), "counts")
    keep = treated.labels != "A"  # at dose 1
    measured = exact._replace(
        labels=exact.labels[keep], ate=effect[keep] + 0.05, standard_error=exact.standard_error[keep]
    )
    return SimpleNamespace(treated=treated, predicted=exact, measured=measured)


@pytest.fixture(scope="module")
def found(screen):
    sizes = {"n_genes": 2, "n_doses": 5, "n_draws": 400, "n_cells": 2}
    tables = (screen.treated, screen.predicted, screen.measured)
    return dose_responses(jax.random.key(0), toy(curved=True), *tables, CONFIG, **sizes)


def test_perturbations_with_several_doses_alone_are_shown_the_largest_first(found, screen):
    assert [one.perturbation for one in found] == ["A", "B"]
    assert found[0].genes.tolist() == ["c", "a"]
    assert set(found[1].genes) == {"b", "c"}
    one = dose_responses(
        jax.random.key(0),
        toy(curved=True),
        screen.treated,
        screen.predicted,
        screen.measured,
        CONFIG,
        n_perturbations=1,
        n_genes=1,
        n_doses=5,
        n_draws=4,
        n_cells=2,
    )
    assert [(r.perturbation, r.genes.tolist()) for r in one] == [("A", ["c"])]


def test_doses_reach_beyond_those_that_were_given(found):
    for one, (low, high) in zip(found, [(0.1, 30), (10, 200)], strict=True):
        assert_allclose(one.dose[[0, -1]], [low / 2, high * 2])
        assert_allclose(np.diff(np.log(one.dose)), np.log(one.dose[1] / one.dose[0]))


def curve(dose, log_half):
    return 1 / (1 + (np.exp(log_half) / dose) ** STEEP)


@pytest.mark.parametrize("place", [0, 1])
def test_effects_and_intervals_follow_the_curve(found, place):
    """Quantiles of a monotone function are the function of quantiles."""
    one, normal = found[place], [-1.6449, -0.6745, 0.6745, 1.6449]
    full = np.asarray(EFFECT @ LOADING)[place][[GENES.index(gene) for gene in one.genes]]
    gates_at = [curve(one.dose, np.log(HALF[place]) - SD * q)[:, None] for q in normal]
    for low_to_high, gate in zip(one.gate[1:], gates_at, strict=True):
        assert_allclose(low_to_high, gate, atol=0.03)
    # A gate of draws is that of the dose's distance to the half dose, which has a standard error of SD / 20.
    for gene, size in enumerate(full):
        ends = [size * gate[:, 0] for gate in (gates_at if size > 0 else gates_at[::-1])]
        for band, end in zip(one.effect[1:], ends, strict=True):
            assert_allclose(band[:, gene], end, atol=0.04 * abs(size))
        assert_allclose(one.effect.mean[:, gene], size * one.gate.mean[:, 0], atol=0.04 * abs(size))


@pytest.mark.parametrize("place", [0, 1])
def test_half_doses_are_in_units_of_dose(found, place):
    half = found[place].half_dose
    assert_allclose(half.mean, HALF[place], rtol=0.05)
    assert_allclose([half.low_90[0], half.high_50[0]], HALF[place] * np.exp([-1.645 * SD, 0.6745 * SD]), rtol=0.08)


def test_measured_effects_stand_at_their_doses_and_unmeasured_ones_are_unknown(found, screen):
    seen = found[0].observed
    assert_allclose(seen.dose, [0.1, 1, 10, 30])
    assert np.isnan(seen.effect).tolist() == [[False] * 2, [True] * 2, [False] * 2, [False] * 2]
    row = screen.predicted.labels.tolist().index("A@30")
    assert_allclose(seen.effect[-1], screen.predicted.ate[row, [2, 0]] + 0.05)
    assert_allclose(seen.standard_error[[0, 2, 3]], 0.1)


def test_a_linear_model_has_lines_and_no_gates(screen):
    tables = (screen.treated, screen.predicted, screen.measured)
    sizes = {"n_genes": 1, "n_doses": 3, "n_draws": 4, "n_cells": 2}
    first = dose_responses(jax.random.key(0), toy(curved=False), *tables, CONFIG, **sizes)[0]
    assert first.gate is None and first.half_dose is None
    assert_allclose(first.effect.mean[:, 0], 6.0 * first.dose, rtol=1e-3)


def test_nothing_is_said_where_the_model_is_silent_or_no_dose_varies(screen):
    silent = screen.predicted._replace(ate=np.full_like(screen.predicted.ate, np.nan))
    assert dose_responses(jax.random.key(0), toy(curved=False), screen.treated, silent, screen.measured, CONFIG) == []
    once = treatments(screen_of(["ctrl", "A", "B"], np.ones((3, 3), np.int64)))
    effects = AverageEffects(once.labels, np.ones((2, 3)), np.ones((2, 3)), np.zeros(3), "counts")
    assert dose_responses(jax.random.key(0), toy(curved=False), once, effects, effects, CONFIG) == []
    with pytest.raises(InputError, match="n_doses"):
        dose_responses(jax.random.key(0), toy(curved=False), once, effects, effects, CONFIG, n_doses=1)


def test_the_same_key_gives_the_same_bits(screen):
    tables = (screen.treated, screen.predicted, screen.measured)
    sizes = {"n_doses": 3, "n_draws": 4, "n_cells": 2}
    one, two = (dose_responses(jax.random.key(1), toy(curved=True), *tables, CONFIG, **sizes)[0] for _ in range(2))
    assert_array_equal(one.effect.mean, two.effect.mean)
    assert_array_equal(one.gate.low_90, two.gate.low_90)
