"""The words every part of samsjax shares: what a minibatch is, what a model is, and how dimensions are called.

Dimension names in signatures (jaxtyping): `cell`, `gene`, `perturbation` (all perturbations of a data set), `row`
(the perturbations a batch instantiates), `slot` (places for perturbations in one cell), `level` (the levels of all
covariates side by side), `feature` (of perturbations), `artifact` (indicators of failed quality control), `latent`,
`particle` (draws from the guide). Nothing here computes.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from jaxtyping import Array, Float, Int

Params = dict[str, Any]
"""Values of all `numpyro.param` sites by name; network parameters are nested dictionaries."""


class Reference(NamedTuple):
    """For every cell of a batch one that got the same treatment and is of other quality."""

    x: Float[Array, "cell gene"]
    artifacts: Float[Array, "cell artifact"]
    covariates: Float[Array, "cell level"] | None
    exists: Float[Array, " cell"]
    """1, or 0 for cells without any such cell, whose other entries mean nothing."""


class Features(NamedTuple):
    """What is known of all perturbations of a data set before any cell is measured."""

    values: Float[Array, "perturbation feature"]
    """Standardised over the perturbations with training cells."""
    seen: Float[Array, " perturbation"]
    """1 = has training cells."""


class Batch(NamedTuple):
    """Cells as a model sees them. All arrays live on the device.

    A cell carries up to `slot` perturbations. `perturbation_index` points into `rows`, the perturbations this batch
    instantiates, so a model never touches perturbations that no cell of the batch carries: its cost does not grow with
    the size of a screen. With `rows = arange(n_perturbations)` the two numberings agree.
    """

    x: Float[Array, "cell gene"] | None
    """Counts (or continuous values for normal likelihoods). None when the model is run forward to draw them."""
    library_size: Float[Array, " cell"]
    """Exposure: the total the expected counts of a cell add up to."""
    perturbation_index: Int[Array, "cell slot"]
    """Position in `rows`; arbitrary where the dosage is 0."""
    dosage: Float[Array, "cell slot"]
    """How much of each perturbation; 1 = applied, 0 = empty slot. A control cell has only zeros."""
    weight: Float[Array, " cell"]
    """How many cells of the data set this one stands for in a bound; 0 marks padding."""
    rows: Int[Array, " row"]
    """Which rows of the parameter tables this batch instantiates."""
    row_weight: Float[Array, " row"]
    """How many times each row's shared terms count in a bound; 1 when all are present, 0 marks padding."""
    row_cells: Float[Array, " row"]
    """How many training cells carry each row's perturbation."""
    row_numbers: Int[Array, " row"]
    """Which perturbations of the data set the rows are. Equals `rows` where all are instantiated; `rows` point into the
    parameter tables at hand, which may hold only some of all perturbations."""
    covariates: Float[Array, "cell level"] | None = None
    """One-hots of the cells' covariates side by side; None for a model without covariates."""
    artifacts: Float[Array, "cell artifact"] | None = None
    """1 = the cell failed that criterion; None for a model that does not know the quality of cells."""
    unseen: Float[Array, " row"] | None = None
    """1 = treat the perturbation as one without training cells. Only while a model that asks for it trains."""
    reference: Reference | None = None
    """Only while a model that asks for it trains."""
    observation_weight: Float[Array, " cell"] | None = None
    """Factor of each cell's log likelihood in a bound; None = 1. Only while a model that asks for it trains."""


class QualityTraining(NamedTuple):
    """What a model wants to know of its training cells besides themselves."""

    reference: Literal["opposite", "failed"] | None
    """Quality of the reference cells: the other one than the cell's own, or failed for all; None = no reference."""
    pseudo_cell: Literal["cell", "mean", "median"]
    """A reference is one random cell, or the mean or median by gene of some."""
    refresh: Literal["epoch", "once"]
    """When references are drawn."""
    weighting: Literal["none", "balanced", "batch_share"]
    """Weights of observations by quality."""
    in_validation: bool
    """Whether validation cells get references and weights too; else the bound of validation cells is a plain one."""


class KnownStructure(NamedTuple):
    """What is known of a graph and of the targets of perturbations before training: 0, 1, or 0.5 where it is open."""

    graph: Float[Array, "gene gene"]
    """[i, j]: does gene i act on gene j."""
    targets: Float[Array, "perturbation gene"]


class Schedule(NamedTuple):
    """How parameters with a constraint are trained: steps, and how the weight of the constraint grows."""

    n_steps: int
    n_polish_steps: int
    learning_rate: float
    warmup_fraction: float
    """Part of the steps without constraint."""
    multiplier_interval: int
    multiplier_growth: float
    n_restarts: int


class ConstrainedTraining(NamedTuple):
    """How a model learns a graph without cycles and all that depends on it; pure functions.

    `cells` are what `summarise` made of the cells of a split. `n_graphs` counts draws of a graph that is not decided.
    """

    schedule: Schedule
    summarise: Callable[[Any, Any], Any]
    """(values (cell, gene), perturbation (cell,) with -1 for control) -> cells, as numpy arrays -> arrays."""
    loss: Callable[..., Array]
    """(key, params, cells, known, progress, n_graphs) -> what is minimised, per cell; `progress` runs from 0 to 1."""
    constraint: Callable[[Params], Array]
    """How cyclic the graph is; 0 if it is not."""
    log_odds: Callable[[Params], Array]
    """Of edges, (gene, gene)."""
    with_graph: Callable[[Params, Any, Any], Params]
    """(params, decided graph, log odds of edges) -> parameters that say so."""
    finish: Callable[[Params, Any, KnownStructure], Params]
    """(params, training cells, known) -> parameters with the posterior of targets."""
    score: Callable[[Params, Any], Array]
    """(finished params, held-out cells) -> their log likelihood, per cell."""
    n_graphs: int
    """Draws of the graph per step while it is open."""
    search: Callable[[Any, Any, KnownStructure], tuple[Any, Any]] | None = None
    """(numpy generator, training cells, known) -> (graph, log odds of edges); None: gradients decide on the graph."""


class ModelGuide(NamedTuple):
    """Two NumPyro programs over a `Batch`, and what is needed to run them without data."""

    model: Callable[[Batch], Any]
    guide: Callable[[Batch], Any]
    n_genes: int
    n_perturbations: int
    n_levels: int = 0
    """Levels of all covariates together; 0 for a model without covariates."""
    n_artifacts: int = 0
    """Indicators of failed quality control; 0 for a model that does not know the quality of cells."""
    quality_training: QualityTraining | None = None
    """None for a model that wants nothing."""
    cold_start: float = 0.0
    """Share of the perturbations that each training step treats as unseen (`Batch.unseen`)."""
    constrained: ConstrainedTraining | None = None
    """How a model with a graph is trained; None for one that climbs its bound."""
