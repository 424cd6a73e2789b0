"""Reference cells: for a cell in training another one that got the same treatment and is of other quality.

References are cell numbers, drawn anew for every pass over the data, and are gathered with the batch; there is no
second matrix of counts. Every cell draws from a pool: cells of its own split and its own treatment (perturbations and
doses), of one quality. A cell whose pool is empty has no reference.

Source: CRADLE-VAE, specification 5.2. Differs: numbers in a pool are numbers of cells of the data set (the published
code takes positions inside the pool for them, so that its references are arbitrary cells, test cells included); the
pool of failed cells holds passing ones by default; and a reference is one cell, not the median by gene of fifty, which
is almost everywhere 0.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from samsjax.data.dataset import PerturbationData
from samsjax.data.treatments import treatments
from samsjax.types import Batch, QualityTraining, Reference

N_POOLED = 50
"""Cells behind a mean or median, drawn with replacement; fewer in pools of fewer."""
ONCE = 0
"""Seed of references that are drawn once."""


class Pools(NamedTuple):
    """Cells grouped by split, treatment and quality; the number of pools depends on the data's sizes alone."""

    members: Int[Array, " cell"]
    """Cell numbers, pool after pool."""
    start: Int[Array, " pool"]
    """Place of each pool's first member."""
    size: Int[Array, " pool"]
    of_cell: Int[Array, " cell"]
    """The pool each cell draws from; -1 for cells that need none."""


class PseudoCells(NamedTuple):
    """One cell for each pool, made of some of its members."""

    x: Float[Array, "pool gene"]
    artifacts: Float[Array, "pool artifact"]
    covariates: Float[Array, "pool level"] | None


class References(NamedTuple):
    """What was drawn for one pass over the data."""

    place: Int[Array, " cell"]
    """Number of each cell's reference, a row of `pseudo` if that is given; -1 = none."""
    pseudo: PseudoCells | None


def make_pools(data: PerturbationData, wanted: QualityTraining) -> Pools | None:
    """The pools of a data set with quality labels; None if the model wants no references.

    Only training cells have pools, and validation cells if validation wants references too.
    """
    if wanted.reference is None:
        return None
    splits = ("train", "val") if wanted.in_validation else ("train",)
    treated = treatments(data)
    n_treatments, failed = len(treated.labels), data.is_failed.astype(int)
    condition = treated.assignment + 1  # 0 = control
    in_split = np.full(data.n_cells, -1)
    for place, name in enumerate(splits):
        in_split[data.cells(name)] = place
    condition = in_split * (n_treatments + 1) + condition
    own = np.where(in_split >= 0, 2 * condition + failed, -1)
    drawn_from = 2 * condition + (1 if wanted.reference == "failed" else 1 - failed)
    n_pools = 2 * len(splits) * (n_treatments + 1)
    # Cells outside the splits are members of no pool; they stand first, where no pool starts.
    members = np.argsort(own, kind="stable")
    size = np.bincount(own[own >= 0], minlength=n_pools)
    start = (own < 0).sum() + np.concatenate([[0], np.cumsum(size)[:-1]])
    of_cell = np.where(in_split >= 0, drawn_from, -1)
    return Pools(*(jnp.asarray(values, dtype=jnp.int32) for values in (members, start, size, of_cell)))


def draw_references(
    key: jax.Array,
    pools: Pools,
    wanted: QualityTraining,
    x: Array,
    artifacts: Float[Array, "cell artifact"],
    covariates: Array | None,
) -> References:
    """References of all cells for one pass over the data.

    Args:
        key: decides the draws, unless they are drawn once.
        pools: from `make_pools`.
        wanted: kind of references.
        x: (cell, gene) counts of all cells.
        artifacts: quality of all cells.
        covariates: (cell, level) of all cells, or None.
    """
    key = jax.random.key(ONCE) if wanted.refresh == "once" else key
    if wanted.pseudo_cell == "cell":
        chosen = jnp.maximum(pools.of_cell, 0)
        place = _members(jax.random.uniform(key, chosen.shape), pools, chosen)
        return References(jnp.where(_has_reference(pools), place, -1), None)

    def pseudo_cell(pool: Array) -> PseudoCells:
        cells = _members(jax.random.uniform(jax.random.fold_in(key, pool), (N_POOLED,)), pools, pool)
        used = jnp.arange(N_POOLED) < pools.size[pool]
        share = used / jnp.maximum(used.sum(), 1)
        genes = x[cells].astype(jnp.float32)
        centre = share @ genes if wanted.pseudo_cell == "mean" else _lower_median(genes, used)
        levels = None if covariates is None else share @ covariates[cells].astype(jnp.float32)
        return PseudoCells(centre, share @ artifacts[cells], levels)

    pseudo = jax.lax.map(pseudo_cell, jnp.arange(pools.size.shape[0]))
    return References(jnp.where(_has_reference(pools), pools.of_cell, -1), pseudo)


def _has_reference(pools: Pools) -> Array:
    return (pools.of_cell >= 0) & (pools.size[jnp.maximum(pools.of_cell, 0)] > 0)


def _members(uniform: Array, pools: Pools, pool: Array) -> Int[Array, "..."]:
    """The member of a pool that each uniform number falls on; any cell for an empty pool."""
    size = pools.size[pool]
    rank = jnp.minimum((uniform * size).astype(jnp.int32), jnp.maximum(size - 1, 0))
    return pools.members[jnp.minimum(pools.start[pool] + rank, pools.members.shape[0] - 1)]


def _lower_median(values: Float[Array, "draw gene"], used: Array) -> Float[Array, " gene"]:
    """Median by gene of the draws in use, the lower of both middle ones for an even number."""
    ordered = jnp.sort(jnp.where(used[:, None], values, jnp.inf), axis=0)
    return ordered[jnp.maximum(used.sum() - 1, 0) // 2]


def gather_references(
    references: References, cells: Int[Array, " place"], x: Array, artifacts: Array, covariates: Array | None
) -> Reference:
    """The references of these cells; padding (-1) has none."""
    place = jnp.where(cells >= 0, references.place[jnp.maximum(cells, 0)], -1)
    source = references.pseudo or PseudoCells(x, artifacts, covariates)
    row = jnp.maximum(place, 0)
    levels = None if source.covariates is None else source.covariates[row].astype(jnp.float32)
    exists = (place >= 0).astype(jnp.float32)
    # An empty pool's median is infinite: nothing of a reference that is none may reach a loss.
    genes = jnp.where(exists[:, None] > 0, source.x[row].astype(jnp.float32), 0.0)
    return Reference(genes, source.artifacts[row], levels, exists)


def observation_weights(
    batch: Batch, wanted: QualityTraining, failed_share: Float[Array, ""]
) -> Float[Array, " cell"] | None:
    """Factors of the log likelihoods of a batch's cells, by their quality; None = 1.

    balanced: both qualities count the same in total, and factors have mean 1 over the training cells; `failed_share`
    is that of the training cells. batch_share: those of the published code, where passing cells get the batch's share
    of failed ones and failed cells one minus that, so that factors have a mean of at most one half.
    """
    if wanted.weighting == "none" or batch.artifacts is None:
        return None
    failed = (batch.artifacts > 0).any(axis=-1)
    if wanted.weighting == "batch_share":
        real = batch.weight > 0
        share = (failed & real).sum() / real.sum()
        return jnp.where(failed, 1.0 - share, share)
    balanced = jnp.where(failed, 0.5 / failed_share, 0.5 / (1.0 - failed_share))
    return jnp.where((failed_share > 0) & (failed_share < 1), balanced, 1.0)
