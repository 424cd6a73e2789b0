"""Error and time of estimators of treatment effects: counts drawn, counts integrated out, expected counts transformed.

    python -m benchmarks ate
    python -m benchmarks ate --figures benchmarks/figures

One small model is fitted. Every estimator is repeated with other keys and compared with many draws of counts, which
have no bias. The figure shows the error against the number of particles; it needs matplotlib.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from samsjax.data import SimulationConfig, Treatments, simulate, treatments
from samsjax.errors import check_range
from samsjax.evaluation import AverageEffects, EffectsConfig, model_effects
from samsjax.inference.config import TrainConfig
from samsjax.inference.fitted import Fitted, fit
from samsjax.models import SAMSVAEConfig
from samsjax.reporting import markdown_table, save_figure
from samsjax.reporting.plots import error_by_draws

SCREEN = SimulationConfig(
    n_genes=60,
    n_latent=4,
    n_perturbations=8,
    n_without_effect=1,
    n_doubles=2,
    n_control_cells=600,
    median_library_size=40.0,
)
"""Small, for many draws; sparse like a screen."""
Noise = Literal["sampled", "marginal", "mean"]
NOISES: tuple[Noise, ...] = ("sampled", "marginal", "mean")
SHOWN: tuple[tuple[Noise, int], ...] = (
    ("sampled", 2500),
    ("sampled", 200),
    ("mean", 200),
    ("marginal", 200),
    ("marginal", 50),
)
"""Rows of the table."""


@dataclass(frozen=True)
class AteBenchmark:
    """Bias, spread and time of estimators of treatment effects, in log2(1 + counts per 10,000)."""

    seed: int = 0
    """Of the simulation and the fit."""
    n_steps: int = 1500
    """Budget of the fit."""
    n_treatments: int = 3
    """Treatments whose effects are estimated, the first of the screen."""
    n_reference: int = 1_000_000
    """Draws of counts that stand for the truth."""
    n_repeats: int = 20
    """Estimates by each estimator."""
    n_particles: tuple[int, ...] = (50, 200, 800, 2500)
    """Sizes in the figure."""
    figures: Path | None = None
    """Folder for ate-error.svg, which is replaced; none = no figure."""

    def __post_init__(self) -> None:
        check_range("n_treatments", self.n_treatments, low=1)
        check_range("n_reference", self.n_reference, low=2)
        check_range("n_repeats", self.n_repeats, low=2)


class _Subject(NamedTuple):
    """What is estimated."""

    fitted: Fitted
    treated: Treatments
    n_treatments: int

    def effects(self, seed: int, noise: Noise, n_particles: int) -> AverageEffects:
        """One estimate."""
        chosen = slice(self.n_treatments)
        treated = self.treated
        arguments = (treated.labels[chosen], treated.perturbation_index[chosen], treated.dosage[chosen])
        config = EffectsConfig(n_particles=n_particles, noise=noise)
        return model_effects(jax.random.key(seed), self.fitted, *arguments, config)


@dataclass(frozen=True)
class _Errors:
    """Repeated estimates against the reference; root mean squares over treatments and genes."""

    bias: float
    """Of the mean of all estimates, its own error included."""
    bias_error: float
    """What `bias` would be for an unbiased estimator."""
    sd: float
    """Between estimates."""
    stated: float
    """The standard error the estimates state."""
    total: float
    """Of the single estimates."""
    compile_seconds: float = field(default=0.0)
    """The first estimate's, less a later one's."""
    seconds: float = field(default=0.0)
    """Median of an estimate, compiled."""


def measure(command: AteBenchmark) -> list[dict[str, Any]]:
    """Fit, compute the reference, print one table, a line as soon as it is known; then draw the figure."""
    data, _ = simulate(SCREEN, seed=command.seed)
    model = SAMSVAEConfig(n_latent=6, n_hidden=32)
    fitted = fit(data, model, TrainConfig(n_steps=command.n_steps), seed=command.seed, progress=False)
    subject = _Subject(fitted, treatments(data), command.n_treatments)
    start = time.perf_counter()
    reference = subject.effects(10**6, "sampled", command.n_reference)
    print(
        f"reference: {command.n_reference} draws in {time.perf_counter() - start:.0f} s, standard error "
        f"{_rms(reference.standard_error):.4f}; size of the effects {_rms(reference.ate):.3f}; "
        f"{1 - (data.x != 0).sum() / data.n_cells / data.n_genes:.0%} of the counts are zero",
        flush=True,
    )
    rows: list[dict[str, Any]] = []
    known: dict[tuple[Noise, int], _Errors] = {}
    for noise, n_particles in SHOWN:
        known[noise, n_particles] = _errors(subject, reference, noise, n_particles, command.n_repeats)
        rows.append(_row(noise, n_particles, known[noise, n_particles]))
        lines = markdown_table(rows).splitlines()
        print("\n".join(lines if len(rows) == 1 else lines[-1:]), flush=True)
    if command.figures is not None:
        _draw(command, subject, reference, known, command.figures)
    return rows


def _errors(subject: _Subject, reference: AverageEffects, noise: Noise, n_particles: int, n_repeats: int) -> _Errors:
    estimates, seconds = [], []
    for seed in range(n_repeats + 1):
        start = time.perf_counter()
        estimates.append(subject.effects(seed, noise, n_particles))
        seconds.append(time.perf_counter() - start)
    ate = np.stack([estimate.ate for estimate in estimates]).astype(np.float64)
    variance = ate.var(axis=0, ddof=1)
    median = float(np.median(seconds[1:]))
    return _Errors(
        bias=_rms(ate.mean(axis=0) - reference.ate),
        bias_error=_rms(np.sqrt(variance / len(ate) + reference.standard_error**2)),
        sd=_rms(np.sqrt(variance)),
        stated=_rms(np.stack([estimate.standard_error for estimate in estimates])),
        total=_rms(ate - reference.ate),
        compile_seconds=seconds[0] - median,
        seconds=median,
    )


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def _row(noise: Noise, n_particles: int, errors: _Errors) -> dict[str, Any]:
    return {
        "noise": noise,
        "particles": n_particles,
        "bias": f"{errors.bias:.4f}",
        "bias if unbiased": f"{errors.bias_error:.4f}",
        "sd": f"{errors.sd:.4f}",
        "stated SE": f"{errors.stated:.4f}",
        "total error": f"{errors.total:.4f}",
        "s, median": errors.seconds,
        "compile s": errors.compile_seconds,
    }


def _draw(
    command: AteBenchmark,
    subject: _Subject,
    reference: AverageEffects,
    known: dict[tuple[Noise, int], _Errors],
    folder: Path,
) -> None:
    """Write the figure, estimating what the table has not."""
    totals: dict[str, dict[int, float]] = {noise: {} for noise in NOISES}
    for noise in NOISES:
        for n in command.n_particles:
            errors = known.get((noise, n)) or _errors(subject, reference, noise, n, command.n_repeats)
            totals[noise][n] = errors.total
    label = "rms error of an effect, log2(1 + cp10k)"
    axes = error_by_draws(totals, label, floor=_rms(reference.standard_error))
    folder.mkdir(parents=True, exist_ok=True)
    save_figure(axes.figure, folder / "ate-error.svg")
