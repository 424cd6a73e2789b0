"""Where features of perturbations come from: every field becomes a command-line flag, the line under it its help."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from samsjax.errors import InputError, check_choice, check_range, listing

Source = Literal["table", "targets", "loadings", "smiles", "random"]
Descriptors = Literal["rdkit", "morgan"]
Useless = Literal["refuse", "drop"]

USED_BY: dict[str, tuple[str, ...]] = {
    "path": ("table", "targets", "loadings", "smiles"),
    "obsm_key": ("table",),
    "column": ("targets", "loadings", "smiles"),
    "n_components": ("table", "loadings", "smiles", "random"),
    "descriptors": ("smiles",),
    "radius": ("smiles",),
    "n_bits": ("smiles",),
    "undefined": ("smiles",),
}
"""Sources that a setting means something to; given with another one, it would do nothing."""


@dataclass(frozen=True)
class FeaturesConfig:
    """Features of perturbations: where they come from and what is done to them before a model sees them.

    Raises:
        InputError: if values are out of range or fields contradict each other.
    """

    source: Source | None = None
    """A table of numbers, one-hot target genes, loadings of target genes in control cells, descriptors of molecules, or
    random numbers (a control: they say nothing); by default those that a simulation brings, if any."""
    path: Path | None = None
    """CSV whose first column names perturbations, with features, target genes or SMILES; a table may be an .h5ad whose
    observations are perturbations."""
    obsm_key: str | None = None
    """Entry of obsm of that .h5ad which holds the features; by default X does."""
    column: str | None = None
    """Column of the CSV with target genes (several are joined by ; or |) or SMILES; by default the one called targets
    or smiles, or the only one."""
    n_components: int | None = None
    """How many features: loadings and random numbers are 16 by default; of a table and of descriptors that many
    principal components are used instead of all columns."""
    descriptors: Descriptors = "rdkit"
    """Of molecules: the numbers RDKit knows of each, or the bits of its Morgan fingerprint."""
    radius: int = 2
    """Of the Morgan fingerprint, in bonds."""
    n_bits: int = 1024
    """Of the Morgan fingerprint."""
    undefined: Useless = "refuse"
    """What happens to descriptors that are not defined for some molecule of the screen."""
    constant: Useless = "refuse"
    """What happens to features that are the same for all perturbations that train."""
    shuffled: bool = False
    """Give every perturbation the features of another one: a control, to see what features are worth."""
    seed: int = 0
    """Of random numbers and of shuffling."""

    def __post_init__(self) -> None:
        if isinstance(self.path, str):  # as a stored configuration holds it
            object.__setattr__(self, "path", Path(self.path))
        if self.source is not None:
            check_choice("source of features", self.source, get_args(Source))
        check_choice("descriptors", self.descriptors, get_args(Descriptors))
        for name in ("undefined", "constant"):
            check_choice(name, getattr(self, name), get_args(Useless))
        check_range("seed", self.seed, low=0, below=2**32)
        check_range("radius", self.radius, low=0)
        check_range("n_bits", self.n_bits, low=1)
        if self.n_components is not None:
            check_range("n_components", self.n_components, low=1)
        self._check_idle()
        if self.path is None and self.source in ("table", "smiles"):
            raise InputError(f"features from the source {self.source!r} need a file: give features.path")
        if self.path is None and self.column is not None:
            raise InputError(f"column {self.column!r} is one of a file, and none is named: give features.path")
        if self.descriptors != "morgan" and (self.radius, self.n_bits) != (2, 1024):
            raise InputError(f"radius and n_bits are those of descriptors 'morgan', not of {self.descriptors!r}")

    def _check_idle(self) -> None:
        for setting in fields(self):
            users, value = USED_BY.get(setting.name), getattr(self, setting.name)
            if users is None or value == setting.default or self.source in users:
                continue
            given = "no source is given" if self.source is None else f"not for {self.source!r}"
            raise InputError(
                f"features.{setting.name} {str(value)!r} is for features from the source {listing(users)}; {given}"
            )

    @property
    def is_given(self) -> bool:
        """Whether anything is said of features: a source, or what to do with those that the data bring."""
        return self.source is not None or self.shuffled or self.constant == "drop"
