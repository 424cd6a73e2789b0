"""The cells of a fit: read from a file, downloaded first if need be, or drawn by a simulation."""

from dataclasses import replace
from typing import Any

from experiments.cli import say
from experiments.fit_command import FitCommand
from samsjax.data import DataConfig, PerturbationData, Truth, read_h5ad, with_features
from samsjax.data.simulations import SIMULATIONS, simulation_name
from samsjax.data.studies import fetch, study_of
from samsjax.likelihoods import models_counts


def fetched(command: FitCommand) -> FitCommand:
    """The command with the study's file in `data.path`, downloaded if `fetch` asks for that.

    Raises:
        InputError: if the file cannot be downloaded, or is another one.
    """
    found = study_of(command.data)
    if command.fetch is None or found is None:
        return command
    return replace(command, fetch=None, data=replace(command.data, path=fetch(found, command.fetch)))


def load_data(command: FitCommand) -> tuple[PerturbationData, Truth | None]:
    """The file named by the flags, or a simulation with its truth; with the features of perturbations asked for.

    Raises:
        InputError: if the data cannot be used, or their file not downloaded.
    """
    command = fetched(command)
    truth = None
    if command.data.path is None:
        data, truth = SIMULATIONS[simulation_name(command.simulation)].simulate(command.simulation, seed=command.seed)
    else:
        data = read_cells(command.data, counts=models_counts(command.model.likelihood))
    if command.features.is_given:
        data = with_features(data, command.features)
        say(_use_of_features(command))
    return data, truth


def _use_of_features(command: FitCommand) -> str:
    if not command.model.uses_features:
        return "features of perturbations are for baselines alone: model.feature_prior is off"
    learned = " through model.feature_prior" if hasattr(command.model, "feature_prior") else ""
    return f"features of perturbations: the model uses them{learned}"


def read_cells(config: DataConfig, **stored: Any) -> PerturbationData:
    """The cells of a file, by the rules of the study whose settings these are; arguments as `read_h5ad`."""
    found = study_of(config)
    return read_h5ad(config, **stored) if found is None else found.read(config, **stored)  # type: ignore[arg-type]


def describe(data: PerturbationData) -> str:
    """One line on the cells."""
    counts = ", ".join(f"{len(data.cells(split))} {split}" for split in ("train", "val", "test"))
    failed = "" if data.failed is None else f"; {int(data.is_failed.sum())} fail quality"
    features = "" if data.features is None else f" with {len(data.features.names)} features"
    return (
        f"{data.n_cells} cells ({counts}; {int(data.is_control.sum())} controls{failed}), {data.n_genes} genes, "
        f"{data.n_perturbations} perturbations{features}"
    )
