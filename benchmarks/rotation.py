"""What the sparse rotation finds on simulated screens, beside the same fit without it.

python -m benchmarks rotation
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from samsjax.data import SimulationConfig, simulate
from samsjax.errors import check_choice, listing
from samsjax.evaluation import mask_agreement, mask_average_precision, posterior_effects, predictive_iwelbo
from samsjax.inference.config import TrainConfig
from samsjax.inference.fitted import fit
from samsjax.models import ModelConfig, SAMSVAEBetaBernoulliConfig, SAMSVAEConfig
from samsjax.reporting import markdown_table

BUILT_IN = SimulationConfig()
SCREENS: dict[str, SimulationConfig] = {
    "built-in": BUILT_IN,
    "half the cells": replace(BUILT_IN, cells_per_single=50, n_control_cells=1500, cells_per_double=75),
    "half the perturbations": replace(BUILT_IN, n_perturbations=50, n_without_effect=10, cells_per_single=200),
    "no doubles": replace(BUILT_IN, n_doubles=0),
    "small effects": replace(BUILT_IN, effect_size=1.2, effect_size_sd=0.2),
    "one mechanism each": replace(BUILT_IN, max_active=1),
    "up to 6 mechanisms each": replace(BUILT_IN, max_active=6),
}
"""Every one is the first with something changed."""
ON_BUILT_IN: dict[str, ModelConfig] = {
    "12 latents": SAMSVAEConfig(n_latent=12),
    "8 latents": SAMSVAEConfig(n_latent=8),
    "40 latents": SAMSVAEConfig(n_latent=40),
    "correlated guide": SAMSVAEConfig(guide="correlated"),
    "beta-Bernoulli": SAMSVAEBetaBernoulliConfig(),
}
"""Other models than SAMS-VAE with 20 latents, fitted to the first screen, which has 12 mechanisms."""


@dataclass(frozen=True)
class RotationBenchmark:
    """Masks and bound with and without the rotation, over screens of different difficulty."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Each simulates another screen and fits it."""
    n_steps: int = TrainConfig.n_steps
    """Budget of every fit."""
    screens: tuple[str, ...] = (*SCREENS, *ON_BUILT_IN)
    """Which rows."""

    def __post_init__(self) -> None:
        for screen in self.screens:
            check_choice("screen", screen, [*SCREENS, *ON_BUILT_IN])


def measure(command: RotationBenchmark) -> list[dict[str, Any]]:
    """Fit everything and print one table; two lines as soon as a screen is done."""
    rows: list[dict[str, Any]] = []
    for screen in command.screens:
        for rotation in ("off", "sparse"):
            rows.append(_row(command, screen, rotation))
            lines = markdown_table(rows).splitlines()
            print("\n".join(lines if len(rows) == 1 else lines[-1:]), flush=True)
    return rows


def _row(command: RotationBenchmark, screen: str, rotation: str) -> dict[str, Any]:
    found = [_scores(command, screen, rotation, seed) for seed in command.seeds]
    bound, f1, precision = (np.array(column) for column in zip(*found, strict=True))
    return {
        "screen": screen,
        "rotation": rotation,
        "test IWELBO": f"{bound.mean():.2f}",
        "mask F1 by seed": listing(f"{value:.2f}" for value in f1),
        "mean": f"{f1.mean():.2f}",
        "AUPRC by seed": listing(f"{value:.2f}" for value in precision),
        "mean ": f"{precision.mean():.2f}",
    }


def _scores(command: RotationBenchmark, screen: str, rotation: Any, seed: int) -> tuple[float, float, float]:
    """(test bound, F1, area under the precision-recall curve)."""
    data, truth = simulate(SCREENS.get(screen, BUILT_IN), seed=seed)
    model = ON_BUILT_IN.get(screen, SAMSVAEConfig())
    train = TrainConfig(n_steps=command.n_steps, rotation=rotation)
    fitted = fit(data, model, train, seed=seed, progress=False)
    bound = predictive_iwelbo(jax.random.key(seed), fitted, data, data.cells("test"), 100).mean()
    effects = posterior_effects(jax.random.key(seed), fitted)
    assert effects is not None
    agreement = mask_agreement(truth.mask, effects.mask)
    precision = mask_average_precision(truth.mask, effects.inclusion_probability, agreement)
    return float(bound), agreement.f1, precision
