"""A run folder as later doors see it: the model, and how its data were described."""

import json
from pathlib import Path
from typing import Any

from experiments.output import CONFIG
from samsjax.data import DataConfig
from samsjax.data.studies import study
from samsjax.errors import InputError
from samsjax.inference.checkpoint import load
from samsjax.inference.fitted import Fitted

CHOSEN_ANEW = ("path", "split", "split_key")
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
