"""Saving and loading fitted models: arrays through Orbax, everything else as JSON. Loading runs no stored code.

A model folder holds `model.json` (configuration, vocabulary, versions, digests of every array file and of itself) and
`arrays/`. Digests make damage an error instead of a wrong prediction.
"""

import hashlib
import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from samsjax.data.covariates import n_levels
from samsjax.data.features.table import FeatureScale
from samsjax.data.quality.rule import QualityRule
from samsjax.errors import InputError, listing
from samsjax.inference.fitted import N_LIBRARY_QUANTILES, Fitted, Vocabulary
from samsjax.inference.log_weights import initial_parameters
from samsjax.inference.rotating import RotationReport
from samsjax.models import DataStatistics, ModelConfig, build_model, config_class, model_name
from samsjax.normalization import GeneStatistics
from samsjax.types import Features

FORMAT = 4
"""Format 1 had no covariates, format 2 no quality of cells, format 3 no features of perturbations."""
_JSON = "model.json"
_ARRAYS = "arrays"
_PACKAGES = ("samsjax", "jax", "numpyro", "flax", "orbax-checkpoint")


def save(fitted: Fitted, folder: str | Path) -> None:
    """Write a model to a folder that does not exist yet.

    Raises:
        InputError: if the folder exists or cannot be written.
    """
    folder = Path(folder).absolute()
    if folder.exists():
        raise InputError(f"{folder} exists; choose another folder or remove it")
    tree = _arrays(fitted)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"cannot create {folder}: {error.strerror}") from error
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / _ARRAYS, tree)
    failed = fitted.failed_library_sizes
    description = {
        "format": FORMAT,
        "model": model_name(fitted.config),
        "config": asdict(fitted.config),  # type: ignore[call-overload]
        "vocabulary": fitted.vocabulary._asdict(),
        "covariate_codes": fitted.covariate_codes.tolist(),
        "covariate_shares": fitted.covariate_shares.tolist(),
        "failed_library_sizes": None if failed is None else failed.tolist(),
        "quality_rule": None if fitted.quality_rule is None else fitted.quality_rule.as_json(),
        "feature_scale": None if fitted.feature_scale is None else fitted.feature_scale.as_json(),
        "history": list(fitted.history),
        "rotations": [report._asdict() for report in fitted.rotations],
        "files": _file_digests(folder / _ARRAYS),
        "versions": {name: version(name) for name in _PACKAGES},
    }
    description["digest"] = _description_digest(description)
    (folder / _JSON).write_text(json.dumps(description, indent=1) + "\n")


def load(folder: str | Path) -> Fitted:
    """Read a model that `save` wrote. Needs neither the training data nor AnnData.

    Raises:
        InputError: if the folder is not a model, is of a newer format, or is damaged.
    """
    folder = Path(folder).absolute()
    description = _read_description(folder)
    try:
        config = config_class(description["model"])(**description["config"])
        vocabulary = _vocabulary(description["vocabulary"])
        covariate_codes = np.asarray(description.get("covariate_codes", [[]]), dtype=np.int32)
        covariate_shares = np.asarray(description.get("covariate_shares", [1.0]), dtype=np.float32)
        files, history = description["files"], tuple(description["history"])
        failed = description.get("failed_library_sizes")
        rule = description.get("quality_rule")
        quality_rule = None if rule is None else QualityRule.from_json(rule)
        scale = description.get("feature_scale")
        feature_scale = None if scale is None else FeatureScale.from_json(scale)
        rotations = tuple(RotationReport(**report) for report in description.get("rotations", ()))
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder / _JSON} is damaged: {error}") from error
    _check_files(folder, files)
    target = _expected_arrays(config, vocabulary)
    tree = _restore(folder, target)
    return Fitted(
        config=config,
        vocabulary=vocabulary,
        statistics=_statistics(vocabulary, tree),
        library_sizes=np.asarray(tree["library_sizes"]),
        n_training_cells=np.asarray(tree["n_training_cells"]),
        covariate_codes=covariate_codes,
        covariate_shares=covariate_shares,
        params=tree["params"],
        failed_library_sizes=None if failed is None else np.asarray(failed, dtype=np.float32),
        quality_rule=quality_rule,
        feature_scale=feature_scale,
        history=history,
        rotations=rotations,
    )


def _vocabulary(words: dict[str, Any]) -> Vocabulary:
    """A vocabulary from JSON, where tuples are lists."""
    names = {name: tuple(words[name]) for name in ("gene_names", "perturbation_names")}
    levels = {name: tuple(known) for name, known in words.get("covariates", {}).items()}
    optional = {name: tuple(words.get(name, ())) for name in ("artifacts", "features")}
    return Vocabulary(**{**words, **names, "covariates": levels, **optional})


def _statistics(words: Vocabulary, tree: dict[str, Any]) -> DataStatistics:
    """What a model of this vocabulary is built from, given its stored arrays."""
    sizes = (len(words.gene_names), len(words.perturbation_names))
    genes = GeneStatistics(np.asarray(tree["gene_mean"]), np.asarray(tree["gene_std"]))
    features = None
    if words.features:
        seen = np.asarray(tree["n_training_cells"]) > 0
        features = Features(jnp.asarray(tree["features"]), jnp.asarray(seen, dtype=jnp.float32))
    log_doses = jnp.asarray(tree["log_doses"]) if "log_doses" in tree else None
    return DataStatistics(*sizes, genes, n_levels(words.covariates), len(words.artifacts), features, log_doses)


def _arrays(fitted: Fitted) -> dict[str, Any]:
    features, log_doses = fitted.statistics.features, fitted.statistics.log_doses
    return {
        "params": fitted.params,
        **({} if features is None else {"features": np.asarray(features.values)}),
        **({} if log_doses is None else {"log_doses": np.asarray(log_doses)}),
        "gene_mean": np.asarray(fitted.statistics.genes.mean),
        "gene_std": np.asarray(fitted.statistics.genes.std),
        "library_sizes": fitted.library_sizes,
        "n_training_cells": fitted.n_training_cells,
    }


def _file_digests(folder: Path) -> dict[str, str]:
    """sha256 of every file below `folder`, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _check_files(folder: Path, digests: dict[str, str]) -> None:
    """Before Orbax looks at them: on damaged files it prints tracebacks of its own."""
    found = _file_digests(folder / _ARRAYS)
    missing = [name for name in digests if name not in found]
    damaged = [name for name, digest in digests.items() if found.get(name, digest) != digest]
    if missing or damaged:
        kind, names = ("missing", missing) if missing else ("changed", damaged)
        raise InputError(f"the model in {folder} is damaged: {kind} files: {listing(f'{_ARRAYS}/{n}' for n in names)}")


def _description_digest(description: dict[str, Any]) -> str:
    """sha256 of everything in a description but the digest itself."""
    content = {name: value for name, value in description.items() if name != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _expected_arrays(config: ModelConfig, vocabulary: Vocabulary) -> dict[str, Any]:
    """Shapes and types of everything a model of this configuration stores, without computing anything."""
    n_genes, n_perturbations = len(vocabulary.gene_names), len(vocabulary.perturbation_names)
    per_gene = jax.ShapeDtypeStruct((n_genes,), np.float32)
    expected = {
        "gene_mean": per_gene,
        "gene_std": per_gene,
        "library_sizes": jax.ShapeDtypeStruct((N_LIBRARY_QUANTILES,), np.float32),
        "n_training_cells": jax.ShapeDtypeStruct((n_perturbations,), np.int32),
    }
    if vocabulary.features:
        expected["features"] = jax.ShapeDtypeStruct((n_perturbations, len(vocabulary.features)), np.float32)
    if config.uses_doses:
        expected["log_doses"] = jax.ShapeDtypeStruct((n_perturbations,), np.float32)
    blank = _statistics(vocabulary, {name: np.ones(array.shape, array.dtype) for name, array in expected.items()})
    model_guide = build_model(config, blank)
    return {"params": jax.eval_shape(lambda key: initial_parameters(key, model_guide), jax.random.key(0)), **expected}


def _read_description(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise InputError(f"no model folder at {folder}")
    try:
        description = json.loads((folder / _JSON).read_text())
    except FileNotFoundError as error:
        raise InputError(f"{folder} is not a model folder: it has no {_JSON}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{folder / _JSON} is damaged: {error}") from error
    if not isinstance(description, dict) or not isinstance(description.get("format"), int):
        raise InputError(f"{folder / _JSON} is damaged: it does not describe a model")
    if description["format"] > FORMAT:
        raise InputError(f"{folder} has format {description['format']}; this version of samsjax reads up to {FORMAT}")
    if description.get("digest") != _description_digest(description):
        raise InputError(f"{folder / _JSON} is damaged: its content is not what was saved")
    return description


def _restore(folder: Path, target: dict[str, Any]) -> dict[str, Any]:
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.restore(folder / _ARRAYS, target)
    except Exception as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"the arrays of the model in {folder} are missing or damaged: {first_line}") from error
