"""How well the masks of the built-in simulation are recovered, against training time, particles and prior.

python -m benchmarks recovery
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from samsjax.data import PerturbationData, SimulationConfig, Truth, simulate
from samsjax.evaluation import EffectsConfig, EvaluationConfig, evaluate
from samsjax.inference.config import TrainConfig
from samsjax.inference.fitted import fit
from samsjax.models import SAMSVAEConfig
from samsjax.reporting import markdown_table


@dataclass(frozen=True)
class RecoveryBenchmark:
    """Predictive bound, effect agreement and mask recovery on the built-in simulation."""

    seed: int = 0
    """Of the simulation, the fit and the evaluation."""
    n_steps: tuple[int, ...] = (500, 1000, 2500)
    """Budgets, one fit for each and every number of particles."""
    n_particles: tuple[int, ...] = (1, 5)
    """Draws per step."""
    mask_prior_prob: tuple[float, ...] = (0.1, 0.01, 0.001)
    """Priors, one fit for each with one particle and the largest budget."""


def measure(command: RecoveryBenchmark) -> list[dict[str, Any]]:
    """Run the grid and print one table; a line as soon as it is known."""
    data, truth = simulate(SimulationConfig(), seed=command.seed)
    model = SAMSVAEConfig()
    settings = [(model, p, n) for p in command.n_particles for n in command.n_steps]
    for prior in command.mask_prior_prob:
        config = replace(model, mask_prior_prob=prior)
        if config != model:
            settings.append((config, command.n_particles[0], max(command.n_steps)))
    rows: list[dict[str, Any]] = []
    for config, n_particles, n_steps in settings:
        rows.append(_row(data, truth, command.seed, config, n_particles, n_steps))
        lines = markdown_table(rows).splitlines()
        print("\n".join(lines if len(rows) == 1 else lines[-1:]), flush=True)
    return rows


def _row(
    data: PerturbationData, truth: Truth, seed: int, config: SAMSVAEConfig, n_particles: int, n_steps: int
) -> dict[str, Any]:
    train = TrainConfig(n_steps=n_steps, n_particles=n_particles)
    fitted = fit(data, config, train, seed=seed, progress=False)
    draws = EvaluationConfig(effects=EffectsConfig(n_particles=200, noise="sampled"), extent="published")
    scores = evaluate(fitted, data, draws, seed=seed, truth=truth)
    assert fitted.fit is not None
    assert scores.effects is not None
    undecided = np.abs(scores.effects.inclusion_probability - 0.5) < 0.4
    return {
        "particles": n_particles,
        "prior prob": config.mask_prior_prob,
        "steps": fitted.fit.n_steps,
        "train s": fitted.fit.train_seconds,
        "test IWELBO": f"{scores.metrics['test/predictive_iwelbo']:.2f}",
        "ATE Pearson (test)": f"{scores.metrics['ate/test/pearson']:.3f}",
        "mask F1": f"{scores.metrics['mask/f1']:.2f}",
        "precision": f"{scores.metrics['mask/precision']:.2f}",
        "recall": f"{scores.metrics['mask/recall']:.2f}",
        "undecided entries": f"{undecided.mean():.0%}",
    }
