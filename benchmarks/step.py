"""What a training step costs at the size of a genome-scale screen, by perturbations, model and options.

    python -m benchmarks step

Cases share all sizes but particles, perturbations, model and options, and are timed in turn, round after round, so
that a busy moment hits all of them. Time is that of one step inside the compiled pass over the data. Other models and
options are compared with SAMS-VAE on the same cells: one perturbation each, for interactions two.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from samsjax.data import PerturbationData
from samsjax.data.features import PerturbationFeatures
from samsjax.errors import check_choice
from samsjax.inference.config import TrainConfig
from samsjax.inference.epochs import make_epochs
from samsjax.inference.fitted import prepare
from samsjax.models import MODELS, ModelConfig, builder, config_class
from samsjax.reporting import markdown_table

FIRST = "sams_vae"
PAIRS = "sams_vae, pairs"
"""The model again, on cells of two perturbations."""


class Arm(NamedTuple):
    """What is timed beside SAMS-VAE."""

    model: str
    options: Mapping[str, Any] = MappingProxyType({})
    beside: str = FIRST
    """What it is compared with."""
    perturbations_per_cell: int = 1


OPTIONS: dict[str, Arm] = {
    "sams_vae, features": Arm(FIRST, {"feature_prior": True}),
    "sams_vae, hill_shared": Arm(FIRST, {"dose": "hill_shared"}),
    "sams_vae, hill": Arm(FIRST, {"dose": "hill"}),
    PAIRS: Arm(FIRST, perturbations_per_cell=2),
    "sams_vae, interactions": Arm(FIRST, {"interaction_rank": 2}, PAIRS, perturbations_per_cell=2),
}
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
    n_perturbations: tuple[int, ...] = (722, 10_000)
    """Perturbations, one case for each."""
    beside: tuple[str, ...] = ("cradle_vae", *OPTIONS)
    """Other models, and options of SAMS-VAE, timed beside it."""
    n_batches: int = 4
    """Steps per timed pass."""
    rounds: int = 7
    """Timed passes per case."""

    def __post_init__(self) -> None:
        for name in self.beside:
            check_choice("benchmark arm", name, (*MODELS, *OPTIONS))


class _Case(NamedTuple):
    name: str
    n_particles: int
    n_perturbations: int
    compile_seconds: float
    run: Callable[[], Any]
    seconds: list[float]


def measure(command: StepBenchmark) -> list[dict[str, Any]]:
    """Time all cases and print tables: every case, ratios to the fewest perturbations, and to SAMS-VAE."""
    cases = [
        _prepare(command, name, n_particles, n_perturbations)
        for name in dict.fromkeys((FIRST, *command.beside))
        for n_particles in command.n_particles
        for n_perturbations in command.n_perturbations
    ]
    for _ in range(command.rounds):
        for case in cases:
            start = time.perf_counter()
            jax.block_until_ready(case.run())
            case.seconds.append((time.perf_counter() - start) / command.n_batches)
    rows = [_row(case) for case in cases]
    print(markdown_table(rows))
    for ratios in (_growth(cases), _beside(cases)):
        if ratios:  # not for a single number of perturbations, or a single model
            print("\n" + markdown_table(ratios))
    return rows


def _arm(name: str) -> Arm:
    return OPTIONS.get(name, Arm(name))


def _prepare(command: StepBenchmark, name: str, n_particles: int, n_perturbations: int) -> _Case:
    arm = _arm(name)
    data = _cells(command, n_perturbations, arm.perturbations_per_cell)
    config: ModelConfig = config_class(arm.model)(n_latent=command.n_latent, n_hidden=command.n_hidden, **arm.options)
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

    return _Case(name, n_particles, n_perturbations, compile_seconds, run, [])


def _cells(command: StepBenchmark, n_perturbations: int, per_cell: int) -> PerturbationData:
    """Sparse over-dispersed counts, one control in twenty, one cell in five failed, 50 features of perturbations."""
    rng = np.random.default_rng(0)
    n_cells = command.batch_size * command.n_batches
    mean = rng.lognormal(-1.5, 1.8, command.n_genes)
    x = rng.poisson(rng.gamma(1.0, np.broadcast_to(mean, (n_cells, command.n_genes)))).astype(np.int32)
    x[:, 0] += 1  # no empty cell
    first = rng.integers(0, n_perturbations, (n_cells, 1))
    treated = (rng.random((n_cells, 1)) > 0.05).astype(np.float32)
    values = rng.normal(size=(n_perturbations, 50))
    return PerturbationData(
        x=x,
        perturbation_index=((first + np.arange(per_cell)) % n_perturbations).astype(np.int32),
        dosage=treated.repeat(per_cell, axis=1),
        library_size=x.sum(axis=1).astype(np.float32),
        gene_names=np.array([f"g{i}" for i in range(command.n_genes)]),
        perturbation_names=np.array([f"p{i}" for i in range(n_perturbations)]),
        cell_names=np.array([f"c{i}" for i in range(n_cells)]),
        split=np.full(n_cells, "train"),
        failed=rng.random((n_cells, 1)) < 0.2,
        criteria=("n_counts",),
        features=PerturbationFeatures(tuple(f"f{i}" for i in range(50)), values),
    )


def _row(case: _Case) -> dict[str, Any]:
    return {
        "model": case.name,
        "particles": case.n_particles,
        "perturbations": case.n_perturbations,
        "compile s": case.compile_seconds,
        "s / step, min": min(case.seconds),
        "median": median(case.seconds),
        "max": max(case.seconds),
        f"median / {REFERENCE_SECONDS} s": median(case.seconds) / REFERENCE_SECONDS,
    }


def _growth(cases: list[_Case]) -> list[dict[str, Any]]:
    """Cost relative to the fewest perturbations: median of ratios within rounds, and ratio of fastest passes."""
    rows = []
    for case in cases:
        group = [c for c in cases if (c.name, c.n_particles) == (case.name, case.n_particles)]
        fewest = min(group, key=lambda c: c.n_perturbations)
        if case is not fewest:
            grown = f"{fewest.n_perturbations} -> {case.n_perturbations}"
            shared = {"model": case.name, "particles": case.n_particles, "perturbations": grown}
            rows.append(shared | _ratios(fewest, case))
    return rows


def _beside(cases: list[_Case]) -> list[dict[str, Any]]:
    """Cost relative to SAMS-VAE with as many particles and perturbations, on the same cells."""
    rows = []
    for case in cases:
        if case.name == FIRST:
            continue
        size = (_arm(case.name).beside, case.n_particles, case.n_perturbations)
        for first in (c for c in cases if (c.name, c.n_particles, c.n_perturbations) == size):
            shared = {"model": f"{first.name} -> {case.name}", "particles": case.n_particles}
            rows.append(shared | {"perturbations": case.n_perturbations} | _ratios(first, case))
    return rows


def _ratios(first: _Case, case: _Case) -> dict[str, float]:
    ratios = [b / a for a, b in zip(first.seconds, case.seconds, strict=True)]
    return {"ratio, median of rounds": median(ratios), "ratio of fastest": min(case.seconds) / min(first.seconds)}
