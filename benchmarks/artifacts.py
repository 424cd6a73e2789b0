"""What knowing the quality of cells is worth, and what every published choice of CRADLE-VAE costs.

    python -m benchmarks artifacts
    python -m benchmarks artifacts --path screen.h5ad --columns n_counts n_umis percent_mito p_mito

On the built-in simulation with artefacts, where effects on good cells, masks, and the good counterpart of every failed
cell are known; or on a file, where effects measured in held-out good cells stand for the true ones.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from samsjax.data import DataConfig, PerturbationData, Truth, read_h5ad, treatments
from samsjax.data.artifact_simulation import ArtifactSimulationConfig, simulate_artifacts
from samsjax.data.encoding import Treatments
from samsjax.errors import check_choice, check_range
from samsjax.evaluation import (
    EffectsConfig,
    effect_scores,
    mask_agreement,
    model_effects,
    posterior_effects,
    true_effects,
)
from samsjax.evaluation.counterfactual import counterfactual
from samsjax.evaluation.data_effects import data_effects
from samsjax.evaluation.effect_metrics import jaccard_of_top
from samsjax.evaluation.forward import in_scale
from samsjax.evaluation.quality import QualityConfig, quality_report
from samsjax.inference.config import TrainConfig
from samsjax.inference.epochs import FitArrays
from samsjax.inference.fitted import Fitted, fit, prepare
from samsjax.inference.training import fit_model
from samsjax.models import CRADLEVAEConfig, ModelConfig, SAMSVAEConfig, latent_axes
from samsjax.reporting import markdown_table

SCREEN = ArtifactSimulationConfig()
CRADLE = CRADLEVAEConfig()
SCALE = "log2_cp10k"
N_TOP = 20
DRAWN = QualityConfig(n_cells=20, max_treatments=60)
"""Fewer generated cells than by default: means over treatments are what is shown."""


class Arm(NamedTuple):
    """One row: a model, the cells it trains on, and what is done to its reference cells."""

    model: ModelConfig
    good_only: bool = False
    wrong_rows: bool = False


ARMS: dict[str, Arm] = {
    "sams, all cells": Arm(SAMSVAEConfig()),
    "sams, good cells": Arm(SAMSVAEConfig(), good_only=True),
    "cradle": Arm(CRADLE),
    "cradle, no penalty": Arm(replace(CRADLE, counterfactual_weight=0.0)),
    "cradle, concatenated": Arm(replace(CRADLE, composition="concatenation")),
    "cradle, wrong rows": Arm(CRADLE, wrong_rows=True),
    "cradle, failed references": Arm(replace(CRADLE, reference="failed")),
    "cradle, shipped divergence": Arm(replace(CRADLE, divergence="shipped")),
    "cradle, penalty summed": Arm(replace(CRADLE, reduction="batch_sum")),
    "cradle, weights by batch": Arm(replace(CRADLE, weighting="batch_share")),
    "cradle, new draws": Arm(replace(CRADLE, share_globals=False)),
    "cradle, median cells": Arm(replace(CRADLE, pseudo_cell="median")),
    "cradle, drawn once": Arm(replace(CRADLE, refresh="once")),
}
"""The two baselines, our defaults, and these with one published choice each (specification 14, B1-B6, B8, B9)."""


@dataclass(frozen=True)
class ArtifactsBenchmark:
    """Effects on good cells, probes of the basal state, and pass rates, by model and published choice."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Each another screen and fit."""
    arms: tuple[str, ...] = tuple(ARMS)
    """Rows of the table."""
    n_steps: int = 2500
    """Of every fit."""
    path: Path | None = None
    """A screen to use instead of the simulation."""
    columns: dict[str, str] = field(default_factory=dict)
    """Criteria and the columns of obs that hold their values, for a file."""
    mads: float = 3.0
    """How far from the median a cell may be, for a file."""

    def __post_init__(self) -> None:
        check_range("n_steps", self.n_steps, low=1)
        for arm in self.arms:
            check_choice("arm", arm, list(ARMS))


class _Screen(NamedTuple):
    data: PerturbationData
    treated: Treatments
    truth: Truth | None


def measure(command: ArtifactsBenchmark) -> list[dict[str, Any]]:
    """Fit every arm on every screen and print one table: means and, in brackets, the range over seeds."""
    by_arm: dict[str, list[dict[str, float]]] = {name: [] for name in command.arms}
    for seed in command.seeds:
        screen = _screen(command, seed)
        for name in command.arms:
            fitted = _fitted(ARMS[name], screen.data, TrainConfig(n_steps=command.n_steps), seed)
            by_arm[name].append(_numbers(fitted, screen, seed))
            print(f"seed {seed}, {name}: {by_arm[name][-1]}", flush=True)
    rows = [{"model": name, **_summary(found)} for name, found in by_arm.items()]
    print(markdown_table(rows))
    return rows


def _screen(command: ArtifactsBenchmark, seed: int) -> _Screen:
    if command.path is None:
        data, truth = simulate_artifacts(SCREEN, seed=seed)
        return _Screen(data, treatments(data), truth)
    criteria = tuple(command.columns) or ("auto",)
    config = DataConfig(
        path=command.path,
        split_seed=seed,
        quality_criteria=criteria,  # type: ignore[arg-type]
        quality_columns=command.columns,
        quality_mads=command.mads,
    )
    data = read_h5ad(config)
    return _Screen(data, treatments(data), None)


def _fitted(arm: Arm, data: PerturbationData, train: TrainConfig, seed: int) -> Fitted:
    fitted = fit(data.of_good_quality() if arm.good_only else data, arm.model, train, seed=seed, progress=False)
    if not arm.wrong_rows:
        return fitted
    arrays = _with_wrong_rows(prepare(data, arm.model, train).arrays)
    found = fit_model(jax.random.key(seed), fitted.build, arrays, train, latent_axes(arm.model), progress=False)
    return replace(fitted, params=found.params)


def _with_wrong_rows(arrays: FitArrays) -> FitArrays:
    """References as the published code finds them: positions among cells of one quality, taken for rows of the data."""
    assert arrays.pools is not None and arrays.cells.artifacts is not None
    failed = jnp.any(arrays.cells.artifacts > 0, axis=-1)
    in_training = jnp.zeros(failed.shape, bool).at[arrays.train].set(True)
    position = jnp.where(failed, jnp.cumsum(failed & in_training), jnp.cumsum(~failed & in_training)) - 1
    wrong = jnp.where(in_training, position, jnp.arange(len(failed)))[arrays.pools.members]
    return arrays._replace(pools=arrays.pools._replace(members=wrong.astype(jnp.int32)))


def _numbers(fitted: Fitted, screen: _Screen, seed: int) -> dict[str, float]:
    """All numbers of one fit."""
    keys = jax.random.split(jax.random.key(seed), 3)
    arms = (screen.treated.labels, screen.treated.perturbation_index, screen.treated.dosage)
    predicted = model_effects(keys[0], fitted, *arms, EffectsConfig(n_particles=300)).ate
    known = screen.truth is not None
    row = _against_truth(fitted, screen, predicted, keys[1]) if known else _held_out(screen, predicted)
    report = quality_report(keys[2], fitted, screen.data, DRAWN)
    found = report.metrics()
    for name, features in (("label known", "z_basal"), ("label hidden", "z_basal_label_hidden")):
        row[f"probe, {name}"] = found[f"quality/probe/{features}/mlp_auroc"]
    for source in ("generated", "real"):
        row[f"pass rate, {source}"] = found[f"quality/pass_rate/{source}"]
    row["energy distance"] = found["quality/energy/generated"]
    return row


def _against_truth(fitted: Fitted, screen: _Screen, predicted: np.ndarray, key: jax.Array) -> dict[str, float]:
    """Errors in log2 CP10k, root mean squares over genes and treatments; masks; and single cells made good."""
    truth, treated = screen.truth, screen.treated
    assert truth is not None and truth.confounded is not None
    true = true_effects(screen.data, treated, truth).ate
    confounded = (truth.confounded[treated.perturbation_index] & (treated.dosage > 0)).any(axis=1)
    effects = posterior_effects(key, fitted)
    assert effects is not None
    return {
        "error, confounded": _rms(predicted[confounded] - true[confounded]),
        "error, others": _rms(predicted[~confounded] - true[~confounded]),
        "mask F1": mask_agreement(truth.mask, effects.mask).f1,
        "artefact left in cells": _artefact_left(fitted, screen.data, truth, key),
    }


def _artefact_left(fitted: Fitted, data: PerturbationData, truth: Truth, key: jax.Array) -> float:
    """Error of failed test cells made good, over that of the same cells decoded as they are; 1 = nothing removed."""
    if not fitted.vocabulary.artifacts:
        return float("nan")
    assert truth.good_mean is not None and truth.failed is not None
    cells = np.flatnonzero(truth.failed & (data.split == "test"))
    good = truth.good_mean[cells]
    wanted = in_scale(jnp.asarray(good), jnp.asarray(good.sum(axis=1)), SCALE, own_totals=True)
    errors = [
        _rms(counterfactual(key, fitted, data, cells, fails, transform=SCALE) - np.asarray(wanted))
        for fails in ((), None)
    ]
    return errors[0] / errors[1]


def _held_out(screen: _Screen, predicted: np.ndarray) -> dict[str, float]:
    """Agreement with effects measured in good test cells, treatments and genes pooled."""
    good = screen.data.of_good_quality()
    measured = data_effects(good, screen.treated, good.cells("test"), SCALE)
    rows = np.searchsorted(screen.treated.labels, measured.labels)
    found = effect_scores(measured.ate, predicted[rows])
    overlap = jaccard_of_top(measured.ate, predicted[rows], N_TOP)
    return {"pearson": found["pearson"], "r2": found["r2"], f"jaccard, top {N_TOP}": float(overlap.mean())}


def _rms(error: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))


def _summary(found: list[dict[str, float]]) -> dict[str, str]:
    """Mean over seeds, and the smallest and largest; a dash where there is none."""
    table = {name: np.array([numbers[name] for numbers in found]) for name in found[0]}
    return {
        name: "-" if np.isnan(v).any() else f"{v.mean():.3f} ({v.min():.3f}-{v.max():.3f})" for name, v in table.items()
    }
