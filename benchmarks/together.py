"""Several seeds in one program against one fit after the other, on the built-in simulation.

python -m benchmarks together
"""

from dataclasses import dataclass
from statistics import median
from typing import Any

import samsjax
from samsjax.reporting import markdown_table


@dataclass(frozen=True)
class TogetherBenchmark:
    """Training time of several seeds as members of one program (`fit_many`), and one after the other."""

    n_members: tuple[int, ...] = (2, 4)
    """Seeds trained, one row for each number."""
    n_steps: int = 150
    """Steps of each fit."""
    rounds: int = 5
    """Repetitions; both ways are timed in every round."""


def measure(command: TogetherBenchmark) -> list[dict[str, Any]]:
    """Time both ways in turn and print one table. Compilation stands apart: each fit reports its own."""
    data, _ = samsjax.simulate(seed=0)
    model, train = samsjax.SAMSVAEConfig(), samsjax.TrainConfig(n_steps=command.n_steps, patience=None, rotation="off")
    rows = []
    for n_members in command.n_members:
        seeds = range(n_members)
        alone, together, compile_seconds = [], [], []
        for _ in range(command.rounds):
            fits = [samsjax.fit(data, model, train, seed=seed, progress=False) for seed in seeds]
            members = samsjax.fit_many(data, model, train, seeds=seeds, progress=False)
            results = [fitted.fit for fitted in (*fits, *members) if isinstance(fitted, samsjax.Fitted)]
            found = [result for result in results if result is not None]
            alone.append(sum(result.train_seconds for result in found[:n_members]))
            together.append(found[n_members].train_seconds)
            compile_seconds.append(found[n_members].compile_seconds)
        ratios = [b / a for a, b in zip(alone, together, strict=True)]
        rows.append(
            {
                "members": n_members,
                "one by one s, median": median(alone),
                "together s, median": median(together),
                "ratio, median of rounds": median(ratios),
                "min": min(ratios),
                "max": max(ratios),
                "compile s, together": max(compile_seconds),
            }
        )
    print(markdown_table(rows))
    return rows
