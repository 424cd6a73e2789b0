"""Log weights: equal to NumPyro's objectives, exact in the conjugate case, tight with particles, equivariant."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpyro import infer

from samsjax.effects import cells
from samsjax.inference.batching import gather, to_device
from samsjax.inference.config import TrainConfig
from samsjax.inference.epochs import fit_arrays
from samsjax.inference.fitted import statistics_of
from samsjax.inference.log_weights import (
    draw_shared,
    effect_parameters,
    initial_parameters,
    iwelbo,
    local_log_weight,
    log_weights,
    sampled_elbo,
    traces,
)
from samsjax.inference.rows import present_rows, take_rows
from samsjax.inference.training import fit_model
from samsjax.models import SAMSVAEConfig, build_model
from samsjax.types import ModelGuide
from tests import small


@pytest.fixture(scope="module")
def setting():
    data = small.screen()
    model_guide = build_model(small.MODEL, statistics_of(data, "log_standardize"))
    params = initial_parameters(jax.random.key(1), model_guide)
    batch = gather(to_device(data), jnp.arange(20), jnp.ones(data.n_perturbations))
    return model_guide, params, batch


def test_weighted_sum_is_numpyros_elbo_on_the_same_draws(setting):
    model_guide, params, batch = setting
    batch = batch._replace(weight=jnp.linspace(0.0, 3.0, 20), row_weight=jnp.linspace(0.5, 2.0, 6))
    loss = jax.jit(lambda key: infer.Trace_ELBO().loss(key, params, model_guide.model, model_guide.guide, batch))
    elbo = jax.jit(lambda key: sampled_elbo(log_weights(key, model_guide, params, batch), batch))
    for seed in range(3):
        assert_allclose(-loss(jax.random.key(seed)), elbo(jax.random.key(seed)), rtol=1e-6)


def test_vmap_over_keys_is_a_loop_over_particles(setting):
    model_guide, params, batch = setting
    keys = jax.random.split(jax.random.key(3), 4)
    one = jax.jit(lambda key: log_weights(key, model_guide, params, batch))
    many = jax.jit(jax.vmap(lambda key: log_weights(key, model_guide, params, batch)))(keys)
    for p, key in enumerate(keys):
        single = one(key)
        assert_allclose(many.reconstruction[p], single.reconstruction, rtol=1e-5)
        assert_allclose(many.local["z_basal"].weight[p], single.local["z_basal"].weight, rtol=1e-5, atol=1e-5)
        assert_allclose(many.shared["mask"].weight[p], single.shared["mask"].weight, rtol=1e-5, atol=1e-6)


def test_permuting_cells_permutes_log_weights(setting):
    model_guide, params, batch = setting
    key, order = jax.random.key(0), np.random.default_rng(0).permutation(20)
    given = {name: site["value"] for name, site in _latents(traces(key, model_guide, params, batch)[1]).items()}
    straight = log_weights(key, model_guide, params, batch, given)
    shuffled = batch._replace(
        **{name: getattr(batch, name)[order] for name in ("x", "library_size", "perturbation_index", "dosage")}
    )
    moved = log_weights(key, model_guide, params, shuffled, given | {"z_basal": given["z_basal"][order]})
    assert_allclose(local_log_weight(moved), local_log_weight(straight)[order], rtol=1e-6)


def _latents(trace):
    return {name: site for name, site in trace.items() if site["type"] == "sample"}


def test_a_cell_without_perturbation_has_zero_offset(setting):
    model_guide, params, batch = setting
    model_trace, _ = traces(jax.random.key(0), model_guide, params, batch)
    control = np.asarray((batch.dosage == 0).all(axis=1))
    assert 0 < control.sum() < len(control)
    shift = np.asarray(model_trace["z"]["value"] - model_trace["z_basal"]["value"])
    assert_array_equal(shift[control], 0.0)


def test_dosage_scales_the_offset_linearly(setting):
    model_guide, params, batch = setting
    once = traces(jax.random.key(0), model_guide, params, batch)[0]
    given = {name: once[name]["value"] for name in ("mask", "E", "z_basal")}
    twice = traces(jax.random.key(0), model_guide, params, batch._replace(dosage=2 * batch.dosage), given)[0]
    shift = [np.asarray(t["z"]["value"] - t["z_basal"]["value"]) for t in (once, twice)]
    assert np.abs(shift[0]).max() > 0
    assert_allclose(shift[1], 2 * shift[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("guide", ["mean_field", "correlated"])
def test_instantiating_only_present_perturbations_changes_no_cell(setting, guide):
    """With shared draws given, a batch in terms of the perturbations it carries has the same local terms."""
    data = small.screen()
    config = SAMSVAEConfig(n_latent=4, n_hidden=8, guide=guide)
    model_guide = build_model(config, statistics_of(data, "log_standardize"))
    params = initial_parameters(jax.random.key(1), model_guide)
    full = gather(to_device(data), jnp.arange(2), jnp.arange(1.0, 7.0))
    rows, few = present_rows(full)
    carried = sorted(set(np.asarray(full.perturbation_index)[np.asarray(full.dosage) > 0].tolist()))
    assert_array_equal(rows, carried + [6] * (4 - len(carried)))
    assert_array_equal(few.row_weight, [1.0 + row for row in carried] + [0.0] * (4 - len(carried)))
    key, tables = jax.random.key(0), effect_parameters(model_guide)
    everything = traces(key, model_guide, params, full)[0]
    given = {name: everything[name]["value"] for name in ("mask", "E", "z_basal")}
    subset = given | {name: jnp.take(given[name], rows, axis=0, mode="clip") for name in ("mask", "E")}
    a = log_weights(key, model_guide, params, full, given)
    b = log_weights(key, model_guide, take_rows(params, tables, rows), few, subset)
    assert_allclose(a.reconstruction, b.reconstruction, rtol=1e-6)
    assert_allclose(a.local["z_basal"].weight, b.local["z_basal"].weight, rtol=1e-5, atol=1e-6)
    for site in ("mask", "E"):
        n_real = len(carried)
        assert_allclose(a.shared[site].weight[np.array(carried)], b.shared[site].weight[:n_real], rtol=1e-5, atol=1e-6)


def test_effect_parameters_are_read_from_the_plate(setting):
    assert effect_parameters(setting[0]) == {"mask_logits", "E_loc", "E_log_scale"}


def test_shared_draws_are_those_of_the_plate_of_perturbations(setting):
    model_guide, params, batch = setting
    shared = draw_shared(jax.random.key(0), model_guide, params, 3, batch)
    assert {name: value.shape for name, value in shared.items()} == {"mask": (3, 6, 4), "E": (3, 6, 4)}


def conjugate(exact: bool) -> ModelGuide:
    """z ~ N(0, 1), x_g ~ N(z, 2) for two genes; the guide is the exact posterior, or learned."""

    def model(batch):
        with cells(batch):
            z = numpyro.sample("z_basal", dist.Normal(jnp.zeros(batch.x.shape[0]), 1.0))
            numpyro.sample("x", dist.Normal(jnp.stack([z, z], axis=-1), 2.0).to_event(1), obs=batch.x)

    def guide(batch):
        slope = numpyro.param("slope", jnp.array(0.0)) if not exact else 1 / 3
        log_scale = numpyro.param("log_scale", jnp.array(0.0)) if not exact else np.log(2 / 3) / 2
        with cells(batch):
            numpyro.sample("z_basal", dist.Normal(slope * batch.x.mean(axis=-1), jnp.exp(log_scale)))

    return ModelGuide(model, guide, 2, 1)


def evidence(x: np.ndarray) -> np.ndarray:
    """log N(x; 0, 4 I + 1 1')."""
    return dist.MultivariateNormal(jnp.zeros(2), 4 * jnp.eye(2) + 1.0).log_prob(x)


@pytest.fixture(scope="module")
def conjugate_data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 1)) + 2 * rng.standard_normal((400, 2))
    split = np.repeat(["train", "val"], [300, 100])
    return small.gaussian_data(x, np.zeros(400, int), np.arange(400) % 2, split)


@pytest.mark.parametrize("n_particles", [1, 7])
def test_bound_equals_evidence_when_the_guide_is_the_posterior(conjugate_data, n_particles):
    model_guide = conjugate(exact=True)
    batch = gather(to_device(conjugate_data), jnp.arange(50), jnp.ones(1))
    keys = jax.random.split(jax.random.key(0), n_particles)
    one = jax.jit(jax.vmap(lambda key: local_log_weight(log_weights(key, model_guide, {}, batch))))
    weights = one(keys)
    assert_allclose(iwelbo(weights), evidence(conjugate_data.x[:50]), rtol=1e-5)


def test_fitting_the_conjugate_case_finds_the_posterior(conjugate_data):
    config = TrainConfig(n_steps=900, batch_size=100, learning_rate=2e-2, n_particles=4, patience=None)
    arrays = fit_arrays(conjugate_data, statistics_of(conjugate_data, "none").genes, config)
    result = fit_model(jax.random.key(0), lambda statistics: conjugate(exact=False), arrays, config, progress=False)
    assert_allclose(result.params["slope"], 2 / 6, atol=0.02)
    assert_allclose(np.exp(2 * result.params["log_scale"]), 2 / 3, atol=0.03)
    best = max(row["val_elbo"] for row in result.history)
    assert_allclose(best, evidence(conjugate_data.x[300:]).mean(), atol=0.05)


def test_bound_rises_with_particles(conjugate_data):
    model_guide = conjugate(exact=False)
    params = {"slope": jnp.array(0.0), "log_scale": jnp.array(0.5)}
    batch = gather(to_device(conjugate_data), jnp.arange(400), jnp.ones(1))
    one = jax.jit(lambda key: local_log_weight(log_weights(key, model_guide, params, batch)))
    weights = jnp.stack([one(key) for key in jax.random.split(jax.random.key(0), 500)])
    bounds = [float(iwelbo(weights[:n_particles]).mean()) for n_particles in (1, 5, 50, 500)]
    assert bounds == sorted(bounds)
    assert bounds[-1] - bounds[0] > 0.1
    assert_allclose(bounds[-1], evidence(conjugate_data.x).mean(), atol=0.02)
