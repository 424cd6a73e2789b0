"""report.html of a run: what `samsjax.reporting.report` needs, gathered from an evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from experiments import output
from experiments.cli import WARNINGS
from samsjax import reporting
from samsjax.data.dataset import PerturbationData
from samsjax.evaluation.dose_response import DoseResponse
from samsjax.evaluation.evaluate import Evaluation
from samsjax.evaluation.gene_responses import GeneResponses
from samsjax.evaluation.model_effects import EffectsConfig
from samsjax.evaluation.quality.artifact_genes import ArtifactGenes, artifact_genes
from samsjax.evaluation.transforms import transform_named
from samsjax.inference.fitted import Fitted

REPORT = "report.html"
FACTS = {
    "time/compile_s": ("compiling", "{:.0f} s"),
    "time/train_s": ("training", "{:.0f} s"),
    "time/steps": ("training steps", "{:,.0f}"),
    "time/evaluate_s": ("evaluation", "{:.0f} s"),
    "memory/peak_gb": ("peak memory", "{:.1f} GB"),
}


def write_report(
    folder: Path,
    title: str,
    settings: Mapping[str, Any],
    fitted: Fitted,
    data: PerturbationData,
    scores: Evaluation,
    responses: GeneResponses | None,
    metrics: Mapping[str, float],
    *,
    config: EffectsConfig,
    seed: int,
    doses: Sequence[DoseResponse] = (),
) -> None:
    """Write report.html into the folder of a run: one file that asks nothing of the network.

    Args:
        folder: of the run.
        title: of the page.
        settings: of the run, as in config.json.
        fitted: the model.
        data: the cells it was scored on.
        scores: its evaluation.
        responses: of genes to latent dimensions.
        metrics: of the run, with times and memory.
        config: with which effects were predicted.
        seed: decides draws.
        doses: curves of perturbations that were given at several.
    """
    unit = transform_named(scores.model.transform).unit
    page = reporting.report(
        title,
        settings,
        subtitle="Effects of perturbations on cells: what the model found, and how far it can be trusted.",
        facts=_facts(settings, fitted, metrics),
        warnings=tuple(WARNINGS),
        data=data,
        fitted=fitted,
        scores=scores.scores,
        measured=scores.held_out,
        predicted=scores.model,
        effects=scores.effects,
        responses=responses,
        uncertainty=scores.uncertainty,
        check=scores.check,
        interactions=None if scores.interactions is None else reporting.interactions_table(scores.interactions),
        doses=reporting.dose_panels(doses),
        dose_label=f"effect, {unit}",
        truth={name: value for name, value in metrics.items() if name.startswith("mask/")},
        of_good_cells=scores.of_good_cells,
        quality=scores.quality,
        quality_fails=config.fails,
        artifacts=_artifacts(fitted, config, seed),
    )
    reporting.write_page(page, folder / REPORT)


def _artifacts(fitted: Fitted, config: EffectsConfig, seed: int) -> ArtifactGenes | None:
    """What artefacts do to genes; None for a model that learnt nothing of quality."""
    if fitted.failed_library_sizes is None:
        return None
    return artifact_genes(jax.random.fold_in(jax.random.key(seed), 3), fitted, replace(config, fails=()))


def _facts(settings: Mapping[str, Any], fitted: Fitted, metrics: Mapping[str, float]) -> dict[str, Any]:
    environment = output.environment()
    facts: dict[str, Any] = {"model": fitted.model_name, "likelihood": fitted.config.likelihood}
    if settings.get("seed") is not None:
        facts["seed"] = settings["seed"]
    facts |= {name: form.format(metrics[key]) for key, (name, form) in FACTS.items() if key in metrics}
    for split in ("test", "val"):
        if f"{split}/predictive_iwelbo" in metrics:
            facts[f"predictive IWELBO, {split} cells"] = f"{metrics[f'{split}/predictive_iwelbo']:.2f} nats per cell"
    return facts | {"device": environment["device"]["kind"], "samsjax": environment["packages"]["samsjax"]}
