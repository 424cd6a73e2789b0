"""A fitted causal model read for contexts: densities are exact sums over targets, draws follow the equations."""

from dataclasses import replace
from itertools import product

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit, logsumexp
from scipy.stats import multivariate_normal

import samsjax
from samsjax.data.gim_simulation import GIMSimulationConfig, draw_gim
from samsjax.data.random_graphs import erdos_renyi
from samsjax.data.structural import StructuralModel, draw_mechanisms, linear_moments
from samsjax.errors import InputError
from samsjax.evaluation.interventions import contexts_of
from samsjax.evaluation.interventions.gim import Causes, read_gim
from samsjax.models import GIMConfig
from samsjax.models.gim_interventions import read_network
from samsjax.models.gim_training import noise_of
from samsjax.models.mechanisms import Interventions, Mechanisms, cell_terms


def causes(intervention, mechanism="linear", widening=0.3):
    """A model of three variables and two perturbations with uncertain targets."""
    rng = np.random.default_rng(0)
    graph = erdos_renyi(rng, 3, 1)
    model = StructuralModel(graph, draw_mechanisms(rng, graph, mechanism), rng.uniform(0.4, 1, 3))
    log_odds, strengths = rng.normal(size=(2, 3)), rng.normal(0, 2, (2, 3))
    return Causes(model, intervention, np.zeros((3, 3)), log_odds, strengths, np.full((2, 3), widening))


def every_target_set(found, context):
    """Probability, mean and covariance of cells for all sets of targets."""
    sets = np.array(list(product([False, True], repeat=3)))
    probability = expit(found.target_log_odds[context])
    weight = np.where(sets, probability, 1 - probability).prod(axis=1)
    strengths = np.broadcast_to(found.strengths[context], sets.shape)
    factor = np.exp(np.where(sets, found.widening[context], 0.0))
    return weight, *linear_moments(found.model, sets, strengths, found.intervention, factor)


@pytest.mark.parametrize("intervention", ["shift", "hard"])
def test_densities_sum_over_all_sets_of_targets(intervention):
    found = causes(intervention)
    cells = np.random.default_rng(1).normal(size=(5, 3))
    weight, means, covariances = every_target_set(found, 1)
    logs = [multivariate_normal(m, c).logpdf(cells).sum() for m, c in zip(means, covariances, strict=True)]
    assert_allclose(found.log_likelihood(cells, 1), logsumexp(logs, b=weight), rtol=1e-10)


@pytest.mark.parametrize("intervention", ["shift", "hard"])
def test_predictions_are_mixtures_over_targets(intervention):
    found = causes(intervention)
    (prediction,) = found.predict(np.array([1]), 20_000, np.random.default_rng(0))
    weight, means, covariances = every_target_set(found, 1)
    assert_allclose(prediction.means.mean(axis=0), weight @ means, atol=4 * means.std() / 10)
    assert {tuple(m) for m in prediction.means.round(6)} <= {tuple(m) for m in means.round(6)}
    # Cells are drawn from the 100 drawn contexts.
    assert_allclose(prediction.cells.mean(axis=0), prediction.mean, atol=0.06)
    assert_allclose(prediction.cells.var(axis=0), prediction.sd**2 + prediction.means.var(axis=0), rtol=0.06)
    assert_allclose(prediction.target_scores, found.target_log_odds[1])
    cells = means[:2]
    assert_allclose(prediction.log_likelihood(cells), found.log_likelihood(cells, 1))
    assert np.diagonal(covariances, axis1=1, axis2=2).min() > 0


def test_nonlinear_predictions_have_the_moments_of_their_cells():
    found = causes("shift", mechanism="mlp")
    (prediction,) = found.predict(np.array([0]), 20_000, np.random.default_rng(0))
    assert_allclose(prediction.cells.mean(axis=0), prediction.mean, atol=0.25)
    assert_allclose(prediction.cells.std(axis=0) ** 2, prediction.sd**2 + prediction.means.var(axis=0), rtol=0.3)


def test_known_targets_leave_no_doubt():
    found = causes("shift").with_targets(np.array([[True, False, False], [False, False, False]]))
    certain, none = found.predict(np.array([0, 1]), 10, np.random.default_rng(0))
    assert_allclose(certain.means, np.broadcast_to(certain.means[0], certain.means.shape))
    expected = linear_moments(found.model, np.zeros((1, 3), bool), np.zeros((1, 3)), "shift")[0]
    assert_allclose(none.means, np.broadcast_to(expected, none.means.shape))
    assert np.abs(certain.means[0] - none.means[0]).max() > 0.1


def test_decided_targets_are_those_more_probable_than_not():
    found = causes("hard")
    assert_allclose(found.decided().target_log_odds > 0, found.target_log_odds > 0)
    assert np.isin(expit(found.decided().target_log_odds).round(12), (0, 1)).all()


@pytest.fixture(scope="module")
def fitted():
    """A fit of two steps: what is read does not depend on how good it is."""
    config = GIMSimulationConfig(
        n_variables=4, edges_per_node=1, n_train_functions=4, n_test_functions=1, n_features=3, cells_per_context=6
    )
    data, truth = draw_gim(config, seed=0)
    data = replace(data, x=data.x * 2 + 1)  # on a scale of its own
    model = GIMConfig(n_restarts=1, n_polish_steps=2, n_hidden=4, n_layers=1)
    return data, truth, samsjax.fit(data, model, seed=0, progress=False, graph=truth.graph.astype(float))


def test_a_fitted_model_is_read_on_the_scale_of_the_data(fitted):
    data, truth, found = fitted
    causes_ = read_gim(found)
    assert (causes_.model.graph == truth.graph).all()
    test = contexts_of(data, "test")
    cells, context = test.cells[0], int(test.numbers[0])
    params, statistics = found.params, found.statistics
    said = read_network(params["interventions"], statistics.features.values)
    mechanisms, graph = Mechanisms(params["mechanisms"], noise_of(params["log_noise"])), params["graph_decided"]
    scale = statistics.genes
    u = jnp.asarray((cells - scale.mean) / scale.std, jnp.float32)
    for hit in (np.zeros(4), np.array([1.0, 0.0, 1.0, 0.0])):
        without, as_target = cell_terms("shift", mechanisms, graph, Interventions(said["shift"][context], 0.0), u)
        expected = (hit * as_target + (1 - hit) * without).sum() - len(cells) * np.log(scale.std).sum()
        exact = causes_.with_targets(np.tile(hit > 0, (data.n_perturbations, 1))).log_likelihood(cells, context)
        assert_allclose(exact, float(expected), rtol=1e-4)
    assert_allclose(causes_.target_log_odds[context], said["target_logits"][context], rtol=1e-5)


def test_only_causal_models_are_read(fitted):
    with pytest.raises(InputError, match="not from SAMSVAEConfig"):
        read_gim(replace(fitted[2], config=samsjax.SAMSVAEConfig()))
