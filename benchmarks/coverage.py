"""Do 90 % intervals hold 90 % of the true effects? Screens of the built-in simulation, whose effects are known.

python -m benchmarks coverage
"""

from dataclasses import dataclass
from typing import Any

from samsjax.data import SimulationConfig, simulate
from samsjax.errors import check_range
from samsjax.evaluation import EvaluationConfig, ScoringConfig, evaluate, tempering
from samsjax.evaluation.calibration import coverage_of_true_effects
from samsjax.inference.config import TrainConfig
from samsjax.inference.fitted import fit
from samsjax.models import SAMSVAEConfig
from samsjax.reporting import markdown_table

SCREEN = SimulationConfig()
MODEL = SAMSVAEConfig()
ON_GENES = {"genes, own": "true effects, own intervals", "genes, recalibrated": "true effects, recalibrated"}
QUICK = EvaluationConfig(scoring=ScoringConfig(n_bootstrap=10, n_halves=1, cell_metrics=False))


@dataclass(frozen=True)
class CoverageBenchmark:
    """Coverage of true effects on genes and in latent space, by intervals as they are and as they are mended."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Each another screen and fit."""
    n_steps: int = 2500
    """Of every fit."""
    n_refits: int = 1
    """Fits to screens drawn from each fitted model, which widen intervals in latent space; 0 to leave them out."""

    def __post_init__(self) -> None:
        check_range("n_steps", self.n_steps, low=1)
        check_range("n_refits", self.n_refits, low=0)


def measure(command: CoverageBenchmark) -> list[dict[str, Any]]:
    """Fit every screen and print one table; a line as soon as it is known, and the means last."""
    rows: list[dict[str, Any]] = []
    for seed in command.seeds:
        rows.append({"seed": str(seed), **_row(seed, command)})
        lines = markdown_table(rows).splitlines()
        print("\n".join(lines if len(rows) == 1 else lines[-1:]), flush=True)
    means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0] if name != "seed"}
    print(markdown_table([*rows, {"seed": "mean", **means}]).splitlines()[-1])
    return rows


def _row(seed: int, command: CoverageBenchmark) -> dict[str, float]:
    data, truth = simulate(SCREEN, seed=seed)
    train = TrainConfig(n_steps=command.n_steps)
    fitted = fit(data, MODEL, train, seed=seed, progress=False)
    found = evaluate(fitted, data, QUICK, seed=seed, truth=truth)
    assert found.effects is not None and found.uncertainty is not None
    calibrations = found.uncertainty.calibrations
    row = {name: calibrations[what].at(0.9) for name, what in ON_GENES.items() if what in calibrations}
    row["latent space, own"] = coverage_of_true_effects(truth.mask, truth.effect, found.effects).at(0.9)
    if command.n_refits:
        factor = tempering(fitted, data, train, seed=seed, n_refits=command.n_refits).factor
        wide = found.effects.tempered(factor)
        row["factor of refits"] = factor
        row["latent space, widened"] = coverage_of_true_effects(truth.mask, truth.effect, wide).at(0.9)
    return row
