"""Several models in one program: each is the model its seed gives alone, and data may differ by member."""

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import samsjax
from samsjax.errors import InputError
from samsjax.inference import training
from samsjax.inference.training import DivergenceError
from tests import small

SEEDS = (3, 4)


@pytest.fixture(scope="module")
def data():
    return small.screen()


def agree(together, alone):
    """Sums are grouped otherwise in one program, so numbers agree to rounding, grown over a dozen steps of Adam."""
    assert (together.config, together.vocabulary) == (alone.config, alone.vocabulary)
    assert_array_equal(together.library_sizes, alone.library_sizes)
    bounds = [[row["val_elbo"] for row in fitted.history] for fitted in (together, alone)]
    assert_allclose(*bounds, rtol=1e-3)
    for ours, theirs in zip(jax.tree.leaves(together.params), jax.tree.leaves(alone.params), strict=True):
        assert_allclose(ours, theirs, atol=2e-2)


def test_members_are_what_their_seeds_give_alone(data):
    together = samsjax.fit_many(data, small.MODEL, small.TRAIN, seeds=SEEDS)
    alone = [samsjax.fit(data, small.MODEL, small.TRAIN, seed=seed) for seed in SEEDS]
    for one, other in zip(together, alone, strict=True):
        agree(one, other)
    differ = np.abs(together[0].params["mask_logits"] - together[1].params["mask_logits"])
    assert differ.max() > 0.1


def test_members_may_have_data_of_their_own(data):
    screens = [data, small.screen(seed=1)]
    together = samsjax.fit_many(screens, small.MODEL, small.TRAIN, seeds=SEEDS)
    for one, own, seed in zip(together, screens, SEEDS, strict=True):
        agree(one, samsjax.fit(own, small.MODEL, small.TRAIN, seed=seed))


def test_fits_of_equal_shapes_share_compiled_passes(data):
    samsjax.fit(data, small.MODEL, small.TRAIN, seed=0)
    known = training._compiled.cache_info()
    samsjax.fit(data, small.MODEL, small.TRAIN, seed=1)
    samsjax.fit(small.screen(seed=1), small.MODEL, small.TRAIN, seed=1)
    after = training._compiled.cache_info()
    assert (after.hits, after.misses) == (known.hits + 2, known.misses)


@pytest.mark.slow
def test_a_member_that_diverges_leaves_the_others():
    x = np.random.default_rng(0).standard_normal((60, 5))
    broken = x.copy()
    broken[0] = 1e30  # its square does not fit float32
    index, split = np.arange(60) % 3, np.repeat(["train", "val"], [48, 12])
    screens = [small.gaussian_data(each, index, np.arange(60) % 2, split) for each in (x, broken)]
    model = samsjax.SAMSVAEConfig(n_latent=2, n_hidden=4, likelihood="normal", normalization="none")
    first, second = samsjax.fit_many(screens, model, small.TRAIN, seeds=(0, 0))
    assert np.isfinite(first.history[-1]["val_elbo"])
    assert isinstance(second, DivergenceError)
    with pytest.raises(DivergenceError, match="epoch 1"):
        samsjax.fit(screens[1], model, small.TRAIN)


def test_what_cannot_share_a_program_is_refused(data):
    with pytest.raises(InputError, match="equal shapes"):
        fewer = data.subset(np.arange(data.n_cells - 40))
        samsjax.fit_many([data, fewer], small.MODEL, small.TRAIN, seeds=SEEDS)
    with pytest.raises(InputError, match="1 data sets for 2 seeds"):
        samsjax.fit_many([data], small.MODEL, small.TRAIN, seeds=SEEDS)
    with pytest.raises(InputError, match="no seeds"):
        samsjax.fit_many(data, small.MODEL, small.TRAIN, seeds=())
