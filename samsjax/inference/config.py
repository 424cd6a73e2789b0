"""How to train: one frozen dataclass, from which the command line's `--train.*` flags are made."""

from dataclasses import dataclass
from typing import Literal

from samsjax.errors import check_choice, check_range
from samsjax.inference.objectives import OBJECTIVES


@dataclass(frozen=True)
class TrainConfig:
    """Budget, optimiser and stopping rule."""

    n_steps: int = 5000
    """Most optimiser steps; rounded up to whole passes over the training cells."""
    batch_size: int = 512
    """Most cells per step; batches are made equally large."""
    n_particles: int = 1
    """Draws from the posterior per step; more is smoother and slower."""
    objective: Literal["analytic_kl", "sampled_kl"] = "analytic_kl"
    """Bound to climb: closed-form divergences where known, or sampled ones."""
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
    patience: int | None = 40
    """Stop after this many passes without a better validation bound; none = use the whole budget."""

    def __post_init__(self) -> None:
        for name in ("n_steps", "batch_size", "n_particles"):
            check_range(name, getattr(self, name), low=1)
        check_choice("objective", self.objective, list(OBJECTIVES))
        check_choice("schedule", self.schedule, ("cosine", "constant"))
        check_range("learning_rate", self.learning_rate, above=0.0)
        check_range("effect_step_factor", self.effect_step_factor, above=0.0)
        check_range("warmup_fraction", self.warmup_fraction, low=0.0, below=1.0)
        check_range("weight_decay", self.weight_decay, low=0.0)
        if self.clip_norm is not None:
            check_range("clip_norm", self.clip_norm, above=0.0)
        if self.patience is not None:
            check_range("patience", self.patience, low=1)
