"""What every model file builds on: the facts a data set decides, the settings all models share, the table's entries."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from samsjax.data.artifacts import Indicators
from samsjax.errors import InputError, check_choice, listing
from samsjax.likelihoods import LIKELIHOODS
from samsjax.normalization import NORMALIZATIONS, GeneStatistics
from samsjax.rotation.axes import LatentAxes
from samsjax.types import Features, ModelGuide


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["genes", "features", "log_doses"],
    meta_fields=["n_genes", "n_perturbations", "n_levels", "n_artifacts"],
)
@dataclass(frozen=True)
class DataStatistics:
    """Everything about the data a factory may use: sizes, and statistics of the training cells.

    An argument of compiled functions in which only the statistics are arrays, so models of equal sizes share them.
    """

    n_genes: int
    n_perturbations: int
    genes: GeneStatistics
    n_levels: int = 0
    """Levels of all covariates the model sees."""
    n_artifacts: int = 0
    """Indicators of failed quality control the model sees."""
    features: Features | None = None
    """Of the perturbations; None for a model that does not use any."""
    log_doses: Float[Array, " perturbation"] | None = None
    """Middle of the logarithms of the doses of each perturbation in training; None, as for a model that does not use
    them, where every dose is 1."""

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """(n_genes, n_perturbations, n_levels, n_artifacts), the sizes of a `ModelGuide`."""
        return self.n_genes, self.n_perturbations, self.n_levels, self.n_artifacts


@dataclass(frozen=True)
class ModelConfig:
    """Settings that every model has. Each model's configuration adds its own and validates itself."""

    n_latent: int = 20
    """Number of latent dimensions (mechanisms); more than needed does little harm."""
    n_hidden: int = 128
    """Width of encoder and decoder."""
    n_layers: int = 1
    """Layers of encoder and decoder."""
    likelihood: Literal["library_nb", "poisson", "normal", "normal_fixed_variance"] = "library_nb"
    """Distribution of a gene given the latent state; library_nb for UMI counts."""
    normalization: Literal["log_standardize", "standardize", "control_standardize", "none"] = "log_standardize"
    """What the encoder sees: standardised log(1 + counts), standardised counts (control_standardize: by the control
    cells), or the raw values."""
    covariates: tuple[str, ...] = ()
    """Categorical covariates that encoder and decoder see, such as batch; among --data.covariate-keys."""

    composes: ClassVar[bool] = True
    """Whether a cell may carry several perturbations."""
    has_latent_space: ClassVar[bool] = True
    """Whether cells have states of `n_latent` dimensions; otherwise their genes are all there is."""

    @property
    def quality_indicators(self) -> Indicators:
        """Which quality labels the model sees."""
        return "none"

    @property
    def uses_features(self) -> bool:
        """Whether the model needs features of perturbations."""
        return False

    @property
    def uses_doses(self) -> bool:
        """Whether the model needs to know which doses perturbations were given at."""
        return False

    def __post_init__(self) -> None:
        check_sizes(n_hidden=self.n_hidden, n_layers=self.n_layers)
        if self.has_latent_space:
            check_sizes(n_latent=self.n_latent)
        check_choice("likelihood", self.likelihood, list(LIKELIHOODS))
        check_choice("normalization", self.normalization, NORMALIZATIONS)
        names = (self.covariates,) if isinstance(self.covariates, str) else tuple(self.covariates)
        object.__setattr__(self, "covariates", names)
        if len(set(names)) < len(names):
            raise InputError(f"covariates are named twice: {listing(names)}")


def check_composition(config: ModelConfig, dosage: np.ndarray) -> None:
    """Check that no row of `dosage` (cell or treatment, slot) asks more of a model than it can do.

    Raises:
        InputError: for combinations under a model of single perturbations.
    """
    n_combined = int(((dosage != 0).sum(axis=1) > 1).sum())
    if n_combined and not config.composes:
        raise InputError(
            f"{n_combined} cells or treatments combine perturbations, and {type(config).__name__} knows only one per "
            "cell; encode every combination as a perturbation of its own (--data.combinations-as-unique)"
        )


class ModelEntry(NamedTuple):
    """One line of the table of models."""

    config: type[ModelConfig]
    build: Callable[[Any, DataStatistics], ModelGuide]
    latent_axes: Callable[[Any], LatentAxes | None] = lambda config: None
    """How latent space can be rotated under a configuration; None where it cannot."""


Build = Callable[[DataStatistics], ModelGuide]
"""Makes the programs of one configuration; the same function for equal configurations, so that compiled functions,
of which it is a static argument, are shared."""


def check_sizes(**sizes: int) -> None:
    """Raises: InputError unless every size is a whole number of at least 1."""
    for name, value in sizes.items():
        if int(value) != value or value < 1:
            raise InputError(f"{name} must be a whole number of at least 1, got {value}")
