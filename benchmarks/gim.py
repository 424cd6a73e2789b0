"""The synthetic benchmark of generative intervention models: graphs, targets and predictions, beside simple predictors.

    python -m benchmarks gim --seeds 10 --variables 10 --graphs er sf --mechanisms linear --interventions shift
    python -m benchmarks gim --seeds 1 --variables 20 --mechanisms linear mlp --interventions shift hard --out gim.csv

Every seed draws another causal model, and screens from it (`samsjax.data.gim_simulation`). Tables are means over seeds
with their standard deviations, one set for every combination of graph, mechanism and intervention:

1. structure: the learned graph against the true one.
2. targets: average precision (and, in brackets, the area under the curve) over all contexts and variables of a group;
   in training contexts by their cells, in others by features alone. "marginal screening" knows the cells everywhere.
3. prediction of new contexts: relative error of the mean (1 = predicting no effect), energy distance, negative log
   density per cell and variable, and coverage of intervals of the mean at 80 %. "truth" draws new cells from the true
   model: as near as any predictor can come.

"oracle graph" and "oracle targets" are given what they are named after; "empty graph" knows of no causes; "free
targets" learns every training context on its own, without features, and says nothing of others. Predictions draw
targets by their probabilities; "decided targets" takes those more probable than not, under the same fit. A wrong graph
can be paid for with extra targets, so read targets beside those under the oracle graph; and a wrong graph can predict
well, so prediction says little of mechanisms. Held-out doses are an easy test: see what the nearest context reaches.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from samsjax.causal.metrics import graph_agreement
from samsjax.data import PerturbationData
from samsjax.data.gim_simulation import FeatureKind, GIMSimulationConfig, GIMTruth, GraphKind, MechanismKind, draw_gim
from samsjax.data.structural import Intervention, Linear
from samsjax.errors import InputError, check_choice, check_range
from samsjax.evaluation.interventions import (
    PREDICTORS,
    Contexts,
    Prediction,
    contexts_of,
    gaussian_prediction,
    marginal_scores,
    score_table,
    target_agreement,
)
from samsjax.evaluation.interventions.gim import Causes, read_gim
from samsjax.inference.fitted import fit
from samsjax.models import GIMConfig
from samsjax.reporting import markdown_table

SIMULATION = GIMSimulationConfig()
MODEL = GIMConfig()
NEW_GROUPS = ("partly_interior", "partly_edge", "fully")
SCREENING, TRUTH, DECIDED = "marginal screening", "truth", "gim, decided targets"
SHOWN = ("mean_error", "energy", "nll", "coverage_80")
"""Metrics of the table of predictions; the CSV has all."""


class Arm(NamedTuple):
    """One fit of a generative intervention model."""

    graph: str = "learned"
    """learned, empty or oracle."""
    targets: str = "features"
    """features, free (of every context on its own) or oracle."""


ARMS: dict[str, Arm] = {
    "gim": Arm(),
    "gim, empty graph": Arm(graph="empty"),
    "gim, free targets": Arm(targets="free"),
    "gim, oracle graph": Arm(graph="oracle"),
    "gim, oracle targets": Arm(targets="oracle"),
}


@dataclass(frozen=True)
class GIMBenchmark:
    """Structure, targets and predictions of a causal model on its synthetic benchmark, with all baselines."""

    seeds: int = 3
    """How many, from 0."""
    variables: int = 10
    """Variables of the causal model."""
    graphs: tuple[GraphKind, ...] = ("er", "sf")
    """Kinds of graphs."""
    mechanisms: tuple[MechanismKind, ...] = ("linear",)
    """Kinds of mechanisms; the model is told."""
    interventions: tuple[Intervention, ...] = ("shift",)
    """Kinds of interventions; the model is told."""
    features: FeatureKind = "linear"
    """What contexts are described by."""
    n_features: int = 20
    """Dimensions that targets are sent into, and as many for amplitudes."""
    arms: tuple[str, ...] = tuple(ARMS)
    """Fits of the model; none = only simple predictors."""
    predictors: tuple[str, ...] = tuple(PREDICTORS)
    """Simple predictors."""
    restarts: int = 5
    """Starts of every fit."""
    target_penalty: float = MODEL.target_penalty
    """Cost of a target: large values find targets, small ones predict better."""
    steps: int | None = None
    """Of every fit under its graph; none = those of the model."""
    out: Path | None = None
    """CSV with every score of every seed; replaced."""

    def __post_init__(self) -> None:
        check_range("seeds", self.seeds, low=1)
        check_range("restarts", self.restarts, low=1)
        for arm in self.arms:
            check_choice("arm", arm, list(ARMS))
        for predictor in self.predictors:
            check_choice("predictor", predictor, list(PREDICTORS))
        if self.out is not None and not self.out.absolute().parent.is_dir():
            raise InputError(f"--out {self.out}: the folder does not exist")


class Setting(NamedTuple):
    """One set of tables."""

    graph: GraphKind
    mechanism: MechanismKind
    intervention: Intervention


Row = dict[str, Any]
"""setting, seed, predictor, group, metric, value, low, high: a line of the CSV."""


def measure(command: GIMBenchmark) -> list[Row]:
    """Run everything, print the tables of each setting as soon as it is done, and write the CSV."""
    rows: list[Row] = []
    for setting in map(Setting._make, product(command.graphs, command.mechanisms, command.interventions)):
        own = []
        for seed in range(command.seeds):
            found = _scores_of(command, setting, seed)
            own += [{**setting._asdict(), "seed": seed, **row} for row in found]
            print(f"{' '.join(setting)}, seed {seed}: done", flush=True)
        rows += own
        if command.out is not None:
            _write(command.out, rows)
        print(f"\n### {setting.graph}, {setting.mechanism}, {setting.intervention}: {command.seeds} seeds\n")
        print("\n\n".join(_tables(own)), "\n", flush=True)
    return rows


def _scores_of(command: GIMBenchmark, setting: Setting, seed: int) -> list[Row]:
    """Every score of one seed."""
    config = replace(
        SIMULATION,
        n_variables=command.variables,
        features=command.features,
        n_features=command.n_features,
        **setting._asdict(),
    )
    data, truth = draw_gim(config, seed=seed)
    training, val, test = (contexts_of(data, split) for split in ("train", "val", "test"))
    groups = {name: test.subset(truth.group[test.numbers] == name) for name in NEW_GROUPS}
    groups = {name: contexts for name, contexts in groups.items() if len(contexts.names)}
    rows = _screening(truth, {"train": training} | groups)
    predictions: dict[tuple[str, str], list[Prediction]] = {}
    for name in command.predictors:
        predict = PREDICTORS[name].fit(training, val, jax.random.key(seed))
        for group, contexts in groups.items():
            predictions[name, group] = predict(contexts.features, len(contexts.cells[0]), _random(seed))
    for name in command.arms:
        arm = ARMS[name]
        causes, found = _fitted(command, data, truth, arm, seed)
        rows += [{"predictor": name, "group": "graph", **row} for row in found] if arm.graph == "learned" else []
        known = arm.targets == "oracle"
        rows += [] if known else _targets(name, "train", truth, training, causes.target_log_odds)
        if arm.targets == "free":
            continue
        for group, contexts in groups.items():
            size = len(contexts.cells[0])
            predicted = causes.predict(contexts.numbers, size, _random(seed))
            predictions[name, group] = _silent(predicted) if known else predicted
            if name == "gim":
                decided = causes.decided().predict(contexts.numbers, size, _random(seed))
                predictions[DECIDED, group] = _silent(decided)
    for group, contexts in groups.items():
        predictions[TRUTH, group] = _true_predictions(truth, contexts, _random(seed))
    cells = {name: contexts.cells for name, contexts in groups.items()}
    targets = {name: truth.targets[contexts.numbers] for name, contexts in groups.items()}
    return rows + score_table(cells, predictions, training.control, targets=targets, seed=seed).rows()


def _silent(predictions: list[Prediction]) -> list[Prediction]:
    """Without scores of targets, where these are given or the same as another predictor's."""
    return [prediction._replace(target_scores=None) for prediction in predictions]


def _random(seed: int) -> np.random.Generator:
    """The same draws for all predictors."""
    return np.random.default_rng(seed)


def _fitted(
    command: GIMBenchmark, data: PerturbationData, truth: GIMTruth, arm: Arm, seed: int
) -> tuple[Causes, list[Row]]:
    """A fit, and how its graph agrees with the true one."""
    setting = replace(
        MODEL,
        mechanisms="linear" if isinstance(truth.model.mechanisms, Linear) else "mlp",
        interventions=truth.intervention,
        amortised=arm.targets != "free",
        n_restarts=command.restarts,
        target_penalty=command.target_penalty,
    )
    if command.steps is not None:
        setting = replace(setting, n_polish_steps=command.steps)
    known = {"empty": np.zeros(truth.graph.shape), "oracle": truth.graph.astype(float), "learned": None}[arm.graph]
    targets = truth.targets.astype(float) if arm.targets == "oracle" else None
    fitted = fit(data, setting, seed=seed, progress=False, graph=known, targets=targets)
    causes = read_gim(fitted)
    agreement = graph_agreement(truth.graph, causes.model.graph, np.clip(causes.edge_log_odds, -50, 50))
    rows = [_row(metric, float(value)) for metric, value in agreement._asdict().items()]
    return causes.with_targets(truth.targets) if arm.targets == "oracle" else causes, rows


def _screening(truth: GIMTruth, groups: dict[str, Contexts]) -> list[Row]:
    rows = []
    for name, contexts in groups.items():
        table = np.zeros(truth.targets.shape)
        table[contexts.numbers] = marginal_scores(contexts.cells, contexts.control)
        rows += _targets(SCREENING, name, truth, contexts, table)
    return rows


def _targets(predictor: str, group: str, truth: GIMTruth, contexts: Contexts, scores: np.ndarray) -> list[Row]:
    found = target_agreement(truth.targets[contexts.numbers], scores[contexts.numbers])._asdict()
    return [{"predictor": predictor, "group": group, **_row(f"target_{name}", v)} for name, v in found.items()]


def _row(metric: str, value: float) -> Row:
    nan = float("nan")
    return {"metric": metric, "value": value, "low": nan, "high": nan}


def _true_predictions(truth: GIMTruth, contexts: Contexts, rng: np.random.Generator) -> list[Prediction]:
    """New cells from the true model; Gaussian moments where they are exact."""
    found = []
    exact = truth.moments() if isinstance(truth.model.mechanisms, Linear) else None
    for number, cells in zip(contexts.numbers, contexts.cells, strict=True):
        if exact is not None:
            found.append(gaussian_prediction(rng, exact[0][number], exact[1][number], len(cells)))
            continue
        many = truth.sample(rng, int(number), 20 * len(cells))
        means, sds = many.mean(axis=0)[None], many.std(axis=0, ddof=1)[None]
        found.append(Prediction(many[: len(cells)], means, sds))
    return found


def _tables(rows: Sequence[Row]) -> list[str]:
    """The three tables of one setting, as Markdown."""
    by: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        by.setdefault((row["predictor"], row["group"], row["metric"]), []).append(row["value"])
    return [markdown_table(table) for table in (_structure(by), _target_table(by), _predictions(by)) if table]


Values = dict[tuple[str, str, str], list[float]]


def _structure(by: Values) -> list[Row]:
    columns = {
        "edge AP": "edge_average_precision",
        "edge AUROC": "edge_auroc",
        "SHD": "shd",
        "true edges": "n_true",
        "acyclic": "acyclic",
    }
    names = dict.fromkeys(predictor for predictor, group, _ in by if group == "graph")
    return [
        {"graph by": name} | {title: _cell(by[name, "graph", metric]) for title, metric in columns.items()}
        for name in names
    ]


def _target_table(by: Values) -> list[Row]:
    names = dict.fromkeys(predictor for predictor, _, metric in by if metric == "target_auroc")
    groups = [g for g in ("train", *NEW_GROUPS) if any((n, g, "target_auroc") in by for n in names)]
    better = _better_than_screening(by)
    return [
        {"targets by": name}
        | {group: _target_cell(by, name, group) for group in groups}
        | {"seeds better than screening, train": better.get(name, "-")}
        for name in names
    ]


def _target_cell(by: Values, name: str, group: str) -> str:
    if (name, group, "target_auroc") not in by:
        return "-"
    area = np.mean(by[name, group, "target_auroc"])
    return f"{_cell(by[name, group, 'target_average_precision'])} ({area:.2f})"


def _better_than_screening(by: Values) -> dict[str, str]:
    """On how many seeds the average precision of training targets is higher."""
    found, reference = {}, by.get((SCREENING, "train", "target_average_precision"), [])
    for (name, group, metric), values in by.items():
        if group == "train" and metric == "target_average_precision" and name != SCREENING:
            wins = sum(value > other for value, other in zip(values, reference, strict=True))
            found[name] = f"{wins} of {len(values)}"
    return found


def _predictions(by: Values) -> list[Row]:
    pairs = dict.fromkeys((predictor, group) for predictor, group, metric in by if metric == "energy")
    return [
        {"group": group, "prediction by": name}
        | {metric: _cell(by[name, group, metric]) if (name, group, metric) in by else "-" for metric in SHOWN}
        for group in NEW_GROUPS
        for name, own in pairs
        if own == group
    ]


def _cell(values: Sequence[float]) -> str:
    spread = f" +- {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{spread}"


def _write(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
