"""The simulated screen whose perturbations were given at several doses, with effects along Hill curves.

Everything but doses is the screen of [simulate][samsjax.data.simulate]:

    K_tl        middle of the doses x exp(half_dose_log_sd x Normal(0, 1)): the dose of half the effect
    h_tl        Uniform(1, 4)
    gate_tl(d)  d^h / (K^h + d^h)
    s_i         Normal(0, I) + sum over the cell's perturbations of gate_t(dose) x effect_t

Cells of a single perturbation are spread evenly over the doses; in combinations every part has a dose drawn at random.
`Truth.effect` is that of a dose without limit. Curves are those of whole perturbations, or of each of their mechanisms.
A dose can be held out: all cells that carry a perturbation at its held-out dose are then test cells, as
[held_out_doses][samsjax.data.held_out.held_out_doses] has it.
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import numpy as np
import scipy.sparse as sp

from samsjax.data.dataset import PerturbationData
from samsjax.data.encoding import Encoding
from samsjax.data.held_out import MIN_DOSES, held_out_doses
from samsjax.data.simulate import Drawn, SimulationConfig, Truth, draw_counts, draw_screen
from samsjax.errors import InputError, check_choice, check_range

HeldOutDose = Literal["none", "inside", "highest"]
CurvesOf = Literal["perturbations", "mechanisms"]
STEEPNESS = (1.0, 4.0)
"""Smallest and largest exponent of a curve."""


@dataclass(frozen=True)
class DoseSimulationConfig(SimulationConfig):
    """Sizes and strengths of the simulated screen with doses.

    Raises:
        InputError: if a value is out of range, or doses are not positive and ascending.
    """

    n_perturbations: int = 40
    """Single perturbations."""
    n_without_effect: int = 5
    """How many of them do nothing."""
    n_control_cells: int = 2000
    """Cells without perturbation."""
    cells_per_single: int = 200
    """Cells of each single perturbation, at all doses together."""
    cells_per_double: int = 60
    """Cells of each combination, at all pairs of doses together."""
    doses: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)
    """At which each perturbation is given, ascending."""
    half_dose_log_sd: float = 0.7
    """Standard deviation of the logarithm of the dose of half the effect, around the middle of the doses."""
    curves_of: CurvesOf = "perturbations"
    """Whether all mechanisms of a perturbation answer alike to its dose, or each along a curve of its own."""
    held_out_dose: HeldOutDose = "none"
    """Dose of each perturbation whose cells are test cells: its highest, or one between highest and lowest at random;
    none = cells are split at random."""

    def __post_init__(self) -> None:
        super().__post_init__()
        doses = np.asarray(self.doses, dtype=float)
        object.__setattr__(self, "doses", tuple(doses.tolist()))
        if len(doses) < 1 or not (doses > 0).all() or not (np.diff(doses) > 0).all():
            raise InputError(f"doses must be positive and ascending, got {self.doses}")
        check_range("half_dose_log_sd", self.half_dose_log_sd, low=0.0)
        check_choice("curves_of", self.curves_of, get_args(CurvesOf))
        check_choice("held_out_dose", self.held_out_dose, get_args(HeldOutDose))
        if self.held_out_dose != "none" and len(doses) < MIN_DOSES:
            raise InputError(f"to hold a dose out, give at least {MIN_DOSES} doses, not {len(doses)}")
        if self.cells_per_single < len(doses):
            raise InputError(f"cells_per_single ({self.cells_per_single}) must be at least the {len(doses)} doses")


class TrueCurves(NamedTuple):
    """Hill curves of effects along doses."""

    half_dose: np.ndarray
    """float64 (perturbation, latent): K."""
    steepness: np.ndarray
    """float64 (perturbation, latent): h."""

    def gate(self, index: np.ndarray, dose: np.ndarray) -> np.ndarray:
        """Share of the full effect of perturbations (...) at doses (...), (..., latent); 0 at dose 0."""
        scaled = (dose[..., None] / self.half_dose[index]) ** self.steepness[index]
        return scaled / (1 + scaled)


class DosedScreen(NamedTuple):
    """A simulated screen with doses, and all that drew it."""

    drawn: Drawn
    curves: TrueCurves


def simulate_doses(config: DoseSimulationConfig | None = None, *, seed: int = 0) -> tuple[PerturbationData, Truth]:
    """Draw a screen with doses and the truth behind it; the same seed gives the same bits.

    Masks, effects, basal states and which perturbations a cell has are those of `simulate` with the same seed and the
    same settings of the screen.

    Raises:
        InputError: if the seed is negative, or counts would not fit 32 bits.
    """
    drawn = draw_dosed_screen(config or DoseSimulationConfig(), seed=seed).drawn
    return drawn.data, drawn.truth


def draw_dosed_screen(config: DoseSimulationConfig, *, seed: int) -> DosedScreen:
    """The screen of `simulate_doses` and what drew it."""
    check_range("seed", seed, low=0)
    drawn = draw_screen(config, seed=seed)
    # A stream of its own: what has no dose is that of the screen without doses.
    rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
    curves = _curves(config, rng)
    index, dosage = drawn.data.perturbation_index, _doses(config, rng, drawn.data)
    shift = (curves.gate(index, dosage.astype(float)) * drawn.truth.effect[index]).sum(axis=1)
    mean = drawn.library_size[:, None] * drawn.shares(drawn.truth.z_basal + shift)
    x = draw_counts(rng, mean, drawn.theta, config)
    data = replace(drawn.data, x=sp.csr_matrix(x), dosage=dosage, library_size=x.sum(axis=1).astype(np.float32))
    data = _split(config, data, seed)
    truth = drawn.truth._replace(mean=mean.astype(np.float32))
    return DosedScreen(drawn._replace(data=data, truth=truth, shift=shift), curves)


def _curves(config: DoseSimulationConfig, rng: np.random.Generator) -> TrueCurves:
    n_curves = 1 if config.curves_of == "perturbations" else config.n_latent
    shape = (config.n_perturbations, n_curves)
    middle = np.log(config.doses).mean()
    half_dose = np.exp(middle + config.half_dose_log_sd * rng.standard_normal(shape))
    of_latents = (config.n_perturbations, config.n_latent)
    return TrueCurves(*(np.broadcast_to(v, of_latents) for v in (half_dose, rng.uniform(*STEEPNESS, shape))))


def _doses(config: DoseSimulationConfig, rng: np.random.Generator, data: PerturbationData) -> np.ndarray:
    """Float32 (cell, slot): doses in place of ones. The cells of a single perturbation take the doses in turn."""
    rank = rng.integers(len(config.doses), size=data.dosage.shape)
    alone = (data.dosage != 0).sum(axis=1) == 1
    for perturbation in range(config.n_perturbations):
        its = np.flatnonzero(alone & (data.perturbation_index[:, 0] == perturbation))
        rank[its, 0] = np.arange(len(its)) % len(config.doses)
    return np.where(data.dosage != 0, np.array(config.doses, np.float32)[rank], 0).astype(np.float32)


def _split(config: DoseSimulationConfig, data: PerturbationData, seed: int) -> PerturbationData:
    if config.held_out_dose == "none":
        return data
    encoding = Encoding(data.perturbation_index, data.dosage, data.perturbation_names)
    return data.with_split(held_out_doses(encoding, place=config.held_out_dose, seed=seed))
