"""References come from the right split, treatment and quality; empty pools give none; weights have the stated means."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from samsjax.data.encoding import treatments
from samsjax.inference.batching import gather, to_device
from samsjax.inference.references import (
    draw_references,
    gather_references,
    make_pools,
    observation_weights,
)
from samsjax.types import QualityTraining
from tests import small

WANTED = QualityTraining("opposite", "cell", "epoch", "none", in_validation=False)


@pytest.fixture(scope="module")
def data():
    """Every tenth cell has another dose; perturbation P1 has no cell that fails, P2 none that passes."""
    data = small.labelled(small.screen())
    dosage = np.where((np.arange(data.n_cells) % 10 == 0)[:, None], 0.5, 1.0) * data.dosage
    data = replace(data, dosage=dosage.astype(np.float32))
    carries = [((data.perturbation_index == t) & (data.dosage > 0)).any(axis=1) for t in (0, 1)]
    failed = np.where(carries[0][:, None], False, np.where(carries[1][:, None], [True, False], data.failed))
    return replace(data, failed=failed)


def drawn(data, wanted=WANTED, seed=0):
    on_device = to_device(data, artifacts=data.criteria)
    known = (on_device.x, on_device.artifacts, on_device.covariates)
    return draw_references(jax.random.key(seed), make_pools(data, wanted), wanted, *known), known


@pytest.mark.parametrize("pool", ["opposite", "failed"])
@pytest.mark.parametrize("in_validation", [False, True])
def test_every_reference_has_the_split_treatment_and_quality_wanted(data, pool, in_validation):
    wanted = WANTED._replace(reference=pool, in_validation=in_validation)
    condition, seen = treatments(data).assignment, set()
    failed = data.is_failed
    for seed in range(5):
        place = np.asarray(drawn(data, wanted, seed)[0].place)
        cells = np.flatnonzero(place >= 0)
        chosen = place[cells]
        assert_array_equal(data.split[chosen], data.split[cells])
        assert_array_equal(condition[chosen], condition[cells])
        assert_array_equal(failed[chosen], ~failed[cells] if pool == "opposite" else True)
        assert set(data.split[cells]) == ({"train", "val"} if in_validation else {"train"})
        seen |= set(zip(cells.tolist(), chosen.tolist(), strict=True))
        for cell in np.flatnonzero((place < 0) & (data.split == "train")):
            same = (condition == condition[cell]) & (data.split == "train")
            assert not (same & (~failed[cell] == failed if pool == "opposite" else failed)).any()
    # Over some draws cells meet many members of their pools, and all members are met.
    assert len(seen) > 1.8 * len(cells)


def test_every_member_of_a_pool_is_drawn_equally_often(data):
    on_device = to_device(data, artifacts=data.criteria)
    pools = make_pools(data, WANTED)
    keys = jax.random.split(jax.random.key(0), 2000)
    known = (on_device.x, on_device.artifacts, None)
    places = np.asarray(jax.vmap(lambda key: draw_references(key, pools, WANTED, *known).place)(keys))
    controls = np.flatnonzero((data.split == "train") & data.is_control & ~data.is_failed)
    pool = np.flatnonzero((data.split == "train") & data.is_control & data.is_failed)
    share = np.array([(places[:, controls] == cell).mean() for cell in pool])
    assert_allclose(share, 1 / len(pool), atol=5 * np.sqrt(1 / len(pool) / (2000 * len(controls))))


def test_an_empty_pool_is_no_reference_and_no_empty_cell(data):
    references, known = drawn(data)
    alone = np.flatnonzero(((data.perturbation_index == 0) & (data.dosage > 0)).any(axis=1) & (data.split == "train"))
    found = gather_references(references, jnp.asarray([*alone[:3], -1]), *known)
    assert_array_equal(found.exists, 0)
    for kind in ("mean", "median"):
        references, known = drawn(data, WANTED._replace(pseudo_cell=kind))
        found = gather_references(references, jnp.asarray([*alone[:3], -1]), *known)
        assert_array_equal(found.exists, 0)
        assert np.isfinite(found.x).all()


def test_references_are_refreshed_every_epoch_or_never(data):
    for refresh, same in (("epoch", False), ("once", True)):
        wanted = WANTED._replace(refresh=refresh)
        one, two = (np.asarray(drawn(data, wanted, seed)[0].place) for seed in (0, 1))
        assert np.array_equal(one, two) == same


@pytest.mark.parametrize("kind", ["mean", "median"])
def test_pseudo_cells_are_the_mean_or_lower_median_of_members(data, kind):
    """Whose number is at most fifty: pools of one cell are that cell, and others lie within their cells' range."""
    references, known = drawn(data, WANTED._replace(pseudo_cell=kind))
    cells = np.flatnonzero(np.asarray(references.place) >= 0)
    found = gather_references(references, jnp.asarray(cells), *known)
    condition, x = treatments(data).assignment, data.x.toarray()
    n_single = 0
    for cell, genes, flags in zip(cells, found.x, found.artifacts, strict=True):
        pool = (condition == condition[cell]) & (data.split == "train") & (data.is_failed != data.is_failed[cell])
        members = x[pool]
        assert (genes >= members.min(axis=0)).all() and (genes <= members.max(axis=0)).all()
        assert kind == "mean" or (np.asarray(genes) % 1 == 0).all()
        if len(members) == 1:
            n_single += 1
            assert_allclose(genes, members[0], rtol=1e-6)
            assert_allclose(flags, data.failed[pool][0], rtol=1e-6)
    assert n_single > 0


@pytest.mark.parametrize("in_batch", [40, 64])
def test_observation_weights(data, in_batch):
    cells = np.append(data.cells("train")[:in_batch], -1)
    batch = gather(to_device(data, artifacts=data.criteria), jnp.asarray(cells), jnp.ones(6))
    failed = data.is_failed[cells[:-1]]
    share = jnp.asarray(data.is_failed[data.cells("train")].mean())
    assert observation_weights(batch, WANTED, share) is None

    balanced = observation_weights(batch, WANTED._replace(weighting="balanced"), share)[:-1]
    assert_allclose(share * balanced[failed], 0.5, rtol=1e-6)
    assert_allclose((1 - share) * balanced[~failed], 0.5, rtol=1e-6)
    for degenerate in (0.0, 1.0):
        weights = observation_weights(batch, WANTED._replace(weighting="balanced"), jnp.asarray(degenerate))
        assert_array_equal(weights, 1.0)

    of_batch = np.asarray(observation_weights(batch, WANTED._replace(weighting="batch_share"), share))[:-1]
    f = failed.mean()
    assert_allclose(of_batch, np.where(failed, 1 - f, f), rtol=1e-6)
    assert_allclose(of_batch.mean(), 2 * f * (1 - f), rtol=1e-5)


def test_references_are_numbers_of_cells_and_no_second_matrix(data):
    references, _ = drawn(data)
    for leaf in jax.tree.leaves((references, make_pools(data, WANTED))):
        assert leaf.ndim == 1 and jnp.issubdtype(leaf.dtype, jnp.integer)
    for kind in ("mean", "median"):  # one row for each treatment and quality, however many cells there are
        pseudo = drawn(data, WANTED._replace(pseudo_cell=kind))[0].pseudo
        assert len(pseudo.x) == 2 * (len(treatments(data).labels) + 1)
