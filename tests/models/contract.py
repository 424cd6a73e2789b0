"""What every model promises, one function per promise.

A promise is a function of a `Subject` that fails an assertion where the model breaks it. None names a model, so a new
one is held to the same promises.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose
from numpyro import handlers, infer

from samsjax.effects import PERTURBATIONS
from samsjax.inference.log_weights import effect_parameters, local_log_weight, traces
from samsjax.inference.rows import present_rows, take_rows
from samsjax.likelihoods import models_counts
from samsjax.models import latent_axes
from samsjax.rotation.axes import EmbeddingTables, LatentAxes, MaskedEffects, masked_effects, put_tables, turn_networks
from samsjax.types import Batch
from tests.models.subject import (
    CELLS,
    KEYS,
    Draws,
    Subject,
    assert_trees_close,
    assert_trees_equal,
    of_cells,
    trees_close,
)

FLOAT32 = {"rtol": 1e-5, "atol": 1e-5}
N_MOMENT_CELLS, N_MOMENT_DRAWS, N_STANDARD_ERRORS = 3, 4000, 5
MEAN_FLOOR = VARIANCE_FLOOR = 1e-4


def sites_and_plates_match(s: Subject) -> None:
    model_trace, guide_trace = traces(KEYS[0], s.model_guide, s.initial, s.batch(CELLS))

    def latent(trace):
        sites = {n: site for n, site in trace.items() if site["type"] == "sample" and not site["is_observed"]}
        return {n: (site["value"].shape, [f.name for f in site["cond_indep_stack"]]) for n, site in sites.items()}

    assert latent(model_trace) == latent(guide_trace)
    assert model_trace["x"]["is_observed"]
    z = model_trace["z"]["value"]
    width = s.config.n_latent or s.model_guide.n_genes
    assert len(z) == len(CELLS) and z.shape[1] % width == 0  # parts side by side, or added


def log_weights_are_finite(s: Subject) -> None:
    weights = s.particles(s.initial)
    assert local_log_weight(weights).shape == (len(KEYS), len(CELLS))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(weights))


def every_parameter_learns(s: Subject) -> None:
    """At the start, gradients are finite and not all zero, those of effects by way of the cells alone.

    One draw is enough: of undecided masks half the entries are 1.
    """
    programs, batch = s.model_guide, s.batch(CELLS)
    batch = batch._replace(row_weight=jnp.zeros_like(batch.row_weight))  # else the KL of effects hides a dead path

    def loss(params, batch):
        return infer.TraceMeanField_ELBO().loss(KEYS[0], params, programs.model, programs.guide, batch)

    gradient = jax.jit(jax.grad(loss))(s.initial, batch)
    assert effect_parameters(programs) <= set(gradient)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert bool(jnp.isfinite(leaf).all()), path
        assert bool((leaf != 0).any()), path


def prior_draws_are_legal(s: Subject) -> None:
    """Without data the model draws expression: whole counts for count likelihoods."""
    model = handlers.substitute(handlers.seed(s.model_guide.model, jax.random.key(0)), data=s.initial)
    x = np.asarray(handlers.trace(model).get_trace(s.batch(CELLS)._replace(x=None))["x"]["value"])
    assert x.shape == (len(CELLS), s.model_guide.n_genes)
    assert np.isfinite(x).all()
    assert not models_counts(s.config.likelihood) or _are_counts(x)


def is_traced_once(s: Subject) -> None:
    """Other keys, parameters, draws and cells, padding among them, run what was compiled for the first."""
    other_cells = np.append(CELLS[1:] + len(CELLS), -1)
    s.compiled(KEYS[0], s.initial, s.batch(CELLS), s.draws(0))
    n_traced = s.traced.count(len(CELLS))
    s.compiled(KEYS[1], s.params, s.batch(other_cells), s.draws(1))
    assert n_traced == s.traced.count(len(CELLS)) == 1


def vmap_is_a_loop(s: Subject) -> None:
    """`vmap` over keys gives what one key after the other gives."""
    many = s.particles(s.params)
    for particle, key in enumerate(KEYS):
        of_particle = jax.tree.map(lambda leaf, p=particle: leaf[p], many)
        assert_trees_close(of_particle, s.log_weights(key, s.params, s.batch(CELLS)), **FLOAT32)


def permuting_cells_permutes_their_terms(s: Subject) -> None:
    order = np.random.default_rng(0).permutation(CELLS)
    straight = s.scored(s.batch(CELLS), s.draws(0))
    moved = s.scored(s.batch(CELLS[order]), s.draws_of(order))
    assert_trees_close(of_cells(moved), jax.tree.map(lambda term: term[order], of_cells(straight)), **FLOAT32)
    assert_trees_close(moved.shared, straight.shared, **FLOAT32)
    assert not trees_close(of_cells(moved), of_cells(straight))


def splitting_a_batch_changes_no_cell(s: Subject) -> None:
    """Under the same draws, the terms of a cell do not depend on the cells beside it."""
    whole = s.scored(s.batch(CELLS), s.draws(0))
    halves = [s.scored(s.batch(half), s.draws_of(half)) for half in np.split(CELLS, 2)]
    together = jax.tree.map(lambda *terms: jnp.concatenate(terms), *map(of_cells, halves))
    assert_trees_close(together, of_cells(whole), **FLOAT32)
    for half in halves:
        assert_trees_close(half.shared, whole.shared, **FLOAT32)


def absent_perturbations_can_be_left_out(s: Subject) -> None:
    """As large screens are trained: in terms of the perturbations that two cells carry, their terms are the same."""
    cells = CELLS[:2]
    batch = s.batch(cells)
    rows, few = present_rows(batch)
    assert len(rows) < len(batch.rows)
    params = take_rows(s.params, effect_parameters(s.model_guide), rows)
    shared = {name: jnp.take(value, rows, axis=0, mode="clip") for name, value in s.draws(0, PERTURBATIONS).items()}
    part = s.log_weights(KEYS[0], params, few, s.draws_of(cells) | shared)
    whole = s.scored(s.batch(CELLS), s.draws(0))
    assert_trees_close(of_cells(part), jax.tree.map(lambda term: term[cells], of_cells(whole)), **FLOAT32)
    present = rows < len(batch.rows)  # the others only fill up
    of_rows = jax.tree.map(lambda term: term[rows[present]], whole.shared)
    assert_trees_close(jax.tree.map(lambda term: term[present], part.shared), of_rows, **FLOAT32)


def empty_slots_say_nothing(s: Subject) -> None:
    """At dose 0 neither the perturbation that stands in a slot nor any shared draw reaches a cell."""
    controls = _with_dosage(s.batch(CELLS), 0.0, 0.0)
    terms = of_cells(s.scored(controls, s.draws(0)))
    assert_trees_equal(of_cells(s.scored(_with_others(controls, slot=0), s.draws(0))), terms)
    assert_trees_equal(of_cells(s.scored(controls, _with_other_shared(s))), terms)
    half_filled = _with_dosage(controls, 1.0, 0.0)
    terms = of_cells(s.scored(half_filled, s.draws(0)))
    assert_trees_equal(of_cells(s.scored(_with_others(half_filled, slot=1), s.draws(0))), terms)


def filled_slots_matter(s: Subject) -> None:
    """At dose 1 the perturbation in a slot and the shared draws reach the cells."""
    treated = _with_dosage(s.batch(CELLS), 1.0, 0.0)
    terms = of_cells(s.scored(treated, s.draws(0)))
    assert not trees_close(of_cells(s.scored(_with_others(treated, slot=0), s.draws(0))), terms)
    if s.draws(0, PERTURBATIONS):
        assert bool((_shift(s, treated) != 0).any())
        assert not trees_close(of_cells(s.scored(treated, _with_other_shared(s))), terms)


def draws_have_the_moments_of_their_distribution(s: Subject) -> None:
    """Under fixed latent states, mean and variance follow the formulas of the likelihood, and draws follow them."""
    batch = s.batch(CELLS[:N_MOMENT_CELLS])
    genes = traces(KEYS[0], s.model_guide, s.params, batch)[0]["x"]["fn"]
    x = np.asarray(genes.sample(jax.random.key(4), (N_MOMENT_DRAWS,)), dtype=np.float64)
    mean, variance = np.asarray(genes.mean, np.float64), np.asarray(genes.variance, np.float64)
    assert x.shape == (N_MOMENT_DRAWS, N_MOMENT_CELLS, s.model_guide.n_genes)
    assert not models_counts(s.config.likelihood) or _are_counts(x)
    excess_kurtosis = _check_formulas(s, np.asarray(batch.library_size), mean, variance)
    error_of_mean = np.sqrt(variance / N_MOMENT_DRAWS)
    error_of_variance = variance * np.sqrt((2 + excess_kurtosis) / N_MOMENT_DRAWS)
    assert (np.abs(x.mean(axis=0) - mean) / error_of_mean).max() < N_STANDARD_ERRORS
    assert (np.abs(x.var(axis=0) - variance) / error_of_variance).max() < N_STANDARD_ERRORS


def turned_latent_space_says_the_same(s: Subject) -> None:
    """Cells are as likely and encoded means turn; variances are exact where axes are only swapped and flipped."""
    axes = latent_axes(s.config)
    if axes is None:
        return
    n_latent = s.config.n_latent
    swap = jnp.eye(n_latent)[::-1] * jnp.where(jnp.arange(n_latent) % 2 == 0, 1.0, -1.0)
    rotation = jax.random.orthogonal(KEYS[0], n_latent)
    for turn, exact in ((rotation, False), (swap, True)):
        before, after = (_cells_in_basis(s, axes, basis) for basis in (jnp.eye(n_latent), turn))
        assert_allclose(after.reconstruction, before.reconstruction, rtol=1e-4, atol=1e-3)
        assert_allclose(after.prior, before.prior, rtol=1e-4, atol=1e-4)
        own_turn = turn if axes.cells_turn else jnp.eye(n_latent)
        assert_allclose(after.encoded_mean, before.encoded_mean @ own_turn, rtol=1e-4, atol=1e-4)
        if exact:
            assert_allclose(after.encoded_variance, before.encoded_variance @ own_turn**2, rtol=1e-4)


PROMISES: tuple[Callable[[Subject], None], ...] = (
    sites_and_plates_match,
    log_weights_are_finite,
    every_parameter_learns,
    prior_draws_are_legal,
    is_traced_once,
    vmap_is_a_loop,
    permuting_cells_permutes_their_terms,
    splitting_a_batch_changes_no_cell,
    absent_perturbations_can_be_left_out,
    empty_slots_say_nothing,
    filled_slots_matter,
    draws_have_the_moments_of_their_distribution,
    turned_latent_space_says_the_same,
)


class _Cells(NamedTuple):
    """What a model and its guide say about `CELLS`."""

    reconstruction: jax.Array
    prior: jax.Array
    encoded_mean: jax.Array
    encoded_variance: jax.Array


def _cells_in_basis(s: Subject, axes: LatentAxes, rotation: jax.Array) -> _Cells:
    """The cells under turned parameters, at turned draws of effects (none masked) and states."""
    draws = s.draws(0)
    embedding = masked_effects(s.params, axes.effects, s.features).mean
    params = turn_networks(s.params, axes, rotation)
    if isinstance(
        axes.effects.embedding, EmbeddingTables
    ):  # effects of SVAE+ are parameters, draws do not replace them
        turned = MaskedEffects(embedding @ rotation, jnp.full_like(embedding, 1e-2))
        params = put_tables(params, axes.effects.embedding, turned)
    given = {"mask": jnp.ones_like(embedding), "E": embedding @ rotation, axes.cells: draws[axes.cells]}
    if axes.cells_turn:
        given |= {site: draws[site] @ rotation for site in (axes.cells, "U") if site in draws}
    else:
        given |= {site: draws[site] for site in ("U",) if site in draws}
    given |= {site: draws[site] @ rotation for site in ("interaction",) if site in draws}
    model_trace, guide_trace = traces(KEYS[0], s.model_guide, params, s.batch(CELLS), given)
    state, encoded = model_trace[axes.cells], guide_trace[axes.cells]["fn"]
    x = model_trace["x"]
    return _Cells(x["fn"].log_prob(x["value"]), state["fn"].log_prob(state["value"]), encoded.mean, encoded.variance)


def _with_dosage(batch: Batch, *by_slot: float) -> Batch:
    """The cells with the same doses everywhere."""
    return batch._replace(dosage=jnp.broadcast_to(jnp.array(by_slot), batch.dosage.shape))


def _with_others(batch: Batch, slot: int) -> Batch:
    """The cells with the next perturbation in one of their slots."""
    others = (batch.perturbation_index[:, slot] + 1) % len(batch.rows)
    return batch._replace(perturbation_index=batch.perturbation_index.at[:, slot].set(others))


def _with_other_shared(s: Subject) -> Draws:
    """The first draws of cells with the second shared ones."""
    return s.draws(0) | s.draws(1, PERTURBATIONS)


def _shift(s: Subject, batch: Batch) -> jax.Array:
    """What perturbations do to the state the decoder sees, or to the prior mean of a state that is drawn."""

    def state(cells: Batch) -> jax.Array:
        z = traces(KEYS[0], s.model_guide, s.params, cells, s.draws(0))[0]["z"]
        return z["value"] if z["type"] == "deterministic" else z["fn"].mean

    return state(batch) - state(batch._replace(dosage=jnp.zeros_like(batch.dosage)))


def _check_formulas(s: Subject, library_size: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> Any:
    """Compare moments with the formulas of the likelihood, where it has some. Returns the excess kurtosis."""
    head = s.params["decoder$params"]["head"]
    if s.config.likelihood == "library_nb":
        theta = np.exp(np.asarray(head["log_theta"], dtype=np.float64))
        assert_allclose(mean.sum(axis=-1), library_size + MEAN_FLOOR * mean.shape[-1], rtol=1e-5)
        assert_allclose(variance, mean + mean**2 / theta, rtol=1e-5)
        return 6 / theta + 1 / variance
    if s.config.likelihood == "poisson":
        assert_allclose(variance, mean, rtol=1e-6)
        return 1 / mean
    if s.config.likelihood == "normal_fixed_variance":
        by_gene = np.exp(np.asarray(head["log_variance"], dtype=np.float64)) + VARIANCE_FLOOR
        assert_allclose(variance, np.broadcast_to(by_gene, variance.shape), rtol=1e-5)
    return 0.0


def _are_counts(x: np.ndarray) -> bool:
    return bool((x >= 0).all() and (x == np.round(x)).all())
