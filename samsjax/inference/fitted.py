"""`Fitted`: a trained model with everything needed to use it on cells it has never seen, and nothing else."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import jax
import numpy as np

from samsjax.data.dataset import PerturbationData
from samsjax.errors import InputError
from samsjax.inference.batching import carrying_cells
from samsjax.inference.config import TrainConfig
from samsjax.inference.training import FitResult, check_trainable, fit_model
from samsjax.likelihoods import models_counts
from samsjax.models import DataStatistics, ModelConfig, SAMSVAEConfig, build_model
from samsjax.models.base import check_composition
from samsjax.normalization import gene_statistics
from samsjax.types import ModelGuide, Params

N_LIBRARY_QUANTILES = 256


class Vocabulary(NamedTuple):
    """Names and scales of the data a model was trained on."""

    gene_names: tuple[str, ...]
    perturbation_names: tuple[str, ...]
    control_name: str
    separator: str
    library_size_source: str
    exposure_scale: float


@dataclass(frozen=True, eq=False)
class Fitted:
    """A model's configuration, parameters, and the facts of its training data. Predictions need nothing more."""

    config: ModelConfig
    vocabulary: Vocabulary
    statistics: DataStatistics
    library_sizes: np.ndarray
    """float32 (quantile,): evenly spaced quantiles of the training cells' library sizes."""
    n_training_cells: np.ndarray
    """int32 (perturbation,): training cells that carry each perturbation. Effects rest on these."""
    params: Params
    history: tuple[dict[str, float], ...] = ()
    fit: FitResult | None = field(default=None, repr=False)
    """How the parameters were found; None for a loaded model."""

    @cached_property
    def model_guide(self) -> ModelGuide:
        """The NumPyro programs."""
        return build_model(self.config, self.statistics)


def vocabulary_of(data: PerturbationData) -> Vocabulary:
    """The names and scales of a data set."""
    return Vocabulary(
        gene_names=tuple(map(str, data.gene_names)),
        perturbation_names=tuple(map(str, data.perturbation_names)),
        control_name=data.control_name,
        separator=data.separator,
        library_size_source=data.library_size_source,
        exposure_scale=float(data.exposure_scale),
    )


def statistics_of(data: PerturbationData, normalization: str) -> DataStatistics:
    """Sizes, and normalisation statistics of the training cells."""
    genes = gene_statistics(data.x[data.cells("train")], normalization)
    return DataStatistics(data.n_genes, data.n_perturbations, genes)


def fit(
    data: PerturbationData,
    model: ModelConfig | None = None,
    train: TrainConfig | None = None,
    *,
    seed: int = 0,
    progress: bool = True,
) -> Fitted:
    """Fit a model to the training cells of `data`, with the best parameters by the bound of its validation cells.

    Args:
        data: cells with a split.
        model: configuration of a model in `samsjax.MODELS`; SAMS-VAE by default.
        train: budget and optimiser.
        seed: decides initialisation, order and draws; the same seed gives the same bits.
        progress: show a bar when standard error is a terminal.

    Raises:
        InputError: data that cannot be trained on, or continuous values under a count likelihood.
        DivergenceError: NaN or infinity in the first epoch.
    """
    model = model if model is not None else SAMSVAEConfig()
    train = train if train is not None else TrainConfig()
    if models_counts(model.likelihood) and not np.issubdtype(data.x.dtype, np.integer):
        raise InputError(f"likelihood {model.likelihood!r} needs whole counts, but the data hold {data.x.dtype} values")
    check_trainable(data)
    check_composition(model, data.dosage)
    statistics = statistics_of(data, model.normalization)
    library_sizes = np.quantile(data.library_size[data.cells("train")], np.linspace(0, 1, N_LIBRARY_QUANTILES))
    result = fit_model(jax.random.key(seed), build_model(model, statistics), data, train, progress=progress)
    return Fitted(
        config=model,
        vocabulary=vocabulary_of(data),
        statistics=statistics,
        library_sizes=library_sizes.astype(np.float32),
        n_training_cells=carrying_cells(data).astype(np.int32),
        params=result.params,
        history=result.history,
        fit=result,
    )
