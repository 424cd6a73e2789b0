"""`Fitted`: a trained model with everything needed to use it on cells it has never seen, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samsjax.data.artifacts import Indicators, artifact_names
from samsjax.data.covariates import Levels, codes, covariate_levels, n_levels
from samsjax.data.dataset import PerturbationData
from samsjax.data.features.table import FeatureScale, feature_scale
from samsjax.data.quality.rule import QualityRule
from samsjax.errors import InputError, listing
from samsjax.inference.batching import carrying_cells, middle_log_doses
from samsjax.inference.config import TrainConfig
from samsjax.inference.constrained import train_constrained
from samsjax.inference.contexts import known_structure
from samsjax.inference.epochs import FitArrays, fit_arrays
from samsjax.inference.rotating import RotationReport
from samsjax.inference.training import DivergenceError, FitResult, check_trainable, fit_model, fit_models
from samsjax.likelihoods import models_counts
from samsjax.models import DataStatistics, ModelConfig, SAMSVAEConfig, builder, described, latent_axes, model_name
from samsjax.models.base import Build, check_composition
from samsjax.normalization import gene_statistics
from samsjax.rotation.axes import LatentAxes
from samsjax.types import Features, ModelGuide, Params

N_LIBRARY_QUANTILES = 256


class Vocabulary(NamedTuple):
    """Names and scales of the data a model was trained on."""

    gene_names: tuple[str, ...]
    perturbation_names: tuple[str, ...]
    control_name: str
    separator: str
    library_size_source: str
    exposure_scale: float
    covariates: dict[str, tuple[str, ...]]
    """Levels of each covariate the model sees."""
    artifacts: tuple[str, ...] = ()
    """Quality indicators the model sees."""
    features: tuple[str, ...] = ()
    """Features of perturbations the model uses."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A model's configuration, parameters, and the facts of its training data. Predictions need nothing more."""

    config: ModelConfig
    vocabulary: Vocabulary
    statistics: DataStatistics
    library_sizes: np.ndarray
    """float32 (quantile,): evenly spaced quantiles of the training cells' library sizes, those of good quality in a
    model that knows quality."""
    n_training_cells: np.ndarray
    """int32 (perturbation,): training cells that carry each perturbation. Effects rest on these."""
    covariate_codes: np.ndarray
    """int32 (combination, covariate): distinct combinations of levels among the training cells, as positions."""
    covariate_shares: np.ndarray
    """float32 (combination,): share of the training cells with each combination; sums to 1."""
    params: Params
    failed_library_sizes: np.ndarray | None = None
    """float32 (quantile,): those of the training cells that fail quality control; None for a model that does not know
    quality."""
    quality_rule: QualityRule | None = None
    """What labelled the quality of the training cells; None for ready labels, or none."""
    feature_scale: FeatureScale | None = None
    """What features of perturbations were standardised by; None for a model that uses none."""
    history: tuple[dict[str, float], ...] = ()
    rotations: tuple[RotationReport, ...] = ()
    """What each sparse rotation of latent space found, in training or after it."""
    fit: FitResult | None = field(default=None, repr=False)
    """How the parameters were found; None for a loaded model."""

    @cached_property
    def build(self) -> Build:
        """Makes the programs. Compiled functions take it and `statistics`, so that models of equal sizes share them."""
        return builder(self.config)

    @property
    def model_name(self) -> str:
        """Name of the model in `samsjax.MODELS`."""
        return model_name(self.config)

    @property
    def model_guide(self) -> ModelGuide:
        """The NumPyro programs."""
        return self.build(self.statistics)


def vocabulary_of(
    data: PerturbationData, covariates: Sequence[str] = (), indicators: Indicators = "none"
) -> Vocabulary:
    """The names and scales of a data set, with the levels of these covariates and the quality indicators wanted.

    Raises:
        InputError: for a covariate or quality labels that the data do not carry.
    """
    return Vocabulary(
        gene_names=tuple(map(str, data.gene_names)),
        perturbation_names=tuple(map(str, data.perturbation_names)),
        control_name=data.control_name,
        separator=data.separator,
        library_size_source=data.library_size_source,
        exposure_scale=float(data.exposure_scale),
        covariates=covariate_levels(data, covariates),
        artifacts=artifact_names(data, indicators),
    )


def statistics_of(
    data: PerturbationData,
    normalization: str,
    levels: Levels | None = None,
    artifacts: Sequence[str] = (),
    features: Features | None = None,
    log_doses: Array | None = None,
) -> DataStatistics:
    """Sizes, and normalisation statistics of the training cells; the optional arguments are those in use."""
    genes = gene_statistics(data.x[_standardising_cells(data, normalization)], normalization)
    sizes = data.n_genes, data.n_perturbations
    return DataStatistics(*sizes, genes, n_levels(levels or {}), len(artifacts), features, log_doses)


def _standardising_cells(data: PerturbationData, normalization: str) -> np.ndarray:
    """Training cells whose mean and deviation genes are standardised by."""
    cells = data.cells("train")
    if normalization != "control_standardize":
        return cells
    controls = cells[data.is_control[cells]]
    if len(controls) < 2:
        raise InputError(f"normalization {normalization!r} needs control cells in training, and there are none")
    return controls


def fit(
    data: PerturbationData,
    model: ModelConfig | None = None,
    train: TrainConfig | None = None,
    *,
    seed: int = 0,
    progress: bool = True,
    graph: np.ndarray | None = None,
    targets: np.ndarray | None = None,
) -> Fitted:
    """Fit a model to the training cells of `data`, with the best parameters by the bound of its validation cells.

    Args:
        data: cells with a split.
        model: configuration of a model in `samsjax.MODELS`; SAMS-VAE by default.
        train: budget and optimiser.
        seed: decides initialisation, order and draws; the same seed gives the same bits.
        progress: show a bar when standard error is a terminal.
        graph: (gene, gene) edges that a model with a graph is to take as known: 0, 1, or NaN where they are open.
        targets: (perturbation, gene) known targets of perturbations in such a model: 0, 1, or NaN.

    Raises:
        InputError: data that cannot be trained on, continuous values under a count likelihood, or a covariate the data
            do not carry; for a model with a graph, settings of `train` other than the defaults, which it has of its
            own; for another model, a graph or targets.
        DivergenceError: NaN or infinity in the first epoch.
    """
    model = model if model is not None else SAMSVAEConfig()
    train = train if train is not None else TrainConfig()
    ready = prepare(data, model, train)
    if ready.constrained:
        return _fit_constrained(data, model, train, ready, seed, graph, targets, progress=progress)
    if graph is not None or targets is not None:
        raise InputError(f"{described(model)} has no graph: nothing can be known of its edges or targets")
    result = fit_model(
        jax.random.key(seed), builder(model), ready.arrays, train, _rotated_axes(model, train), progress=progress
    )
    return _fitted(model, data, ready, result)


def fit_many(
    data: PerturbationData | Sequence[PerturbationData],
    model: ModelConfig | None = None,
    train: TrainConfig | None = None,
    *,
    seeds: Sequence[int],
    progress: bool = True,
) -> list[Fitted | DivergenceError]:
    """`fit` for several seeds in one compiled program, as members of a `vmap`.

    Meant for accelerators, which one small model leaves idle; two CPU cores gain nothing. Draws are those of `fit` with
    the same seed; sums are grouped otherwise, so numbers agree closely but not to the bit.

    Args:
        data: cells with a split, for all seeds, or one data set for each seed; all of equal sizes.
        model: as for `fit`.
        train: as for `fit`.
        seeds: one model each.
        progress: show a bar when standard error is a terminal.

    Returns:
        One model for each seed, in order; in place of one that diverged in the first epoch its error.

    Raises:
        InputError: as for `fit`; for no seeds, another number of data sets than seeds, or data of unequal sizes.
    """
    model = model if model is not None else SAMSVAEConfig()
    train = train if train is not None else TrainConfig()
    if not seeds:
        raise InputError("no seeds: give at least one")
    if isinstance(data, PerturbationData):
        data_sets, ready = [data] * len(seeds), [prepare(data, model, train)] * len(seeds)
    else:
        data_sets = list(data)
        if len(data_sets) != len(seeds):
            raise InputError(f"{len(data_sets)} data sets for {len(seeds)} seeds: give one for all, or one each")
        ready = [prepare(each, model, train) for each in data_sets]
    if ready[0].constrained:
        return [_fit_or_error(each, model, train, seed, progress) for each, seed in zip(data_sets, seeds, strict=True)]
    keys = [jax.random.key(seed) for seed in seeds]
    axes = _rotated_axes(model, train)
    results = fit_models(keys, builder(model), [each.arrays for each in ready], train, axes, progress=progress)
    return [
        result if isinstance(result, DivergenceError) else _fitted(model, own, each, result)
        for own, each, result in zip(data_sets, ready, results, strict=True)
    ]


def _fit_or_error(
    data: PerturbationData,
    model: ModelConfig,
    train: TrainConfig,
    seed: int,
    progress: bool,  # noqa: FBT001
) -> Fitted | DivergenceError:
    try:
        return fit(data, model, train, seed=seed, progress=progress)
    except DivergenceError as error:
        return error


def _fit_constrained(
    data: PerturbationData,
    model: ModelConfig,
    train: TrainConfig,
    ready: "Ready",
    seed: int,
    graph: np.ndarray | None,
    targets: np.ndarray | None,
    *,
    progress: bool,
) -> Fitted:
    """A model with a graph, which has its own training."""
    changed = [f.name for f in fields(TrainConfig) if getattr(train, f.name) != getattr(TrainConfig(), f.name)]
    if changed:
        raise InputError(
            f"train settings {listing(changed)} do not apply to {described(model)}, whose training has settings among "
            "those of the model (--model.n-steps, --model.learning-rate, ...): leave them at their defaults"
        )
    known = known_structure(data.n_genes, data.n_perturbations, graph, targets)
    result = train_constrained(seed, builder(model), ready.statistics, data, known, progress=progress)
    return _fitted(model, data, ready, result)


def _rotated_axes(model: ModelConfig, train: TrainConfig) -> LatentAxes | None:
    """How a fit rotates latent space: as the model says, if it has masks.

    Raises:
        InputError: if it has none and rotation is asked for.
    """
    axes = latent_axes(model)
    if train.rotation == "off":
        return None
    if axes is None or not axes.effects.sparse:
        if train.rotation == "auto":
            return None
        raise InputError(
            f"train.rotation {train.rotation!r} needs masks that turn with latent space, which "
            f"{described(model)} does not have: give 'auto' or 'off'"
        )
    return axes


class Ready(NamedTuple):
    """A data set about to be fitted: its names, and its arrays on the device."""

    vocabulary: Vocabulary
    statistics: DataStatistics
    arrays: FitArrays
    feature_scale: FeatureScale | None
    constrained: bool = False
    """Whether the model has a training of its own."""


def prepare(data: PerturbationData, model: ModelConfig, train: TrainConfig) -> Ready:
    """Check that the model can be trained on the data, and move them to the device.

    Raises:
        InputError: as `fit`.
    """
    if models_counts(model.likelihood) and not np.issubdtype(data.x.dtype, np.integer):
        raise InputError(f"likelihood {model.likelihood!r} needs whole counts, but the data hold {data.x.dtype} values")
    check_trainable(data)
    check_composition(model, data.dosage)
    vocabulary = vocabulary_of(data, model.covariates, model.quality_indicators)
    if model.uses_features and data.features is not None:
        vocabulary = vocabulary._replace(features=data.features.names)
    if vocabulary.artifacts and data.is_failed[data.cells("train")].all():
        raise InputError("no training cell passes quality control: there is no good cell to learn from")
    seen = vocabulary.covariates, vocabulary.artifacts
    scale, features = standardised_features(data) if model.uses_features else (None, None)
    log_doses = jnp.asarray(middle_log_doses(data)) if model.uses_doses else None
    statistics = statistics_of(data, model.normalization, *seen, features, log_doses)
    programs = builder(model)(statistics)
    arrays = fit_arrays(data, statistics.genes, train, *seen, programs.quality_training, features, log_doses)
    return Ready(vocabulary, statistics, arrays, scale, programs.constrained is not None)


def standardised_features(data: PerturbationData) -> tuple[FeatureScale, Features]:
    """Features as a model sees them, and what they were standardised by: the perturbations with training cells.

    Raises:
        InputError: for data without features, or a feature that is the same for all perturbations with training cells.
    """
    if data.features is None:
        raise InputError("the model uses features of perturbations, and the data have none: give --features.source")
    seen = carrying_cells(data) > 0
    scale = feature_scale(data.features, seen)
    values = scale.standardise(data.features.values)
    return scale, Features(jnp.asarray(values), jnp.asarray(seen, dtype=jnp.float32))


def _fitted(model: ModelConfig, data: PerturbationData, ready: Ready, result: FitResult) -> Fitted:
    trained = data.subset(data.cells("train"))
    # To a model that does not know quality all cells are alike.
    failed = trained.is_failed & bool(ready.vocabulary.artifacts)
    combinations, n_cells = np.unique(codes(trained, ready.vocabulary.covariates), axis=0, return_counts=True)
    return Fitted(
        config=model,
        vocabulary=ready.vocabulary,
        statistics=ready.statistics,
        library_sizes=library_quantiles(trained.library_size[~failed]),
        n_training_cells=carrying_cells(data).astype(np.int32),
        covariate_codes=combinations,
        covariate_shares=(n_cells / n_cells.sum()).astype(np.float32),
        params=result.params,
        failed_library_sizes=library_quantiles(trained.library_size[failed]) if failed.any() else None,
        quality_rule=data.quality_rule if ready.vocabulary.artifacts else None,
        feature_scale=ready.feature_scale,
        history=result.history,
        rotations=result.rotations,
        fit=result,
    )


def library_quantiles(library_size: np.ndarray) -> np.ndarray:
    """What a `Fitted` keeps of the library sizes of some cells, float32 (quantile,)."""
    return np.quantile(library_size, np.linspace(0, 1, N_LIBRARY_QUANTILES)).astype(np.float32)
