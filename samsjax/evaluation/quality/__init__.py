"""What a model makes of the quality of cells, for data with quality labels; serves every model.

Read in this order:

- `probes`: can the label be told from features of a cell? `fitting` has the classifiers.
- `disentanglement`: probes of the basal state, beside those of the perturbation and the counts.
- `drawn_cells`: what a model is judged by, beside cells of `mean_cells`, the generator to beat.
- `pass_rates`: do generated cells pass quality control? `rules` says by which rule.
- `distances`: are generated cells like measured cells of that quality?
- `artifact_genes`: what artefacts do to genes, for models that know quality.
- `cells`: which cells are compared. `config`: how many.
- `report`: all of it in one call.
"""

from samsjax.evaluation.quality.artifact_genes import ArtifactGenes, artifact_genes
from samsjax.evaluation.quality.config import QualityConfig
from samsjax.evaluation.quality.disentanglement import disentanglement
from samsjax.evaluation.quality.distances import QualityDistances, quality_distances
from samsjax.evaluation.quality.drawn_cells import DrawnCells, draw_cells
from samsjax.evaluation.quality.pass_rates import PassRates, QualityRates, generated_pass_rates, pass_rates
from samsjax.evaluation.quality.probes import ProbeResult, probe
from samsjax.evaluation.quality.report import Quality, quality_report
from samsjax.evaluation.quality.rules import CountsRule, counts_rule, panel_rule

__all__ = [
    "ArtifactGenes",
    "CountsRule",
    "DrawnCells",
    "PassRates",
    "ProbeResult",
    "Quality",
    "QualityConfig",
    "QualityDistances",
    "QualityRates",
    "artifact_genes",
    "counts_rule",
    "disentanglement",
    "draw_cells",
    "generated_pass_rates",
    "panel_rule",
    "pass_rates",
    "probe",
    "quality_distances",
    "quality_report",
]
