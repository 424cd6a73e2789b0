"""Settings of the metrics of quality."""

from dataclasses import dataclass

from samsjax.errors import check_range


@dataclass(frozen=True)
class QualityConfig:
    """How much is drawn, and how many measured cells are looked at."""

    n_cells: int = 50
    """Cells generated per treatment."""
    max_treatments: int = 200
    """Most treatments that cells are generated for, chosen at random; controls come on top."""
    n_mads: float | None = None
    """Of a rule learnt from counts, where the labels' own cannot be applied; none = as the labels' rule, else 3."""
    folds: int = 5
    """Of probes."""
    n_particles: int = 16
    """Draws of a cell's basal state that a probe sees the mean of."""
    max_cells: int = 4000
    """Most held-out cells of probes; failed cells are kept first, up to half of them."""
    min_cells: int = 10
    """Fewest held-out cells of the quality asked for that a treatment needs for distances."""

    def __post_init__(self) -> None:
        check_range("n_cells", self.n_cells, low=2)
        check_range("max_treatments", self.max_treatments, low=0)
        check_range("folds", self.folds, low=2)
        check_range("n_particles", self.n_particles, low=1)
        check_range("max_cells", self.max_cells, low=2)
        check_range("min_cells", self.min_cells, low=4)
        if self.n_mads is not None:
            check_range("n_mads", self.n_mads, above=0.0)
