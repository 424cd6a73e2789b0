"""CRADLE-VAE: where it is SAMS-VAE, what its penalty is, and what its parts do to a cell."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpyro import handlers, infer
from numpyro.distributions.kl import kl_divergence

import samsjax
from samsjax.data.artifacts import artifact_names
from samsjax.errors import InputError
from samsjax.inference.batching import gather, to_device
from samsjax.inference.fitted import statistics_of
from samsjax.inference.log_weights import initial_parameters, log_weights, sampled_elbo, traces
from samsjax.models import CRADLEVAEConfig, build_model
from samsjax.models.cradle_vae import _divergence
from samsjax.types import Reference
from tests import small
from tests.models.subject import moved

SIZES = {"n_latent": 4, "n_hidden": 8, "mask_prior_prob": 0.1}
CELLS = np.arange(12)
KEY = jax.random.key(7)
CONFIG = CRADLEVAEConfig(**SIZES)


@pytest.fixture(scope="module")
def data():
    return small.labelled(small.screen())


def parts_of(config, data, cells=CELLS):
    """Model, parameters away from their start, and a batch."""
    names = artifact_names(data, config.quality_indicators)
    model_guide = build_model(config, statistics_of(data, config.normalization, artifacts=names))
    params = moved(initial_parameters(jax.random.key(0), model_guide))
    batch = gather(to_device(data, artifacts=names), jnp.asarray(cells), jnp.ones(data.n_perturbations))
    return model_guide, params, batch


def with_reference(batch, data, cells=CELLS, exists=None):
    """The batch with the next cells, of other quality, as references."""
    x = jnp.asarray(data.x[cells + len(cells)].toarray(), dtype=jnp.float32)
    exists = jnp.ones(len(cells)) if exists is None else exists
    flags = 1.0 - (batch.artifacts > 0).any(axis=-1, keepdims=True) * jnp.ones_like(batch.artifacts)
    return batch._replace(reference=Reference(x, flags, None, exists))


def loss(model_guide, params, batch, key=KEY, elbo=infer.TraceMeanField_ELBO):
    return elbo().loss(key, params, model_guide.model, model_guide.guide, batch)


def same_bits(one, two):
    return all(bool((a == b).all()) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True))


def test_without_artefacts_it_is_sams_vae_to_the_last_bit(data):
    config = CRADLEVAEConfig(**SIZES, indicators="none", counterfactual_weight=0.0)
    one = samsjax.fit(data, config, small.TRAIN, progress=False)
    two = samsjax.fit(data, small.MODEL, small.TRAIN, progress=False)
    assert same_bits(one.params, two.params)
    assert [row["val_elbo"] for row in one.history] == [row["val_elbo"] for row in two.history]


def test_cells_that_all_pass_make_it_sams_vae(data):
    """Same parameters and draws, no penalty, the artefact at its prior: the same terms, and a loss equal to 1e-6."""
    passing = replace(data, failed=np.zeros_like(data.failed))
    model_guide, params, batch = parts_of(replace(CONFIG, counterfactual_weight=0.0), passing)
    prior = jnp.log(1.0 - 1e-4) * jnp.ones((1, 4))  # so that the posterior's scale is 1
    params = {**params, "U_loc": jnp.zeros((1, 4)), "U_log_scale": prior}
    sams, _, sams_batch = parts_of(small.MODEL, passing)
    draws = {n: s["value"] for n, s in traces(KEY, model_guide, params, batch)[1].items() if s["type"] == "sample"}
    encoder = params["encoder$params"]
    first = {name: leaf for name, leaf in encoder["trunk"]["layer_0"].items() if name != "kernel_2"}
    plain = {**params, "encoder$params": {**encoder, "trunk": {"layer_0": first}}}
    ours = log_weights(KEY, model_guide, params, batch, draws)
    theirs = log_weights(KEY, sams, plain, sams_batch, draws)
    assert_array_equal(ours.reconstruction, theirs.reconstruction)
    for name, terms in {**theirs.local, **theirs.shared}.items():
        assert_allclose((ours.local | ours.shared)[name].weight, terms.weight, rtol=1e-6, err_msg=name)
    assert_allclose(sampled_elbo(ours, batch), sampled_elbo(theirs, sams_batch), rtol=1e-6)


@pytest.mark.parametrize("composition", ["sum", "concatenation"])
def test_decoding_once_is_the_choice_between_a_good_and_a_bad_decoding(data, composition):
    model_guide, params, batch = parts_of(replace(CONFIG, composition=composition), data)
    draws = {n: s["value"] for n, s in traces(KEY, model_guide, params, batch)[1].items() if s["type"] == "sample"}

    def mean(flags):
        cells = batch._replace(artifacts=flags)
        return traces(KEY, model_guide, params, cells, draws)[0]["x"]["fn"].mean

    good, bad = (mean(jnp.full_like(batch.artifacts, flag)) for flag in (0.0, 1.0))
    failed = batch.artifacts[:, :1] == 1
    assert 0 < failed.sum() < len(CELLS)
    assert_allclose(mean(batch.artifacts), jnp.where(failed, bad, good), rtol=1e-6)
    assert not np.allclose(good, bad, rtol=1e-2)


def gaussians(seed, *shape):
    keys = jax.random.split(jax.random.key(seed), 4)
    loc = [jax.random.normal(key, shape) for key in keys[:2]]
    scale = [jnp.exp(0.5 * jax.random.normal(key, shape)) for key in keys[2:]]
    return (loc[0], scale[0]), (loc[1], scale[1])


def test_divergences_are_the_exact_and_the_published_formula():
    reference, own = gaussians(0, 5, 3)
    exact = _divergence(CONFIG, reference, own)
    expected = kl_divergence(dist.Normal(*reference).to_event(1), dist.Normal(*own).to_event(1))
    assert_allclose(exact, expected, rtol=1e-6)
    shipped = _divergence(replace(CONFIG, divergence="shipped"), reference, own)
    r = (np.asarray(reference[1]) / np.asarray(own[1])) ** 2
    squares = np.asarray(reference[0] - own[0]) ** 2
    assert_allclose(shipped, 0.5 * (r - 1 - np.log(r) + squares).sum(axis=1), rtol=1e-5)
    # The published form misses the division by the variance, and nothing else.
    missing = 0.5 * (squares * (1 / np.asarray(own[1]) ** 2 - 1)).sum(axis=1)
    assert_allclose(exact - shipped, missing, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("divergence", ["exact", "shipped"])
def test_equal_posteriors_have_no_penalty_and_no_gradient(divergence):
    config = replace(CONFIG, divergence=divergence)
    own = gaussians(1, 4, 3)[0]
    assert_allclose(_divergence(config, own, own), 0.0, atol=1e-6)
    gradient = jax.grad(lambda moved: _divergence(config, own, moved).sum())(own)
    assert all(bool((jnp.abs(leaf) < 1e-6).all()) for leaf in jax.tree.leaves(gradient))


def penalty_by_hand(model_guide, params, batch, key=KEY):
    """The exact divergence between two encodings, each made by the guide as that of a batch of its own."""
    guide_key = jax.random.split(key)[1]
    failed = (batch.artifacts > 0).any(axis=-1, keepdims=True)
    other = jnp.where(failed, 0.0, batch.reference.artifacts)
    plain = batch._replace(reference=None, artifacts=other)

    def encoded(cells):
        guide = handlers.substitute(handlers.seed(model_guide.guide, guide_key), data=params)
        return handlers.trace(guide).get_trace(cells)["z_basal"]["fn"]

    wanted, own = encoded(plain._replace(x=batch.reference.x)), encoded(plain)
    return kl_divergence(wanted, own) * batch.reference.exists


@pytest.mark.parametrize("indicators", ["any", "each"])
@pytest.mark.parametrize("elbo", [infer.TraceMeanField_ELBO, infer.Trace_ELBO])
def test_the_loss_is_the_bound_plus_the_weighted_penalty(data, indicators, elbo):
    """Cells count by their weights, padding and cells without reference not at all."""
    config = replace(CONFIG, indicators=indicators, counterfactual_weight=0.7)
    model_guide, params, batch = parts_of(config, data)
    weight = jnp.ones(len(CELLS)).at[-1].set(0.0).at[0].set(2.5)
    batch = with_reference(batch._replace(weight=weight), data, exists=jnp.ones(len(CELLS)).at[3].set(0.0))
    penalty = penalty_by_hand(model_guide, params, batch)
    assert (penalty > 0).sum() == len(CELLS) - 1
    plain = loss(model_guide, params, batch._replace(reference=None), elbo=elbo)
    expected = plain + 0.7 * (weight * penalty).sum()
    assert_allclose(loss(model_guide, params, batch, elbo=elbo), expected, rtol=1e-5)


def test_penalties_are_averaged_or_added_up_over_the_batch(data):
    model_guide, params, batch = parts_of(CONFIG, data)
    batch = with_reference(batch._replace(weight=batch.weight.at[-1].set(0.0)), data)
    summed = build_model(
        replace(CONFIG, reduction="batch_sum"), statistics_of(data, "log_standardize", artifacts=("failed",))
    )
    plain = loss(model_guide, params, batch._replace(reference=None))
    per_cell, added = (loss(programs, params, batch) - plain for programs in (model_guide, summed))
    assert_allclose(added / per_cell, len(CELLS) - 1, rtol=1e-3)  # one of the cells is padding


def test_the_mean_penalty_does_not_depend_on_the_size_of_batches(data):
    """Over all batches of a size, the expected loss is that of the full batch."""
    model_guide, params, batch = parts_of(CONFIG, data)
    batch = with_reference(batch, data)
    draws = {n: s["value"] for n, s in traces(KEY, model_guide, params, batch)[1].items() if s["type"] == "sample"}

    def total(places):
        part = jax.tree.map(lambda leaf: leaf[places], batch._replace(rows=None, row_weight=None, row_cells=None))
        part = part._replace(rows=batch.rows, row_weight=batch.row_weight, row_cells=batch.row_cells)
        part = part._replace(weight=jnp.full(len(places), len(CELLS) / len(places)))
        given = {n: v for n, v in draws.items() if n != "counterfactual"} | {"z_basal": draws["z_basal"][places]}
        return sampled_elbo(log_weights(KEY, model_guide, params, part, given), part)

    whole = total(np.arange(12))
    for n_batches in (2, 3, 4):
        parts = [total(places) for places in np.split(np.arange(12), n_batches)]
        assert_allclose(np.mean(parts), whole, rtol=1e-5)


def test_gradients_of_the_penalty_stop_where_they_are_told_to(data):
    """With the reference's side stopped, only the cell's own encoding moves; with new draws, references differ."""
    base, params, batch = parts_of(CONFIG, data)
    batch = with_reference(batch, data)
    names = ("failed",)

    def gradient(**changes):
        programs = build_model(replace(CONFIG, **changes), statistics_of(data, "log_standardize", artifacts=names))
        return jax.grad(lambda p: loss(programs, p, batch))(params)["encoder$params"]["trunk"]["layer_0"]["kernel_0"]

    both, own = gradient(), gradient(stop_gradient="reference")
    assert not np.allclose(both, own, rtol=1e-3)
    assert loss(base, params, batch) != loss(
        build_model(replace(CONFIG, share_globals=False), statistics_of(data, "log_standardize", artifacts=names)),
        params,
        batch,
    )


def test_the_split_first_layer_is_that_of_the_parts_side_by_side(data):
    model_guide, params, batch = parts_of(CONFIG, data)
    _, guide_trace = traces(KEY, model_guide, params, batch)
    effect = guide_trace["E"]["value"] * guide_trace["mask"]["value"]
    p = (batch.dosage[..., None] * effect[batch.perturbation_index]).sum(axis=1)
    genes = statistics_of(data, "log_standardize").genes
    x = (np.log1p(batch.x) - genes.mean) / genes.std
    side_by_side = np.concatenate([x, p, batch.artifacts @ guide_trace["U"]["value"]], axis=1)
    network = params["encoder$params"]
    layer = network["trunk"]["layer_0"]
    kernel = np.concatenate([layer["kernel_0"], layer["kernel_1"], layer["kernel_2"]])
    hidden = side_by_side @ kernel + layer["bias"]
    hidden = np.where(hidden > 0, hidden, 0.01 * hidden)
    mean = hidden @ network["loc"]["kernel_0"] + network["loc"]["bias"]
    assert_allclose(guide_trace["z_basal"]["fn"].mean, mean, rtol=2e-4, atol=2e-4)


def test_each_criterion_has_an_artefact_of_its_own(data):
    """Cells that fail by both carry the sum of both artefacts, and cells that pass none."""
    model_guide, params, batch = parts_of(replace(CONFIG, indicators="each"), data, np.arange(40))
    model_trace, guide_trace = traces(KEY, model_guide, params, batch)
    u = guide_trace["U"]["value"]
    effect = guide_trace["E"]["value"] * guide_trace["mask"]["value"]
    p = (batch.dosage[..., None] * effect[batch.perturbation_index]).sum(axis=1)
    a = model_trace["z"]["value"] - model_trace["z_basal"]["value"] - p
    flags = data.failed[:40]
    assert {tuple(row) for row in flags.tolist()} == {(x, y) for x in (True, False) for y in (True, False)}
    for row, expected in (((0, 0), 0 * u[0]), ((1, 0), u[0]), ((0, 1), u[1]), ((1, 1), u[0] + u[1])):
        here = (flags == np.array(row, bool)).all(axis=1)
        assert_allclose(a[here], np.broadcast_to(expected, a[here].shape), atol=1e-5)
    posterior = guide_trace["U"]["fn"].base_dist
    assert not np.allclose(posterior.loc[0], posterior.loc[1])


PUBLISHED = {
    "reference": "failed",
    "pseudo_cell": "median",
    "refresh": "once",
    "divergence": "shipped",
    "reduction": "batch_sum",
    "share_globals": False,
    "weighting": "batch_share",
    "penalize_validation": True,
    "artifact_posterior": "network",
    "composition": "concatenation",
    "guide": "correlated",
    "embedding_n_hidden": 6,
    "decoder_n_layers": 2,
}


@pytest.mark.parametrize("changes", [PUBLISHED, {"indicators": "each", "weighting": "balanced", "pseudo_cell": "mean"}])
def test_every_published_choice_trains(data, changes):
    fitted = samsjax.fit(data, replace(CONFIG, **changes), small.TRAIN, progress=False)
    assert np.isfinite([row["val_elbo"] for row in fitted.history]).all()
    again = samsjax.fit(data, replace(CONFIG, **changes), small.TRAIN, progress=False)
    assert same_bits(fitted.params, again.params)


def test_bad_settings_and_data_without_labels_are_refused(data):
    with pytest.raises(InputError, match="counterfactual_weight must be >= 0"):
        CRADLEVAEConfig(counterfactual_weight=-1.0)
    with pytest.raises(InputError, match=r"mean-field encoder does not see the quality.*counterfactual_weight 0"):
        CRADLEVAEConfig(mean_field_encoder=True)
    with pytest.raises(InputError, match="without quality indicators"):
        CRADLEVAEConfig(indicators="none")
    with pytest.raises(InputError, match=r"unknown pseudo_cell 'medain'.*'median'"):
        CRADLEVAEConfig(pseudo_cell="medain")
    with pytest.raises(InputError, match=r"carry no such labels.*quality-criteria"):
        samsjax.fit(small.screen(), CONFIG, small.TRAIN)
    with pytest.raises(InputError, match="no training cell passes"):
        samsjax.fit(replace(data, failed=np.ones_like(data.failed)), CONFIG, small.TRAIN)
