"""The simulations by name: what `--simulation` of the command line chooses among.

| simulation | values | from |
|---|---|---|
| screen | counts, singles and pairs, as measured screens look | `simulate` |
| artifacts | the screen with cells that fail quality | `artifact_simulation` |
| doses | the screen with perturbations at several doses | `dose_simulation` |
| features | the screen with features of perturbations, some of which do not train | `feature_simulation` |
| sams | continuous | `sams_simulation`, SAMS-VAE (Bereket & Karaletsos 2023) |
| svae_plus | counts | `svae_plus_simulation`, SVAE+ (Lopez et al. 2023) |
| gim | continuous, of a causal model, with features | `gim_simulation`, after GIM (Schneider et al. 2025) |

To add one: write its file with a configuration that validates itself and has `n_control_cells`, and a function
(configuration, seed=) -> data and truth; then add one line to `SIMULATIONS`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from samsjax.data.artifact_simulation import ArtifactSimulationConfig, simulate_artifacts
from samsjax.data.dataset import PerturbationData
from samsjax.data.dose_simulation import DoseSimulationConfig, simulate_doses
from samsjax.data.feature_simulation import FeatureSimulationConfig, simulate_features
from samsjax.data.gim_simulation import GIMSimulationConfig, simulate_gim
from samsjax.data.sams_simulation import SAMSSimulationConfig, simulate_sams
from samsjax.data.simulate import SimulationConfig, Truth, simulate
from samsjax.data.svae_plus_simulation import SVAEPlusSimulationConfig, simulate_svae_plus
from samsjax.errors import check_choice


class Simulation(NamedTuple):
    """One line of the table of simulations."""

    config: type
    """Its configuration; every field has a default."""
    simulate: Callable[..., tuple[PerturbationData, Truth]]
    """(configuration, seed=) -> the screen and what generated it."""
    counts: bool
    """Whether values are counts; else they are continuous."""
    labelled: bool = False
    """Whether cells carry quality labels."""


SIMULATIONS: dict[str, Simulation] = {
    "screen": Simulation(SimulationConfig, simulate, counts=True),
    "artifacts": Simulation(ArtifactSimulationConfig, simulate_artifacts, counts=True, labelled=True),
    "doses": Simulation(DoseSimulationConfig, simulate_doses, counts=True),
    "features": Simulation(FeatureSimulationConfig, simulate_features, counts=True),
    "sams": Simulation(SAMSSimulationConfig, simulate_sams, counts=False),
    "svae_plus": Simulation(SVAEPlusSimulationConfig, simulate_svae_plus, counts=True),
    "gim": Simulation(GIMSimulationConfig, simulate_gim, counts=False),
}


def simulation(name: str) -> Simulation:
    """The simulation of that name.

    Raises:
        InputError: with the nearest names if there is none.
    """
    check_choice("simulation", name, list(SIMULATIONS))
    return SIMULATIONS[name]


def simulation_name(config: Any) -> str:
    """The name under which a configuration's simulation stands in `SIMULATIONS`."""
    return next(name for name, entry in SIMULATIONS.items() if type(config) is entry.config)
