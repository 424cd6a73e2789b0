"""Adding a model as `samsjax.models` says: one dataclass, one function, one line in the table; all the rest works."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest

import samsjax
from experiments import fit
from samsjax.data import simulate
from samsjax.effects import offset, perturbations
from samsjax.errors import InputError, check_range
from samsjax.models import MODELS
from samsjax.models.base import DataStatistics, ModelConfig, ModelEntry
from samsjax.models.parts import additive_cells, encode_basal, mean_field_embedding
from samsjax.types import Batch, ModelGuide
from tests import small
from tests.experiments.doors import read_json
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
        additive_cells(config, statistics, offset(shift, batch), batch)

    def guide(batch: Batch) -> None:
        with perturbations(batch):
            shift = numpyro.sample("E", mean_field_embedding(config, statistics, batch))
        encode_basal(config, statistics, offset(shift, batch), batch, mean_field_encoder=False)

    return ModelGuide(model, guide, *statistics.sizes)


CONFIG = ShiftModelConfig(shift_scale=0.3, **SIZES)
SCORED = samsjax.EvaluationConfig(4, samsjax.EffectsConfig(n_particles=8), extent="published")


@pytest.fixture(autouse=True)
def in_the_table(monkeypatch):
    monkeypatch.setitem(MODELS, "my_model", ModelEntry(ShiftModelConfig, build))


def test_it_keeps_the_contract():
    model = subject(CONFIG, small.screen())
    for promise in PROMISES:
        promise(model)


def test_the_library_and_the_command_line_know_it(tmp_path):
    """Both fit, score and save it, with the same numbers."""
    data, truth = simulate(small.SCREEN)
    fitted = samsjax.fit(data, CONFIG, TRAIN, progress=False)
    bound_rises(fitted)
    scores = samsjax.evaluate(fitted, data, SCORED, truth=truth)
    assert scores.effects.mean.shape == (small.SCREEN.n_perturbations, CONFIG.n_latent)
    assert not scores.effects.sparse
    saving_keeps_every_bit(fitted, data, tmp_path / "model")

    settings = {"simulation": small.SCREEN, "model": CONFIG, "train": TRAIN, "evaluation": SCORED}
    fit.main(["--model", "my_model", "--out", str(tmp_path / "run"), *flags(settings)])
    metrics = read_json(tmp_path / "run" / "metrics.json")
    assert {"test/predictive_iwelbo", "ate/all/pearson"} <= set(scores.metrics)
    assert scores.metrics == {name: metrics[name] for name in scores.metrics}
    assert read_json(tmp_path / "run" / "config.json")["model_name"] == "my_model"
    assert samsjax.load(tmp_path / "run" / "model").config == CONFIG
    assert len(pd.read_csv(tmp_path / "run" / "effects.csv")) == scores.effects.mean.size


def flags(settings: dict[str, Any]) -> Iterator[str]:
    """The command line's flags for all in which these settings differ from their defaults."""
    for prefix, value in settings.items():
        if not is_dataclass(value):
            yield from (f"--{prefix.replace('_', '-')}", str(value))
        else:
            default = type(value)()
            changed = {f.name: getattr(value, f.name) for f in fields(value)}
            changed = {name: v for name, v in changed.items() if v != getattr(default, name)}
            yield from flags({f"{prefix}.{name}": v for name, v in changed.items()})


def test_it_refuses_impossible_settings():
    with pytest.raises(InputError, match=r"shift_scale must be > 0.0, got -1.0"):
        ShiftModelConfig(shift_scale=-1.0)
