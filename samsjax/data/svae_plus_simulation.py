"""The simulation of the SVAE+ paper, as the SAMS-VAE study uses it: counts whose sparse latent shifts are known.

    mask_t      1 to `max_targets` latent dimensions of each perturbation, drawn with replacement (or Bernoulli)
    effect_tl   mask_tl x (random sign) x Normal(effect_size, effect_size_sd)
    z_i         Normal(effect of the cell's perturbation, I)
    logit_ig    LeakyReLU network of z_i without biases, divided by the standard deviation of all logits
    x_ig        Poisson(counts_per_gene x softmax over CELLS of logit_g)

The softmax runs over cells, as published: it is each gene, not each cell, that has a fixed expected total, so a cell's
total is no technical exposure but part of the response to its perturbation. Totals are given as library sizes all the
same, so that every count likelihood can be trained; one that divides by them models proportions and cannot see a change
of the total. The rate of one cell depends on all others: adding cells lowers the counts of each.

[PUBLISHED][samsjax.data.svae_plus_simulation.PUBLISHED] is the layout of the paper, in which no cell is unperturbed and
the first perturbation stands in for a control (see [sams_simulation][samsjax.data.sams_simulation] for what that means
here). The default adds real controls.

Source:
    SVAE+ (Lopez et al. 2023) in the form of SAMS-VAE (Bereket & Karaletsos 2023), specification 9.4.
Differs:
    Real controls by default; the seed is an argument; cells have library sizes, and a cell without any count, which the
    published sizes never produce, is given one; other random numbers.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import scipy.sparse as sp

from samsjax.data.dataset import PerturbationData
from samsjax.data.sams_simulation import (
    CONTROL,
    cells_per_split,
    check_screen_sizes,
    control_cells,
    decode,
    latent_states,
    orthogonal,
    screen_of,
    signed_effects,
)
from samsjax.data.simulate import Truth
from samsjax.errors import InputError, check_choice, check_range

_GAIN = np.sqrt(2 / (1 + 0.2**2))
"""What keeps variances through a LeakyReLU of slope 0.2."""
_HIDDEN_LAYERS = 3


@dataclass(frozen=True)
class SVAEPlusSimulationConfig:
    """Sizes and strengths of the SVAE+ simulation.

    Raises:
        InputError: if a value is out of range, or not n_latent <= n_hidden <= n_genes.
    """

    n_genes: int = 100
    """Genes measured."""
    n_latent: int = 15
    """True latent dimensions."""
    n_perturbations: int = 100
    """Perturbations."""
    n_control_cells: int = 3500
    """Cells without perturbation, in the same shares of train, val and test; 0 = none, the published layout."""
    train_cells: int = 500
    """Training cells of each perturbation."""
    val_cells: int = 100
    """Validation cells of each perturbation."""
    test_cells: int = 100
    """Test cells of each perturbation."""
    targets: Literal["few", "bernoulli"] = "few"
    """How masks are drawn: 1 to max_targets latent dimensions with replacement, or each one with mask_prob."""
    max_targets: int = 3
    """Most latent dimensions a perturbation acts on, with targets "few"."""
    mask_prob: float = 2 / 15
    """Probability that a perturbation acts on a latent dimension, with targets "bernoulli"."""
    effect_size: float = 5.0
    """Mean size of an effect, in standard deviations of the basal state."""
    effect_size_sd: float = 0.5
    """Standard deviation of effect sizes."""
    n_hidden: int = 40
    """Width of the decoder's three hidden layers."""
    counts_per_gene: float = 1e6
    """Expected total of each gene over all cells."""

    def __post_init__(self) -> None:
        check_screen_sizes(self.n_perturbations, self.n_control_cells, cells_per_split(self))
        check_choice("targets", self.targets, get_args(Literal["few", "bernoulli"]))
        for name in ("n_latent", "max_targets"):
            check_range(name, getattr(self, name), low=1)
        check_range("mask_prob", self.mask_prob, low=0.0, high=1.0)
        check_range("counts_per_gene", self.counts_per_gene, above=0.0, high=1e9)  # a count has 32 bits
        for name in ("effect_size", "effect_size_sd"):
            check_range(name, getattr(self, name), low=0.0)
        if not self.n_latent <= self.n_hidden <= self.n_genes:
            raise InputError(
                "orthonormal decoder weights need n_latent <= n_hidden <= n_genes, "
                f"got {self.n_latent}, {self.n_hidden}, {self.n_genes}"
            )


PUBLISHED = SVAEPlusSimulationConfig(n_control_cells=0)
"""The simulation of the paper, without unperturbed cells."""


def simulate_svae_plus(
    config: SVAEPlusSimulationConfig | None = None, *, seed: int = 0
) -> tuple[PerturbationData, Truth]:
    """Draw a screen of counts and the truth behind it; the same seed gives the same bits.

    Cells come in one block per perturbation, train, val, test within it; the block of controls is the last. Masks,
    effects and decoder do not depend on the numbers of cells.

    Returns:
        The data, int32 counts with row sums as library sizes, and the truth; `Truth.theta` is infinite (Poisson).

    Raises:
        InputError: if the seed is negative.
    """
    config = config or SVAEPlusSimulationConfig()
    check_range("seed", seed, low=0)
    rng = np.random.default_rng(seed)
    mask = _targets(config, rng)
    effect = signed_effects(rng, mask, config.effect_size, config.effect_size_sd)
    weights = _decoder_weights(config, rng)
    condition, split = _design(config)
    z_basal = rng.standard_normal((len(condition), config.n_latent))
    mean = config.counts_per_gene * shares_of_cells(decode(latent_states(z_basal, condition, effect), weights))
    x = rng.poisson(mean)
    empty = x.sum(axis=1) == 0
    x[empty, mean[empty].argmax(axis=1)] = 1
    data = screen_of(sp.csr_matrix(x.astype(np.int32)), condition, split, config.n_perturbations)
    small_effect, small_basal, small_mean = (a.astype(np.float32) for a in (effect, z_basal, mean))
    theta = np.full(config.n_genes, np.inf, dtype=np.float32)
    return data, Truth(mask, small_effect, small_basal, small_mean, theta)


def shares_of_cells(logits: np.ndarray) -> np.ndarray:
    """Softmax over cells, for each gene, of logits (cell, gene) divided by the standard deviation of all of them."""
    sd = logits.std()
    scaled = logits / (sd if sd > 0 else 1.0)
    shares = np.exp(scaled - scaled.max(axis=0))
    return shares / shares.sum(axis=0)


def _targets(config: SVAEPlusSimulationConfig, rng: np.random.Generator) -> np.ndarray:
    """Bool (perturbation, latent); a latent dimension drawn twice counts once, so few targets can be fewer."""
    shape = (config.n_perturbations, config.n_latent)
    if config.targets == "bernoulli":
        return rng.random(shape) < config.mask_prob
    n_targets = rng.integers(1, config.max_targets + 1, config.n_perturbations)
    drawn = rng.integers(config.n_latent, size=(config.n_perturbations, config.max_targets))
    rows, places = np.nonzero(np.arange(config.max_targets) < n_targets[:, None])
    mask = np.zeros(shape, dtype=bool)
    mask[rows, drawn[rows, places]] = True
    return mask


def _decoder_weights(config: SVAEPlusSimulationConfig, rng: np.random.Generator) -> list[np.ndarray]:
    widths = [config.n_latent, *[config.n_hidden] * _HIDDEN_LAYERS, config.n_genes]
    return [_GAIN * np.sqrt(2 / (n_in + n_out)) * orthogonal(rng, n_in, n_out) for n_in, n_out in pairwise(widths)]


def _design(config: SVAEPlusSimulationConfig) -> tuple[np.ndarray, np.ndarray]:
    """Condition and split of each cell, both (cell,), in the order of the paper with controls at the end."""
    per_split = cells_per_split(config)
    controls = control_cells(config.n_control_cells, per_split)
    names = list(per_split)
    condition = np.repeat(np.arange(config.n_perturbations), sum(per_split.values()))
    block = np.repeat(names, list(per_split.values()))
    split = np.concatenate([np.tile(block, config.n_perturbations), np.repeat(names, list(controls.values()))])
    return np.append(condition, np.full(config.n_control_cells, CONTROL)), split
