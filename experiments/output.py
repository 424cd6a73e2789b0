"""Writing results: all of a folder or nothing, plain JSON and CSV, and the environment they were made in."""

import csv
import json
import math
import os
import platform
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from samsjax.errors import InputError

CONFIG = "config.json"
"""Every run folder holds one; only folders that do are ever overwritten."""
_PACKAGES = ("samsjax", "jax", "jaxlib", "numpyro", "flax", "optax", "orbax-checkpoint", "anndata", "numpy")


def check_folder(path: Path, *, overwrite: bool, inputs: Sequence[Path | None] = ()) -> None:
    """Refuse an output folder that exists, or a place that cannot be written, before any work is done.

    `inputs` are files and folders about to be read: a folder that holds one of them is never replaced.

    Raises:
        InputError: saying which.
    """
    _check_output(path, overwrite=overwrite)
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise InputError(f"{path} is a file; give the name of a folder")
    if any(path.iterdir()) and not (path / CONFIG).is_file():
        raise InputError(f"{path} is not a result of samsjax (it has no {CONFIG}) and will not be overwritten")
    for used in inputs:
        if used is not None and used.resolve().is_relative_to(path.resolve()):
            raise InputError(f"{path} holds {used}, which is to be read, and will not be overwritten")


def check_file(path: Path, *, overwrite: bool, suffix: str = ".h5ad", inputs: Sequence[Path | None] = ()) -> None:
    """Refuse an output file that exists or is not named with `suffix`, or a place that cannot be written.

    `inputs` are files about to be read: none of them is ever replaced.

    Raises:
        InputError: saying which.
    """
    if path.suffix != suffix:
        raise InputError(f"--out {path} must end in {suffix}")
    _check_output(path, overwrite=overwrite)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file")
    if path.resolve() in [used.resolve() for used in inputs if used is not None]:
        raise InputError(f"{path} is to be read, and will not be overwritten")


def _check_output(path: Path, *, overwrite: bool) -> None:
    if os.path.lexists(path) and not overwrite:
        raise InputError(f"{path} exists; choose another --out or add --overwrite")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise InputError(f"cannot write {path}: {parent} is not a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"cannot write {path}: no permission to write in {parent}")


@contextmanager
def output_folder(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block succeeds and vanishes when it fails."""
    check_folder(path, overwrite=overwrite)
    path = path.absolute()
    with _staging_beside(path) as staging:
        result, retired = staging / "new", staging / "old"
        result.mkdir()
        yield result
        if path.exists():
            path.rename(retired)
        try:
            result.rename(path)
        except OSError:
            retired.rename(path)
            raise


@contextmanager
def output_file(path: Path, *, overwrite: bool, suffix: str = ".h5ad") -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block succeeds and vanishes when it fails."""
    check_file(path, overwrite=overwrite, suffix=suffix)
    with _staging_beside(path) as staging:
        yield staging / path.name
        (staging / path.name).replace(path)


@contextmanager
def _staging_beside(path: Path) -> Iterator[Path]:
    """A temporary folder in the parent of `path`; on failure the parents made for it vanish with it."""
    parent = path.absolute().parent
    made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    try:
        parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=parent))
    except OSError as error:
        _remove_empty(made)
        raise InputError(f"cannot write {path}: {error.strerror}") from error
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        _remove_empty(made)


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, innermost first, up to the first that is in use."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def plain(value: Any) -> Any:
    """Configurations and numbers as JSON knows them; an undefined number (NaN) becomes null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def write_json(path: Path, value: Any) -> None:
    """One JSON document, keys in the order given."""
    path.write_text(json.dumps(plain(value), indent=1) + "\n")


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A CSV with the keys of the first row as header, and None as an empty cell; no file without rows."""
    if not rows:
        return
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def environment() -> dict[str, Any]:
    """Versions and hardware a result was made with."""
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu_cores": os.cpu_count(),
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
        "packages": {name: version(name) for name in _PACKAGES},
    }


def peak_memory_gb() -> float:
    """Most host memory the process held so far, plus the device's own peak where it has one; GB."""
    unit = 1 if sys.platform == "darwin" else 1024
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    device = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
    return (host + device) / 1e9
