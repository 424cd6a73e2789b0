"""What a training step costs at the size of a genome-scale screen, and whether more perturbations make it dearer.

    python -m benchmarks step

Cases share all sizes but particles and perturbations, and are timed in turn, round after round, so that a busy moment
hits all of them. Time is that of one step inside the compiled pass over the data.
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
from samsjax.inference.epochs import fit_arrays, make_epochs
from samsjax.inference.fitted import statistics_of
from samsjax.models import SAMSVAEConfig, builder
from samsjax.reporting import markdown_table

REFERENCE_SECONDS = 0.47
"""Seconds per step of the published PyTorch implementation, 5 particles, same sizes, two CPU cores; not timed here."""


@dataclass(frozen=True)
class StepBenchmark:
    """Seconds per training step of SAMS-VAE; defaults are the sizes of the filtered Replogle screen."""

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
    n_batches: int = 4
    """Steps per timed pass."""
    rounds: int = 7
    """Timed passes per case."""


class _Case(NamedTuple):
    n_particles: int
    n_perturbations: int
    compile_seconds: float
    run: Callable[[], Any]
    seconds: list[float]


def measure(command: StepBenchmark) -> list[dict[str, Any]]:
    """Time all cases and print two tables: every case, and ratios to the first perturbation count of its particles."""
    cases = [_prepare(command, p, t) for p in command.n_particles for t in command.n_perturbations]
    for _ in range(command.rounds):
        for case in cases:
            start = time.perf_counter()
            jax.block_until_ready(case.run())
            case.seconds.append((time.perf_counter() - start) / command.n_batches)
    rows = [_row(case) for case in cases]
    print(markdown_table(rows))
    growth = _growth(command, cases)
    if growth:  # not for a single number of perturbations
        print("\n" + markdown_table(growth))
    return rows


def _prepare(command: StepBenchmark, n_particles: int, n_perturbations: int) -> _Case:
    data = _cells(command, n_perturbations)
    config = SAMSVAEConfig(n_latent=command.n_latent, n_hidden=command.n_hidden)
    train = TrainConfig(batch_size=command.batch_size, n_particles=n_particles)
    epochs = make_epochs(builder(config), train)
    arrays = fit_arrays(data, statistics_of(data, config.normalization).genes, train)
    start = time.perf_counter()
    state = jax.jit(epochs.init)(jax.random.key(0), arrays)
    compiled = jax.jit(epochs.train).lower(jax.random.key(1), state, arrays).compile()
    compile_seconds = time.perf_counter() - start
    jax.block_until_ready(compiled(jax.random.key(1), state, arrays))
    return _Case(n_particles, n_perturbations, compile_seconds, lambda: compiled(jax.random.key(2), state, arrays), [])


def _cells(command: StepBenchmark, n_perturbations: int) -> PerturbationData:
    """Sparse over-dispersed counts, one perturbation per cell, one control in twenty."""
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
    )


def _row(case: _Case) -> dict[str, Any]:
    return {
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
        group = sorted((c for c in cases if c.n_particles == n_particles), key=lambda case: case.n_perturbations)
        for case in group[1:]:
            ratios = [b / a for a, b in zip(group[0].seconds, case.seconds, strict=True)]
            rows.append(
                {
                    "particles": n_particles,
                    "perturbations": f"{group[0].n_perturbations} -> {case.n_perturbations}",
                    "ratio, median of rounds": median(ratios),
                    "ratio of fastest": min(case.seconds) / min(group[0].seconds),
                }
            )
    return rows
