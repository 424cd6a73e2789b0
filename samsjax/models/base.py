"""What every model file builds on: the facts a data set decides, checks of sizes, networks and tables as sites."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import flax.linen as nn
import numpyro
from jaxtyping import Array, Float, Int
from numpyro.contrib.module import flax_module

from samsjax.errors import InputError
from samsjax.normalization import GeneStatistics
from samsjax.types import Batch, ModelGuide


class DataStatistics(NamedTuple):
    """Everything about the data a factory may use. Sizes, and statistics of the training cells."""

    n_genes: int
    n_perturbations: int
    genes: GeneStatistics


@runtime_checkable
class ModelConfig(Protocol):
    """What the rest of samsjax may ask of any model's configuration (a frozen, self-validating dataclass)."""

    @property
    def likelihood(self) -> str:
        """Name in `LIKELIHOODS`."""

    @property
    def normalization(self) -> str:
        """Name in `NORMALIZATIONS`."""

    @property
    def n_latent(self) -> int:
        """Size of the latent space."""


def observed(batch: Batch) -> Float[Array, "cell gene"]:
    """The batch's expression, for guides.

    Raises:
        InputError: for a batch made to draw expression from the model.
    """
    if batch.x is None:
        raise InputError("the guide needs cells with expression; this batch has none")
    return batch.x


class ModelEntry(NamedTuple):
    """One line of the table of models."""

    config: type
    build: Callable[[Any, DataStatistics], ModelGuide]


def network(name: str, module: nn.Module, *example: Any) -> Callable[..., Any]:
    """Bind a Flax module to the parameter site `name$params`; `example` inputs fix its shapes on first use."""
    return flax_module(name, module, *example)


def check_sizes(**sizes: int) -> None:
    """Raises: InputError unless every size is a whole number of at least 1."""
    for name, value in sizes.items():
        if int(value) != value or value < 1:
            raise InputError(f"{name} must be a whole number of at least 1, got {value}")


def shared_parameter(
    name: str, shape: tuple[int, ...], init: nn.initializers.Initializer, rows: Int[Array, " row"]
) -> Float[Array, "row _"]:
    """The `rows` of a parameter table with one row per perturbation; use it inside the plate of perturbations."""
    return numpyro.param(name, lambda key: init(key, shape))[rows]
