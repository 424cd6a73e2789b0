"""What a study is: a public file whose layout, labels, controls and split are known, so that its path is enough.

A study is data (`Study`) and one function, `annotate`, which reads the study's own columns. Everything after that is
`samsjax.data.from_anndata`.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from samsjax.data.anndata import from_anndata
from samsjax.data.config import DataConfig
from samsjax.data.dataset import PerturbationData
from samsjax.data.encoding import MISSING_TEXT, Encoding, encode_matrix
from samsjax.data.expression import flag_column, obs_column
from samsjax.data.files import opened
from samsjax.data.quality.rule import QualityRule
from samsjax.errors import InputError, check_choice, unknown_name

if TYPE_CHECKING:
    import anndata


@dataclass(frozen=True)
class StudyConfig(DataConfig):
    """How to read the file of a study: the settings of any screen, with the study's own as defaults.

    Raises:
        InputError: as for `DataConfig`, and for settings that contradict that the study knows its perturbations.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("dosage_key", "obsm_key"):
            if getattr(self, name) is not None:
                raise InputError(
                    f"{name} {getattr(self, name)!r}: the perturbations of a study are read by its own rule; leave it "
                    "out, or read the file without naming the study"
                )


class Annotated(NamedTuple):
    """A study's file after its own rules: which cells and genes, and what each cell received."""

    adata: "anndata.AnnData"
    """The cells and genes that are used."""
    encoding: Encoding
    combination_labels: np.ndarray | None = None
    """str (cell,), the study's own labels, whose sort order decides which combinations are held out."""


@dataclass(frozen=True)
class Remote:
    """Where the public file is. What could not be verified is None, and `fetch` says so."""

    source: str
    """Who publishes the file and where, in words."""
    filename: str
    """What `fetch` calls it."""
    address: str | None = None
    """Address of the download."""
    sha256: str | None = None
    """Hash of the published file, hexadecimal."""
    n_bytes: int | None = None
    """Size of the published file."""


@dataclass(frozen=True)
class Study:
    """A published screen and the rules to read it by."""

    name: str
    """Key in `STUDIES`."""
    citation: str
    """The publication, in words."""
    layout: str
    """What the file must hold, in one sentence."""
    remote: Remote
    """Where the file is."""
    settings: type[StudyConfig]
    """Its configuration; the defaults are those of the published analysis."""
    annotate: Callable[..., Annotated]
    """(AnnData, settings, genes_given=) -> cells, genes, encoding; True: genes are given, so filter none out."""

    def load(self, path: str | Path, **options: Any) -> PerturbationData:
        """Read the study's file; `options` are fields of `settings`.

        Raises:
            InputError: for an unknown option, an unreadable file or one of another layout.
        """
        for name in options:
            check_choice(f"option of the study {self.name!r}", name, [field.name for field in fields(self.settings)])
        return self.read(self.settings(**{"path": Path(path), **options}))

    def read(self, config: StudyConfig, **stored: Any) -> PerturbationData:
        """Read the file `config.path`; arguments and errors are those of `from_anndata`."""
        with opened(config.path, lazy=config.backed) as adata:
            return self.from_anndata(adata, config, **stored)

    def from_anndata(
        self,
        adata: "anndata.AnnData",
        config: StudyConfig | None = None,
        *,
        counts: bool = True,
        exposure_scale: float | None = None,
        vocabulary: Sequence[str] | None = None,
        gene_names: Sequence[str] | None = None,
        quality_rule: QualityRule | None = None,
    ) -> PerturbationData:
        """The cells of an AnnData with the layout of the study; arguments as `samsjax.data.from_anndata`.

        Raises:
            InputError: if the layout is another one, or the content cannot be used.
        """
        config = config or self.settings()
        if not isinstance(config, self.settings):
            raise InputError(
                f"the study {self.name!r} takes settings {self.settings.__name__}, not {type(config).__name__}"
            )
        try:
            if config.layer not in (None, "raw", *adata.layers):
                raise unknown_name("layer", str(config.layer), list(adata.layers))
            annotated = self.annotate(adata, config, genes_given=gene_names is not None)
        except InputError as error:
            raise InputError(f"{error} The file of the study {self.name!r} holds {self.layout}.") from None
        return from_anndata(
            annotated.adata,
            config,
            counts=counts,
            exposure_scale=exposure_scale,
            vocabulary=vocabulary,
            gene_names=gene_names,
            encoding=annotated.encoding,
            combination_labels=annotated.combination_labels,
            quality_rule=quality_rule,
        )


def label_column(adata: "anndata.AnnData", key: str) -> tuple[np.ndarray, np.ndarray]:
    """A column of labels as stripped text, str (cell,), and bool (cell,), which of them are missing."""
    column = obs_column(adata, key, "perturbation_key")
    labels = np.array([str(label).strip() for label in column], dtype=str)
    return labels, column.isna().to_numpy() | np.isin(labels, MISSING_TEXT)


def complete_labels(adata: "anndata.AnnData", key: str) -> np.ndarray:
    """Labels of a column in which every cell has one, str (cell,).

    Raises:
        InputError: counting the cells without.
    """
    labels, missing = label_column(adata, key)
    if missing.any():
        raise InputError(
            f"{missing.sum()} of {len(labels)} cells have no label in adata.obs[{key!r}], the first in row "
            f"{missing.argmax()}."
        )
    return labels


def flag_columns(adata: "anndata.AnnData", columns: Sequence[str]) -> np.ndarray:
    """Yes/no columns of obs (booleans, 0 and 1, or such texts) as bool (cell, column).

    Raises:
        InputError: naming a column that holds something else.
    """
    flags = [flag_column(adata, name, "column") for name in columns]
    return np.stack(flags, axis=1) if flags else np.zeros((adata.n_obs, 0), dtype=bool)


def one_per_cell(labels: np.ndarray, is_control: np.ndarray) -> Encoding:
    """Cells with at most one perturbation each, whatever signs its name holds; names ascending, controls empty."""
    names, code = np.unique(labels[~is_control], return_inverse=True)
    entries = (np.ones(len(code), dtype=np.float32), (np.flatnonzero(~is_control), code.reshape(-1)))
    return encode_matrix(sp.csr_matrix(entries, shape=(len(labels), len(names))), names)


def keep_cells(adata: "anndata.AnnData", kept: np.ndarray, left_out: str) -> "anndata.AnnData":
    """The cells of a boolean array; says how many others are left out and why.

    Raises:
        InputError: if none is left.
    """
    if kept.all():
        return adata
    text = f"{(~kept).sum()} of {len(kept)} cells are left out: {left_out}"
    if not kept.any():
        raise InputError(f"no cell is left: {text}.")
    warnings.warn(text, UserWarning, stacklevel=4)
    return adata[kept]
