"""What the tests of the doors share: small settings, and reading what a run wrote."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from samsjax.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
EVALUATION = (
    *("--evaluation.iwelbo-particles", "4", "--evaluation.effects.n-particles", "8"),
    *("--evaluation.extent", "published", "--no-report"),
)
MODEL = ("--model.n-latent", "4", "--model.n-hidden", "8", "--train.n-steps", "20", "--train.batch-size", "128")
SIMULATION = (
    *("--simulation.n-genes", "30", "--simulation.n-latent", "3", "--simulation.n-perturbations", "6"),
    *("--simulation.n-without-effect", "1", "--simulation.n-doubles", "3", "--simulation.n-control-cells", "60"),
    *("--simulation.cells-per-single", "25", "--simulation.cells-per-double", "20"),
)
CONTINUOUS = (
    *("--model.likelihood", "normal", "--model.normalization", "standardize"),
    *("--evaluation.effects.transform", "counts"),
)
SMALL = (*SIMULATION, *MODEL, *EVALUATION)
FULL = (
    *("--evaluation.extent", "full", "--report", "--evaluation.scoring.n-bootstrap", "10"),
    *("--evaluation.scoring.n-halves", "2", "--evaluation.scoring.n-cells-generated", "20"),
    *("--evaluation.scoring.min-cells", "4"),
)
"""After `EVALUATION`: everything, with few draws."""


class Runs(NamedTuple):
    """Folders of two runs of one screen: drawn by the door itself, and read from the file it wrote."""

    simulated: Path
    from_file: Path
    screen: Path


def from_file_flags(screen: Path) -> tuple[str, ...]:
    """Read the screen with the split the simulation drew."""
    return ("--data.path", str(screen), "--data.split", "column", "--data.split-key", "split")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def untimed(run: Path) -> dict[str, float]:
    """The metrics that depend on the seed alone."""
    metrics = read_json(run / "metrics.json")
    return {name: value for name, value in metrics.items() if not name.startswith(("time/", "memory/"))}


def assert_same_bits(one: Any, two: Any) -> None:
    """Equal trees of arrays, bit by bit."""
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def refused(main: Callable[[list[str]], None], flags: Sequence[Any], words: Sequence[str], capsys: Any) -> None:
    """The door stops, with an InputError or a complaint about flags, and says all `words`."""
    capsys.readouterr()  # what fixtures printed
    with pytest.raises((InputError, SystemExit)) as caught:
        main([str(flag) for flag in flags])
    if isinstance(caught.value, SystemExit):
        assert caught.value.code == 2
    printed = capsys.readouterr()
    message = str(caught.value) if isinstance(caught.value, InputError) else printed.err
    message = " ".join(message.split())
    assert "Traceback" not in message and "written" not in printed.out
    for word in words:
        assert word in message, message
