"""Scoring predictors on held-out cells: `score` with a `ScoringConfig`.

- `measured`: which cells measure, and what to beware of. `comparisons`: effect metrics of many predictors.
- `cell_scores`: distances between sets of cells. `intervals`: from bootstrap replicates to intervals.
"""

from samsjax.evaluation.scoring.config import ScoringConfig
from samsjax.evaluation.scoring.score import score

__all__ = ["ScoringConfig", "score"]
