"""What a fit refuses: settings that contradict each other, before any work, and those that its data contradict."""

from experiments.fit_command import DEFAULT_SIMULATION, FitCommand
from samsjax.data import DataConfig, PerturbationData
from samsjax.data.artifacts import artifact_names, chosen_artifacts
from samsjax.data.features import require_rdkit
from samsjax.data.simulations import SIMULATIONS, simulation_name
from samsjax.data.studies import STUDIES, Study, study_of
from samsjax.errors import InputError, listing
from samsjax.evaluation.model_effects import check_scale
from samsjax.evaluation.tempering import check_model
from samsjax.likelihoods import models_counts
from samsjax.models import MODELS, model_name


def check_command(command: FitCommand) -> None:
    """Refuse what cannot work whatever the data hold, before any work is done.

    Raises:
        InputError: for a study without its file, flags that exclude each other or describe nothing, or settings of
            the model or the evaluation that do not suit continuous values; for refits of a model without masks; for a
            model that needs to know the quality of cells where nothing labels them; for features that the model cannot
            use, that cannot be had, or that it lacks.
    """
    found = study_of(command.data)
    if command.fetch is not None:
        _check_fetch(command, found)
    elif command.data.path is None and found is not None:
        raise _without_file(found)
    if not command.reads_file:
        if command.data != DataConfig():
            raise InputError("--data.path is missing: other --data flags describe a file, and none is named")
        _check_simulation(command)
    elif command.simulation != SIMULATIONS[DEFAULT_SIMULATION].config():
        raise InputError("--simulation flags and --data.path exclude each other: give one of them")
    check_scale(command.evaluation.effects, command.model.likelihood)
    if command.refits:
        check_model(command.model)
    _check_labels(command)
    _check_features(command)


def check_fails(command: FitCommand, data: PerturbationData) -> None:
    """Refuse to predict cells of a quality that the model will not know, before it is fitted.

    Raises:
        InputError: for criteria in `fails` that the model will not see, or if no training cell fails any.
    """
    fails = command.evaluation.effects.fails
    if not fails:
        return
    chosen_artifacts(fails, artifact_names(data, command.model.quality_indicators))
    if not data.is_failed[data.cells("train")].any():
        raise InputError(f"cells that fail {listing(fails)} cannot be predicted: no training cell fails")


def _check_labels(command: FitCommand) -> None:
    needing = []
    if command.model.quality_indicators != "none":
        needing.append(f"--model {model_name(command.model)}")
    if command.evaluation.quality == "good":
        needing.append("--evaluation.quality good")
    if not needing or _labels_cells(command):
        return
    need = f"{' and '.join(needing)} must know which cells failed quality control"
    if not command.reads_file:
        raise InputError(
            f"{need}, and --simulation {simulation_name(command.simulation)} labels none: give --simulation artifacts, "
            "or a file with --data.quality-criteria or --data.quality-key"
        )
    raise InputError(
        f"{need}: give --data.quality-criteria auto (or names of criteria), or --data.quality-key COLUMN for labels "
        "that the file holds"
    )


def _labels_cells(command: FitCommand) -> bool:
    if command.reads_file:
        return bool(command.data.quality_criteria or command.data.quality_key)
    return SIMULATIONS[simulation_name(command.simulation)].labelled


def _check_features(command: FitCommand) -> None:
    features, model = command.features, command.model
    if features.is_given and not model.uses_features and not hasattr(model, "feature_prior"):
        raise InputError(
            f"--model {model_name(model)} uses no features of perturbations, and --features flags give some: leave "
            f"them out, or give one of {listing(_flags_of_models_with_features(), limit=20)}"
        )
    if features.source is None and command.reads_file and (features.is_given or model.uses_features):
        need = (
            "--features flags change" if features.is_given else f"--model {model_name(model)} with its settings needs"
        )
        raise InputError(
            f"{need} features of perturbations, and a file of cells brings none: give --features.source, such as "
            "table with --features.path"
        )
    if features.path is not None and not features.path.expanduser().is_file():
        raise InputError(f"no file {features.path} (--features.path)")
    if features.source == "smiles":
        require_rdkit()


def _flags_of_models_with_features() -> list[str]:
    """Flags of the models that can use features."""
    needing = [f"--model {name}" for name, entry in MODELS.items() if entry.config().uses_features]
    able = [
        f"--model {name} --model.feature-prior"
        for name, entry in MODELS.items()
        if hasattr(entry.config, "feature_prior")
    ]
    return needing + able


def _check_fetch(command: FitCommand, found: Study | None) -> None:
    if found is None:
        raise InputError(
            f"--fetch {command.fetch} downloads the file of a study: name one with --study ({listing(STUDIES)})"
        )
    if command.data.path is not None:
        raise InputError(
            f"--fetch {command.fetch} and --data.path {command.data.path} exclude each other: give one of them"
        )


def _without_file(found: Study) -> InputError:
    download = "or --fetch FOLDER to download it"
    if found.remote.address is None:
        download = "which --fetch cannot download, because no address is on record"
    return InputError(
        f"--study {found.name} needs its file: give --data.path FILE, {download}. Source: {found.remote.source}"
    )


def _check_simulation(command: FitCommand) -> None:
    name, settings = simulation_name(command.simulation), command.model
    if not command.simulation.n_control_cells:
        raise InputError("--simulation.n-control-cells 0: effects are measured against controls; give at least 1")
    unfit = [f"likelihood {settings.likelihood!r}"] if models_counts(settings.likelihood) else []
    if settings.normalization == "log_standardize":
        unfit.append(f"normalization {settings.normalization!r}")
    if unfit and not SIMULATIONS[name].counts:
        raise InputError(
            f"--simulation {name} draws continuous values, some of them negative, which {' and '.join(unfit)} cannot "
            "take: give --model.likelihood normal --model.normalization standardize "
            "--evaluation.effects.transform counts"
        )
