"""Measures of cycles: zero where there is none, finite gradients everywhere, and of one mind with decided graphs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samsjax.causal.acyclicity import ACYCLICITY, MOST_FOR_TREXP, acyclicity_named, edge_probabilities, spectral, trexp
from samsjax.causal.graphs import is_acyclic

CERTAIN = 60.0


def logits_of(graph):
    return jnp.where(jnp.asarray(graph) > 0, CERTAIN, -CERTAIN).astype(jnp.float32)


def random_dag(seed, n=6, share=0.5):
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    return np.triu(rng.random((n, n)) < share, k=1)[np.ix_(order, order)]


@pytest.mark.parametrize("name", ACYCLICITY)
def test_zero_without_cycles_and_one_on_the_full_graph(name):
    """The spectral measure falls with the least probabilities only: of logits of -60 it keeps e^(-60/n) and more."""
    of = ACYCLICITY[name]
    assert float(of(logits_of(random_dag(0)))) == pytest.approx(0.0, abs=0.05 if name == "spectral" else 1e-6)
    assert float(of(logits_of(np.ones((6, 6))))) == pytest.approx(1.0, abs=1e-4)
    cycle = np.roll(np.eye(6), 1, axis=1)
    assert float(of(logits_of(cycle))) > 1e-6


@pytest.mark.parametrize("name", ACYCLICITY)
def test_gradients_are_finite_on_dense_and_on_nilpotent_input(name):
    for logits in (jnp.zeros((6, 6)), logits_of(random_dag(1)), logits_of(np.zeros((6, 6))), 30.0 * jnp.ones((6, 6))):
        value, gradient = jax.value_and_grad(ACYCLICITY[name])(logits)
        assert np.isfinite(value)
        assert bool(jnp.isfinite(gradient).all())
    dense = jax.grad(ACYCLICITY[name])(jnp.zeros((6, 6)))
    assert (np.asarray(dense)[~np.eye(6, dtype=bool)] > 0).all()


@pytest.mark.parametrize("name", ["trexp", "poly", "logdet"])
def test_thresholded_graphs_agree_with_the_order_of_variables(name):
    """Over random graphs, half of them without cycles."""
    rng = np.random.default_rng(0)
    graphs = [
        random_dag(seed) if seed % 2 else (rng.random((6, 6)) < 0.25) & ~np.eye(6, dtype=bool) for seed in range(60)
    ]
    values = np.asarray(jax.jit(jax.vmap(ACYCLICITY[name]))(jnp.stack([logits_of(graph) for graph in graphs])))
    truth = np.array([is_acyclic(graph) for graph in graphs])
    assert 20 < truth.sum() < 50
    assert ((values < 1e-5) == truth).all()


def test_the_trace_of_the_exponential_and_its_gradient_are_those_of_scipy():
    from scipy.linalg import expm

    logits = jax.random.normal(jax.random.key(0), (7, 7))
    p = np.asarray(edge_probabilities(logits), np.float64)
    full = np.trace(expm(1.0 - np.eye(7)))
    assert float(trexp(logits)) == pytest.approx(np.log1p(np.trace(expm(p)) - 7) / np.log1p(full - 7), rel=1e-5)
    slope = expm(p).T * p * (1 - p) / (1 + np.trace(expm(p)) - 7) / np.log1p(full - 7)
    off = ~np.eye(7, dtype=bool)
    np.testing.assert_allclose(np.asarray(jax.grad(trexp)(logits))[off], slope[off], rtol=1e-4)


def test_the_spectral_measure_is_the_largest_eigenvalue_of_dense_probabilities():
    logits = jax.random.normal(jax.random.key(1), (7, 7))
    eigenvalue = np.abs(np.linalg.eigvals(np.asarray(edge_probabilities(logits)))).max()
    assert float(spectral(logits)) * 6 == pytest.approx(eigenvalue, rel=1e-4)


def test_auto_is_cheap_for_many_variables():
    assert acyclicity_named("auto", MOST_FOR_TREXP) is trexp
    assert acyclicity_named("auto", MOST_FOR_TREXP + 1) is spectral
