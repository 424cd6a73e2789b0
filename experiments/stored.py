"""A run folder as later doors see it: the model, how its data were described, and other cells read as these were."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.cli import take_flag
from experiments.output import CONFIG
from experiments.quality_files import stored_rule
from experiments.screens import read_cells
from samsjax.data import DataConfig, PerturbationData, QualityRule
from samsjax.data.studies import study
from samsjax.errors import InputError, listing
from samsjax.inference.checkpoint import load
from samsjax.inference.fitted import Fitted
from samsjax.likelihoods import models_counts

CHOSEN_ANEW = (
    *("path", "split", "split_key", "test_perturbation_names", "perturbation_groups", "perturbation_features"),
    *("n_feature_clusters", "test_doses"),
)
"""Settings of the data that other cells do not inherit."""


def load_run(run: Path) -> Fitted:
    """The fitted model of a run folder.

    Raises:
        InputError: if the folder is missing, is no run, or is damaged.
    """
    if not run.is_dir():
        raise InputError(f"no run folder at {run}")
    if not (run / "model").is_dir():
        raise InputError(f"{run} is not a run folder: it has no model/ (expected a folder written by experiments.fit)")
    return load(run / "model")


def inheriting(command: type, argv: Sequence[str]) -> type:
    """The dataclass `command` whose `data` flags default to how the run that `argv` names described its own cells.

    Raises:
        InputError: if that is no run.
    """
    run, _ = take_flag(argv, "--run", None)
    settings = DataConfig(split="test") if run is None else data_settings(Path(run))

    @dataclass(frozen=True, kw_only=True)
    class Command(command):  # type: ignore[misc]
        data: type(settings) = field(default_factory=lambda: settings)  # type: ignore[valid-type]
        """How to read the cells; by default as the run read its own."""

    return Command


def data_settings(run: Path) -> DataConfig:
    """How the data of a run were described, without the file and the split: the defaults for other cells.

    The settings are those of the study that the run was told to read, if any.

    Raises:
        InputError: if the folder is missing, is no run, or its configuration is damaged.
    """
    if not run.is_dir():
        raise InputError(f"no run folder at {run}")
    try:
        stored: dict[str, Any] = json.loads((run / CONFIG).read_text())
        name = stored.get("study")  # absent in runs from before studies had a flag
        settings = DataConfig if name is None else study(name).settings
        kept = {key: _tuple(value) for key, value in stored["data"].items() if key not in CHOSEN_ANEW}
        return settings(**kept, split="test")
    except FileNotFoundError as error:
        raise InputError(f"{run} is not a run folder: it has no {CONFIG}") from error
    except (ValueError, AttributeError, KeyError, TypeError) as error:  # ValueError: no JSON, or illegal settings
        raise InputError(f"{run / CONFIG} is damaged: {error}") from error


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def read_for(run: Path, fitted: Fitted, config: DataConfig) -> PerturbationData:
    """The cells of a file in the vocabulary, gene order, exposure scale and quality rule of a run's model.

    Raises:
        InputError: without a file, with totals of another kind, if genes or perturbations do not match, or if nothing
            labels the quality of cells for a model that knows it.
    """
    if config.path is None:
        raise InputError("--data.path is missing: name the .h5ad file that holds the cells")
    vocabulary, counts = fitted.vocabulary, models_counts(fitted.config.likelihood)
    source = config.library_size_key or "row_sum"
    if counts and source != vocabulary.library_size_source:
        raise InputError(
            f"library sizes from {source!r}, but the model was trained with {vocabulary.library_size_source!r}; "
            "totals of another kind are not on its scale (--data.library-size-key)"
        )
    return read_cells(
        config,
        counts=counts,
        exposure_scale=vocabulary.exposure_scale if counts else None,
        vocabulary=vocabulary.perturbation_names,
        gene_names=vocabulary.gene_names,
        quality_rule=quality_rule_for(run, fitted, config),
    )


def quality_rule_for(run: Path, fitted: Fitted, config: DataConfig) -> QualityRule | None:
    """The rule by which other cells are labelled: that of the run, unless a column with ready labels is named.

    Thresholds are those learnt from the run's training cells, whatever its model. Learnt anew, they would come from the
    very cells that are scored, a file in which most cells are poor would pass, and models of one screen would be
    compared on different labels. A model that knows quality always needs labels; for others they are left out where
    neither the run nor the flags ask for criteria.

    Raises:
        InputError: if the model knows quality and nothing labels the cells, or for other thresholds than the run's.
    """
    if config.quality_key:
        return None
    if not fitted.vocabulary.artifacts:
        return _with_its_thresholds(stored_rule(run), config) if config.quality_criteria else None
    if fitted.quality_rule is None and not config.quality_criteria:
        raise InputError(
            f"the model knows the quality of cells ({listing(fitted.vocabulary.artifacts)}) by labels that came with "
            "its data: name the column of obs that holds those of these cells, --data.quality-key COLUMN"
        )
    return _with_its_thresholds(fitted.quality_rule, config)


def _with_its_thresholds(rule: QualityRule | None, config: DataConfig) -> QualityRule | None:
    if rule is not None and rule.n_mads is not None and rule.n_mads != config.quality_mads:
        raise InputError(
            f"--data.quality-mads {config.quality_mads:g}: cells are judged by the thresholds of the run, "
            f"{rule.n_mads:g} median absolute deviations from the median; leave the flag out"
        )
    return rule
