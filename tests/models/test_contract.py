"""Every model of the table keeps the promises of `contract`, whatever its guide and likelihood."""

from dataclasses import replace

import pytest

from samsjax.models import MODELS, model_name
from tests import small
from tests.models.contract import PROMISES
from tests.models.contract_cases import SIZES, VARIANTS, cases
from tests.models.subject import CELLS, subject


@pytest.fixture(scope="module")
def data():
    return small.labelled(small.screen())


@pytest.mark.parametrize("config", cases())
def test_model(data, config):
    model = subject(config, data)
    for promise in PROMISES:
        promise(model)


def test_a_batch_of_another_size_is_traced_again(data):
    """So that the promise of one trace can be broken."""
    model = subject(MODELS["conditional_vae"].config(**SIZES), data)
    for cells in (CELLS, CELLS[:8]):
        model.scored(model.batch(cells), model.draws_of(cells))
    assert model.traced == [16, 8]


def test_the_table_names_its_configurations():
    for name, entry in MODELS.items():
        assert model_name(entry.config()) == name
        assert set(VARIANTS) == set(MODELS)
        if entry.config.has_latent_space:
            assert replace(entry.config(), n_latent=3).n_latent == 3
