"""Training of models with a graph: what it recovers, what it keeps, and what it refuses."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import samsjax
from samsjax.causal.graphs import is_acyclic
from samsjax.causal.metrics import average_precision, graph_agreement
from samsjax.data.gim_simulation import GIMSimulationConfig, draw_gim
from samsjax.errors import InputError
from samsjax.evaluation.posterior_effects import posterior_effects
from samsjax.inference.climbing import compiled_for
from samsjax.inference.contexts import known_structure
from samsjax.models import GIMConfig
from tests.experiments.doors import assert_same_bits

SMALL = GIMSimulationConfig(
    n_variables=4, edges_per_node=1, n_features=6, n_train_functions=8, n_test_functions=2, n_control_cells=120
)
MODEL = GIMConfig(n_hidden=8, n_layers=1, n_polish_steps=120, multiplier_interval=60, n_restarts=2, n_searches=3)


@pytest.fixture(scope="module")
def screen():
    return draw_gim(SMALL, seed=1)


@pytest.fixture(scope="module")
def fitted(screen):
    return samsjax.fit(screen[0], MODEL, seed=0, progress=False)


def test_a_searched_graph_is_acyclic_and_explains_the_screen(screen, fitted):
    truth = screen[1]
    assert is_acyclic(fitted.fit.graph)
    assert graph_agreement(truth.model.graph, fitted.fit.graph, fitted.fit.edge_log_odds).shd <= 1
    assert np.isfinite([row["train_objective"] for row in fitted.history]).all()
    assert fitted.fit.start == int(np.argmax(fitted.fit.start_scores))
    assert fitted.history[-1]["val_elbo"] == pytest.approx(max(fitted.fit.start_scores), rel=1e-5)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(screen, fitted):
    again = samsjax.fit(screen[0], MODEL, seed=0, progress=False)
    assert_same_bits(again.params, fitted.params)
    other = samsjax.fit(screen[0], MODEL, seed=1, progress=False)
    assert not np.array_equal(other.params["target_residual"], fitted.params["target_residual"])


def test_nothing_is_compiled_again_for_other_multipliers(screen, fitted):
    """Stretches of one fit, and fits of other seeds, run what was compiled for the first."""
    before = compiled_for.cache_info().misses
    result = samsjax.fit(screen[0], MODEL, seed=2, progress=False).fit
    assert compiled_for.cache_info().misses == before
    assert result.n_steps == 120 and len(result.history) == 2


def test_posterior_of_targets_is_their_conditional_given_all_cells(screen, fitted):
    """log odds: features + gain in likelihood; the rows without training cells have no gain."""
    unseen = fitted.n_training_cells == 0
    assert (np.asarray(fitted.params["target_residual"])[unseen] == 0).all()
    effects = posterior_effects(jax.random.key(0), fitted, 2)
    truth = screen[1].targets
    assert average_precision(truth[~unseen], effects.inclusion_probability[~unseen]) > 0.8


def test_a_saved_model_says_the_same(screen, fitted, tmp_path):
    samsjax.save(fitted, tmp_path / "model")
    loaded = samsjax.load(tmp_path / "model")
    assert_same_bits(loaded.params, fitted.params)
    assert loaded.config == fitted.config


def test_known_graphs_and_targets_stay(screen):
    data, truth = screen
    graph = np.triu(np.ones((4, 4)), k=1)
    targets = np.where(np.arange(data.n_perturbations)[:, None] < 3, truth.targets.astype(float), np.nan)
    result = samsjax.fit(data, MODEL, seed=0, progress=False, graph=graph, targets=targets)
    assert (result.fit.graph == graph).all()
    effects = posterior_effects(jax.random.key(0), result, 2)
    assert ((effects.inclusion_probability[:3] > 0.999) == truth.targets[:3]).all()
    assert ((effects.inclusion_probability[:3] < 0.001) == ~truth.targets[:3]).all()


@pytest.mark.slow
@pytest.mark.parametrize("acyclicity", ["trexp", "poly", "spectral", "logdet"])
def test_gradients_find_an_acyclic_graph(screen, acyclicity):
    """Whatever the seed, the decided graph has no cycle, and the constraint has come down."""
    model = replace(MODEL, graph="free", acyclicity=acyclicity, n_steps=900, n_graphs=2, multiplier_growth=2.0)
    result = samsjax.fit(screen[0], model, seed=0, progress=False).fit
    assert is_acyclic(result.graph)
    assert result.constraint < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"objective": "elbo"}, {"objective": "ratio"}, {"mechanisms": "mlp"}])
def test_other_objectives_and_mechanisms_learn(screen, settings):
    model = replace(MODEL, n_polish_steps=300, n_graphs=4, context_batch=16, **settings)
    result = samsjax.fit(screen[0], model, seed=0, progress=False)
    climbed = [row["train_objective"] for row in result.history]
    assert climbed[-1] > climbed[0] + 0.1
    assert is_acyclic(result.fit.graph)


@pytest.mark.slow
def test_targets_are_found_under_the_true_graph():
    """At ten variables and twenty features, means of three screens; about half a minute."""
    found = []
    for seed in range(3):
        data, truth = draw_gim(GIMSimulationConfig(n_variables=10), seed=seed)
        graph = truth.model.graph.astype(float)
        result = samsjax.fit(data, GIMConfig(n_restarts=2), seed=0, progress=False, graph=graph)
        inclusion = posterior_effects(jax.random.key(0), result, 2).inclusion_probability
        for rows in (result.n_training_cells > 0, truth.group == "fully"):
            found.append(average_precision(truth.targets[rows], inclusion[rows]))
    assert np.mean(found[::2]) >= 0.95
    assert np.mean(found[1::2]) >= 0.90


@pytest.mark.slow
def test_the_graph_is_found():
    """Goal: edge AP of 0.8 and six wrong edges; the search does better."""
    for seed in range(3):
        data, truth = draw_gim(GIMSimulationConfig(n_variables=10), seed=seed)
        result = samsjax.fit(data, GIMConfig(n_restarts=1, n_polish_steps=100), seed=0, progress=False).fit
        agreement = graph_agreement(truth.model.graph, result.graph, result.edge_log_odds)
        assert agreement.shd <= 2
        assert agreement.edge_average_precision >= 0.95


def test_unusable_data_are_refused(screen):
    data = screen[0]
    config = replace(MODEL, amortised=False)
    with pytest.raises(InputError, match="doses-as-unique"):
        samsjax.fit(replace(data, dosage=data.dosage * 0.5), config, progress=False)
    with pytest.raises(InputError, match=r"log-normalise.*metacells"):
        samsjax.fit(replace(data, x=np.rint(data.x).astype(np.int32)), config, progress=False)
    two = {name: np.repeat(getattr(data, name), 2, axis=1) for name in ("perturbation_index", "dosage")}
    with pytest.raises(InputError, match="combinations-as-unique"):
        samsjax.fit(replace(data, **two), config, progress=False)
    with pytest.raises(InputError, match="control cells"):
        samsjax.fit(data.subset(~data.is_control), config, progress=False)
    with pytest.raises(InputError, match=r"features.*none"):
        samsjax.fit(replace(data, features=None), MODEL, progress=False)


def test_settings_that_do_not_apply_are_refused(screen):
    with pytest.raises(InputError, match=r"n_steps do not apply to GIMConfig.*--model\.n-steps"):
        samsjax.fit(screen[0], MODEL, samsjax.TrainConfig(n_steps=7), progress=False)
    with pytest.raises(InputError, match="has no graph"):
        model = samsjax.SAMSVAEConfig(likelihood="normal", normalization="standardize")
        samsjax.fit(screen[0], model, progress=False, graph=np.zeros((4, 4)))


@pytest.mark.parametrize(
    ("graph", "wrong"),
    [(np.zeros((3, 3)), "shape"), (np.full((4, 4), 0.3), "NaN"), (1 - np.eye(4), "close a cycle")],
)
def test_impossible_knowledge_is_refused(graph, wrong):
    with pytest.raises(InputError, match=wrong):
        known_structure(4, 2, graph, None)
