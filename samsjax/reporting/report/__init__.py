"""The contents of a run's page: `write_page(report("Norman screen", settings, fitted=fitted, scores=scores), path)`.

Every part is optional: a section appears when what it shows was given, in the order of reading.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from samsjax.data.dataset import PerturbationData
from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.gene_responses import GeneResponses
from samsjax.evaluation.posterior_effects import PosteriorEffects
from samsjax.evaluation.predictive_checks import PredictiveCheck
from samsjax.evaluation.quality import Quality
from samsjax.evaluation.quality.artifact_genes import ArtifactGenes
from samsjax.evaluation.scores import Scores
from samsjax.evaluation.uncertainty import Uncertainty
from samsjax.inference.fitted import Fitted
from samsjax.reporting.page import Page
from samsjax.reporting.plots import DoseCurve
from samsjax.reporting.report.checks import doses_section, interactions_section, uncertainty_section
from samsjax.reporting.report.effects import effects_section, mechanisms_section
from samsjax.reporting.report.model_quality import model_quality_section
from samsjax.reporting.report.quality import quality_section
from samsjax.reporting.report.run import data_section, run_section, training_section
from samsjax.reporting.report.scores import caveats_section, scores_section, treatments_section

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["report"]


def report(
    title: str,
    settings: Mapping[str, Any],
    *,
    subtitle: str = "",
    facts: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
    data: PerturbationData | None = None,
    fitted: Fitted | None = None,
    scores: Scores | None = None,
    headline_metrics: Sequence[str] | None = None,
    measured: AverageEffects | None = None,
    predicted: AverageEffects | None = None,
    effects: PosteriorEffects | None = None,
    responses: GeneResponses | None = None,
    uncertainty: Uncertainty | None = None,
    check: PredictiveCheck | None = None,
    interactions: "pd.DataFrame | None" = None,
    doses: Mapping[str, Mapping[str, DoseCurve]] | None = None,
    dose_table: "pd.DataFrame | None" = None,
    dose_label: str = "effect",
    truth: Mapping[str, float] | None = None,
    of_good_cells: bool | None = None,
    quality: Quality | None = None,
    quality_fails: Sequence[str] = (),
    artifacts: ArtifactGenes | None = None,
) -> Page:
    """The page of a run. Nothing is drawn before it is rendered.

    Args:
        title: of the page, such as the name of the screen.
        settings: all settings, nested, as config.json holds them; shown folded.
        subtitle: one sentence below the title.
        facts: names and values that say what was run: model, data, seed, versions, times.
        warnings: sentences on the data that the run gave out.
        data: the cells; their sizes are shown.
        fitted: the model: its training, names, and training cells.
        scores: predictors beside each other.
        headline_metrics: names of the metrics to tell in words and by treatment; by default the first three.
        measured: effects to draw against `predicted`, which must be in the same scale.
        predicted: effects of the model.
        effects: in latent space; shown with `fitted`.
        responses: of genes to latent dimensions; shown with `fitted` and `effects`.
        uncertainty: of effects, and coverage of intervals.
        check: of drawn against measured cells.
        interactions: a row for each combination.
        doses: perturbation -> line -> effects along dose.
        dose_table: a row for each perturbation and dose.
        dose_label: of the axis of `doses`, with unit.
        truth: agreement with the truth of a simulation, by name.
        of_good_cells: whether effects were measured on cells of good quality alone; told for cells with quality labels.
        quality: of cells drawn from the model, and of its basal state.
        quality_fails: quality indicators that the drawn cells of `quality` fail; none = they are of good quality.
        artifacts: what they do to genes; shown with `fitted`.

    Raises:
        InputError: for headline metrics that were not computed.
    """
    sections = (
        run_section(facts or {}, settings),
        data_section(data, fitted, warnings, of_good_cells=of_good_cells),
        quality_section(data, of_good_cells=of_good_cells),
        training_section(fitted),
        scores_section(scores, headline_metrics),
        caveats_section(scores),
        treatments_section(scores, measured, predicted, fitted, headline_metrics),
        effects_section(fitted, effects, truth or {}),
        mechanisms_section(fitted, effects, responses),
        interactions_section(interactions),
        doses_section(doses, dose_table, dose_label),
        uncertainty_section(uncertainty, check, effects),
        model_quality_section(quality, artifacts, data=data, fitted=fitted, fails=quality_fails),
    )
    return Page(title, subtitle, tuple(section for section in sections if section.blocks))
