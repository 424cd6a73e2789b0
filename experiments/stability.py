"""Ask whether other seeds, or other halves of the cells, give the same sparse mask, up to the order of latents.

    python -m experiments.stability --out runs/stability --seeds 0 1 2 3 4 --data.path screen.h5ad
    python -m experiments.stability --out runs/stability --seeds 0 1 2 --halves 3 --train.n-steps 3000

Every flag that is not listed below is one of experiments.fit, whose --help explains it; flags of the evaluation do
nothing here. Data are read or drawn once, with --seed, and each seed of --seeds fits a model to all training cells. For
each of --halves divisions, the first of these seeds fits a model to either half of the training cells; halves have
equal numbers of cells of every set of perturbations, and only cells differ: both start alike. Validation cells are the
same for all fits.

Writes agreement.csv (pairs of fits: F1 of their masks, latents matched, and what chance would give), perturbations.csv
(agreement on each perturbation's own mask, worst first), masks.csv (every fit's inclusion probabilities and effects,
latents numbered as in the first fit), metrics.json, stability.png, config.json (all settings) and environment.json. The
figure needs matplotlib; --no-plot does without. Perturbations that some fit saw in no training cell are left out. A
model that uses features of perturbations needs every feature to vary in each half too.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import tyro

import samsjax
from experiments import output, screens
from experiments.cli import check_seed, run, say
from experiments.fit_checks import check_command
from experiments.fit_command import FitCommand, command_from, settings_of
from experiments.stability_checks import check_features, check_latents, check_masks
from samsjax.data import PerturbationData, halves
from samsjax.errors import InputError, check_range, listing
from samsjax.evaluation.masks import mask_agreement
from samsjax.evaluation.posterior_effects import posterior_effects
from samsjax.evaluation.stability import KINDS, SCORES, Member, Pair, Stability, stability, worst_first
from samsjax.inference.batching import carrying_cells
from samsjax.inference.training import DivergenceError
from samsjax.reporting import markdown_table, save_figure, stability_figure
from samsjax.reporting.plots import require_matplotlib

PROGRAM = "python -m experiments.stability"
N_NAMED = 10
"""Perturbations named in the summary."""


@dataclass(frozen=True, kw_only=True)
class StabilityCommand:
    """Which fits are compared; all other flags are those of experiments.fit."""

    out: Path
    """Folder for the results; must not exist, unless --overwrite is given."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the fits to all training cells; the data do not depend on them."""
    halves: int = 1
    """Random divisions of the training cells into two halves, each half fitted; 0 = none."""
    plot: bool = True
    """Draw stability.png, which needs matplotlib."""

    def __post_init__(self) -> None:
        for seed in self.seeds:
            check_seed(seed)
        check_range("halves", self.halves, low=0)
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"seeds must be one or more different numbers, got {listing(map(str, self.seeds))}")
        if len(self.seeds) == 1 and not self.halves:
            raise InputError(f"seed {self.seeds[0]} alone agrees with nothing: give two --seeds, or --halves 1")


class Planned(NamedTuple):
    """A fit to be made."""

    label: str
    division: int | None
    """Number of the division into halves; None for all training cells."""
    data: PerturbationData
    seed: int


def main(argv: Sequence[str]) -> None:
    """Parse flags, fit all models, compare them; results appear in the output folder only when all is done."""
    command, flags = tyro.cli(
        StabilityCommand, args=list(argv), prog=PROGRAM, description=__doc__, return_unknown_args=True
    )
    settings = command_from([*flags, "--out", str(command.out)], program=PROGRAM)
    check_latents(settings.model)
    check_command(settings)
    if command.plot:
        _check_plots()
    output.check_folder(
        command.out, overwrite=settings.overwrite, inputs=[settings.data.path, settings.fetch, settings.features.path]
    )
    settings = screens.fetched(settings)
    data, truth = screens.load_data(settings)
    say(screens.describe(data))
    check_masks(settings.model, data)
    plan = planned(data, command.seeds, command.halves, settings.seed)
    check_features(settings.model, {each.label: each.data for each in plan if each.division is not None})
    known = known_to_all(plan)
    with output.output_folder(command.out, overwrite=settings.overwrite) as folder:
        found = stability(list(_fits(plan, settings, known)), data.perturbation_names[known])
        truth_scores = {} if truth is None else scores_against(truth.mask[known], found)
        output.write_json(
            folder / output.CONFIG, {"seeds": command.seeds, "halves": command.halves} | settings_of(settings)
        )
        write_results(folder, found, carrying_cells(data)[known], plot=command.plot)
        output.write_json(folder / "metrics.json", found.scores | truth_scores)
    print(summary(found, truth_scores))
    if not known.all():
        print(f"left out, without training cells in some fit: {listing(data.perturbation_names[~known], N_NAMED)}")
    print(f"written to {command.out}")


def _check_plots() -> None:
    try:
        require_matplotlib()
    except InputError as error:
        raise InputError(f"{error}, or give --no-plot") from error


def planned(data: PerturbationData, seeds: Sequence[int], n_divisions: int, division_seed: int) -> list[Planned]:
    """All fits: each seed on all training cells, then the first seed on both halves of each division."""
    plan = [Planned(f"seed-{seed}", None, data, seed) for seed in seeds]
    for division in range(1, n_divisions + 1):
        for name, half in zip("ab", halves(data, seed=(division_seed, division)), strict=True):
            plan.append(Planned(f"half-{division}{name}", division, half, seeds[0]))
    return plan


def known_to_all(plan: Sequence[Planned]) -> np.ndarray:
    """Bool (perturbation,): carried by training cells of every fit.

    Raises:
        InputError: if there is none.
    """
    known = np.all([carrying_cells(each.data) > 0 for each in plan], axis=0)
    if not known.any():
        raise InputError("no perturbation has training cells in every fit: use more cells, or --halves 0")
    return known


def _fits(plan: Sequence[Planned], settings: FitCommand, known: np.ndarray) -> Iterator[Member]:
    """Fit one model after the other and keep the effects of the known perturbations."""
    for number, (label, division, data, seed) in enumerate(plan, 1):
        start = time.perf_counter()
        try:
            fitted = samsjax.fit(data, settings.model, settings.train, seed=seed)
        except DivergenceError as error:
            raise DivergenceError(f"{label}: {error}") from error
        effects = posterior_effects(jax.random.key(seed), fitted)
        assert effects is not None  # a model with masks has effects
        effects = effects._replace(
            inclusion_probability=effects.inclusion_probability[known], mean=effects.mean[known], sd=effects.sd[known]
        )
        say(f"{number} of {len(plan)}: {label}: {time.perf_counter() - start:.0f} s")
        yield Member(label, division, effects)


def scores_against(true_mask: np.ndarray, found: Stability) -> dict[str, float]:
    """`truth/<fit>/<score>` of every fit's mask."""
    return {
        f"truth/{member.label}/{name}": getattr(mask_agreement(true_mask, member.effects.mask), name)
        for member in found.members
        for name in ("f1", "precision", "recall")
    }


def write_results(folder: Path, found: Stability, n_training_cells: np.ndarray, *, plot: bool) -> None:
    """The tables of a comparison and its figure, and the environment."""
    output.write_json(folder / "environment.json", output.environment())
    output.write_rows(folder / "agreement.csv", [_pair_row(pair, found) for pair in found.pairs])
    output.write_rows(folder / "perturbations.csv", _perturbation_rows(found, n_training_cells))
    output.write_rows(folder / "masks.csv", _mask_rows(found))
    if plot:
        save_figure(stability_figure(found), folder / "stability.png")


def _pair_row(pair: Pair, found: Stability) -> dict[str, Any]:
    n_active = {member.label: int(member.effects.mask.sum()) for member in found.members}
    scores = {name: getattr(pair.agreement, name) for name in SCORES}
    return {
        **{"kind": pair.kind, "first": pair.first, "second": pair.second},
        **scores,
        **{"n_active_first": n_active[pair.first], "n_active_second": n_active[pair.second]},
    }


def _perturbation_rows(found: Stability, n_training_cells: np.ndarray) -> list[dict[str, Any]]:
    """Worst first: mean and lowest F1 over the pairs of each kind, and how many latents are active in each fit."""
    agreement, rows = found.perturbation_f1, []
    for p in worst_first(agreement):
        row = {"perturbation": found.perturbation_names[p], "n_training_cells": n_training_cells[p]}
        for kind, values in agreement.items():
            row |= {f"{kind}_f1_mean": values[:, p].mean(), f"{kind}_f1_min": values[:, p].min()}
        rows.append(row | {f"n_active_{m.label}": m.effects.mask[p].sum() for m in found.members})
    return rows


def _mask_rows(found: Stability) -> list[dict[str, Any]]:
    return [
        {
            "fit": member.label,
            "perturbation": name,
            "latent": latent,
            "inclusion_probability": member.effects.inclusion_probability[p, latent],
            "effect_mean": member.effects.mean[p, latent],
        }
        for member in found.members
        for p, name in enumerate(found.perturbation_names)
        for latent in range(member.effects.mean.shape[1])
    ]


def summary(found: Stability, truth_scores: dict[str, float]) -> str:
    """Mean and lowest agreement, and the perturbations that agree least."""
    rows = []
    for kind in KINDS:
        pairs = found.of_kind(kind)
        if pairs:
            names = ("f1_mean", "f1_min", "f1_shuffled_mean", "same_mask_mean", "effect_correlation_mean")
            values = {name: f"{found.scores[f'stability/{kind}/{name}']:.3f}" for name in names}
            rows.append({"pairs": f"{len(pairs)} of {kind}", **values})
    means = np.stack([values.mean(axis=0) for values in found.perturbation_f1.values()], axis=1)
    worst = [p for p in worst_first(found.perturbation_f1) if means[p].min() < 1]
    named = [f"{found.perturbation_names[p]} {'/'.join(f'{mean:.2f}' for mean in means[p])}" for p in worst]
    kinds = "/".join(found.perturbation_f1)
    n_active = [int(member.effects.mask.sum()) for member in found.members]
    size = found.members[0].effects.mask.size
    lines = [markdown_table(rows), f"active entries: {min(n_active)} to {max(n_active)} of {size} in each fit"]
    if not any(n_active):
        return f"{lines[0]}\n{lines[1]}; empty masks agree without saying anything: train longer"
    lines += [f"perturbations that agree least (mean F1, {kinds}): {listing(named, N_NAMED)}"]
    if truth_scores:
        scores = [value for name, value in truth_scores.items() if name.endswith("/f1")]
        lines.append(f"masks against the truth: F1 {min(scores):.3f} to {max(scores):.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
