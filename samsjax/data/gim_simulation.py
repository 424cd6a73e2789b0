"""A screen from a causal model: features of perturbations decide which variables they hit, and a graph spreads that.

    graph       Erdős-Rényi (2 edges per variable expected) or scale-free (2 per variable), variables in random order
    x_j         mechanism of its parents (linear, or one hidden tanh layer) + sd_j noise, see `structural`
    function    1 to `max_targets` targets with amplitudes E_j of size 1 to 4, one K from 0.5 to 1.5 and h from 1 to 4
    context     a function at a dose c: each target is hit with strength E_j c^h / (K^h + c^h), which is a shift of its
                mechanism, or the value it is set to
    features    of a context: [R1 1[targets]; R2 E; K; h; log c] + 0.05 noise; R1 and R2 are random maps to `n_features`

Every context, such as `hill03@0.5`, is a perturbation of its own with dosage 1: a dose is known to a model through the
features alone. Variables are standardised by the training controls, so that their spread does not tell their order;
strengths and the truth are on that scale.

| group | contexts | split of their cells |
|---|---|---|
| train | training functions at `doses` | train |
| val | a share of these contexts; every function keeps one that trains | val |
| partly_interior | training functions at `interior_doses` | test |
| partly_edge | training functions at `edge_doses` | test |
| fully | new functions at `doses` | test |

With about 40 functions, features must have as many dimensions as there are variables before new functions can be
solved: that is the default, 20. Feature kind "nonlinear" sends targets and amplitudes through a random network;
"onehot" knows the function and the dose only, so that nothing can be said of new functions: a negative control.

Source:
    The layout (40 functions x 4 doses, 50 cells each, 800 controls; new doses; 20 new functions) is reported second
    hand of GIM (Schneider et al., ICML 2025), specification 5.1; all else is our completion, 5.2 and 5.3.
Differs:
    Some training contexts are held out for validation. Nothing here is known to be the paper's setting but the layout.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from samsjax.data.dataset import PerturbationData
from samsjax.data.features.table import PerturbationFeatures
from samsjax.data.labels import DOSE_MARK, write_dose
from samsjax.data.random_graphs import erdos_renyi, scale_free
from samsjax.data.sams_simulation import CONTROL
from samsjax.data.simulate import Truth, numbered_names
from samsjax.data.structural import (
    Intervention,
    Linear,
    StructuralModel,
    draw_mechanisms,
    linear_moments,
    signed_uniform,
)
from samsjax.errors import InputError, check_choice, check_range, listing

GraphKind = Literal["er", "sf"]
MechanismKind = Literal["linear", "mlp"]
FeatureKind = Literal["linear", "nonlinear", "onehot"]
GROUPS = ("train", "val", "partly_interior", "partly_edge", "fully")
"""Of contexts."""
_PAIRS_FOR_MEANS = 500
"""Pairs of mirrored noise that means of nonlinear models are averaged over."""


@dataclass(frozen=True)
class GIMSimulationConfig:
    """Sizes and strengths of the simulation from a causal model.

    Raises:
        InputError: if a value is out of range, or doses repeat.
    """

    n_variables: int = 20
    """Variables measured."""
    graph: GraphKind = "er"
    """How edges are drawn: each with one probability, or by preferential attachment."""
    edges_per_node: int = 2
    """Edges per variable: expected ones, or those each variable joins with."""
    mechanism: MechanismKind = "linear"
    """Functions between variables."""
    intervention: Intervention = "shift"
    """Whether targets are shifted, or cut off from their parents and set."""
    n_train_functions: int = 40
    """Dose-response functions that train."""
    n_test_functions: int = 20
    """New functions; 0 = none."""
    doses: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0)
    """Of functions that train, and of new ones."""
    interior_doses: tuple[float, ...] = (0.75, 1.25, 1.75)
    """New doses of functions that train, between the others."""
    edge_doses: tuple[float, ...] = (0.25, 2.25)
    """New doses of functions that train, outside the others."""
    val_share: float = 0.1
    """Share of the training contexts that is held out for validation; every function keeps at least one."""
    n_control_cells: int = 800
    """Training cells without perturbation."""
    n_held_out_controls: int = 50
    """Further controls for validation, and as many for the test."""
    cells_per_context: int = 50
    """Cells of each context."""
    max_targets: int = 3
    """Most targets of a function."""
    features: FeatureKind = "linear"
    """What contexts are described by."""
    n_features: int = 20
    """Dimensions that targets are sent into, and as many for amplitudes."""
    feature_noise: float = 0.05
    """Standard deviation of the noise of features."""

    def __post_init__(self) -> None:
        for name in ("n_variables", "n_control_cells", "cells_per_context"):
            check_range(name, getattr(self, name), low=2)
        for name in ("n_train_functions", "n_features", "edges_per_node", "max_targets"):
            check_range(name, getattr(self, name), low=1)
        for name in ("n_test_functions", "n_held_out_controls"):
            check_range(name, getattr(self, name), low=0)
        check_range("max_targets", self.max_targets, high=self.n_variables)
        check_range("feature_noise", self.feature_noise, low=0.0)
        check_choice("graph", self.graph, get_args(GraphKind))
        check_choice("mechanism", self.mechanism, get_args(MechanismKind))
        check_choice("intervention", self.intervention, get_args(Intervention))
        check_choice("features", self.features, get_args(FeatureKind))
        self._check_doses()

    def _check_doses(self) -> None:
        every = (*self.doses, *self.interior_doses, *self.edge_doses)
        for dose in every:
            check_range("dose", dose, above=0.0)
        if len(set(every)) < len(every):
            raise InputError(f"doses repeat among doses, interior_doses and edge_doses: {listing(map(str, every))}")
        check_range("number of doses", len(self.doses), low=1)
        check_range("val_share", self.val_share, low=0.0, high=1 - 1 / len(self.doses))


class GIMTruth(NamedTuple):
    """What generated the screen. Rows of contexts follow the data's perturbation names; all in standardised units."""

    model: StructuralModel
    intervention: Intervention
    function: np.ndarray
    """str (context,): the dose-response function."""
    dose: np.ndarray
    """float64 (context,)."""
    group: np.ndarray
    """str (context,), of `GROUPS`."""
    targets: np.ndarray
    """Bool (context, variable)."""
    strengths: np.ndarray
    """float64 (context, variable): shifts, or the values that targets are set to; 0 elsewhere."""
    noise: np.ndarray
    """float64 (cell, variable), in standard deviations of the noise."""

    @property
    def graph(self) -> np.ndarray:
        """Bool (parent, child)."""
        return self.model.graph

    def contexts(self, *groups: str) -> np.ndarray:
        """Row numbers of the contexts of some groups."""
        return np.flatnonzero(np.isin(self.group, groups))

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Exact means (context, variable) and covariances (context, variable, variable).

        Raises:
            InputError: for a nonlinear model, which has none in closed form.
        """
        if not isinstance(self.model.mechanisms, Linear):
            raise InputError("exact means and covariances need linear mechanisms; average samples of `model` instead")
        return linear_moments(self.model, self.targets, self.strengths, self.intervention)

    def sample(self, rng: np.random.Generator, context: int, n_cells: int) -> np.ndarray:
        """New cells of a context, (cell, variable); `CONTROL` for those without perturbation."""
        noise = rng.standard_normal((n_cells, len(self.graph)))
        return _values(self, noise, np.full(n_cells, context))


class _Functions(NamedTuple):
    """Dose-response functions."""

    names: np.ndarray
    targets: np.ndarray
    """Bool (function, variable)."""
    amplitude: np.ndarray
    """(function, variable), 0 where not targeted."""
    half_dose: np.ndarray
    """K, (function,)."""
    exponent: np.ndarray
    """h, (function,)."""

    def strengths(self, function: np.ndarray, dose: np.ndarray) -> np.ndarray:
        """(context, variable) for the numbers of functions and the doses of contexts."""
        h = self.exponent[function]
        saturation = dose**h / (self.half_dose[function] ** h + dose**h)
        return self.amplitude[function] * saturation[:, None]


class _Contexts(NamedTuple):
    """Contexts in ascending order of their names."""

    names: np.ndarray
    function: np.ndarray
    """int (context,)."""
    dose: np.ndarray
    group: np.ndarray


def simulate_gim(config: GIMSimulationConfig | None = None, *, seed: int = 0) -> tuple[PerturbationData, Truth]:
    """The screen of `draw_gim` with its truth in the form of all simulations: "latents" are the variables themselves.

    Returns:
        The data, and a truth whose mask and effect are targets and strengths, whose basal states are the noise of each
        cell, and whose mean is that of the cell's context, averaged over pairs of mirrored noise where mechanisms are
        not linear.
    """
    data, truth = draw_gim(config, seed=seed)
    condition = np.where(data.is_control, CONTROL, data.perturbation_index[:, 0])
    means = _means(truth, seed)[condition]
    strengths, noise, mean, noise_sd = (
        a.astype(np.float32) for a in (truth.strengths, truth.noise, means, truth.model.noise_sd)
    )
    return data, Truth(truth.targets, strengths, noise, mean, theta=None, noise_sd=noise_sd)


def draw_gim(config: GIMSimulationConfig | None = None, *, seed: int = 0) -> tuple[PerturbationData, GIMTruth]:
    """Draw a screen of continuous values and all that generated it; the same seed gives the same bits.

    The causal model and the functions do not depend on numbers of cells, nor on how features are made.

    Raises:
        InputError: if the seed is negative, or there are more edges than pairs of variables.
    """
    config = config or GIMSimulationConfig()
    check_range("seed", seed, low=0)
    of_model, of_functions, of_contexts, of_features, of_cells = (
        np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(5)
    )
    raw = _draw_model(config, of_model)
    functions = _draw_functions(config, of_functions)
    contexts = _contexts(config, functions.names, of_contexts)
    truth = GIMTruth(
        raw,
        config.intervention,
        functions.names[contexts.function],
        contexts.dose,
        contexts.group,
        functions.targets[contexts.function],
        functions.strengths(contexts.function, contexts.dose),
        np.zeros((0, config.n_variables)),
    )
    condition, split = _design(config, contexts)
    truth = truth._replace(noise=of_cells.standard_normal((len(condition), config.n_variables)))
    x = _values(truth, truth.noise, condition)
    reference = x[(condition == CONTROL) & (split == "train")]
    loc, scale = reference.mean(axis=0), reference.std(axis=0)
    features = _draw_features(config, functions, contexts, of_features)
    return _data((x - loc) / scale, condition, split, contexts.names, features), _standardised(truth, loc, scale)


def _draw_model(config: GIMSimulationConfig, rng: np.random.Generator) -> StructuralModel:
    draw = erdos_renyi if config.graph == "er" else scale_free
    graph = draw(rng, config.n_variables, config.edges_per_node)
    mechanisms = draw_mechanisms(rng, graph, config.mechanism)
    return StructuralModel(graph, mechanisms, rng.uniform(0.4, 1.0, config.n_variables))


def _draw_functions(config: GIMSimulationConfig, rng: np.random.Generator) -> _Functions:
    n = config.n_train_functions + config.n_test_functions
    shape = (n, config.n_variables)
    rank = rng.random(shape).argsort(axis=1).argsort(axis=1)
    targets = rank < rng.integers(1, config.max_targets + 1, n)[:, None]
    amplitude = np.where(targets, signed_uniform(rng, 1.0, 4.0, shape), 0.0)
    return _Functions(numbered_names("hill", n), targets, amplitude, rng.uniform(0.5, 1.5, n), rng.uniform(1, 4, n))


def _contexts(config: GIMSimulationConfig, functions: np.ndarray, rng: np.random.Generator) -> _Contexts:
    n_train, n_all = config.n_train_functions, len(functions)
    parts = [
        (range(n_train), config.doses, "train"),
        (range(n_train), config.interior_doses, "partly_interior"),
        (range(n_train), config.edge_doses, "partly_edge"),
        (range(n_train, n_all), config.doses, "fully"),
    ]
    rows = [(f, float(c), group) for chosen, doses, group in parts for f in chosen for c in doses]
    names = np.array([f"{functions[f]}{DOSE_MARK}{write_dose(c)}" for f, c, _ in rows])
    order = np.argsort(names)
    function, dose, group = (np.array(column)[order] for column in zip(*rows, strict=True))
    return _Contexts(names[order], function, dose, _with_validation(config, function, group, rng))


def _with_validation(
    config: GIMSimulationConfig, function: np.ndarray, group: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Groups with some training contexts in "val": one dose of each function before a second one of any."""
    training = rng.permutation(np.flatnonzero(group == "train"))
    turn = np.array([(function[training[:i]] == function[row]).sum() for i, row in enumerate(training)])
    chosen = training[np.argsort(turn, kind="stable")][: round(config.val_share * len(training))]
    group = group.astype(f"U{max(map(len, GROUPS))}")
    group[chosen] = "val"
    return group


def _design(config: GIMSimulationConfig, contexts: _Contexts) -> tuple[np.ndarray, np.ndarray]:
    """Condition and split of each cell, both (cell,): controls first, then one block per context."""
    controls = {"train": config.n_control_cells, "val": config.n_held_out_controls, "test": config.n_held_out_controls}
    of_context = np.where(np.isin(contexts.group, ("train", "val")), contexts.group, "test")
    split = np.concatenate(
        [np.repeat(list(controls), list(controls.values())), np.repeat(of_context, config.cells_per_context)]
    )
    perturbed = np.repeat(np.arange(len(contexts.names)), config.cells_per_context)
    return np.concatenate([np.full(sum(controls.values()), CONTROL), perturbed]), split


def _values(truth: GIMTruth, noise: np.ndarray, condition: np.ndarray) -> np.ndarray:
    """Cells of conditions, (cell, variable); the last row of both tables stands for `CONTROL`."""
    targets = np.vstack([truth.targets, np.zeros((1, noise.shape[1]), dtype=bool)])
    strengths = np.vstack([truth.strengths, np.zeros((1, noise.shape[1]))])
    return truth.model.sample(noise, targets[condition], strengths[condition], truth.intervention)


def _standardised(truth: GIMTruth, loc: np.ndarray, scale: np.ndarray) -> GIMTruth:
    value = truth.strengths - (loc if truth.intervention == "hard" else 0.0)
    strengths = np.where(truth.targets, value / scale, 0.0)
    return truth._replace(model=truth.model.rescaled(loc, scale), strengths=strengths)


def _draw_features(
    config: GIMSimulationConfig, functions: _Functions, contexts: _Contexts, rng: np.random.Generator
) -> PerturbationFeatures:
    if config.features == "onehot":
        known = functions.names[: config.n_train_functions]
        one_hot = (contexts.function[:, None] == np.arange(len(known))).astype(float)
        return PerturbationFeatures((*known.tolist(), "dose"), np.column_stack([one_hot, contexts.dose]))
    described = _described(config, functions, rng)[contexts.function]
    curve = [functions.half_dose[contexts.function], functions.exponent[contexts.function], np.log(contexts.dose)]
    values = np.column_stack([described, *curve])
    values += config.feature_noise * rng.standard_normal(values.shape)
    names = [f"{what}{i + 1:02d}" for what in ("targets", "amplitude") for i in range(config.n_features)]
    return PerturbationFeatures((*names, "half_dose", "exponent", "log_dose"), values)


def _described(config: GIMSimulationConfig, functions: _Functions, rng: np.random.Generator) -> np.ndarray:
    """Targets and amplitudes as features, (function, 2 n_features)."""
    n, p = config.n_variables, config.n_features
    if config.features == "linear":
        return np.hstack(
            [functions.targets @ rng.standard_normal((n, p)), functions.amplitude @ rng.standard_normal((n, p))]
        )
    hidden = np.tanh(np.hstack([functions.targets, functions.amplitude]) @ rng.standard_normal((2 * n, 4 * n)))
    return hidden @ rng.standard_normal((4 * n, 2 * p)) / np.sqrt(4 * n)


def _data(
    x: np.ndarray, condition: np.ndarray, split: np.ndarray, names: np.ndarray, features: PerturbationFeatures
) -> PerturbationData:
    return PerturbationData(
        x=x.astype(np.float32),
        perturbation_index=np.maximum(condition, 0).astype(np.int32)[:, None],
        dosage=(condition != CONTROL).astype(np.float32)[:, None],
        library_size=np.ones(len(x), np.float32),
        gene_names=numbered_names("x", x.shape[1]),
        perturbation_names=names,
        cell_names=numbered_names("cell", len(x)),
        split=split,
        library_size_source="ones",
        features=features,
    )


def _means(truth: GIMTruth, seed: int) -> np.ndarray:
    """Means of all contexts and, last, of the control, (context + 1, variable)."""
    none = np.zeros((1, len(truth.graph)))
    whole = truth._replace(
        targets=np.vstack([truth.targets, none.astype(bool)]), strengths=np.vstack([truth.strengths, none])
    )
    if isinstance(truth.model.mechanisms, Linear):
        return whole.moments()[0]
    half = np.random.default_rng(seed).standard_normal((_PAIRS_FOR_MEANS, len(truth.graph)))
    noise = np.concatenate([half, -half])
    conditions = range(len(whole.targets))
    return np.array([_values(whole, noise, np.full(len(noise), c)).mean(axis=0) for c in conditions])
