"""Perturbations that no cell carries are predicted from their features as if they had been in the vocabulary."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import samsjax
from samsjax.data.features.table import PerturbationFeatures
from samsjax.errors import InputError
from samsjax.inference.batching import carrying_cells, empty_batch
from samsjax.inference.fitted import Fitted, library_quantiles, prepare
from samsjax.inference.log_weights import effect_parameters, initial_parameters, traces
from samsjax.inference.unseen import with_unseen
from samsjax.models import build_model
from tests import small
from tests.models.subject import moved

CONFIG = replace(small.MODEL, feature_prior=True)
HELD_OUT = 4
KEY = jax.random.key(0)


def unfitted(config, data):
    """The model with parameters moved by noise: what is to be checked does not hang on a fit."""
    ready = prepare(data, config, small.TRAIN)
    params = moved(initial_parameters(KEY, build_model(config, ready.statistics)))
    return Fitted(
        config=config,
        vocabulary=ready.vocabulary,
        statistics=ready.statistics,
        library_sizes=library_quantiles(data.library_size),
        n_training_cells=carrying_cells(data).astype(np.int32),
        covariate_codes=np.zeros((1, 0), np.int32),
        covariate_shares=np.ones(1, np.float32),
        params=params,
        feature_scale=ready.feature_scale,
    )


@pytest.fixture(scope="module")
def data():
    """One perturbation of the vocabulary has no training cells."""
    screen = small.featured(small.screen())
    carries = ((screen.perturbation_index == HELD_OUT) & (screen.dosage > 0)).any(axis=1)
    return screen.with_split(np.where(carries, "test", screen.split))


@pytest.fixture(scope="module")
def fitted(data):
    return unfitted(CONFIG, data)


@pytest.fixture(scope="module")
def extended(data, fitted):
    """With two more, the second of which has the features of the one held out."""
    values = np.stack([data.features.values.mean(axis=0) + 1, data.features.values[HELD_OUT]])
    return with_unseen(fitted, ["new", "twin"], PerturbationFeatures(data.features.names, values))


def guide_of(fitted):
    return traces(KEY, fitted.model_guide, fitted.params, empty_batch(fitted.model_guide))[1]


def test_a_new_perturbation_is_one_of_the_vocabulary_without_cells(data, fitted, extended):
    n = data.n_perturbations
    assert fitted.n_training_cells[HELD_OUT] == 0
    assert extended.vocabulary.perturbation_names == (*fitted.vocabulary.perturbation_names, "new", "twin")
    before, after = guide_of(fitted), guide_of(extended)
    for site in ("mask", "E"):
        for moment in ("mean", "variance"):
            old, new = (np.asarray(getattr(sites[site]["fn"], moment)) for sites in (before, after))
            assert_allclose(new[:n], old, rtol=1e-6)
            assert_allclose(new[n + 1], old[HELD_OUT], rtol=1e-6)
            if moment == "mean":  # the spread of embeddings is that of the latent
                assert not np.allclose(new[n], old[HELD_OUT], rtol=1e-3)


def test_nothing_known_is_touched(data, fitted, extended):
    n, tables = data.n_perturbations, effect_parameters(fitted.model_guide)
    for name, leaf in fitted.params.items():
        kept = extended.params[name][:n] if name in tables else extended.params[name]
        jax.tree.map(assert_array_equal, kept, leaf)
    assert_array_equal(extended.statistics.features.values[:n], fitted.statistics.features.values)
    assert_array_equal(extended.n_training_cells, [*fitted.n_training_cells, 0, 0])


def test_predictions_are_those_of_the_twin(data, extended):
    """In one model both rows are there: means over draws agree as their errors say."""
    n = data.n_perturbations
    index = np.array([[HELD_OUT], [n + 1], [n]])
    labels = np.array(["held out", "twin", "new"])
    config = samsjax.EffectsConfig(n_particles=400)
    found = samsjax.model_effects(KEY, extended, labels, index, np.ones((3, 1)), config)
    held_out, twin, new = found.ate
    error = np.sqrt(found.standard_error[0] ** 2 + found.standard_error[1] ** 2)
    assert (np.abs(held_out - twin) < 5 * error).all()
    assert (np.abs(held_out - new) > 5 * error).any()


def test_it_can_be_saved_and_extended_again(data, extended, tmp_path):
    samsjax.save(extended, tmp_path / "model")
    loaded = samsjax.load(tmp_path / "model")
    jax.tree.map(assert_array_equal, loaded.params, extended.params)
    assert_array_equal(loaded.statistics.features.seen, extended.statistics.features.seen)
    more = with_unseen(loaded, ["third"], PerturbationFeatures(data.features.names, data.features.values[:1]))
    assert more.vocabulary.perturbation_names[-2:] == ("twin", "third")


def test_columns_are_found_by_their_names(data, fitted, extended):
    order = [2, 0, 1]
    names = tuple(data.features.names[i] for i in order)
    values = data.features.values[HELD_OUT, order][None]
    other = with_unseen(fitted, ["twin"], PerturbationFeatures(names, values))
    assert_array_equal(other.statistics.features.values[-1], extended.statistics.features.values[-1])


def test_what_cannot_be_added_is_refused(data, fitted):
    names, row = data.features.names, data.features.values[:1]
    features = PerturbationFeatures(names, row)
    known = fitted.vocabulary.perturbation_names[0]
    for wrong, message in (
        ([], "at least one"),
        ([known], f"knows these perturbations already: {known}"),
        ([fitted.vocabulary.control_name], "already"),
        (["a", "a"], "duplicated names"),
        (["a+b"], r"combinations with '\+'"),
        ([" "], "empty"),
        (["a", "b"], "1 rows of features for 2"),
    ):
        with pytest.raises(InputError, match=message):
            with_unseen(fitted, wrong, features)
    with pytest.raises(InputError, match="missing: charge; not among them: colour"):
        with_unseen(fitted, ["a"], PerturbationFeatures((*names[:2], "colour"), row))
    with pytest.raises(InputError, match="not finite: weight"):
        with_unseen(fitted, ["a"], PerturbationFeatures(names, np.where(np.arange(3) == 0, np.nan, row)))
    with pytest.raises(InputError, match=r"--model\.feature-prior and --features\.source"):
        with_unseen(unfitted(small.MODEL, data), ["a"], features)


def test_doses_of_new_perturbations_are_those_nobody_knows(fitted):
    from samsjax.inference.unseen import _statistics

    log_doses = jnp.array([1.0, 2.0, 3.0, 4.0, 99.0, 5.0])
    features = fitted.statistics.features
    longer = features._replace(
        values=jnp.concatenate([features.values, features.values[:1]]), seen=jnp.append(features.seen, 0.0)
    )
    extended = _statistics(replace(fitted.statistics, log_doses=log_doses), longer)
    assert_allclose(extended.log_doses, [*log_doses, 3.0])
