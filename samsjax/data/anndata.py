"""The one border to AnnData: a file or an AnnData and a few column names in, a checked `PerturbationData` out.

What an analyst must say is in `DataConfig`; everything else is read off the data or refused with a sentence that says
what to do. anndata and pandas are imported when a function needs them, so that `import samsjax` stays light.
"""

import warnings
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samsjax.data.config import DataConfig
from samsjax.data.counts import compact
from samsjax.data.dataset import PerturbationData
from samsjax.data.encoding import (
    Encoding,
    encode_labels,
    encode_matrix,
    match_vocabulary,
    unique_combinations,
)
from samsjax.data.expression import exposure, expression, obs_column, unique_names
from samsjax.data.files import opened
from samsjax.data.quality.confounding import warn_confounded
from samsjax.data.quality.labels import quality_labels
from samsjax.data.quality.rule import QualityRule
from samsjax.data.split_rules import split_by_rule
from samsjax.data.splits import column_split
from samsjax.data.unique_doses import unique_doses
from samsjax.errors import InputError, check_choice, did_you_mean, listing, unknown_name

if TYPE_CHECKING:
    import anndata

__all__ = ["DataConfig", "from_anndata", "read_h5ad"]


def read_h5ad(
    config: DataConfig,
    *,
    counts: bool = True,
    exposure_scale: float | None = None,
    vocabulary: Sequence[str] | None = None,
    gene_names: Sequence[str] | None = None,
    quality_rule: QualityRule | None = None,
) -> PerturbationData:
    """Read the file `config.path`; arguments, result and checks are those of `from_anndata`.

    Raises:
        InputError: if the file is missing or unreadable, or its content cannot be used.
    """
    needed = {"obsm": _given(config.obsm_key), "uns": _given(config.obsm_names_key)}
    with opened(config.path, lazy=config.backed, **needed) as adata:
        return from_anndata(
            adata,
            config,
            counts=counts,
            exposure_scale=exposure_scale,
            vocabulary=vocabulary,
            gene_names=gene_names,
            quality_rule=quality_rule,
        )


def from_anndata(
    adata: "anndata.AnnData",
    config: DataConfig | None = None,
    *,
    counts: bool = True,
    exposure_scale: float | None = None,
    vocabulary: Sequence[str] | None = None,
    gene_names: Sequence[str] | None = None,
    quality_rule: QualityRule | None = None,
    encoding: Encoding | None = None,
    combination_labels: np.ndarray | None = None,
    **options: Any,
) -> PerturbationData:
    """Take cells, counts and perturbations out of an AnnData, in memory or backed.

    `from_anndata(adata, perturbation_key="target_gene", control="non-targeting")` is the usual call: the fields of
    `DataConfig` are keyword arguments.

    Library sizes are the row sums of the kept genes. With `library_size_key` they are the totals of that column times
    one constant: the row sums of the training cells over their totals. Without that constant a panel is a trap: on 300
    genes the total of the whole transcriptome is 60-100 times the panel's sum, while a softmax likelihood spends the
    whole library size on the panel, and so predicts 60-100 times too many counts.

    Args:
        adata: the cells. It is not changed.
        config: where things are; by default `DataConfig()`.
        counts: False reads continuous values for normal likelihoods: any finite values, library sizes of 1.
        exposure_scale: the constant for `library_size_key` that a stored model was trained with.
        vocabulary: perturbation names of a stored model; indices refer to it. Then cells need not contain controls,
            perturbed or training cells.
        gene_names: genes of a stored model; genes are matched by name and put into this order, others left out.
        quality_rule: of a stored model; cells are labelled by it instead of by thresholds learnt from them.
        encoding: the perturbations of the cells, where the caller has read them; then no label or dose is read.
        combination_labels: str (cell,), what the split "combinations" goes by instead of labels such as `A+B`.
        **options: fields of `DataConfig` that replace those of `config`.

    Returns:
        All cells, in the order of `adata`, with their split.

    Raises:
        InputError: if anything is missing, ambiguous or not what it is said to be; cells are never repaired or dropped.
    """
    if isinstance(adata, str | Path):
        raise InputError(f"got the path {str(adata)!r}: use read_h5ad(DataConfig(path=...)) for a file")
    for name in options:
        check_choice("option", name, [field.name for field in fields(DataConfig)])
    config = replace(config or DataConfig(), **options)
    if 0 in adata.shape:
        raise InputError(f"no data: the AnnData has {adata.n_obs} cells and {adata.n_vars} genes")
    cells = unique_names("cell names", adata.obs_names, "adata.obs_names_make_unique()")
    applied = _applied(adata, config, vocabulary, encoding)
    encoding = _in_vocabulary(applied, config, vocabulary)
    split = _split(adata, config, applied, combination_labels, require_train=vocabulary is None)
    covariates = {key: _covariate(adata, key) for key in config.covariate_keys}
    x, genes = expression(adata, config, cells, gene_names, counts=counts)
    library, source, scale = exposure(adata, config, cells, x, split, exposure_scale, counts=counts)
    labels = quality_labels(adata, config, x, genes, split, quality_rule, counts=counts)
    data = PerturbationData(
        x=compact(x, counts=counts),
        perturbation_index=encoding.perturbation_index,
        dosage=encoding.dosage,
        library_size=library.astype(np.float32),
        gene_names=genes,
        perturbation_names=encoding.perturbation_names,
        cell_names=cells,
        split=split,
        control_name=config.control[0],
        separator=config.separator,
        covariates=covariates,
        library_size_source=source,
        exposure_scale=scale,
        failed=labels.failed,
        criteria=labels.criteria,
        quality_rule=labels.rule,
    )
    if data.failed is not None and quality_rule is None:
        warn_confounded(data)
    return data


def _given(key: str | None) -> tuple[str, ...]:
    return () if key is None else (key,)


def _covariate(adata: "anndata.AnnData", key: str) -> np.ndarray:
    column = obs_column(adata, key, "covariate_keys")
    missing = np.flatnonzero(column.isna().to_numpy())
    if len(missing):
        raise InputError(
            f"covariate {key!r} is missing (NaN) in {len(missing)} cells, the first in row {missing[0]}; "
            "fill it with a category of its own or remove these cells"
        )
    return column.astype(str).to_numpy().astype(str)


def _applied(
    adata: "anndata.AnnData", config: DataConfig, vocabulary: Sequence[str] | None, ready: Encoding | None
) -> Encoding:
    """What each cell received, in the file's own vocabulary."""
    if ready is not None:
        where, encoding = "the screen", ready
        if len(ready.dosage) != adata.n_obs:
            raise InputError(f"the encoding holds {len(ready.dosage)} cells, the AnnData {adata.n_obs}")
    elif config.obsm_key is not None:
        where, encoding = f"adata.obsm[{config.obsm_key!r}]", _from_obsm(adata, config, config.obsm_key)
    else:
        where, encoding = f"adata.obs[{config.perturbation_key!r}]", _from_labels(adata, config, vocabulary)
    if vocabulary is None and (encoding.n_parts > 0).all():
        raise InputError(f"no control cells: every cell of {where} carries a perturbation")
    if vocabulary is None and not encoding.n_parts.any():
        raise InputError(f"no perturbed cells: every cell of {where} is a control ({listing(config.control)})")
    return encoding


def _in_vocabulary(applied: Encoding, config: DataConfig, vocabulary: Sequence[str] | None) -> Encoding:
    """What the model sees: doses and combinations as perturbations of their own if asked for; a stored vocabulary."""
    encoding = applied
    if config.doses_as_unique and (vocabulary is None or (applied.dosage[applied.dosage != 0] != 1).any()):
        encoding = unique_doses(encoding)
    if config.combinations_as_unique:
        encoding = unique_combinations(encoding, config.separator)
    return encoding if vocabulary is None else match_vocabulary(encoding, vocabulary)


def _from_labels(adata: "anndata.AnnData", config: DataConfig, vocabulary: Sequence[str] | None) -> Encoding:
    labels = obs_column(adata, config.perturbation_key, "perturbation_key")
    if vocabulary is None:  # with a vocabulary a misspelt control is an unknown perturbation
        _check_control(labels, config)
    doses = None if config.dosage_key is None else obs_column(adata, config.dosage_key, "dosage_key")
    return encode_labels(labels, control=config.control, separator=config.separator, doses=doses)


def _check_control(labels: Any, config: DataConfig) -> None:
    """A misspelt control label must not turn control cells into a perturbation."""
    counts = {str(label).strip(): int(n) for label, n in labels.value_counts().items() if n > 0}
    parts = {part.strip() for label in counts for part in label.split(config.separator)}
    absent = [label for label in config.control if label not in parts]
    if not absent:
        return
    most = listing([f"{label} ({n} cells)" for label, n in counts.items()])
    hint = did_you_mean(absent[0], parts)
    text = f"control label {absent[0]!r} is not in adata.obs[{config.perturbation_key!r}].{hint} Most frequent: {most}."
    if len(absent) == len(config.control):
        raise InputError(text)
    warnings.warn(text, UserWarning, stacklevel=5)


def _from_obsm(adata: "anndata.AnnData", config: DataConfig, key: str) -> Encoding:
    if key not in adata.obsm:
        raise unknown_name("obsm_key in adata.obsm", key, list(adata.obsm.keys()))
    matrix = adata.obsm[key]
    names = getattr(matrix, "columns", None)
    if config.obsm_names_key is not None:
        if config.obsm_names_key not in adata.uns:
            raise unknown_name("obsm_names_key in adata.uns", config.obsm_names_key, list(adata.uns.keys()))
        names = adata.uns[config.obsm_names_key]
    if names is None:
        raise InputError(
            f"adata.obsm[{key!r}] does not name its columns: make it a data frame, or name the entry of adata.uns "
            f"that lists them as obsm_names_key; uns holds {listing(adata.uns.keys())}"
        )
    return encode_matrix(matrix.to_numpy() if hasattr(matrix, "to_numpy") else matrix, np.asarray(names, dtype=str))


def _split(
    adata: "anndata.AnnData",
    config: DataConfig,
    applied: Encoding,
    combination_labels: np.ndarray | None,
    *,
    require_train: bool,
) -> np.ndarray:
    if config.split_key is not None:
        values = obs_column(adata, config.split_key, "split_key")
        return column_split(values, config.split_key, require_train=require_train)
    return split_by_rule(config, applied, combination_labels)
