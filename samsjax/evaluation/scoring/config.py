"""`ScoringConfig`: what is measured, compared and drawn when predictors are scored."""

from dataclasses import dataclass

from samsjax.errors import check_choice, check_range
from samsjax.evaluation.baselines import BASELINES
from samsjax.evaluation.metrics import METRICS


@dataclass(frozen=True)
class ScoringConfig:
    """How predictors are scored."""

    min_cells: int = 10
    """Treatments with fewer measured cells are reported, not scored."""
    metrics: tuple[str, ...] = tuple(METRICS)
    """Names in `METRICS`."""
    baselines: tuple[str, ...] = tuple(BASELINES)
    """Names in `BASELINES`; those that need features of perturbations are left out where there are none."""
    significance_level: float = 0.05
    """Accepted share of false discoveries among the genes called differentially expressed, for each treatment."""
    n_bootstrap: int = 100
    """Replicates of the measured cells behind intervals."""
    n_halves: int = 10
    """Random divisions of the measured cells behind ceilings."""
    cell_metrics: bool = True
    """Also compare distributions of cells, which takes longer than all other metrics."""
    n_cells_generated: int = 100
    """Cells that a predictor draws for each treatment, for these."""
    max_cells: int = 200
    """Most measured cells of each treatment that are compared with them; more are sampled down."""

    def __post_init__(self) -> None:
        for name in self.metrics:
            check_choice("metric", name, list(METRICS))
        for name in self.baselines:
            check_choice("baseline", name, list(BASELINES))
        check_range("min_cells", self.min_cells, low=4)
        check_range("significance_level", self.significance_level, above=0.0, below=1.0)
        check_range("n_bootstrap", self.n_bootstrap, low=10)
        check_range("n_halves", self.n_halves, low=1)
        check_range("n_cells_generated", self.n_cells_generated, low=2)
        check_range("max_cells", self.max_cells, low=4)
