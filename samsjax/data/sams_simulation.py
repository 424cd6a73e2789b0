"""The simulation of the SAMS-VAE paper: continuous values of a screen whose sparse latent effects are known.

    mask_tl     Bernoulli(mask_prob) for each perturbation t and latent dimension l
    effect_tl   mask_tl x (random sign) x Normal(effect_size, effect_size_sd)
    z_i         Normal(0, I) + effect of the cell's perturbation
    mean_i      LeakyReLU network of z_i without biases, each gene divided by its standard deviation over cells
    x_ig        Normal(mean_ig, noise_fraction / (1 - noise_fraction) x variance of the gene's means)

Values are real numbers, so the likelihoods "normal" and "normal_fixed_variance" apply; library sizes are 1.

The layout of the paper ([PUBLISHED][samsjax.data.sams_simulation.PUBLISHED]) has no unperturbed cells: its first
perturbation, "0" there and the first of the names here, stands in for a control although it has an effect of its own,
and average effects are relative to that. In the data made here it keeps its dosage and its effect, as it does there
while a model trains. So masks and bounds are scored as usual, but average effects have no reference: measuring them
raises an error that asks for controls. The default layout adds real controls, without dosage and without effect.

The steps that draw nothing are functions of their own, and so are the pieces that
[svae_plus_simulation][samsjax.data.svae_plus_simulation] shares.

Source:
    SAMS-VAE (Bereket & Karaletsos 2023), specification 9.3.
Differs:
    Real controls by default; of the decoder's initialisations the orthogonal and the Gaussian one (a Kaiming
    initialisation, whose scale the division by standard deviations undoes); other random numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import scipy.sparse as sp

from samsjax.data.dataset import SPLITS, PerturbationData
from samsjax.data.simulate import Truth, numbered_names
from samsjax.errors import InputError, check_choice, check_range

CONTROL = -1
"""Condition of unperturbed cells; the others are numbers of perturbations."""
_SLOPE = 0.2
"""Of the LeakyReLU below zero, in both published simulations."""


def cells_per_split(config) -> dict[str, int]:
    """Cells of each perturbation by split, of a configuration with `train_cells`, `val_cells`, `test_cells`."""
    return {name: getattr(config, f"{name}_cells") for name in SPLITS}


def check_screen_sizes(n_perturbations: int, n_control_cells: int, per_split: dict[str, int]) -> None:
    """Raises: InputError if there is no perturbation, no training cell, or fewer than two cells in all."""
    check_range("n_perturbations", n_perturbations, low=1)
    check_range("n_control_cells", n_control_cells, low=0)
    for name, n_cells in per_split.items():
        check_range(f"{name}_cells", n_cells, low=1 if name == "train" else 0)
    if n_perturbations * sum(per_split.values()) + n_control_cells < 2:
        raise InputError("one cell has no variance: ask for more train_cells, n_perturbations or n_control_cells")


@dataclass(frozen=True)
class SAMSSimulationConfig:
    """Sizes and strengths of the SAMS-VAE simulation.

    Raises:
        InputError: if a value is out of range or the decoder is too narrow for the latent dimensions.
    """

    n_genes: int = 100
    """Genes (features) measured."""
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
    mask_prob: float = 2 / 15
    """Probability that a perturbation acts on a latent dimension."""
    effect_size: float = 5.0
    """Mean size of an effect, in standard deviations of the basal state."""
    effect_size_sd: float = 0.5
    """Standard deviation of effect sizes."""
    n_layers: int = 4
    """Hidden layers of the decoder."""
    n_hidden: int = 50
    """Width of the hidden layers."""
    decoder_weights: Literal["orthogonal", "gaussian"] = "orthogonal"
    """How the decoder's weights are drawn."""
    exponentiate: bool = False
    """Whether genes are the exponential of the scaled decoder output."""
    noise_fraction: float = 0.2
    """Share of a gene's variance that is noise."""

    def __post_init__(self) -> None:
        check_screen_sizes(self.n_perturbations, self.n_control_cells, cells_per_split(self))
        for name in ("n_genes", "n_latent", "n_layers", "n_hidden"):
            check_range(name, getattr(self, name), low=1)
        check_range("mask_prob", self.mask_prob, low=0.0, high=1.0)
        check_range("noise_fraction", self.noise_fraction, low=0.0, below=1.0)
        for name in ("effect_size", "effect_size_sd"):
            check_range(name, getattr(self, name), low=0.0)
        check_choice("decoder_weights", self.decoder_weights, get_args(Literal["orthogonal", "gaussian"]))
        for name in ("n_hidden", "n_genes"):
            if getattr(self, name) < self.n_latent:
                raise InputError(
                    f"{name} ({getattr(self, name)}) must be at least n_latent ({self.n_latent}): "
                    "a narrower decoder loses latent dimensions"
                )


PUBLISHED = SAMSSimulationConfig(n_control_cells=0)
"""The simulation of the paper, without unperturbed cells."""


def simulate_sams(config: SAMSSimulationConfig | None = None, *, seed: int = 0) -> tuple[PerturbationData, Truth]:
    """Draw a screen of continuous values and the truth behind it; the same seed gives the same bits.

    Cells come in blocks, train, val, test; in each block the perturbations take turns and the controls stand last.
    Masks, effects and decoder do not depend on the numbers of cells.

    Returns:
        The data, float32 values, and the truth; `Truth.noise_sd` holds the noise per gene.

    Raises:
        InputError: if the seed is negative, or exponentiated values do not fit 32 bits.
    """
    config = config or SAMSSimulationConfig()
    check_range("seed", seed, low=0)
    rng = np.random.default_rng(seed)
    mask = rng.random((config.n_perturbations, config.n_latent)) < config.mask_prob
    effect = signed_effects(rng, mask, config.effect_size, config.effect_size_sd)
    weights = _decoder_weights(config, rng)
    condition, split = _design(config)
    z_basal = rng.standard_normal((len(condition), config.n_latent))
    mean = unit_variance(decode(latent_states(z_basal, condition, effect), weights))
    if config.exponentiate:
        mean = _exponential(mean)
    noise_sd = np.sqrt(noise_variance(mean, config.noise_fraction))
    x = mean + noise_sd * rng.standard_normal(mean.shape)
    data = screen_of(x.astype(np.float32), condition, split, config.n_perturbations)
    small_effect, small_basal, small_mean, small_sd = (a.astype(np.float32) for a in (effect, z_basal, mean, noise_sd))
    return data, Truth(mask, small_effect, small_basal, small_mean, theta=None, noise_sd=small_sd)


def latent_states(z_basal: np.ndarray, condition: np.ndarray, effect: np.ndarray) -> np.ndarray:
    """Basal states (cell, latent) plus the effect (perturbation, latent) of each cell's condition, `CONTROL` = none."""
    return z_basal + np.where((condition == CONTROL)[:, None], 0.0, effect[condition])


def decode(z: np.ndarray, weights: Sequence[np.ndarray]) -> np.ndarray:
    """States (cell, latent) through layers without biases, LeakyReLU between them; weights are (in, out)."""
    hidden = z
    for weight in weights[:-1]:
        hidden = hidden @ weight
        hidden = np.where(hidden > 0, hidden, _SLOPE * hidden)
    return hidden @ weights[-1]


def unit_variance(values: np.ndarray) -> np.ndarray:
    """Each column of (cell, gene) divided by its standard deviation over cells; constant columns stay as they are."""
    sd = values.std(axis=0, ddof=1)
    return values / np.where(sd == 0, 1.0, sd)


def noise_variance(mean: np.ndarray, noise_fraction: float) -> np.ndarray:
    """Noise per gene, (gene,), that makes up `noise_fraction` of the gene's total variance over cells."""
    return noise_fraction / (1 - noise_fraction) * mean.var(axis=0, ddof=1)


def orthogonal(rng: np.random.Generator, n_in: int, n_out: int) -> np.ndarray:
    """Random (in, out) matrix whose shorter side is orthonormal, uniform over all such matrices."""
    q, r = np.linalg.qr(rng.standard_normal((max(n_in, n_out), min(n_in, n_out))))
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)  # the signs QR chooses are not random
    return q if n_in >= n_out else q.T


def signed_effects(rng: np.random.Generator, mask: np.ndarray, size: float, sd: float) -> np.ndarray:
    """Normal(size, sd) with random signs where `mask` (perturbation, latent) holds, 0 elsewhere."""
    return np.where(mask, rng.normal(size, sd, mask.shape) * rng.choice([-1.0, 1.0], mask.shape), 0.0)


def control_cells(n_control_cells: int, per_split: dict[str, int]) -> dict[str, int]:
    """Controls of each split: in the proportions of the perturbed cells, to the nearest cell."""
    reached = np.cumsum(list(per_split.values())) / sum(per_split.values())
    numbers = np.diff(np.rint(n_control_cells * reached).astype(int), prepend=0)
    return dict(zip(per_split, numbers.tolist(), strict=True))


def screen_of(
    x: np.ndarray | sp.csr_matrix, condition: np.ndarray, split: np.ndarray, n_perturbations: int
) -> PerturbationData:
    """Cells that received at most one perturbation each; sparse `x` are counts, dense `x` continuous values.

    Args:
        x: (cell, gene).
        condition: int (cell,), number of the perturbation or `CONTROL`.
        split: str (cell,).
        n_perturbations: size of the vocabulary.
    """
    counts = sp.issparse(x)
    library_size = np.asarray(x.sum(axis=1), dtype=np.float32).ravel() if counts else np.ones(x.shape[0], np.float32)
    return PerturbationData(
        x=x,
        perturbation_index=np.maximum(condition, 0).astype(np.int32)[:, None],
        dosage=(condition != CONTROL).astype(np.float32)[:, None],
        library_size=library_size,
        gene_names=numbered_names("gene", x.shape[1]),
        perturbation_names=numbered_names("P", n_perturbations),
        cell_names=numbered_names("cell", x.shape[0]),
        split=split,
        library_size_source="row_sum" if counts else "ones",
    )


def _decoder_weights(config: SAMSSimulationConfig, rng: np.random.Generator) -> list[np.ndarray]:
    widths = [config.n_latent, *[config.n_hidden] * config.n_layers, config.n_genes]
    pairs = pairwise(widths)
    if config.decoder_weights == "orthogonal":
        return [orthogonal(rng, n_in, n_out) for n_in, n_out in pairs]
    return [rng.standard_normal((n_in, n_out)) / np.sqrt(n_in) for n_in, n_out in pairs]


def _design(config: SAMSSimulationConfig) -> tuple[np.ndarray, np.ndarray]:
    """Condition and split of each cell, both (cell,), in the order of the paper with controls at the end of blocks."""
    per_split = cells_per_split(config)
    controls = control_cells(config.n_control_cells, per_split)
    blocks = {
        name: np.append(np.tile(np.arange(config.n_perturbations), n), np.full(controls[name], CONTROL))
        for name, n in per_split.items()
    }
    split = np.repeat(list(blocks), [len(block) for block in blocks.values()])
    return np.concatenate(list(blocks.values())), split


def _exponential(mean: np.ndarray) -> np.ndarray:
    largest = mean.max()
    if largest > np.log(np.finfo(np.float32).max) / 2:  # half: variances must fit as well
        raise InputError(
            f"exponentiate asks for values up to exp({largest:.0f}), too large for 32 bits: "
            "use more cells or another seed, or leave exponentiate off"
        )
    return np.exp(mean)
