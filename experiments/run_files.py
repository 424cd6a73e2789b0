"""The files of a run: what an evaluation found, as tables and AnnData, and the fitted model."""

import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from experiments import output
from experiments.dose_files import write_dose_responses
from experiments.feature_files import write_perturbation_features
from experiments.fit_command import FitCommand, settings_of, title_of
from experiments.quality_files import write_quality
from experiments.refits import tempered
from experiments.report import write_report
from samsjax import reporting
from samsjax.data import PerturbationData, Truth
from samsjax.evaluation.baselines import save_training_effects, training_effects
from samsjax.evaluation.bounds import posterior_latents
from samsjax.evaluation.dose_response import DoseResponse
from samsjax.evaluation.evaluate import Evaluation, EvaluationConfig, evaluate
from samsjax.evaluation.gene_responses import GeneResponses, gene_responses
from samsjax.inference.checkpoint import save
from samsjax.inference.fitted import Fitted

LATENT_PARTICLES = 16
TRAINING = "training.npz"
"""Effects in training cells, from which baselines are made."""
MECHANISMS = "mechanisms.csv"
"""Written for models with effects in latent space."""


def write_run(
    command: FitCommand,
    fitted: Fitted,
    data: PerturbationData,
    truth: Truth | None,
    folder: Path,
    *,
    everything: bool = True,
) -> Evaluation:
    """Evaluate a fitted model and write the files of a run into `folder`; metrics.json comes last.

    Args:
        command: all settings; model and training settings are only recorded.
        fitted: the model, fitted to `data`.
        data: cells with a split.
        truth: of a simulation.
        folder: where files go; must exist.
        everything: False writes the settings, history.csv, rotations.csv, effects.csv, metrics.json, features of
            perturbations and what is known of quality only: no model, no report and no .h5ad; and an evaluation of full
            extent is cut down to scores of effects.

    Returns:
        The evaluation, with times and memory among its metrics.
    """
    scores = _evaluated(command, fitted, data, truth, everything=everything)
    output.write_json(folder / output.CONFIG, settings_of(command))
    output.write_json(folder / "environment.json", output.environment())
    output.write_rows(folder / "history.csv", fitted.history)
    output.write_rows(folder / "rotations.csv", [report._asdict() for report in fitted.rotations])
    write_quality(folder, data)
    write_perturbation_features(folder, data)
    if everything:
        save(fitted, folder / "model")
        write_training(folder, data, scores)
        results = write_results(folder, fitted, data, scores, command.evaluation, seed=command.seed)
        if truth is not None:
            path = folder / "simulation.h5ad"
            reporting.truth_to_anndata(data, scores.treatments, truth).write_h5ad(path, compression="gzip")
        if command.report:
            told = (title_of(command), settings_of(command), fitted, data, scores, results.responses, scores.metrics)
            write_report(folder, *told, config=command.evaluation.effects, seed=command.seed, doses=results.doses)
    else:
        write_effects(folder, fitted, scores)
    output.write_json(folder / "metrics.json", scores.metrics)
    return scores


def _evaluated(
    command: FitCommand, fitted: Fitted, data: PerturbationData, truth: Truth | None, *, everything: bool
) -> Evaluation:
    """The evaluation of a run, with refits if asked for, and with times and memory among its metrics."""
    start = time.perf_counter()
    config = command.evaluation
    if not everything and config.extent == "full":
        config = replace(config, extent="scores", scoring=replace(config.scoring, cell_metrics=False))
    scores = evaluate(fitted, data, config, seed=command.seed, truth=truth)
    seconds = {"time/evaluate_s": time.perf_counter() - start}
    if command.refits:
        scores = tempered(command, fitted, data, truth, scores)
        seconds["time/refits_s"] = time.perf_counter() - start - seconds["time/evaluate_s"]
    metrics = scores.metrics | times(fitted) | seconds
    return scores._replace(metrics=metrics | {"memory/peak_gb": output.peak_memory_gb()})


def times(fitted: Fitted) -> dict[str, float]:
    """What the fit took."""
    if fitted.fit is None:
        return {}
    return {
        "time/compile_s": fitted.fit.compile_seconds,
        "time/train_s": fitted.fit.train_seconds,
        "time/steps": fitted.fit.n_steps,
    }


def write_training(folder: Path, data: PerturbationData, scores: Evaluation) -> None:
    """training.npz: what baselines learn from, for experiments.evaluate. Left out without training controls.

    These are the cells on which effects are measured: good ones only, where the evaluation says so.
    """
    data = data.of_good_quality() if scores.of_good_cells else data
    trained = scores.treatments.assignment[data.cells("train")]
    if (trained < 0).any() and (trained >= 0).any():
        effects = training_effects(data, scores.treatments, scores.model.transform)
        save_training_effects(effects, folder / TRAINING)


class Results(NamedTuple):
    """What was computed while files were written."""

    responses: GeneResponses | None
    """Of genes to latent dimensions."""
    doses: list[DoseResponse]
    """Curves of perturbations that were given at several doses."""


def write_results(
    folder: Path, fitted: Fitted, data: PerturbationData, scores: Evaluation, config: EvaluationConfig, *, seed: int
) -> Results:
    """Scores, effects, mechanisms, predicted effects, curves of doses and latents of an evaluation."""
    cells_key, genes_key = (jax.random.fold_in(jax.random.key(seed), i) for i in (1, 2))
    write_scores(folder, scores)
    write_effects(folder, fitted, scores)
    responses = None
    if scores.effects is not None:
        responses = gene_responses(genes_key, fitted, scores.effects, config.effects)
        reporting.mechanisms_table(fitted, scores.effects, responses).to_csv(folder / MECHANISMS, index=False)
        table = reporting.latent_effects_to_anndata(fitted, scores.effects, responses)
        table.write_h5ad(folder / "effects.h5ad", compression="gzip")
    measured_in = "good" if scores.of_good_cells else "all"
    ate = reporting.effects_to_anndata(fitted, scores.model, scores.data, config.effects, measured_in=measured_in)
    ate.write_h5ad(folder / "ate.h5ad", compression="gzip")
    latents = posterior_latents(cells_key, fitted, data, np.arange(data.n_cells), LATENT_PARTICLES)
    cells = reporting.latents_to_anndata(fitted, data, scores.treatments, latents, LATENT_PARTICLES, scores.effects)
    cells.write_h5ad(folder / "latents.h5ad", compression="gzip")
    return Results(responses, write_dose_responses(folder, fitted, scores, config.effects, seed=seed))


def write_scores(folder: Path, scores: Evaluation) -> None:
    """scores.csv (means), treatment_scores.csv and interactions.csv, as far as they were computed."""
    if scores.scores is not None:
        reporting.scores_table(scores.scores).to_csv(folder / "scores.csv", index=False)
        reporting.treatment_scores_table(scores.scores).to_csv(folder / "treatment_scores.csv", index=False)
    if scores.interactions is not None:
        reporting.interactions_table(scores.interactions).to_csv(folder / "interactions.csv", index=False)


def write_effects(folder: Path, fitted: Fitted, scores: Evaluation) -> None:
    """effects.csv of an evaluation, for models with effects in latent space."""
    if scores.effects is not None:
        reporting.effects_table(fitted, scores.effects).to_csv(folder / "effects.csv", index=False)
