"""Every model of the table learns from a small screen and survives being saved, whatever its guide and likelihood."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import samsjax
from samsjax.data import PerturbationData
from samsjax.errors import InputError
from samsjax.inference.fitted import Fitted
from samsjax.models import MODELS
from tests import small
from tests.experiments.doors import assert_same_bits
from tests.models.contract_cases import SIZES, data_for, trained_cases

TRAIN = samsjax.TrainConfig(n_steps=150, batch_size=64, learning_rate=1e-2, rotation="off")
GAIN = {"library_nb": 9.0, "poisson": 200.0, "normal": 2.0, "normal_fixed_variance": 1.2}
"""Nats per cell that the bound rises from the first pass to the last: about half of what these seeds gain."""


@pytest.mark.parametrize("config", trained_cases())
def test_model(config, tmp_path):
    data = data_for(config)
    fitted = samsjax.fit(data, config, TRAIN, progress=False)
    bound_rises(fitted)
    saving_keeps_every_bit(fitted, data, tmp_path / "model")


def bound_rises(fitted: Fitted) -> None:
    bounds = [row["val_elbo"] for row in fitted.history]
    assert np.isfinite(bounds).all()
    assert bounds[-1] > bounds[0] + GAIN[fitted.config.likelihood]


def saving_keeps_every_bit(fitted: Fitted, data: PerturbationData, folder: Path) -> None:
    samsjax.save(fitted, folder)
    loaded = samsjax.load(folder)
    assert type(loaded.config) is type(fitted.config)
    assert loaded.config == fitted.config
    assert_same_bits(loaded.params, fitted.params)
    assert_same_bits(loaded.statistics, fitted.statistics)
    # Stored arrays come back tied to a device, which alone would have the same program compiled again.
    loaded = replace(loaded, params=jax.device_get(loaded.params))
    cells = data.cells("test")[:4]
    bounds = [samsjax.predictive_iwelbo(jax.random.key(0), model, data, cells, 2) for model in (fitted, loaded)]
    assert np.isfinite(bounds).all()
    assert_same_bits(*bounds)


@pytest.mark.parametrize(
    "name", [n for n, entry in MODELS.items() if entry.config.has_latent_space and not entry.config.composes]
)
def test_combinations_are_refused(name):
    data, config = small.screen(), MODELS[name].config(**SIZES)
    n_combined = int((data.dosage > 0).all(axis=1).sum())
    assert n_combined == 60
    with pytest.raises(InputError, match=f"{n_combined} cells or treatments combine .*combinations-as-unique"):
        samsjax.fit(data, config, TRAIN)
