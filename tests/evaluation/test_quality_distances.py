"""Distances between cells of one quality: none between cells of one kind, and large where cells differ."""

from dataclasses import replace

import jax
import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal

from samsjax.errors import InputError
from samsjax.evaluation.quality import DrawnCells, QualityConfig, quality_distances
from samsjax.evaluation.quality.cells import conditions, held_out
from samsjax.evaluation.quality.distances import SOURCES
from samsjax.evaluation.quality.drawn_cells import Drawn
from samsjax.evaluation.quality.mean_cells import MeanCells
from tests import small

KEY = jax.random.key(0)
N_DRAWN = 60


def counts_of(rng, share, totals):
    return MeanCells(share[None], np.full(share.size, 0.3), np.ones(1, bool)).draw(rng, 0, totals)


@pytest.fixture(scope="module")
def screen():
    """Good cells of one profile and failed cells of another, whatever their treatment; 40 % held out."""
    data, rng = small.screen(), np.random.default_rng(0)
    good, bad = rng.dirichlet(np.full(24, 1.0), 2)
    failed = rng.random(data.n_cells) < 0.3
    x = np.where(failed[:, None], *(counts_of(rng, share, data.library_size) for share in (bad, good)))
    labelled = replace(data, x=x, failed=failed[:, None], criteria=("artifact",))
    return labelled.with_split(np.where(rng.random(data.n_cells) < 0.4, "test", "train")), good, bad


def drawn(data, share, wanted=None):
    """Cells of every condition from one profile, as a model and a generator about means may give them."""
    rng, compared = np.random.default_rng(1), conditions(KEY, data, 100)
    n = len(compared.labels)
    cells = []
    for _ in range(2):
        totals = rng.choice(data.library_size, n * N_DRAWN).astype(float)
        cells.append(Drawn(sp.csr_matrix(counts_of(rng, share, totals)), totals, np.ones(n, bool)))
    return DrawnCells(compared, ~data.is_failed if wanted is None else wanted, *cells)


def test_cells_like_the_measured_ones_are_as_near_as_halves_and_failed_cells_are_far(screen):
    data, good, bad = screen
    alike, unlike = (quality_distances(KEY, drawn(data, share), data) for share in (good, bad))
    assert tuple(alike.values) == SOURCES and len(alike.labels) >= 3
    far = alike.mean("other_quality")
    for source in ("generated", "baseline"):
        assert abs(alike.mean(source)) < 0.1 * far
        assert abs(unlike.mean(source) / far - 1) < 0.3
    assert abs(alike.mean("half_split")) < 0.1 * far


def test_the_quality_asked_for_decides_what_is_near(screen):
    data, _, bad = screen
    found = quality_distances(KEY, drawn(data, bad, data.is_failed), data, QualityConfig(min_cells=4))
    assert abs(found.mean("generated")) < 0.1 * found.mean("other_quality")


def test_conditions_with_few_held_out_cells_are_left_out(screen):
    data, good, _ = screen
    cells = drawn(data, good)
    tested = held_out(data)
    n = np.bincount(cells.compared.assignment[tested][~data.is_failed[tested]], minlength=len(cells.compared.labels))
    found = quality_distances(KEY, cells, data, QualityConfig(min_cells=8))
    assert_array_equal(found.labels, cells.compared.labels[n >= 8])
    assert 0 < len(found.labels) < len(n)
    nothing = quality_distances(KEY, cells, data, QualityConfig(min_cells=1000))
    assert len(nothing.labels) == 0 and np.isnan([nothing.mean(source) for source in SOURCES]).all()


def test_what_cannot_be_compared_is_nan(screen):
    data, good, _ = screen
    cells = drawn(data, good)
    known = np.arange(len(cells.compared.labels)) > 0
    fewer = Drawn(cells.model.x[N_DRAWN:], cells.model.totals[N_DRAWN:], known)
    silent, full = (quality_distances(KEY, cells._replace(model=m), data) for m in (fewer, cells.model))
    assert np.isnan(silent.values["generated"][0])
    assert_array_equal(silent.values["generated"][1:], full.values["generated"][1:])
    everything_good = quality_distances(KEY, cells._replace(wanted=np.ones(data.n_cells, bool)), data)
    assert np.isnan(everything_good.mean("other_quality")) and np.isfinite(everything_good.mean("half_split"))


def test_continuous_values_are_compared_in_their_own_scale(screen):
    data, good, _ = screen
    cells = drawn(data, good)._replace(means=None)
    with pytest.raises(InputError, match="distances in 'log2_cp10k' need counts"):
        quality_distances(KEY, cells, data)
    found = quality_distances(KEY, cells, data, QualityConfig(), "counts")
    assert np.isnan(found.mean("baseline")) and np.isfinite(found.mean("generated"))
