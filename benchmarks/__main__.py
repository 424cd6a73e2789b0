"""Choose a benchmark and its settings: `python -m benchmarks NAME --help`, with a name in `CASES`."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import artifacts, ate, coverage, doses, gim, recovery, rotation, step, together, unseen
from benchmarks.report import machine
from experiments.cli import parse, run
from samsjax.errors import check_choice

CASES: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "artifacts": (artifacts.ArtifactsBenchmark, artifacts.measure),
    "ate": (ate.AteBenchmark, ate.measure),
    "coverage": (coverage.CoverageBenchmark, coverage.measure),
    "doses": (doses.DosesBenchmark, doses.measure),
    "gim": (gim.GIMBenchmark, gim.measure),
    "step": (step.StepBenchmark, step.measure),
    "recovery": (recovery.RecoveryBenchmark, recovery.measure),
    "rotation": (rotation.RotationBenchmark, rotation.measure),
    "together": (together.TogetherBenchmark, together.measure),
    "unseen": (unseen.UnseenBenchmark, unseen.measure),
}


def main(argv: Sequence[str]) -> None:
    """First argument the case, then its flags."""
    name = argv[0] if argv else "--help"
    if name in ("-h", "--help"):
        print(f"python -m benchmarks {{{','.join(CASES)}}} [--help]")
        return
    check_choice("benchmark", name, list(CASES))
    settings, measure = CASES[name]
    command = parse(settings, argv[1:], program=f"python -m benchmarks {name}", description=settings.__doc__ or "")
    print(machine())
    measure(command)


if __name__ == "__main__":
    run(main, sys.argv[1:])
