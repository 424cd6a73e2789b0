"""The built-in data: a seeded simulation of a perturbation screen whose sparse effects are known.

Over-dispersed counts of controls, single and double perturbations, some of which do nothing:

    mask_t      1 to `max_active` latent dimensions for each perturbation with an effect, none for the others
    effect_t    mask_t x (random sign) x Normal(effect_size, effect_size_sd)
    s_i         Normal(0, I) + sum of the effects of the cell's perturbations
    log share   gene baseline (log-normal spread) + a one-hidden-layer network of s_i, softmax over genes
    x_ig        negative binomial(library size_i x share_ig, theta_g)

The defaults match what the measured screens look like: 78-97 % zeros, log gene means with standard deviation 1.7-1.9,
log totals with standard deviation 0.5-0.7, inverse dispersions with median 0.6-2.6.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from samsjax.data.dataset import PerturbationData
from samsjax.data.splits import random_split
from samsjax.errors import InputError, check_range

_LARGEST_RATE = 1e9
"""Expected counts above this do not fit the 32 bits of a count."""


@dataclass(frozen=True)
class SimulationConfig:
    """Sizes and strengths of the simulated screen."""

    n_genes: int = 600
    """Genes measured."""
    n_latent: int = 12
    """True mechanisms."""
    n_perturbations: int = 100
    """Single perturbations."""
    n_without_effect: int = 20
    """How many of them do nothing."""
    n_doubles: int = 20
    """Combinations of two perturbations."""
    n_control_cells: int = 3000
    """Cells without perturbation."""
    cells_per_single: int = 100
    """Cells of each single perturbation."""
    cells_per_double: int = 150
    """Cells of each combination."""
    max_active: int = 3
    """Most mechanisms one perturbation acts on."""
    effect_size: float = 2.5
    """Mean size of an effect, in standard deviations of the basal state."""
    effect_size_sd: float = 0.4
    """Standard deviation of effect sizes."""
    median_library_size: float = 350.0
    """Median total count of a cell."""
    library_size_log_sd: float = 0.6
    """Standard deviation of log totals."""
    gene_mean_log_sd: float = 1.8
    """Standard deviation of log gene means."""
    response: float = 0.45
    """Standard deviation over basal states of a gene's log expression."""
    median_inverse_dispersion: float = 1.5
    """Median over genes of the inverse dispersion."""

    def __post_init__(self) -> None:
        for name in ("n_genes", "n_latent", "n_perturbations", "n_control_cells", "cells_per_single", "max_active"):
            check_range(name, getattr(self, name), low=1)
        check_range("n_without_effect", self.n_without_effect, low=0, high=self.n_perturbations)
        n_pairs = self.n_perturbations * (self.n_perturbations - 1) // 2
        check_range("n_doubles", self.n_doubles, low=0, high=n_pairs)
        check_range("cells_per_double", self.cells_per_double, low=1)
        if self.max_active > self.n_latent:
            raise InputError(f"max_active ({self.max_active}) cannot exceed n_latent ({self.n_latent})")
        for name in ("median_library_size", "median_inverse_dispersion"):
            check_range(name, getattr(self, name), above=0.0)
        for name in ("effect_size", "effect_size_sd", "library_size_log_sd", "gene_mean_log_sd", "response"):
            check_range(name, getattr(self, name), low=0.0)


class Truth(NamedTuple):
    """What generated a simulated screen, of any of the simulators.

    Rows of `mask` and `effect` follow the data's perturbation names. Of the two spreads one is given: `theta` for
    counts, `noise_sd` for continuous values.
    """

    mask: np.ndarray
    """bool (perturbation, latent)."""
    effect: np.ndarray
    """float32 (perturbation, latent): the shift, zero where masked."""
    z_basal: np.ndarray
    """float32 (cell, latent)."""
    mean: np.ndarray
    """float32 (cell, gene): noise-free expected counts or values, of cells as they are."""
    theta: np.ndarray | None
    """float32 (gene,): inverse dispersion of counts, infinite where they are Poisson."""
    noise_sd: np.ndarray | None = None
    """float32 (gene,): standard deviation of the Gaussian noise of continuous values."""
    artifact: np.ndarray | None = None
    """float32 (artifact, latent): the shift in cells that fail; None for a screen without artefacts."""
    good_mean: np.ndarray | None = None
    """float32 (cell, gene): `mean` had every cell been of good quality, None where it is `mean`. Effects of
    perturbations are those on this."""
    failed: np.ndarray | None = None
    """bool (cell,): which cells truly fail, however the data label them; None for a screen without artefacts."""
    confounded: np.ndarray | None = None
    """bool (perturbation,): whose cells fail more often; None for a screen without artefacts."""

    def subset(self, cells: np.ndarray) -> "Truth":
        """The truth of some of the screen's cells, an index or boolean array."""
        of_cells = {name: getattr(self, name) for name in ("z_basal", "mean", "good_mean", "failed")}
        return self._replace(**{name: values[cells] for name, values in of_cells.items() if values is not None})


class Drawn(NamedTuple):
    """A simulated screen with all that drew it, for simulations that change some of its cells."""

    data: PerturbationData
    truth: Truth
    shift: np.ndarray
    """float64 (cell, latent): effects of the perturbations of each cell, summed."""
    library_size: np.ndarray
    """float64 (cell,): expected totals."""
    theta: np.ndarray
    """float64 (gene,): inverse dispersions."""
    shares: Callable[[np.ndarray], np.ndarray]
    """States (cell, latent) -> expected share of each gene in a cell's total, (cell, gene)."""


def simulate(config: SimulationConfig | None = None, *, seed: int = 0) -> tuple[PerturbationData, Truth]:
    """Draw a screen and the truth behind it; the same seed gives the same bits.

    The split is the random 64/16/20 split of cells with the same seed. Cells without any count are kept out by giving
    them one count of their most expected gene.
    """
    drawn = draw_screen(config or SimulationConfig(), seed=seed)
    return drawn.data, drawn.truth


def draw_screen(config: SimulationConfig, *, seed: int, effects: tuple[np.ndarray, np.ndarray] | None = None) -> Drawn:
    """The screen of `simulate` and what drew it.

    Args:
        config: sizes and strengths.
        seed: decides all draws.
        effects: masks and masked effects, bool and float64 (perturbation, latent), instead of those of `simulate`.
    """
    rng = np.random.default_rng(seed)
    mask, effect = _effects(config, rng) if effects is None else effects
    index, dosage = _design(config, rng)
    n_cells = len(index)
    z_basal = rng.standard_normal((n_cells, config.n_latent))
    shift = (dosage[..., None] * effect[index]).sum(axis=1)
    library_size = config.median_library_size * np.exp(config.library_size_log_sd * rng.standard_normal(n_cells))
    shares = _decoder(config, rng, z_basal)
    mean = library_size[:, None] * shares(z_basal + shift)
    theta = config.median_inverse_dispersion * np.exp(0.5 * rng.standard_normal(config.n_genes))
    x = draw_counts(rng, mean, theta, config)
    data = PerturbationData(
        x=sp.csr_matrix(x),
        perturbation_index=index,
        dosage=dosage,
        library_size=x.sum(axis=1).astype(np.float32),
        gene_names=numbered_names("gene", config.n_genes),
        perturbation_names=numbered_names("P", config.n_perturbations),
        cell_names=numbered_names("cell", n_cells),
        split=random_split(n_cells, seed=seed),
    )
    truth = Truth(mask, *(a.astype(np.float32) for a in (effect, z_basal, mean, theta)))
    return Drawn(data, truth, shift, library_size, theta, shares)


def draw_counts(rng: np.random.Generator, mean: np.ndarray, theta: np.ndarray, config: SimulationConfig) -> np.ndarray:
    """Over-dispersed counts, int32 (cell, gene); a cell without any gets one of its most expected gene.

    Args:
        rng: what draws.
        mean: expected counts, (cell, gene).
        theta: inverse dispersions, (gene,).
        config: named in the error.

    Raises:
        InputError: if counts would not fit 32 bits.
    """
    rate = rng.gamma(theta, mean / theta)
    if not (rate < _LARGEST_RATE).all():
        raise InputError(
            f"the simulation asks for expected counts above {_LARGEST_RATE:.0e}: lower median_library_size "
            f"({config.median_library_size}) or library_size_log_sd ({config.library_size_log_sd})"
        )
    x = rng.poisson(rate)
    empty = x.sum(axis=1) == 0
    x[empty, mean[empty].argmax(axis=1)] = 1
    return x.astype(np.int32)


def numbered_names(prefix: str, n: int) -> np.ndarray:
    """Names whose alphabetical order is their order."""
    width = len(str(n))
    return np.array([f"{prefix}{i + 1:0{width}d}" for i in range(n)])


def _effects(config: SimulationConfig, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Masks and masked effects; the perturbations without effect are the last ones."""
    shape = (config.n_perturbations, config.n_latent)
    n_active = rng.integers(1, config.max_active + 1, config.n_perturbations)
    n_active[config.n_perturbations - config.n_without_effect :] = 0
    rank = rng.random(shape).argsort(axis=1).argsort(axis=1)
    mask = rank < n_active[:, None]
    size = rng.normal(config.effect_size, config.effect_size_sd, shape) * rng.choice([-1.0, 1.0], shape)
    return mask, np.where(mask, size, 0.0)


def _design(config: SimulationConfig, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(perturbation index, dosage), both (cell, 2), in random order of cells."""
    first, second = np.triu_indices(config.n_perturbations, k=1)
    pairs = rng.choice(len(first), config.n_doubles, replace=False)
    singles = np.arange(config.n_perturbations)
    index = np.concatenate(
        [
            np.zeros((config.n_control_cells, 2), int),
            np.repeat(np.stack([singles, np.zeros_like(singles)], axis=1), config.cells_per_single, axis=0),
            np.repeat(np.stack([first[pairs], second[pairs]], axis=1), config.cells_per_double, axis=0),
        ]
    )
    n_parts = np.repeat(
        [0, 1, 2],
        [
            config.n_control_cells,
            config.n_perturbations * config.cells_per_single,
            config.n_doubles * config.cells_per_double,
        ],
    )
    order = rng.permutation(len(index))
    dosage = (np.arange(2) < n_parts[:, None]).astype(np.float32)
    return index[order].astype(np.int32), dosage[order]


def _decoder(
    config: SimulationConfig, rng: np.random.Generator, z_basal: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """States (cell, latent) -> shares (cell, gene); a gene's response to the basal states has the asked spread."""
    n_hidden = 4 * config.n_latent
    into_hidden = rng.standard_normal((config.n_latent, n_hidden)) / np.sqrt(config.n_latent)
    bias = 0.5 * rng.standard_normal(n_hidden)
    into_genes = rng.standard_normal((n_hidden, config.n_genes))

    def respond(states: np.ndarray) -> np.ndarray:
        hidden = states @ into_hidden + bias
        return np.where(hidden > 0, hidden, 0.2 * hidden) @ into_genes

    at_rest = respond(z_basal)
    centre, spread = at_rest.mean(axis=0), np.maximum(at_rest.std(axis=0), 1e-12)
    baseline = config.gene_mean_log_sd * rng.standard_normal(config.n_genes)

    def shares(states: np.ndarray) -> np.ndarray:
        logits = config.response * (respond(states) - centre) / spread + baseline
        proportional = np.exp(logits - logits.max(axis=1, keepdims=True))
        return proportional / proportional.sum(axis=1, keepdims=True)

    return shares
