"""How to read a screen: every field becomes a command-line flag, with the line under it as its help."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from samsjax.data.held_out import DosePlace
from samsjax.data.labels import check_grammar
from samsjax.data.quality.settings import QualityCriterion, QualitySplit, check_quality
from samsjax.errors import InputError, check_choice, check_range, listing

SplitRule = Literal["random", "column", "combinations", "combination_cells", "perturbations", "doses", "test"]
"""Rules of `samsjax.data.split_rules`; "test" calls every cell a test cell, for scoring a stored model."""

HELD_OUT = {
    "perturbations": (
        "test_perturbation_names",
        "perturbation_groups",
        "perturbation_features",
        "n_feature_clusters",
        "val_perturbations",
    ),
    "doses": ("test_doses",),
}
"""Settings that mean something to one split only, and nothing where they are left out."""


@dataclass(frozen=True)
class DataConfig:
    """How to read a screen: where labels, counts and covariates are, and which cells train.

    Raises:
        InputError: if values are out of range or fields contradict each other.
    """

    path: Path | None = None
    """The .h5ad file."""
    perturbation_key: str = "perturbation"
    """Column of obs with one perturbation label per cell."""
    control: tuple[str, ...] = ("control",)
    """Label or labels of unperturbed cells, such as control, ctrl or non-targeting."""
    separator: str = "+"
    """Sign that joins the perturbations of a combination, as in KLF1+TGFBR2."""
    combinations_as_unique: bool = False
    """Treat each combination as a perturbation of its own, which shares nothing with its parts; SVAE+ needs this."""
    doses_as_unique: bool = False
    """Treat each dose of a perturbation as a perturbation of its own, which shares nothing with its other doses but
    their features; for models that know no dose."""
    layer: str | None = None
    """Layer that holds raw counts ("raw" = adata.raw); by default X is used, and must hold them."""
    dosage_key: str | None = None
    """Column of obs with doses: a number per cell, or texts such as 1.0+0.5; by default every dose is 1."""
    library_size_key: str | None = None
    """Column of obs with totals over all genes, scaled by one constant to the file's genes; by default their sum."""
    covariate_keys: tuple[str, ...] = ()
    """Columns of obs to carry along, such as batch or cell_type."""
    obsm_key: str | None = None
    """Entry of obsm with a ready (cell, perturbation) table of doses, instead of labels; zero rows are controls."""
    obsm_names_key: str | None = None
    """Entry of uns that names the columns of that table, when it is not a data frame."""
    backed: bool = False
    """Read only the matrix that is used and leave the others on disk: less memory for files with several layers."""
    min_cells_per_gene: int = 1
    """Genes with counts in fewer cells than this are left out, with a warning; 0 keeps all."""
    split: SplitRule = "random"
    """Which cells train: at random, by a column, holding back combinations, a share of their cells, perturbations or
    doses; test = none."""
    split_key: str | None = None
    """Column of obs with train, val, test or none for each cell (only with the split "column")."""
    split_seed: int = 0
    """Seed of the split."""
    train_combinations: float = 1.0
    """Share of the combinations (or of their training cells) that train, 0 to 1; only with the splits "combinations"
    and "combination_cells"."""
    test_combinations: float = 0.25
    """Share of the combinations that are tested, 0 to 1; only with the split "combinations"."""
    test_perturbations: float = 0.2
    """Share of the perturbations that are tested, at least one; only with the split "perturbations". Every cell that
    carries one, alone or in a combination, is a test cell."""
    test_perturbation_names: tuple[str, ...] = ()
    """Perturbations to test instead of a random share; names of groups where perturbation_groups is given."""
    perturbation_groups: Path | None = None
    """CSV with two columns, perturbation and group, such as its pathway: whole groups are tested, until the share is
    reached."""
    perturbation_features: Path | None = None
    """CSV with a column of perturbations and columns of numbers: perturbations are clustered by these features, and
    whole clusters are tested, until the share is reached."""
    n_feature_clusters: int | None = None
    """How many clusters; by default the square root of the number of perturbations."""
    val_perturbations: float = 0.0
    """Share of the perturbations not tested that are held out for validation (whole groups of them): parameters are
    then chosen by what features predict. 0 = validation cells at random; only with the split "perturbations"."""
    held_out_doses: DosePlace = "inside"
    """Which dose of each perturbation with three or more is tested: its highest, its lowest, or one between them at
    random; only with the split "doses"."""
    test_doses: tuple[float, ...] = ()
    """Doses to test instead, the same for all perturbations; only with the split "doses"."""
    quality_criteria: tuple[QualityCriterion, ...] = ()
    """Label cells that look technically failed: few counts or genes, a large share of a gene set; auto = whatever the
    file allows, but doublets only when named. No cell is removed."""
    quality_mads: float = 3.0
    """A cell fails beyond the median by so many median absolute deviations."""
    quality_split: QualitySplit = "train"
    """Cells that the medians are taken of."""
    quality_columns: dict[str, str] = field(default_factory=dict, hash=False)
    """Columns of obs to use for criteria instead of the file's genes, such as n_counts n_umis percent_mito p_mito; for
    panels. Generated cells cannot be judged by these."""
    quality_key: tuple[str, ...] = ()
    """Columns of obs with ready quality labels instead: True or 1 = failed, or texts such as pass and fail."""

    def __post_init__(self) -> None:
        for name in ("control", "covariate_keys", "test_perturbation_names", "quality_criteria", "quality_key"):
            if isinstance(getattr(self, name), str):  # one name instead of a tuple of names is a natural thing to write
                object.__setattr__(self, name, (getattr(self, name),))
        for name in ("perturbation_groups", "perturbation_features"):
            if isinstance(getattr(self, name), str):  # as a stored configuration holds them
                object.__setattr__(self, name, Path(getattr(self, name)))
        check_grammar(self.separator, self.control)
        check_range("min_cells_per_gene", self.min_cells_per_gene, low=0)
        check_choice("split", self.split, get_args(SplitRule))
        check_range("split_seed", self.split_seed, low=0, below=2**32)
        check_range("train_combinations", self.train_combinations, low=0, high=1)
        check_range("test_combinations", self.test_combinations, low=0, high=1)
        if (self.split == "column") != (self.split_key is not None):
            raise InputError(
                f"split {self.split!r} with split_key {self.split_key!r}: split 'column' needs one, others take none"
            )
        self._check_held_out()
        if self.obsm_names_key is not None and self.obsm_key is None:
            raise InputError(f"obsm_names_key {self.obsm_names_key!r} names columns of obsm_key, which is not given")
        if self.obsm_key is not None and self.dosage_key is not None:
            raise InputError(f"obsm_key {self.obsm_key!r} holds the doses: leave out dosage_key {self.dosage_key!r}")
        check_quality(self)

    def _check_held_out(self) -> None:
        check_range("test_perturbations", self.test_perturbations, above=0, below=1)
        check_range("val_perturbations", self.val_perturbations, low=0, below=1)
        check_choice("held_out_doses", self.held_out_doses, get_args(DosePlace))
        for dose in self.test_doses:
            check_range("test_doses", dose, above=0)
        if self.n_feature_clusters is not None:
            check_range("n_feature_clusters", self.n_feature_clusters, low=2)
        for rule, names in HELD_OUT.items():
            given = [name for name in names if getattr(self, name)]
            if given and self.split not in (rule, "test"):  # other cells inherit settings, and are all test cells
                raise InputError(
                    f"{given[0]} {str(getattr(self, given[0]))!r} is for the split {rule!r}, not for {self.split!r}"
                )
        if self.perturbation_groups and self.perturbation_features:
            raise InputError(
                f"perturbation_groups {str(self.perturbation_groups)!r} and perturbation_features "
                f"{str(self.perturbation_features)!r} both group the perturbations: give one of them"
            )
        if self.perturbation_features and self.test_perturbation_names:
            raise InputError(
                f"test_perturbation_names {listing(self.test_perturbation_names)} name no cluster of "
                "perturbation_features: leave one of the two out"
            )
        if self.n_feature_clusters is not None and not self.perturbation_features:
            raise InputError(f"n_feature_clusters {self.n_feature_clusters} needs perturbation_features to cluster")
