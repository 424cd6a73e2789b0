"""What the sparse rotation finds on simulated screens of different difficulty, beside the same fit without it.

    python -m benchmarks rotation
    python -m benchmarks rotation --figures benchmarks/figures

Every row of the table is a screen or a model, fitted once for each seed. The figures are the masks' F1 of all rows, and
the effects of the first row's first seed before and after; they need matplotlib.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from samsjax.data import SimulationConfig, simulate
from samsjax.errors import check_choice, listing
from samsjax.evaluation import (
    CalibrationBin,
    mask_agreement,
    mask_average_precision,
    mask_calibration,
    posterior_effects,
    predictive_iwelbo,
)
from samsjax.inference.config import TrainConfig
from samsjax.inference.fitted import fit
from samsjax.models import ModelConfig, SAMSVAEBetaBernoulliConfig, SAMSVAEConfig
from samsjax.reporting import effect_maps, markdown_table, save_figure, score_dots

BUILT_IN = SimulationConfig()
SCREENS: dict[str, SimulationConfig] = {
    "built-in": BUILT_IN,
    "half the cells": replace(BUILT_IN, cells_per_single=50, n_control_cells=1500, cells_per_double=75),
    "half the perturbations": replace(BUILT_IN, n_perturbations=50, n_without_effect=10, cells_per_single=200),
    "no doubles": replace(BUILT_IN, n_doubles=0),
    "small effects": replace(BUILT_IN, effect_size=1.2, effect_size_sd=0.2),
    "up to 6 mechanisms each": replace(BUILT_IN, max_active=6),
}
"""Every one is the first with something changed."""
ON_BUILT_IN: dict[str, ModelConfig] = {
    "8 latents": SAMSVAEConfig(n_latent=8),
    "40 latents": SAMSVAEConfig(n_latent=40),
    "correlated guide": SAMSVAEConfig(guide="correlated"),
    "beta-Bernoulli": SAMSVAEBetaBernoulliConfig(),
}
"""Other models than SAMS-VAE with 20 latents, fitted to the first screen, which has 12 mechanisms."""
STATED = ("p < .1", ".1 to .9", "p >= .9")
"""Bins of inclusion probabilities, see `Found.calibration`."""
Rotation = Literal["off", "sparse"]
ROTATIONS: tuple[Rotation, ...] = ("off", "sparse")


@dataclass(frozen=True)
class RotationBenchmark:
    """Masks and bound with and without the rotation, over screens of different difficulty."""

    seeds: tuple[int, ...] = (0, 1)
    """Each simulates another screen and fits it."""
    n_steps: int = TrainConfig.n_steps
    """Budget of every fit."""
    screens: tuple[str, ...] = (*SCREENS, *ON_BUILT_IN)
    """Which rows."""
    figures: Path | None = None
    """Folder for rotation-scores.svg and rotation-effects.svg, which are replaced; none = no figures."""

    def __post_init__(self) -> None:
        for screen in self.screens:
            check_choice("screen", screen, [*SCREENS, *ON_BUILT_IN])


class Found(NamedTuple):
    """What one fit found."""

    screen: str
    rotation: Rotation
    bound: float
    """Of test cells, nats per cell."""
    f1: float
    average_precision: float
    """Area under the precision-recall curve of the inclusion probabilities."""
    calibration: list[CalibrationBin]
    """Of the inclusion probabilities below .1, up to .9, and from there."""
    true_effects: np.ndarray
    effects: np.ndarray
    """(perturbation, latent), latents matched to the true ones in order and sign, the others last."""


def measure(command: RotationBenchmark) -> list[dict[str, Any]]:
    """Fit everything and print one table, two lines as soon as a screen is done; then draw the figures."""
    rows: list[dict[str, Any]] = []
    found: list[Found] = []
    for screen in command.screens:
        for rotation in ROTATIONS:
            fits = [_fitted(screen, rotation, command.n_steps, seed) for seed in command.seeds]
            found += fits
            rows.append(_row(fits))
            lines = markdown_table(rows).splitlines()
            print("\n".join(lines if len(rows) == 1 else lines[-1:]), flush=True)
    if command.figures is not None:
        draw(found, command.figures)
    return rows


def _row(fits: Sequence[Found]) -> dict[str, Any]:
    bound, f1, precision = (
        np.array([getattr(fit, name) for fit in fits]) for name in ("bound", "f1", "average_precision")
    )
    return {
        "screen": fits[0].screen,
        "rotation": fits[0].rotation,
        "test IWELBO": f"{bound.mean():.2f}",
        "mask F1 by seed": listing(f"{value:.2f}" for value in f1),
        "mean": f"{f1.mean():.2f}",
        "AUPRC by seed": listing(f"{value:.2f}" for value in precision),
        "mean ": f"{precision.mean():.2f}",
        **{f"true of {name}": _true_share([fit.calibration[i] for fit in fits]) for i, name in enumerate(STATED)},
    }


def _true_share(bins: Sequence[CalibrationBin]) -> str:
    """Share of the entries of all fits that are true, with what the fits state."""
    n = np.array([found.n_entries for found in bins])
    if not n.sum():
        return "none"
    true, stated = (np.nansum([getattr(found, name) for found in bins] * n) / n.sum() for name in ("true", "stated"))
    return f"{true:.3f} ({stated:.3f})"


def _fitted(screen: str, rotation: Rotation, n_steps: int, seed: int) -> Found:
    data, truth = simulate(SCREENS.get(screen, BUILT_IN), seed=seed)
    model = ON_BUILT_IN.get(screen, SAMSVAEConfig())
    fitted = fit(data, model, TrainConfig(n_steps=n_steps, rotation=rotation), seed=seed, progress=False)
    bound = predictive_iwelbo(jax.random.key(seed), fitted, data, data.cells("test"), 100).mean()
    effects = posterior_effects(jax.random.key(seed), fitted)
    assert effects is not None
    agreement = mask_agreement(truth.mask, effects.mask)
    precision = mask_average_precision(truth.mask, effects.inclusion_probability, agreement)
    others = np.setdiff1d(np.arange(effects.mean.shape[1]), agreement.estimated_latents)
    matched = effects.mean[:, agreement.estimated_latents]
    true = truth.effect[:, agreement.true_latents]
    ordered = np.zeros((len(true), truth.mask.shape[1] + len(others)))
    ordered[:, agreement.true_latents] = matched * np.where((matched * true).sum(axis=0) < 0, -1, 1)
    ordered[:, truth.mask.shape[1] :] = effects.mean[:, others]
    calibration = mask_calibration(truth.mask, effects.inclusion_probability, agreement, (0.0, 0.1, 0.9, 1.0))
    return Found(screen, rotation, float(bound), agreement.f1, precision, calibration, truth.effect, ordered)


def draw(found: Sequence[Found], folder: Path) -> None:
    """Write both figures."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {"off": "without rotation", "sparse": "sparse rotation"}
    scores: dict[str, dict[str, list[float]]] = {}
    for fitted in found:
        scores.setdefault(names[fitted.rotation], {}).setdefault(fitted.screen, []).append(fitted.f1)
    save_figure(
        score_dots(scores, "F1 of masks against the truth, latents matched").figure, folder / "rotation-scores.svg"
    )
    off, sparse = (next(fitted for fitted in found if fitted.rotation == rotation) for rotation in ROTATIONS)
    maps = {"truth": off.true_effects, names["off"]: off.effects, names["sparse"]: sparse.effects}
    save_figure(effect_maps(maps), folder / "rotation-effects.svg")
