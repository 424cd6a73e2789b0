"""Departures from additivity: none in a linear model, known ones in the data, and what is said where parts lack."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from samsjax.data import PerturbationData
from samsjax.effects import cells, offset, perturbations
from samsjax.errors import InputError
from samsjax.evaluation.interactions import interactions
from samsjax.evaluation.model_effects import EffectsConfig
from samsjax.inference.fitted import Fitted, statistics_of, vocabulary_of
from samsjax.types import ModelGuide
from tests import small

CONDITIONS = {"control": {}, "A": {0: 1}, "B": {1: 1}, "C": {2: 1}, "A+B": {0: 1, 1: 1}, "A+B+C": {0: 1, 1: 1, 2: 1}}
COUNTS = EffectsConfig(transform="counts")
EFFECT = jnp.array([[1.0, 0.0], [0.0, -2.0], [0.5, 0.5], [0.0, 1.0]])
LOADING = jnp.array([[1.0, 0.0, 2.0, 0.0], [0.0, 1.0, -1.0, 3.0]])
FEW = {"n_draws": 8, "n_cells": 4}


def screen(conditions=CONDITIONS, n_cells=6, seed=0) -> PerturbationData:
    """Continuous values of 4 genes, `n_cells` cells for each condition (name -> doses by perturbation)."""
    rng = np.random.default_rng(seed)
    index, dosage = np.zeros((len(conditions) * n_cells, 3), int), np.zeros((len(conditions) * n_cells, 3))
    for place, doses in enumerate(conditions.values()):
        rows = slice(place * n_cells, (place + 1) * n_cells)
        index[rows, : len(doses)], dosage[rows, : len(doses)] = list(doses), list(doses.values())
    values = rng.normal(3, 1, (len(index), 4))
    data = small.gaussian_data(values, np.arange(len(index)) % 4, np.ones(len(index)), np.full(len(index), "train"))
    return replace(
        data,
        perturbation_index=index.astype(np.int32),
        dosage=dosage.astype(np.float32),
        perturbation_names=np.array(list("ABCD")),
    )


def model_of(data: PerturbationData, curvature: float = 0.0) -> Fitted:
    """Latent offsets with a guide N(EFFECT, 0.2); genes linear in them, plus `curvature` times their squares."""

    def model(batch):
        with perturbations(batch):
            effect = numpyro.sample("E", dist.Normal(jnp.zeros((batch.rows.shape[0], 2)), 1.0).to_event(1))
        with cells(batch):
            z = numpyro.sample("z_basal", dist.Normal(jnp.zeros((batch.dosage.shape[0], 2)), 1.0).to_event(1))
            state = z + offset(effect, batch)
            mean = (state + curvature * state**2) @ LOADING
            numpyro.sample("x", dist.Normal(mean, 0.3).to_event(1), obs=batch.x)

    def guide(batch):
        with perturbations(batch):
            numpyro.sample("E", dist.Normal(EFFECT[batch.rows], 0.2).to_event(1))
        with cells(batch):
            numpyro.sample("z_basal", dist.Normal(jnp.zeros((batch.dosage.shape[0], 2)), 1.0).to_event(1))

    fitted = Fitted(
        config=small.MODEL,
        vocabulary=vocabulary_of(data),
        statistics=statistics_of(data, "none"),
        library_sizes=np.ones(4, np.float32),
        n_training_cells=np.array([3, 3, 2, 1], np.int32),
        covariate_codes=np.zeros((1, 0), np.int32),
        covariate_shares=np.ones(1, np.float32),
        params={},
    )
    fitted.__dict__["build"] = lambda statistics: ModelGuide(model, guide, 4, 4)  # in place of the cached property
    return fitted


def test_a_linear_model_has_no_departure_in_any_draw():
    data = screen()
    found = interactions(jax.random.key(0), model_of(data), data, config=COUNTS, **FEW)
    assert_array_equal(found.labels, ["A+B", "A+B+C"])
    for values in (found.model, found.model_sd, found.model_low, found.model_high):
        assert_allclose(values, 0.0, atol=2e-5)
    assert_array_equal(found.reason, "")


def test_departures_of_a_curved_model_are_known():
    """The square of a sum departs from the sum of squares by twice the products of the parts, whatever the cell."""
    data = screen()
    settings = {"config": COUNTS, "n_draws": 400, "n_cells": 2}
    found = interactions(jax.random.key(0), model_of(data, curvature=0.5), data, **settings)
    pairs = [[(0, 1)], [(0, 1), (0, 2), (1, 2)]]
    known = np.array([sum(EFFECT[a] * EFFECT[b] for a, b in of_one) for of_one in pairs]) @ np.asarray(LOADING)
    assert np.abs(found.model - known).max() < 5 * found.model_sd.max() / np.sqrt(400)
    assert (found.model_low < found.model).all() and (found.model < found.model_high).all()
    alone = interactions(jax.random.key(0), model_of(data, curvature=0.5), data, **settings, host_values=1)
    assert_allclose(alone.model, found.model, atol=1e-4)


def test_measured_departures_are_those_of_a_hand_computation():
    data = screen()
    found = interactions(jax.random.key(0), model_of(data), data, config=COUNTS, **FEW)
    groups = dict(zip(CONDITIONS, data.x.astype(np.float64).reshape(len(CONDITIONS), 6, 4), strict=True))
    m = {name: group.mean(axis=0) for name, group in groups.items()}
    v = {name: group.var(axis=0, ddof=1) / 6 for name, group in groups.items()}
    pair = m["A+B"] - m["A"] - m["B"] + m["control"]
    triple = m["A+B+C"] - m["A"] - m["B"] - m["C"] + 2 * m["control"]
    assert_allclose(found.data, [pair, triple], rtol=1e-5, atol=1e-6)
    error = [v["A+B"] + v["A"] + v["B"] + v["control"], v["A+B+C"] + v["A"] + v["B"] + v["C"] + 4 * v["control"]]
    assert_allclose(found.data_se, np.sqrt(error), rtol=1e-5)


def test_standard_error_is_the_spread_of_repeated_screens():
    fitted = model_of(screen())
    runs = [interactions(jax.random.key(0), fitted, screen(seed=i), config=COUNTS, **FEW) for i in range(150)]
    observed = np.std([run.data for run in runs], axis=0).mean(axis=1)
    claimed = np.sqrt(np.mean([run.data_se**2 for run in runs], axis=0)).mean(axis=1)
    assert_allclose(claimed, observed, rtol=0.15)
    # No departure is real, so few are called: of 300 combinations at most a tenth has any.
    assert np.mean([run.summary.significant > 0 for run in runs]) < 0.15


def test_summaries_are_those_of_the_rows():
    data = screen()
    data = replace(data, x=data.x + np.where((data.dosage != 0).sum(axis=1) == 2, 50, 0)[:, None] * [1, 0, 0, 0])
    found = interactions(jax.random.key(0), model_of(data, curvature=0.5), data, config=COUNTS, **FEW)
    assert_allclose(found.summary.data_norm, np.linalg.norm(found.data, axis=1), rtol=1e-6)
    assert_allclose(found.summary.model_norm, np.linalg.norm(found.model, axis=1), rtol=1e-6)
    assert_allclose(found.summary.noise_norm, np.linalg.norm(found.data_se, axis=1), rtol=1e-6)
    assert_allclose(found.summary.correlation[0], stats.pearsonr(found.model[0], found.data[0])[0], rtol=1e-4)
    assert found.summary.significant[0] >= 0.25


def test_a_part_never_measured_alone_is_said_and_still_predicted():
    conditions = {
        "control": {},
        "A": {0: 1},
        "B": {1: 1},
        "A+B": {0: 1, 1: 1},
        "A+C": {0: 1, 2: 1},
        "B@2": {0: 1, 1: 2},
    }
    data = screen(conditions)
    fitted = model_of(data, curvature=0.5)
    found = interactions(jax.random.key(0), fitted, data, config=COUNTS, **FEW)
    assert_array_equal(found.labels, ["A+B", "A+B@2", "A+C"])
    reasons = ["", "no cells of B@2 among those measured", "no cells of C among those measured"]
    assert_array_equal(found.reason, reasons)
    assert_array_equal(np.isnan(found.data).all(axis=1), [False, True, True])
    assert np.isfinite(found.model).all()
    assert_array_equal(np.isnan(found.summary.significant), [False, True, True])
    # Held-out cells: a combination outside `cells` is listed, too.
    few = interactions(jax.random.key(0), fitted, data, np.arange(18), config=COUNTS, **FEW)
    assert few.reason[0] == "no cells of A+B among those measured"


def test_a_part_without_training_cells_is_not_predicted():
    data = screen()
    fitted = replace(model_of(data), n_training_cells=np.array([3, 3, 0, 1], np.int32))
    fitted.__dict__["build"] = model_of(data).build
    found = interactions(jax.random.key(0), fitted, data, config=COUNTS, **FEW)
    assert_array_equal(found.reason, ["", "no training cells of C"])
    assert_array_equal(np.isnan(found.model).all(axis=1), [False, True])
    assert np.isfinite(found.data).all()


def test_data_without_combinations_and_of_another_vocabulary_are_refused():
    data = screen({"control": {}, "A": {0: 1}})
    with pytest.raises(InputError, match="no combination of perturbations"):
        interactions(jax.random.key(0), model_of(data), data, config=COUNTS)
    with pytest.raises(InputError, match="not encoded in the model's vocabulary"):
        other = replace(data, perturbation_names=np.array(list("ABCE")))
        interactions(jax.random.key(0), model_of(data), other, config=COUNTS)
    data = screen({"A": {0: 1}, "A+B": {0: 1, 1: 1}})
    with pytest.raises(InputError, match="no control cells"):
        interactions(jax.random.key(0), model_of(data), data, config=COUNTS)
