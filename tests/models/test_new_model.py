"""Adding a model as `samsjax.models` says: one dataclass, one function, one line in the table; all the rest works."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import samsjax
from experiments import fit
from samsjax.effects import perturbations
from samsjax.errors import InputError, check_range
from samsjax.models import MODELS
from samsjax.models.base import DataStatistics, ModelConfig, ModelEntry
from samsjax.models.parts import additive_cells, encode_basal, mean_field_embedding
from samsjax.types import Batch, ModelGuide
from tests import small
from tests.experiments.doors import SMALL, read_json
from tests.models.contract import PROMISES
from tests.models.contract_cases import SIZES
from tests.models.subject import subject
from tests.models.test_contract_training import TRAIN, bound_rises, saving_keeps_every_bit


@dataclass(frozen=True)
class ShiftModelConfig(ModelConfig):
    """Every perturbation shifts every latent dimension, most of them by little: E_t ~ Laplace(0, shift_scale)."""

    shift_scale: float = 0.5
    """Prior scale of a shift."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("shift_scale", self.shift_scale, above=0.0)


def build(config: ShiftModelConfig, statistics: DataStatistics) -> ModelGuide:
    def model(batch: Batch) -> None:
        with perturbations(batch):
            prior = dist.Laplace(jnp.zeros((batch.rows.shape[0], config.n_latent)), config.shift_scale)
            shift = numpyro.sample("E", prior.to_event(1))
        additive_cells(config, statistics, shift, batch)

    def guide(batch: Batch) -> None:
        with perturbations(batch):
            shift = numpyro.sample("E", mean_field_embedding(config, statistics, batch))
        encode_basal(config, statistics, shift, batch, mean_field_encoder=False)

    return ModelGuide(model, guide, *statistics.sizes)


@pytest.fixture(autouse=True)
def in_the_table(monkeypatch):
    monkeypatch.setitem(MODELS, "my_model", ModelEntry(ShiftModelConfig, build))


def test_it_keeps_the_contract():
    model = subject(ShiftModelConfig(**SIZES), small.screen())
    for promise in PROMISES:
        promise(model)


def test_it_is_fitted_scored_and_saved(tmp_path):
    data = small.screen()
    fitted = samsjax.fit(data, ShiftModelConfig(**SIZES), TRAIN, progress=False)
    bound_rises(fitted)
    scores = samsjax.evaluate(fitted, data, samsjax.EvaluationConfig(4, samsjax.EffectsConfig(n_particles=4)))
    assert {"test/predictive_iwelbo", "ate/all/pearson"} <= set(scores.metrics)
    assert np.isfinite(list(scores.metrics.values())).all()
    assert scores.effects.mean.shape == (6, SIZES["n_latent"])
    assert not scores.effects.sparse
    saving_keeps_every_bit(fitted, data, tmp_path / "model")


def test_the_command_line_knows_it(tmp_path):
    out = tmp_path / "run"
    fit.main(["--model", "my_model", "--model.shift-scale", "0.3", "--out", str(out), *SMALL])
    config = read_json(out / "config.json")
    assert (config["model_name"], config["model"]["shift_scale"]) == ("my_model", 0.3)
    assert np.isfinite(read_json(out / "metrics.json")["test/predictive_iwelbo"])
    assert samsjax.load(out / "model").config.shift_scale == 0.3
    assert (out / "effects.csv").exists()


def test_it_refuses_impossible_settings():
    with pytest.raises(InputError, match=r"shift_scale must be > 0.0, got -1.0"):
        ShiftModelConfig(shift_scale=-1.0)
