"""A model under test with all that the promises of `contract` share: data, parameters, draws, compiled log weights."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from samsjax.data import PerturbationData
from samsjax.data.artifacts import artifact_names
from samsjax.effects import CELLS as CELLS_PLATE
from samsjax.inference.batching import DeviceData, gather, to_device
from samsjax.inference.fitted import standardised_features, statistics_of
from samsjax.inference.log_weights import LogWeights, in_plate, initial_parameters, log_weights, traces
from samsjax.models import ModelConfig, build_model
from samsjax.types import Batch, Features, ModelGuide, Params
from tests import small

CELLS = np.arange(16)
KEYS = jax.random.split(jax.random.key(0), 3)
Draws = dict[str, jax.Array]


@dataclass(frozen=True, eq=False)
class Subject:
    """A model's programs on the cells of a data set, with parameters and its log weights compiled."""

    config: ModelConfig
    model_guide: ModelGuide
    initial: Params
    params: Params
    """The initial ones, each moved by noise: at the start many are zero, which would hide what they do."""
    device_data: DeviceData
    features: Features | None = None
    """Of the perturbations, one of which counts as one without training cells; None for a model without."""
    traced: list[int] = field(default_factory=list)
    """Cells of the batch, for every time `compiled` was traced."""

    def batch(self, cells: np.ndarray) -> Batch:
        """The batch of these cell numbers, with every perturbation."""
        return gather(self.device_data, jnp.asarray(cells), jnp.ones(self.model_guide.n_perturbations))

    def log_weights(self, key: jax.Array, params: Params, batch: Batch, given: Draws | None = None) -> LogWeights:
        """The terms of one particle, latent sites taken from `given` where they are named there. Not compiled."""
        return log_weights(key, self.model_guide, params, batch, given)

    def particles(self, params: Params) -> LogWeights:
        """The terms of `CELLS`, one particle for each of `KEYS`."""
        # Operation by operation: all models and likelihoods share what is compiled for that, and little else.
        return jax.vmap(lambda key: self.log_weights(key, params, self.batch(CELLS)))(KEYS)

    @cached_property
    def compiled(self) -> Any:
        """`log_weights`, compiled; it notes when it is traced."""

        def counted(key: jax.Array, params: Params, batch: Batch, given: Draws) -> LogWeights:
            self.traced.append(len(batch.dosage))
            return self.log_weights(key, params, batch, given)

        return jax.jit(counted)

    def scored(self, batch: Batch, draws: Draws) -> LogWeights:
        """The terms of a batch under given draws of all latent sites."""
        return self.compiled(KEYS[0], self.params, batch, draws)

    @cached_property
    def guide_traces(self) -> list[dict[str, Any]]:
        """The guide's sites on `CELLS`, under two keys."""
        return [traces(key, self.model_guide, self.params, self.batch(CELLS))[1] for key in KEYS[:2]]

    def draws(self, particle: int, plate: str | None = None) -> Draws:
        """Values of the latent sites of `CELLS` under one of two keys; only those in a plate if one is named."""
        sites = {n: site for n, site in self.guide_traces[particle].items() if site["type"] == "sample"}
        return {n: site["value"] for n, site in sites.items() if plate is None or in_plate(site, plate)}

    def draws_of(self, cells: np.ndarray) -> Draws:
        """The first draws, reduced to these of `CELLS`; shared ones stay as they are."""
        return self.draws(0) | {name: value[cells] for name, value in self.draws(0, CELLS_PLATE).items()}


def subject(config: ModelConfig, data: PerturbationData) -> Subject:
    """A model on the cells of `data`."""
    artifacts = artifact_names(data, config.quality_indicators)
    features = _one_unseen(data) if config.uses_features else None
    statistics = statistics_of(data, config.normalization, artifacts=artifacts, features=features)
    model_guide = build_model(config, statistics)
    initial = initial_parameters(jax.random.key(0), model_guide)
    return Subject(config, model_guide, initial, moved(initial), to_device(data, artifacts=artifacts), features)


def _one_unseen(data: PerturbationData) -> Features:
    """Features of perturbations, of which that of most of `CELLS` counts as one without training cells."""
    features = standardised_features(small.featured(data))[1]
    carried = data.perturbation_index[CELLS][data.dosage[CELLS] > 0]
    return features._replace(seen=features.seen.at[np.bincount(carried).argmax()].set(0.0))


def moved(params: Params) -> Params:
    """Every parameter moved by noise."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [leaf + 0.3 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, noisy)


def of_cells(weights: LogWeights) -> dict[str, Any]:
    """The terms that belong to single cells."""
    return {"reconstruction": weights.reconstruction, **weights.local}


def assert_trees_close(one: Any, two: Any, **tolerance: float) -> None:
    """Equal structure and nearly equal leaves."""
    _compare(one, two, lambda a, b, path: assert_allclose(a, b, **tolerance, err_msg=path))


def assert_trees_equal(one: Any, two: Any) -> None:
    """Equal structure and equal leaves, without tolerance."""
    _compare(one, two, lambda a, b, path: assert_array_equal(np.asarray(a), np.asarray(b), err_msg=path))


def trees_close(one: Any, two: Any) -> bool:
    """Whether all leaves agree to a hundredth: much more than rounding, much less than an effect."""
    return all(np.allclose(a, b, atol=1e-2) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True))


def _compare(one: Any, two: Any, check: Callable[[Any, Any, str], None]) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(two), strict=True):
        check(a, b, jax.tree_util.keystr(path))
