"""Sachs et al. 2005: eleven phosphorylated proteins and lipids in T cells by flow cytometry, under nine conditions.

The classic small set for learning causal graphs from interventions: continuous values, one cell per row. It is read
from the text file with log values and nine columns of conditions (tab-separated, 1 = applied), not from AnnData. Cells
that were only stimulated (`cd3_cd28`) are the controls. `icam2` is a further general stimulation without a target among
the proteins; give `--data.control cd3_cd28 icam2` to pool it with the controls. The other seven conditions activate or
inhibit a known molecule. `pma` and `b2camp` were given instead of the stimulation, all others on top of it, so that
cells of these two differ from the controls in more than their target.

Every condition is a perturbation of its own, described by a one-hot feature: features say nothing across conditions, so
that no unseen condition can be predicted.

`TARGETS` is our annotation from what is commonly known of the reagents, such as that U0126 inhibits MEK. It was not
verified against the paper. `psitect` acts on the lipid PIP2, `ly` on PI3K, which is not measured; its effect is
annotated at `akt`, as is common, though `pip3` could be argued for.

Source:
    Sachs, Perez, Pe'er, Lauffenburger and Nolan, Science 2005, as the text tables of public benchmark collections.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samsjax.data.dataset import PerturbationData
from samsjax.data.features.table import PerturbationFeatures
from samsjax.data.files import existing_file
from samsjax.data.studies.base import Annotated, Remote, Study, StudyConfig, complete_labels, one_per_cell
from samsjax.errors import InputError, check_choice, listing, unknown_name

if TYPE_CHECKING:
    import anndata

STIMULATION = "cd3_cd28"
"""The general stimulation: alone, the condition of controls."""
TARGETS: dict[str, tuple[str, ...]] = {
    STIMULATION: (),
    "icam2": (),
    "aktinhib": ("akt",),
    "g0076": ("pkc",),
    "psitect": ("pip2",),
    "u0126": ("mek",),
    "ly": ("akt",),
    "pma": ("pkc",),
    "b2camp": ("pka",),
}
"""The measured molecules each condition acts on: common knowledge of the reagents, unverified against the paper."""
LABELS = "condition"
"""Column of obs that the text table is turned into."""
_EDGE = re.compile(r"(\w+)\s*-->\s*(\w+)")


@dataclass(frozen=True)
class SachsConfig(StudyConfig):
    """How to read the Sachs table."""

    perturbation_key: str = LABELS
    """Name given to the condition of each cell."""
    control: tuple[str, ...] = (STIMULATION,)
    """Conditions whose cells are controls: the general stimulation, perhaps icam2."""


@dataclass(frozen=True)
class TableStudy(Study):
    """A study whose file is a text table of continuous values."""

    def read(self, config: StudyConfig, **stored: Any) -> PerturbationData:
        """Read the table `config.path`; arguments and errors are those of `from_anndata`."""
        return self.from_anndata(read_table(existing_file(config.path)), config, **stored)

    def from_anndata(self, adata: "anndata.AnnData", config: StudyConfig | None = None, **stored: Any):  # type: ignore[override]
        """As for any study, but values are continuous, and conditions get one-hot features.

        Raises:
            InputError: as for any study, and for a model of counts.
        """
        if stored.setdefault("counts", False):
            raise InputError(
                f"the study {self.name!r} holds continuous values, which a likelihood of counts cannot take: give "
                "--model.likelihood normal"
            )
        data = super().from_anndata(adata, config, **stored)
        names = tuple(data.perturbation_names.tolist())
        return replace(data, features=PerturbationFeatures(names, np.eye(len(names))))


def read_table(path: Path) -> "anndata.AnnData":
    """The text table as cells x molecules, with one condition per cell in obs.

    Raises:
        InputError: if it is no such table, or the conditions of a cell contradict each other.
    """
    import anndata
    import pandas as pd

    try:
        table = pd.read_csv(path, sep="\t")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"cannot read {path} as a tab-separated table: {error}") from error
    missing = [name for name in TARGETS if name not in table.columns]
    if missing:
        raise InputError(
            f"{path} has no columns {listing(missing)}: expected the table of log values with one column for each of "
            f"the conditions {listing(TARGETS)}; it has {listing(map(str, table.columns))}"
        )
    flags = table[list(TARGETS)].to_numpy()
    molecules = table.drop(columns=list(TARGETS))
    not_numbers = [name for name, kind in molecules.dtypes.items() if kind.kind not in "fi"]
    if not_numbers:
        raise InputError(f"columns {listing(map(str, not_numbers))} of {path} are not numbers")
    cells = pd.DataFrame({LABELS: _conditions(flags, path)}, index=[f"cell{row + 1}" for row in range(len(table))])
    return anndata.AnnData(
        molecules.to_numpy(dtype=np.float32), obs=cells, var=pd.DataFrame(index=molecules.columns.astype(str))
    )


def _conditions(flags: np.ndarray, path: Path) -> np.ndarray:
    """The condition of each cell, str (cell,): what was given beside the stimulation, or the stimulation alone."""
    if not np.isin(flags, (0, 1)).all():
        raise InputError(f"columns of conditions of {path} must hold only 0 and 1")
    specific = flags[:, 1:].astype(bool)
    wrong = np.flatnonzero((specific.sum(axis=1) > 1) | (flags.sum(axis=1) == 0))
    if len(wrong):
        raise InputError(
            f"{len(wrong)} cells of {path} have no condition, or two beside {STIMULATION}; the first in row {wrong[0]}"
        )
    names = np.array(list(TARGETS))
    return np.where(specific.any(axis=1), names[1 + specific.argmax(axis=1)], STIMULATION)


def annotate(adata: "anndata.AnnData", config: SachsConfig, *, genes_given: bool) -> Annotated:
    """Every condition that is no control is a perturbation.

    Raises:
        InputError: for a condition or a control that the study does not have.
    """
    del genes_given
    labels = complete_labels(adata, config.perturbation_key)
    for label in (*np.unique(labels).tolist(), *config.control):
        check_choice("condition", label, list(TARGETS))
    return Annotated(adata, one_per_cell(labels, np.isin(labels, config.control)))


def annotated_targets(data: PerturbationData) -> np.ndarray:
    """What each perturbation acts on by `TARGETS`, bool (perturbation, molecule)."""
    return np.array([np.isin(data.gene_names, TARGETS[name]) for name in data.perturbation_names.tolist()])


def consensus_graph(path: Path, molecules: np.ndarray) -> np.ndarray:
    """The consensus graph of a text file with one `a --> b` per line, bool (parent, child) in the order of `molecules`.

    Raises:
        InputError: if the file is missing, holds no edge, or names other molecules.
    """
    edges = _EDGE.findall(existing_file(path).read_text())
    if not edges:
        raise InputError(f"{path} holds no edge: expected lines such as 'raf --> mek'")
    place = {name: row for row, name in enumerate(molecules.tolist())}
    graph = np.zeros((len(place), len(place)), dtype=bool)
    for edge in edges:
        for end in edge:
            if end not in place:
                raise unknown_name("molecule", end, list(place))
        graph[place[edge[0]], place[edge[1]]] = True
    return graph


SACHS = TableStudy(
    name="sachs",
    citation="Sachs et al., Science 2005",
    layout="tab-separated log values of 11 molecules and nine columns of conditions that hold 0 and 1",
    # The address of the table is not on file here: name, hash and size were not verified.
    remote=Remote(
        source="text tables of the study in public collections of causal benchmarks, with the columns of conditions",
        filename="sachs.2005.log_with_interventions.txt",
    ),
    settings=SachsConfig,
    annotate=annotate,
)
