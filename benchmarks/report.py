"""The machine line and plain tables."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from experiments.output import environment


def machine() -> str:
    """One line: hardware and versions a measurement was made with."""
    facts = environment()
    packages = ", ".join(f"{name} {version(name)}" for name in ("samsjax", "jax", "numpyro"))
    device = facts["device"]
    return (
        f"{facts['system']} {platform.machine()}, {facts['cpu_cores']} cores, {device['count']} x {device['kind']} "
        f"({device['platform']}); python {facts['python']}, {packages}"
    )


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table with the keys of the first as header."""
    header = list(rows[0])
    lines = [header, ["---"] * len(header), *([_cell(row[name]) for name in header] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
