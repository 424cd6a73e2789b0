"""Fitting: reproducible, compiled once, stopped when it should be, saved and loaded to the same bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import samsjax
from samsjax.errors import InputError
from samsjax.inference import epochs as epochs_module
from samsjax.inference import training
from samsjax.inference.config import TrainConfig
from samsjax.inference.epochs import fit_arrays, make_epochs
from samsjax.inference.fitted import statistics_of
from samsjax.inference.training import DivergenceError, DivergenceWarning
from samsjax.models import SAMSVAEConfig, builder
from tests import small


@pytest.fixture(scope="module")
def data():
    return small.screen()


@pytest.fixture(scope="module")
def fitted(data):
    return samsjax.fit(data, small.MODEL, small.TRAIN, seed=3)


def arrays_of(data, config):
    return fit_arrays(data, statistics_of(data, "log_standardize").genes, config)


def same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert_array_equal(np.asarray(left), np.asarray(right))


def test_same_seed_same_bits_and_other_seed_other_bits(data, fitted):
    again = samsjax.fit(data, small.MODEL, small.TRAIN, seed=3)
    same_bits(again.params, fitted.params)
    assert [row["val_elbo"] for row in again.history] == [row["val_elbo"] for row in fitted.history]
    other = samsjax.fit(data, small.MODEL, small.TRAIN, seed=4)
    assert not np.array_equal(other.params["mask_logits"], fitted.params["mask_logits"])


def test_bound_rises_and_history_says_how(data):
    fitted = samsjax.fit(data, small.MODEL, TrainConfig(n_steps=120, batch_size=64, learning_rate=1e-2))
    bounds = [row["val_elbo"] for row in fitted.history]
    assert bounds[-1] > bounds[0] + 5
    times = {"epoch", "step", "learning_rate", "seconds", "rotated"}
    assert set(fitted.history[0]) == {"train_objective", "val_elbo"} | times
    per_epoch = -(-len(data.cells("train")) // 64)
    assert [row["step"] for row in fitted.history] == [per_epoch * (i + 1) for i in range(len(fitted.history))]
    assert fitted.fit.n_steps >= 120


def test_a_second_epoch_does_not_retrace(data, monkeypatch):
    traced = []
    gather = epochs_module.batching.gather

    def counting(*args):
        traced.append(1)
        return gather(*args)

    monkeypatch.setattr(epochs_module.batching, "gather", counting)
    epochs = make_epochs(builder(small.MODEL), small.TRAIN)
    train, arrays = jax.jit(epochs.train), arrays_of(data, small.TRAIN)
    state = jax.jit(epochs.init)(jax.random.key(0), arrays)
    state, _ = train(jax.random.key(1), state, arrays)
    n_traced = len(traced)
    assert n_traced >= 1
    state, _ = train(jax.random.key(2), state, arrays)
    train(jax.random.key(3), state, arrays)
    assert len(traced) == n_traced


def test_analytic_and_sampled_objectives_agree_on_average(data):
    """The same parameters have the same expected bound under both objectives."""
    bounds = {}
    for objective in ("analytic_kl", "sampled_kl"):
        config = TrainConfig(n_steps=1, batch_size=64, objective=objective, n_particles=50)
        epochs, arrays = make_epochs(builder(small.MODEL), config), arrays_of(data, config)
        params = epochs.params(jax.jit(epochs.init)(jax.random.key(0), arrays), arrays)
        draws = [jax.jit(epochs.validate)(jax.random.key(i), params, arrays) for i in range(4)]
        bounds[objective] = (np.mean(draws), np.std(draws))
    difference = bounds["analytic_kl"][0] - bounds["sampled_kl"][0]
    assert abs(difference) < 4 * (bounds["analytic_kl"][1] + bounds["sampled_kl"][1]) / 2 + 0.05


def test_save_and_load_keep_every_bit(data, fitted, tmp_path):
    samsjax.save(fitted, tmp_path / "model")
    loaded = samsjax.load(tmp_path / "model")
    same_bits(loaded.params, fitted.params)
    same_bits(loaded.statistics.genes, fitted.statistics.genes)
    assert (loaded.config, loaded.vocabulary, loaded.history) == (fitted.config, fitted.vocabulary, fitted.history)
    assert_array_equal(loaded.library_sizes, fitted.library_sizes)
    cells = data.cells("test")
    bounds = [samsjax.predictive_iwelbo(jax.random.key(0), f, data, cells, 4) for f in (fitted, loaded)]
    assert_array_equal(*bounds)


def test_saving_over_a_folder_is_refused(fitted, tmp_path):
    with pytest.raises(InputError, match="exists"):
        samsjax.save(fitted, tmp_path)


def test_more_perturbations_than_slots_trains_too():
    """The weighted, subsampled form of the shared terms; a batch of 6 cells carries at most 12 of 30 perturbations."""
    from samsjax.data import SimulationConfig, simulate

    config = SimulationConfig(
        n_genes=20, n_latent=3, n_perturbations=30, n_without_effect=2, n_doubles=3, n_control_cells=20,
        cells_per_single=8, cells_per_double=5,
    )  # fmt: skip
    many = simulate(config, seed=0)[0]
    fitted = samsjax.fit(many, small.MODEL, TrainConfig(n_steps=200, batch_size=6, learning_rate=5e-3, patience=None))
    bounds = [row["val_elbo"] for row in fitted.history]
    assert np.isfinite(bounds).all()
    assert bounds[-1] > bounds[0] + 5


def climb(*bounds, **options):
    """Run the loop on a script, one list of bounds per member: epoch e yields the e-th and parameters {"p": e}."""

    def run_epoch(epoch, state):
        values = jnp.array([script[epoch - 1] for script in bounds])
        value = values if len(bounds) > 1 else values[0]
        return training.Epoch(epoch, {"p": jnp.full_like(value, epoch)}, value, value)

    config = TrainConfig(n_steps=len(bounds[0]), **options)
    ways = [training._Way(config, has_validation=True) for _ in bounds]
    training._climb(run_epoch, 0, ways, config, 1, progress=False)
    return [way.result(0.0, 0.0) for way in ways]


EARLY = [-5.0, -3.0, -4.0, -3.5, -3.2, -1.0]
DIVERGING = [-5.0, -3.0, float("nan"), -1.0, -1.0, -1.0]


def test_early_stopping_keeps_the_best_parameters():
    (result,) = climb(EARLY, patience=3)
    assert (result.best_epoch, result.stopped, len(result.history)) == (2, "early", 5)
    assert result.params["p"] == 2.0


def test_divergence_stops_with_the_epoch_and_keeps_the_last_good_parameters():
    with pytest.warns(DivergenceWarning, match=r"epoch 3; parameters of epoch 2.*learning rate"):
        (result,) = climb(DIVERGING)
    assert (result.best_epoch, result.stopped, len(result.history)) == (2, "diverged", 2)
    assert result.params["p"] == 2.0


def test_members_of_one_program_stop_one_by_one():
    with pytest.warns(DivergenceWarning, match="epoch 3"):
        early, diverging, budget, at_once = climb(
            EARLY, DIVERGING, [-6.0, -5.0, -4.0, -3.0, -2.0, -1.0], [float("nan")] * 6, patience=3
        )
    assert (early.best_epoch, early.stopped, len(early.history)) == (2, "early", 5)
    assert (diverging.best_epoch, diverging.stopped, len(diverging.history)) == (2, "diverged", 2)
    assert (budget.best_epoch, budget.stopped, float(budget.params["p"])) == (6, "budget", 6.0)
    assert isinstance(at_once, DivergenceError)


def test_divergence_at_once_is_an_error_that_says_what_to_try(data):
    with pytest.raises(DivergenceError, match=r"epoch 1.*learning rate"):
        samsjax.fit(data, small.MODEL, TrainConfig(n_steps=12, batch_size=64, learning_rate=1e8, clip_norm=None))


def test_data_that_cannot_be_trained_on(data):
    with pytest.raises(InputError, match="no training cells"):
        samsjax.fit(data.with_split(np.full(data.n_cells, "test")), small.MODEL, small.TRAIN)
    controls = data.subset(data.is_control)
    with pytest.raises(InputError, match="carries a perturbation"):
        samsjax.fit(controls.with_split(np.full(controls.n_cells, "train")), small.MODEL, small.TRAIN)
    continuous = small.gaussian_data(np.full((4, 2), 0.5), np.zeros(4, int), np.ones(4), np.full(4, "train"))
    with pytest.raises(InputError, match="'library_nb' needs whole counts"):
        samsjax.fit(continuous, SAMSVAEConfig(), small.TRAIN)


def test_without_validation_cells_the_last_parameters_are_kept(data):
    split = np.where(data.split == "val", "train", data.split)
    fitted = samsjax.fit(data.with_split(split), small.MODEL, small.TRAIN)
    assert fitted.fit.best_epoch == len(fitted.history)
    assert np.isnan(fitted.history[-1]["val_elbo"])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"n_steps": 0}, "n_steps must be >= 1, got 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be > 0.0, got nan"),
        ({"warmup_fraction": 1.0}, "warmup_fraction must be >= 0.0 and < 1.0"),
        ({"objective": "analytic"}, "'analytic'.*analytic_kl"),
        ({"clip_norm": -1.0}, "clip_norm must be > 0.0"),
        ({"patience": 0}, "patience must be >= 1"),
    ],
)
def test_impossible_settings_are_refused(option, message):
    with pytest.raises(InputError, match=message):
        TrainConfig(**option)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"n_latent": 0}, "n_latent must be a whole number of at least 1, got 0"),
        ({"likelihood": "nb"}, "unknown likelihood 'nb'"),
        ({"mask_prior_prob": 1.0}, "mask_prior_prob must be > 0.0 and < 1.0, got 1.0"),
        ({"guide": "meanfield"}, "Did you mean 'mean_field'"),
    ],
)
def test_impossible_models_are_refused(option, message):
    with pytest.raises(InputError, match=message):
        SAMSVAEConfig(**option)


@pytest.mark.parametrize(
    "options",
    [
        {"objective": "iwelbo", "n_particles": 3},
        {"objective": "sampled_kl", "reweighting": "prior_per_cell", "reweighting_factors": {"mask": 0.01}},
    ],
)
def test_published_objectives_climb_too(data, options):
    config = TrainConfig(n_steps=60, batch_size=64, learning_rate=1e-2, **options)
    history = samsjax.fit(data, small.MODEL, config).history
    assert history[-1]["train_objective"] > history[0]["train_objective"] + 5
    assert history[-1]["val_elbo"] > history[0]["val_elbo"] + 5


def test_impossible_reweighting_is_refused(data):
    with pytest.raises(InputError, match="goes with objective 'sampled_kl', not 'analytic_kl'"):
        TrainConfig(reweighting="prior", reweighting_factors={"mask": 2.0})
    with pytest.raises(InputError, match="give both or none"):
        TrainConfig(objective="sampled_kl", reweighting="prior")
    config = TrainConfig(n_steps=1, objective="sampled_kl", reweighting="prior", reweighting_factors={"maks": 2.0})
    with pytest.raises(InputError, match=r"'maks'.*Did you mean 'mask'"):
        samsjax.fit(data, small.MODEL, config)


def test_a_model_of_single_perturbations_refuses_combinations(data):
    from samsjax.models import SVAEPlusConfig

    with pytest.raises(InputError, match="SVAEPlusConfig knows only one per cell"):
        samsjax.fit(data, SVAEPlusConfig(), small.TRAIN)


def test_parameters_of_every_model_survive_saving(data, tmp_path):
    """Fitting, saving and loading of the models without masks, or without effects in latent space."""
    from samsjax.models import ConditionalVAEConfig, CPAVAEConfig

    for config in (CPAVAEConfig(n_latent=4, n_hidden=8), ConditionalVAEConfig(n_latent=4, n_hidden=8)):
        fitted = samsjax.fit(data, config, small.TRAIN)
        scores = samsjax.evaluate(
            fitted, data, samsjax.EvaluationConfig(4, samsjax.EffectsConfig(n_particles=4), extent="published")
        )
        assert np.isfinite(list(scores.metrics.values())).all()
        assert (scores.effects is None) == isinstance(config, ConditionalVAEConfig)
        folder = tmp_path / type(config).__name__
        samsjax.save(fitted, folder)
        same_bits(samsjax.load(folder).params, fitted.params)
