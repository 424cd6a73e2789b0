"""Minibatches: every cell once, padding weightless, counts intact, shared terms unbiased."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from samsjax.inference import batching, rows
from tests import small


@pytest.mark.parametrize(("n_cells", "batch_size"), [(10, 4), (12, 4), (1025, 512), (3, 512), (1, 1)])
def test_every_cell_is_in_exactly_one_batch(n_cells, batch_size):
    plan = batching.plan_batches(n_cells, batch_size)
    places = np.asarray(batching.arrange(jnp.arange(n_cells), plan))
    assert places.shape == (plan.n_batches, plan.batch_size)
    assert plan.batch_size <= batch_size
    assert plan.n_batches == -(-n_cells // batch_size)
    assert_array_equal(np.sort(places[places >= 0]), np.arange(n_cells))
    assert (places < 0).sum(axis=1).max() <= 1


def test_gathered_batch_holds_the_cells_and_weightless_padding():
    data = small.screen()
    batch = batching.gather(batching.to_device(data), jnp.array([5, -1, 17]), jnp.ones(6))
    assert_array_equal(batch.weight, [1, 0, 1])
    assert_array_equal(batch.x[jnp.array([0, 2])], data.x.toarray()[[5, 17]])
    assert_array_equal(batch.dosage[1], 0)
    assert batch.x.dtype == jnp.float32


@pytest.mark.parametrize(("top", "dtype"), [(65_535, jnp.uint16), (65_536, jnp.uint32)])
def test_counts_are_stored_as_small_integers_without_loss(top, dtype):
    data = small.gaussian_data(np.array([[0.0, top], [3.0, 1.0]]), np.zeros(2, int), np.ones(2), np.full(2, "train"))
    stored = batching.to_device(data).x
    assert stored.dtype == dtype
    assert_array_equal(stored, data.x)


def test_continuous_values_stay_floats():
    data = small.gaussian_data(np.array([[-0.5, 2.25]]), np.zeros(1, int), np.ones(1), np.full(1, "train"))
    stored = batching.to_device(data).x
    assert stored.dtype == jnp.float32
    assert_array_equal(stored, [[-0.5, 2.25]])


def test_shared_terms_are_unbiased_over_random_batches():
    """Each perturbation's terms count once on average, whether rare or common; exactly once when all fit."""
    rng = np.random.default_rng(0)
    index = rng.choice(40, 200, p=rng.dirichlet(np.ones(40)))
    data = small.gaussian_data(
        rng.standard_normal((200, 2)), np.append(index, 39)[:200], np.ones(200), np.full(200, "train")
    )
    plan = batching.plan_batches(200, 10)
    table = rows.training_row_weights(data, plan)
    device_data = batching.to_device(data)

    def counted(key):
        cells = jax.random.permutation(key, 200)[:10]
        present, batch = rows.present_rows(batching.gather(device_data, cells, table))
        return jnp.zeros(table.shape[0]).at[present].add(batch.row_weight, mode="drop")

    draws = np.asarray(jax.vmap(counted)(jax.random.split(jax.random.key(0), 20_000)))
    seen = np.bincount(data.perturbation_index[:, 0], minlength=data.n_perturbations) > 0
    standard_error = draws.std(axis=0) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(axis=0) - seen) <= 5 * standard_error + 1e-6).all()
    everything = rows.training_row_weights(data, batching.plan_batches(200, 200))
    assert_array_equal(everything, 1.0)


def test_inclusion_probability_is_hypergeometric():
    """Two carriers among five cells, batches of two: 1 - C(3,2)/C(5,2) = 0.7."""
    weights = rows.inverse_inclusion(np.array([2, 0, 5, 4]), 5, 2)
    assert_allclose(weights, [1 / 0.7, 0.0, 1.0, 1.0], rtol=1e-6)


def test_rows_are_taken_and_put_back_without_touching_others():
    state = {
        "table": jnp.arange(12.0).reshape(6, 2),
        "network": {"table_of_its_own": jnp.ones(3)},
        "count": jnp.array(1),
    }
    present = jnp.array([1, 4, 6, 6])  # 6 fills up
    part = rows.take_rows(state, {"table"}, present)
    assert_array_equal(part["table"][:2], state["table"][jnp.array([1, 4])])
    changed = {"table": part["table"] - 100, "network": {"table_of_its_own": jnp.zeros(3)}, "count": jnp.array(2)}
    after = rows.put_rows(state, changed, {"table"}, present)
    expected = np.asarray(state["table"]).copy()
    expected[[1, 4]] -= 100
    assert_array_equal(after["table"], expected)
    assert_array_equal(after["network"]["table_of_its_own"], 0.0)
    assert after["count"] == 2
