"""Plausible results of a screen that nobody measured, to fill a page: results, never checked as numbers."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from samsjax.data.dataset import PerturbationData
from samsjax.data.quality.rule import Criterion, QualityRule
from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.calibration import LEVELS, Calibration
from samsjax.evaluation.gene_responses import GeneResponses, typical_steps
from samsjax.evaluation.metrics import Metric
from samsjax.evaluation.posterior_effects import PosteriorEffects
from samsjax.evaluation.predictive_checks import PredictiveCheck, StatisticCheck
from samsjax.evaluation.quality import CountsRule, ProbeResult, Quality, QualityDistances, QualityRates
from samsjax.evaluation.quality.artifact_genes import ArtifactGenes
from samsjax.evaluation.quality.disentanglement import HIDDEN
from samsjax.evaluation.recalibration import NetworkError
from samsjax.evaluation.scores import Scores, Unscored, Verdict
from samsjax.evaluation.uncertainty import Uncertainty
from samsjax.inference.rotating import RotationReport
from samsjax.reporting import DoseCurve, report

KNOWN = """
IFNGR1 IFNGR2 JAK1 JAK2 STAT1 IRF1 KLF1 TGFBR2 CEBPA CEBPB MYC SPI1 TP53 CDKN1A EGR1 FOXA1 GATA1 BAK1 DUSP9
MAPK1 SMAD3 SMAD4 SOCS1 CUL3 BRD4 ETV6 PDCD1LG2 CD86 MARCHF8 NFKBIA
"""
GENES = """
HBG1 HBG2 HBZ HBA1 STAT1 IRF1 CXCL10 CD74 HLA-DRA B2M GBP1 GBP2 LYZ CST3 MPO ELANE CDKN1A MDM2 EGR1 FOS JUN
DUSP6 SPRY2 ID1 ID3 SERPINE1 COL1A1 TGFBI MYC LDHA
"""
PREDICTORS = ("SAMS-VAE", "additive", "training mean", "nearest perturbation", "no change")
METRICS = (
    ("pearson_delta", "correlation over genes of predicted and measured change from control", 1.0, True, (-1, 1)),
    ("pearson_delta_centroid", "the same, of what sets a treatment apart from the average one", 1.0, True, (-1, 1)),
    ("mse", "mean squared error of the mean profile", 0.0, False, (0, np.inf)),
)


def names_of(known, n, stem):
    return tuple(known.split()[:n]) + tuple(f"{stem}{i}" for i in range(len(known.split()), n))


def example(n_perturbations=12, n_treatments=16, n_genes=40, n_latent=6, n_cells=120, odd=()):
    """Arguments of `report`; `odd` are names of perturbations to stand among the others."""
    rng = np.random.default_rng(0)
    names = (*odd, *names_of(KNOWN, n_perturbations - len(odd), "ORF"))
    genes = names_of(GENES, n_genes, "ENSG000001")
    mask = rng.random((n_perturbations, n_latent)) < 0.25
    mask[:, -1] = False
    probability = np.where(mask, rng.uniform(0.7, 1, mask.shape), rng.beta(0.5, 8, mask.shape) * 0.8)
    effects = PosteriorEffects(
        probability, mask * rng.normal(0, 2, mask.shape), rng.uniform(0.05, 0.4, mask.shape), True
    )
    loading = rng.laplace(0, 0.05, (n_latent, n_genes)) * np.where(np.arange(n_genes) < 30, 4, 1)
    responses = GeneResponses(typical_steps(effects), (typical_steps(effects)[:, None] * loading), "log2_cp10k")
    labels = [*names, *(f"{a}+{b}" for gap in (1, 2, 3) for a, b in zip(names, names[gap:], strict=False))][
        :n_treatments
    ]
    singles = effects.mean @ loading
    truth = np.array([singles[i % n_perturbations] for i in range(n_treatments)]) + rng.normal(
        0, 0.1, (n_treatments, n_genes)
    )
    error = np.full(truth.shape, 0.08)
    measured = AverageEffects(np.array(labels), truth, error, np.ones(n_genes), "log2_cp10k")
    guess = 0.85 * truth + rng.normal(0, 0.15, truth.shape)
    return {
        "title": "Interferon and erythroid screen",
        "subtitle": "A sparse model of perturbation effects, scored on cells it has never seen.",
        "settings": {
            "model_name": "sams_vae",
            "model": {"n_latent": n_latent, "mask_prior": 0.001, "likelihood": "library_nb"},
            "train": {"batch_size": 512, "learning_rate": 0.001, "rotation": True},
            "evaluation": {"effects": {"n_particles": 100, "transform": "log2_cp10k", "covariates": {}}},
        },
        "facts": {
            "model": "sams_vae",
            "data": "screen.h5ad",
            "cells": 52183,
            "genes": n_genes,
            "perturbations": n_perturbations,
            "seed": 0,
            "training time, s": 48.213,
            "samsjax": "0.1.0",
        },
        "warnings": ["3 treatments have no training cells and are predicted from their parts."],
        "data": cells(names, genes),
        "fitted": fitted(rng, names, genes),
        "scores": scores(rng, labels),
        "measured": measured,
        "predicted": AverageEffects(np.array(labels), guess, error, np.ones(n_genes), "log2_cp10k"),
        "effects": effects,
        "responses": responses,
        "uncertainty": uncertainty(n_genes),
        "check": check(rng, n_cells, n_genes),
        "interactions": pd.DataFrame(
            {
                "combination": [label for label in labels if "+" in label] or ["IRF1+KLF1"],
                "interaction": 0.25,
                "interaction_low": -0.125,
                "interaction_high": 0.5,
            }
        ),
        "doses": doses(),
        "dose_label": "effect on CDKN1A, log2(1 + counts per 10,000)",
        "of_good_cells": True,
        "quality": quality(labels),
        "artifacts": artifacts(n_genes),
    }


RULE = QualityRule(
    (
        Criterion("n_counts", "below", 1820.0, 6400.0, 1526.7),
        Criterion("n_genes", "below", -35.0, 2100.0, 711.7),
        Criterion("percent_hb", "above", 3.1, 0.4, 0.9),
    ),
    3.0,
)


def cells(names, genes, n_each=40):
    """Cells of every perturbation and controls; those of the first fail by haemoglobin, none by genes seen."""
    rng = np.random.default_rng(1)
    index = np.repeat(np.arange(-1, len(names)), n_each)
    failed = rng.random((len(index), 3)) < np.array([0.1, 0.0, 0.03])
    failed[:, 2] |= (index == 0) & (rng.random(len(index)) < 0.6)
    return PerturbationData(
        x=np.ones((len(index), len(genes)), dtype=np.int32),
        perturbation_index=np.maximum(index, 0)[:, None].astype(np.int32),
        dosage=(index >= 0)[:, None].astype(np.float32),
        library_size=np.full(len(index), 6400, dtype=np.float32),
        gene_names=np.array(genes),
        perturbation_names=np.array(names),
        cell_names=np.array([f"cell{i}" for i in range(len(index))]),
        split=np.array(["train", "train", "val", "test"])[np.arange(len(index)) % 4],
        failed=failed,
        criteria=RULE.names,
        quality_rule=RULE,
    )


def quality(labels):
    rng = np.random.default_rng(2)
    levels = {"generated": 0.93, "baseline": 0.99, "real": 0.86, "real_good": 1.0, "real_failed": 0.0}
    rates = {name: np.clip(rng.normal(level, 0.01, (len(labels), 4)), 0, 1) for name, level in levels.items()}
    rates["generated"][3] = np.nan
    names, n_held_out = np.array(["control", *labels[1:]]), rng.integers(20, 600, len(labels))
    of_cells = QualityRates(CountsRule(RULE, "labels"), names, n_held_out, rates, dict.fromkeys(levels, 800))
    apart = {"generated": 0.4, "baseline": 0.9, "other_quality": 1.6, "half_split": 0.0}
    distances = {name: rng.normal(level, 0.1 + level / 4, len(labels)) for name, level in apart.items()}
    probes = {
        name: {
            kind: ProbeResult(area + up, area, 0.03, 0.021, 2400, 310) for kind, up in (("linear", 0), ("mlp", 0.02))
        }
        for name, area in {"z_basal": 0.62, HIDDEN: 0.51, "offset": 0.58, "counts": 0.97}.items()
    }
    nan = float("nan")
    probes["offset"]["mlp"] = ProbeResult(nan, nan, nan, nan, 12, 3, "3 of 12 cells failed")
    return Quality(probes, of_cells, QualityDistances(names, distances))


def artifacts(n_genes):
    rng = np.random.default_rng(3)
    change = rng.laplace(0, 0.1, (1, n_genes))
    change[:, :4] += 0.8
    error = np.full(change.shape, 0.01)
    return ArtifactGenes(("failed",), change, error, rng.gamma(2, 1, n_genes), "log2_cp10k")


def fitted(rng, names, genes):
    epochs = np.arange(1, 61)
    train = -1500 - 600 * np.exp(-epochs / 5) + rng.normal(0, 1, 60)
    history = tuple(
        {
            "epoch": int(e),
            "train_objective": t,
            "val_elbo": t - 4 - 0.0015 * e**2,
            **({"rotated": 1.0} if e in (25, 40) else {}),
        }
        for e, t in zip(epochs, train, strict=True)
    )
    rotation = RotationReport(25, 90.0, 40.0, float("nan"), 80.0, 1.0, 12, 30)
    return SimpleNamespace(
        config=SimpleNamespace(has_latent_space=True),
        vocabulary=SimpleNamespace(perturbation_names=names, gene_names=genes),
        n_training_cells=np.concatenate([[12], rng.integers(60, 400, len(names) - 1)]),
        history=history,
        rotations=(rotation, rotation._replace(epoch=40)),
        fit=SimpleNamespace(stopped="early", best_epoch=44),
    )


def scores(rng, labels):
    metrics = tuple(
        Metric(name, len, text, best, "1", "control", higher, bounds) for name, text, best, higher, bounds in METRICS
    )
    n = len(labels)
    level = np.array(
        [[0.62, 0.41, 0.02], [0.55, 0.43, 0.024], [0.48, np.nan, 0.031], [0.44, 0.2, 0.05], [np.nan] * 2 + [0.06]]
    )
    value = level[:, :, None] + rng.normal(0, 1, (5, 3, n)) * np.array([0.12, 0.15, 0.004])[None, :, None]
    value[1, :, ::5] = np.nan  # a part was never seen alone
    value[0, 0, 2] = np.nan
    width = np.array([0.08, 0.1, 0.003])[None, :, None]
    mean = np.where(np.isnan(level), np.nan, np.nanmean(np.nan_to_num(value), axis=2))
    mean_width = np.array([0.04, 0.06, 0.002])
    verdicts = tuple(
        Verdict(predictor, metric.name, n, d := level[0, m] - level[p, m], d - 0.06, d + 0.05)
        for p, predictor in enumerate(PREDICTORS)
        if p
        for m, metric in enumerate(metrics)
    )
    return Scores(
        split="test",
        n_controls=4210,
        transform="log2_cp10k",
        predictors=PREDICTORS,
        predictor_descriptions=tuple(f"How {name} predicts." for name in PREDICTORS),
        metrics=metrics,
        labels=np.array(labels),
        seen=np.array(["new combination" if "+" in label else "seen" for label in labels]),
        n_cells=rng.integers(20, 600, n),
        value=value,
        low=value - width,
        high=value + width,
        ceiling=np.broadcast_to(np.array([0.8, 0.7, 0.01])[:, None], (3, n)),
        mean=mean,
        mean_low=mean - mean_width,
        mean_high=mean + mean_width,
        n_scored=(~np.isnan(value)).sum(axis=2),
        ceiling_mean=np.array([0.8, 0.7, 0.01]),
        verdicts=verdicts,
        unscored=(Unscored("GATA1+MYC", 3, "fewer than 10 cells"),),
        caveats=(
            "Controls of the test split come from the same batches as training cells.",
            "Two treatments have fewer than 30 cells; their ceilings are themselves uncertain.",
        ),
    )


def uncertainty(n_genes):
    levels = np.array(LEVELS)
    calibrations = {
        "test cells, own intervals": Calibration("effects", 5000, levels, levels**1.5),
        "test cells, recalibrated": Calibration("effects", 5000, levels, levels),
    }
    return Uncertainty(None, NetworkError(0.07, np.ones(n_genes), 5000, 0.7), calibrations)


def check(rng, n_cells, n_genes):
    mean = np.exp(rng.normal(0, 1.2, n_genes))
    measured, drawn = (rng.poisson(rng.gamma(2, mean / 2, (n_cells, n_genes))) for _ in range(2))
    values = [(x.mean(axis=0), x.var(axis=0)) for x in (measured, drawn)]
    statistics = tuple(
        StatisticCheck(name, "counts", m, d, 0.8 * d, 1.2 * d)
        for name, m, d in zip(("mean", "variance"), *values, strict=True)
    )
    return PredictiveCheck(40, statistics, measured, drawn)


def doses():
    dose = np.array([0.1, 0.3, 1.0, 3.0])
    rise = 2 * dose / (dose + 0.5)
    model = DoseCurve(dose, rise, rise - 0.2, rise + 0.2)
    measured = DoseCurve(dose, rise + 0.1, rise - 0.1, rise + 0.3)
    return {drug: {"model": model, "measured": measured} for drug in ("nutlin-3a", "palbociclib", "trametinib")}


def example_page(**sizes):
    return report(**example(**sizes))
