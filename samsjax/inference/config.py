"""How to train: one frozen dataclass, from which the command line's `--train.*` flags are made."""

from dataclasses import dataclass, field
from typing import Literal

from samsjax.errors import InputError, check_choice, check_range
from samsjax.inference.published import ReweightingKind, check_reweighting

OBJECTIVES = ("analytic_kl", "sampled_kl", "iwelbo")


@dataclass(frozen=True)
class TrainConfig:
    """Budget, optimiser and stopping rule."""

    n_steps: int = 2500
    """Most optimiser steps; rounded up to whole passes over the training cells."""
    batch_size: int = 512
    """Most cells per step; batches are made equally large."""
    n_particles: int = 1
    """Draws from the posterior per step; more is smoother and slower."""
    objective: Literal["analytic_kl", "sampled_kl", "iwelbo"] = "analytic_kl"
    """Bound to climb: with closed-form divergences where known, with sampled ones, or importance-weighted."""
    reweighting: ReweightingKind | None = None
    """With sampled_kl only: multiply log p (prior) or log p and log q (term) of sites, or add weight per cell."""
    reweighting_factors: dict[str, float] = field(default_factory=dict, hash=False)
    """Factor of each re-weighted site, such as mask 2.5 z_basal 0.5."""
    learning_rate: float = 5e-3
    """Peak learning rate of Adam."""
    effect_step_factor: float = 10.0
    """How much longer the steps of masks and effects are than those of the networks (the published recipe has 1)."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """After the warm-up: decay along a cosine to almost zero, or stay."""
    warmup_fraction: float = 0.3
    """Part of the steps over which the learning rate rises."""
    weight_decay: float = 0.0
    """L2 added to the gradient (the published recipe uses 1e-6)."""
    clip_norm: float | None = 100.0
    """Largest global norm of a gradient, in nats per cell; none = no clipping."""
    rotation: Literal["auto", "sparse", "off"] = "auto"
    """sparse: three times between epochs, turn latent space to the basis in which effects are sparsest; auto: where the
    model has masks (the published recipe has off)."""
    patience: int | None = 40
    """Stop after this many passes without a better validation bound; none = use the whole budget."""

    def __post_init__(self) -> None:
        for name in ("n_steps", "batch_size", "n_particles"):
            check_range(name, getattr(self, name), low=1)
        check_choice("objective", self.objective, OBJECTIVES)
        check_reweighting(self.reweighting, self.reweighting_factors)
        if self.reweighting is not None and self.objective != "sampled_kl":
            raise InputError(f"reweighting goes with objective 'sampled_kl', not {self.objective!r}")
        check_choice("rotation", self.rotation, ("auto", "sparse", "off"))
        check_choice("schedule", self.schedule, ("cosine", "constant"))
        check_range("learning_rate", self.learning_rate, above=0.0)
        check_range("effect_step_factor", self.effect_step_factor, above=0.0)
        check_range("warmup_fraction", self.warmup_fraction, low=0.0, below=1.0)
        check_range("weight_decay", self.weight_decay, low=0.0)
        if self.clip_norm is not None:
            check_range("clip_norm", self.clip_norm, above=0.0)
        if self.patience is not None:
            check_range("patience", self.patience, low=1)
