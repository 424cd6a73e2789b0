"""The machine line."""

import platform
from importlib.metadata import version

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
