"""Settings of generative intervention models, and of their training, which has a constraint and restarts."""

from dataclasses import dataclass
from math import log, log1p
from typing import ClassVar, Literal

from samsjax.causal.acyclicity import ACYCLICITY
from samsjax.errors import InputError, check_choice, check_range, listing
from samsjax.models.base import ModelConfig, check_sizes
from samsjax.models.mechanisms import INTERVENTIONS, MECHANISMS

OBJECTIVES = ("exact_targets", "elbo", "ratio")
LIKELIHOOD = "normal_fixed_variance"
NORMALIZATIONS = ("control_standardize", "standardize", "none")
MOST_FOR_TREXP = 80
"""Most variables for which the exponential of a dense matrix fits in float32."""


@dataclass(frozen=True)
class GraphTrainingConfig:
    """How a graph is learned: a number of steps with more and more weight on the absence of cycles, from many starts.

    These settings stand here, not among those of `TrainConfig`, because models with a graph are trained otherwise.
    """

    objective: Literal["exact_targets", "elbo", "ratio"] = "exact_targets"
    """Targets summed out exactly; a bound with a free posterior of targets; or a weighted average over draws of graph
    and targets, which comes down to the best draw."""
    acyclicity: Literal["auto", "trexp", "poly", "spectral", "logdet"] = "auto"
    """Measure of cycles that is driven to 0; auto: trexp up to 64 genes and spectral above."""
    n_steps: int = 5000
    """Steps with an open graph. Networks as mechanisms want 20000."""
    n_polish_steps: int = 1000
    """Steps after the graph is decided."""
    learning_rate: float = 1e-2
    """Of Adam; a fifth of it in the last fifth of the steps. Networks as mechanisms want 0.003."""
    warmup_fraction: float = 0.25
    """Part of the steps in which cycles cost nothing."""
    multiplier_interval: int = 100
    """Steps between two updates of the weight of cycles."""
    multiplier_growth: float = 1.3
    """Factor by which the weight of the squared measure of cycles grows at every update."""
    n_restarts: int = 5
    """Starts trained side by side; the best by the likelihood of validation cells is kept."""
    n_graphs: int = 4
    """Draws of the graph per step; with objective ratio draws of graph and targets, 128 as published elsewhere."""
    context_batch: int = 32
    """Networks as mechanisms only: perturbations per step."""
    edge_penalty: float = 0.005
    """Cost of an edge, in nats per cell."""
    target_penalty: float = 1.0
    """Cost of a target, in nats."""
    feature_penalty: float = 5e-4
    """Cost of squared weights of the network from features, in nats per cell."""

    def check_training(self) -> None:
        """Raises: InputError for settings outside their range."""
        check_choice("objective", self.objective, OBJECTIVES)
        check_choice("acyclicity", self.acyclicity, ["auto", *ACYCLICITY])
        sizes = ("n_steps", "n_polish_steps", "multiplier_interval", "n_restarts", "n_graphs", "context_batch")
        check_sizes(**{name: getattr(self, name) for name in sizes})
        check_range("learning_rate", self.learning_rate, above=0.0)
        check_range("warmup_fraction", self.warmup_fraction, low=0.0, below=1.0)
        check_range("multiplier_growth", self.multiplier_growth, low=1.0)
        check_range("edge_penalty", self.edge_penalty, low=0.0)
        check_range("target_penalty", self.target_penalty, low=0.0)
        check_range("feature_penalty", self.feature_penalty, low=0.0)


@dataclass(frozen=True)
class GIMConfig(GraphTrainingConfig, ModelConfig):
    """Mechanisms, interventions and priors of a generative intervention model."""

    n_latent: int = 0
    """None: the variables of the graph are the genes themselves. Only 0 is legal."""
    n_hidden: int = 64
    """Width of the network from features of perturbations to interventions."""
    n_layers: int = 2
    """Hidden layers of that network."""
    likelihood: Literal["library_nb", "poisson", "normal", "normal_fixed_variance"] = "normal_fixed_variance"
    """Structural equations have Gaussian noise of one variance per gene: only normal_fixed_variance is legal."""
    normalization: Literal["log_standardize", "standardize", "control_standardize", "none"] = "control_standardize"
    """Scale of the variables: standardised by the control cells, by all training cells, or as they are."""
    mechanisms: Literal["linear", "mlp"] = "linear"
    """How a gene follows from its parents in the graph: linearly, or by a network of its own."""
    mechanism_hidden: int = 8
    """Networks as mechanisms only: their width."""
    interventions: Literal["shift", "hard", "shift_scale"] = "shift"
    """What happens to a target: it is shifted, cut off its parents, or shifted with another variance."""
    amortised: bool = True
    """Learn targets and shifts as functions of features; otherwise freely for each perturbation, and nothing is said
    of perturbations without training cells."""
    graph: Literal["search", "free", "embedded"] = "search"
    """How the graph is found: search over graphs, edge by edge; or gradients of the log odds of edges, these being free
    numbers or products of two vectors per gene."""
    n_searches: int = 12
    """Search only: how often the best graph is disturbed and improved again."""
    graph_prior: Literal["erdos_renyi", "scale_free"] = "erdos_renyi"
    """Prior of graphs: edges alike, or hubs preferred."""
    edges_per_gene: float = 2.0
    """Expected number of edges per gene in the prior."""
    target_prior_prob: float = 0.1
    """Probability at the start of training that a gene is a target."""
    shift_prior_scale: float = 3.0
    """Prior standard deviation of a shift, in those of a gene among controls."""
    predicted_targets: Literal["sample", "map"] = "sample"
    """In predictions, draw targets by their probabilities, or take those more probable than not."""

    composes: ClassVar[bool] = False
    has_latent_space: ClassVar[bool] = False

    @property
    def uses_features(self) -> bool:
        """Whether the model needs features of perturbations."""
        return self.amortised

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_training()
        if self.n_latent != 0:
            raise InputError(f"n_latent must be 0, got {self.n_latent}: the variables of GIM are the genes themselves")
        if self.likelihood != LIKELIHOOD:
            raise InputError(
                f"GIM needs likelihood {LIKELIHOOD!r}, got {self.likelihood!r}: it models continuous values. Give it "
                "log-normalised counts, better those of metacells, or module scores"
            )
        if self.normalization not in NORMALIZATIONS:
            raise InputError(f"normalization {self.normalization!r} is not one for GIM: {listing(NORMALIZATIONS)}")
        if self.covariates:
            raise InputError(f"GIM has no covariates, got {listing(self.covariates)}: regress them out before")
        check_choice("mechanisms", self.mechanisms, MECHANISMS)
        check_choice("interventions", self.interventions, INTERVENTIONS)
        check_choice("graph", self.graph, ("search", "free", "embedded"))
        check_choice("graph_prior", self.graph_prior, ("erdos_renyi", "scale_free"))
        check_choice("predicted_targets", self.predicted_targets, ("sample", "map"))
        check_sizes(mechanism_hidden=self.mechanism_hidden, n_searches=self.n_searches)
        check_range("edges_per_gene", self.edges_per_gene, above=0.0)
        check_range("target_prior_prob", self.target_prior_prob, above=0.0, below=1.0)
        check_range("shift_prior_scale", self.shift_prior_scale, above=0.0)

    def check_genes(self, n_genes: int) -> None:
        """Raises: InputError for a number of genes that no graph can be learned of."""
        check_range("number of genes of a graph", n_genes, low=2)
        if self.acyclicity in ("trexp", "poly"):
            check_range(f"number of genes with acyclicity {self.acyclicity!r}", n_genes, high=MOST_FOR_TREXP)

    def edge_prior_logit(self, n_genes: int) -> float:
        """Log odds of an edge in the prior."""
        share = min(self.edges_per_gene / (n_genes - 1), 0.5)
        return log(share) - log1p(-share)
