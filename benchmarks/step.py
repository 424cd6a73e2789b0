"""What a training step costs at the size of a genome-scale screen, by perturbations and by model.

    python -m benchmarks step

Cases share all sizes but particles, perturbations and model, and are timed in turn, round after round, so that a busy
moment hits all of them. Time is that of one step inside the compiled pass over the data.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import jax
import numpy as np

from samsjax.data import PerturbationData
from samsjax.inference.config import TrainConfig
from samsjax.inference.epochs import make_epochs
from samsjax.inference.fitted import prepare
from samsjax.models import ModelConfig, builder, config_class
from samsjax.reporting import markdown_table

FIRST = "sams_vae"
REFERENCE_SECONDS = 0.47
"""Seconds per step of the published PyTorch implementation, 5 particles, same sizes, two CPU cores; not timed here."""


@dataclass(frozen=True)
class StepBenchmark:
    """Seconds per training step; defaults are the sizes of the filtered Replogle screen."""

    n_genes: int = 1187
    """Genes."""
    n_latent: int = 100
    """Latent dimensions."""
    n_hidden: int = 400
    """Width of the one layer of encoder and decoder."""
    batch_size: int = 512
    """Cells per step."""
    n_particles: tuple[int, ...] = (5, 1)
    """Draws per step, one case for each."""
    n_perturbations: tuple[int, ...] = (722, 100, 10_000)
    """Perturbations, one case for each; the first is compared with the reference."""
    beside: tuple[str, ...] = ("cradle_vae",)
    """Other models than SAMS-VAE, timed with the first number of perturbations."""
    n_batches: int = 4
    """Steps per timed pass."""
    rounds: int = 7
    """Timed passes per case."""

    def __post_init__(self) -> None:
        for model in self.beside:
            config_class(model)


class _Case(NamedTuple):
    model: str
    n_particles: int
    n_perturbations: int
    compile_seconds: float
    run: Callable[[], Any]
    seconds: list[float]


def measure(command: StepBenchmark) -> list[dict[str, Any]]:
    """Time all cases and print tables: every case, ratios to the fewest perturbations, and to SAMS-VAE."""
    cases = [_prepare(command, FIRST, p, t) for p in command.n_particles for t in command.n_perturbations]
    n_first = command.n_perturbations[0]
    cases += [_prepare(command, model, p, n_first) for p in command.n_particles for model in command.beside]
    for _ in range(command.rounds):
        for case in cases:
            start = time.perf_counter()
            jax.block_until_ready(case.run())
            case.seconds.append((time.perf_counter() - start) / command.n_batches)
    rows = [_row(case) for case in cases]
    print(markdown_table(rows))
    for ratios in (_growth(command, cases), _beside(command, cases)):
        if ratios:  # not for a single number of perturbations, or a single model
            print("\n" + markdown_table(ratios))
    return rows


def _prepare(command: StepBenchmark, model: str, n_particles: int, n_perturbations: int) -> _Case:
    data = _cells(command, n_perturbations)
    config: ModelConfig = config_class(model)(n_latent=command.n_latent, n_hidden=command.n_hidden)
    train = TrainConfig(batch_size=command.batch_size, n_particles=n_particles)
    epochs = make_epochs(builder(config), train)
    arrays = prepare(data, config, train).arrays
    start = time.perf_counter()
    state = jax.jit(epochs.init)(jax.random.key(0), arrays)
    compiled = jax.jit(epochs.train).lower(jax.random.key(1), state, arrays).compile()
    compile_seconds = time.perf_counter() - start
    jax.block_until_ready(compiled(jax.random.key(1), state, arrays))

    def run() -> Any:
        return compiled(jax.random.key(2), state, arrays)

    return _Case(model, n_particles, n_perturbations, compile_seconds, run, [])


def _cells(command: StepBenchmark, n_perturbations: int) -> PerturbationData:
    """Sparse over-dispersed counts, one perturbation per cell, one control in twenty, one cell in five failed."""
    rng = np.random.default_rng(0)
    n_cells = command.batch_size * command.n_batches
    mean = rng.lognormal(-1.5, 1.8, command.n_genes)
    x = rng.poisson(rng.gamma(1.0, np.broadcast_to(mean, (n_cells, command.n_genes)))).astype(np.int32)
    x[:, 0] += 1  # no empty cell
    return PerturbationData(
        x=x,
        perturbation_index=rng.integers(0, n_perturbations, (n_cells, 1)).astype(np.int32),
        dosage=(rng.random((n_cells, 1)) > 0.05).astype(np.float32),
        library_size=x.sum(axis=1).astype(np.float32),
        gene_names=np.array([f"g{i}" for i in range(command.n_genes)]),
        perturbation_names=np.array([f"p{i}" for i in range(n_perturbations)]),
        cell_names=np.array([f"c{i}" for i in range(n_cells)]),
        split=np.full(n_cells, "train"),
        failed=rng.random((n_cells, 1)) < 0.2,
        criteria=("n_counts",),
    )


def _row(case: _Case) -> dict[str, Any]:
    return {
        "model": case.model,
        "particles": case.n_particles,
        "perturbations": case.n_perturbations,
        "compile s": case.compile_seconds,
        "s / step, min": min(case.seconds),
        "median": median(case.seconds),
        "max": max(case.seconds),
        f"median / {REFERENCE_SECONDS} s": median(case.seconds) / REFERENCE_SECONDS,
    }


def _growth(command: StepBenchmark, cases: list[_Case]) -> list[dict[str, Any]]:
    """Cost relative to the fewest perturbations: median of ratios within rounds, and ratio of fastest passes."""
    rows = []
    for n_particles in command.n_particles:
        own = (c for c in cases if c.n_particles == n_particles and c.model == FIRST)
        group = sorted(own, key=lambda case: case.n_perturbations)
        for case in group[1:]:
            rows.append(
                {
                    "particles": n_particles,
                    "perturbations": f"{group[0].n_perturbations} -> {case.n_perturbations}",
                    **_ratios(group[0], case),
                }
            )
    return rows


def _beside(command: StepBenchmark, cases: list[_Case]) -> list[dict[str, Any]]:
    """Cost relative to SAMS-VAE with as many particles and perturbations."""
    rows = []
    for case in cases:
        if case.model == FIRST:
            continue
        size = (case.n_particles, case.n_perturbations)
        (first,) = (c for c in cases if c.model == FIRST and (c.n_particles, c.n_perturbations) == size)
        rows.append({"model": f"{FIRST} -> {case.model}", "particles": case.n_particles, **_ratios(first, case)})
    return rows


def _ratios(first: _Case, case: _Case) -> dict[str, float]:
    ratios = [b / a for a, b in zip(first.seconds, case.seconds, strict=True)]
    return {"ratio, median of rounds": median(ratios), "ratio of fastest": min(case.seconds) / min(first.seconds)}
