"""What a fit is asked for: its settings, made from flags, and as config.json records them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from experiments import output
from experiments.cli import check_seed, parse, take_flag
from samsjax.data import DataConfig, FeaturesConfig
from samsjax.data.simulations import SIMULATIONS, simulation, simulation_name
from samsjax.data.studies import STUDIES, study, study_of
from samsjax.errors import check_range
from samsjax.evaluation.evaluate import EvaluationConfig
from samsjax.inference.config import TrainConfig
from samsjax.models import MODELS, config_class, model_name

PROGRAM = "python -m experiments.fit"
DEFAULT_MODEL = "sams_vae"
DEFAULT_SIMULATION = "screen"
DataSettings = TypeVar("DataSettings", bound=DataConfig)
SimulationSettings = TypeVar("SimulationSettings")
ModelSettings = TypeVar("ModelSettings")


@dataclass(frozen=True, kw_only=True)
class FitCommand(Generic[DataSettings, SimulationSettings, ModelSettings]):
    """All settings of a fit. Types of `data`, `simulation` and `model` say which study, simulation and model."""

    out: Path
    """Folder for the results; must not exist."""
    overwrite: bool = False
    """Replace the results of an earlier run in that folder."""
    seed: int = 0
    """Decides the simulation, the start, the order and all draws; the same seed gives the same result."""
    report: bool = True
    """Write report.html; drawing its figures takes some seconds."""
    refits: int = 0
    """Fits to screens drawn from the fitted model, which say by how much intervals of effects in latent space must be
    widened; each takes as long as the fit."""
    fetch: Path | None = None
    """Folder to download the study's file into, when it is not there yet; used as data.path."""
    data: DataSettings
    simulation: SimulationSettings
    model: ModelSettings
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_range("refits", self.refits, low=0)

    @property
    def reads_file(self) -> bool:
        """Whether cells come from a file, which may still have to be downloaded; else they are simulated."""
        return self.data.path is not None or self.fetch is not None


def command_from(argv: Sequence[str], *, program: str = PROGRAM, description: str | None = None) -> FitCommand:
    """The command that flags describe; the last one counts where a flag is repeated.

    Args:
        argv: the flags.
        program: what --help calls the door.
        description: what --help says of it, before it lists the names that choose among flags.

    Raises:
        InputError: for an unknown study, simulation or model. Other mistakes end the process with status 2.
    """
    model, rest = take_flag(argv, "--model", DEFAULT_MODEL)
    study_name, rest = take_flag(rest, "--study", None)
    simulated, rest = take_flag(rest, "--simulation", DEFAULT_SIMULATION)
    data = DataConfig if study_name is None else study(study_name).settings
    command = FitCommand[data, simulation(str(simulated)).config, config_class(str(model))]  # type: ignore[misc]
    parsed = parse(command, rest, program=program, description=f"{description or ''}\n{_name_flags()}")
    return _using_features(parsed, rest)


def _using_features(command: FitCommand, argv: Sequence[str]) -> FitCommand:
    """With `model.feature_prior` on where features are given, unless a flag says otherwise."""
    names = ("--model.feature-prior", "--model.no-feature-prior")
    named = any(token.replace("_", "-").startswith(names) for token in argv)
    if not command.features.is_given or named or getattr(command.model, "feature_prior", None) is not False:
        return command
    return replace(command, model=replace(command.model, feature_prior=True))


def _name_flags() -> str:
    return (
        f"--model NAME chooses the model ({', '.join(MODELS)}), --study NAME the published screen that the file is "
        f"({', '.join(STUDIES)}), --simulation NAME what is drawn without a file ({', '.join(SIMULATIONS)}); their "
        "settings are below."
    )


def settings_of(command: FitCommand) -> dict[str, Any]:
    """What config.json holds: the names of model, study and simulation, None for those not used, and every setting."""
    found = study_of(command.data)
    return {
        "model_name": model_name(command.model),
        "study": None if found is None else found.name,
        "simulation_name": None if command.reads_file else simulation_name(command.simulation),
        **output.plain(command),
    }


def title_of(command: FitCommand) -> str:
    """What a report is called."""
    if command.reads_file:
        return f"{model_name(command.model)} on {Path(str(command.data.path)).stem}"
    return f"{model_name(command.model)} on a simulated screen"
