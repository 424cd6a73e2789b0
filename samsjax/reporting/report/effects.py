"""Effects in latent space and the mechanisms behind them."""

from collections.abc import Mapping
from functools import partial

import numpy as np

from samsjax.evaluation.gene_responses import GeneResponses
from samsjax.evaluation.posterior_effects import CLEAR_ABOVE, PosteriorEffects
from samsjax.evaluation.transforms import transform_named
from samsjax.inference.fitted import Fitted
from samsjax.reporting.mechanisms import latent_names, mechanisms_table
from samsjax.reporting.page import Block, Column, Figure, Notice, Section, Table, Text
from samsjax.reporting.plots import effect_map, effects_plane, mask_map, programme_bars
from samsjax.reporting.report.frames import MOST_ROWS

GENES_LISTED = 6
MECHANISMS = "Mechanisms and their genes"
SIGN = (
    "The two ends of a latent dimension mean nothing by themselves: signs only tell perturbations that move cells the "
    "same way from those that move them the opposite way."
)


def effects_section(
    fitted: Fitted | None, effects: PosteriorEffects | None, truth: Mapping[str, float] | None = None
) -> Section:
    """Which perturbation acts on which latent dimension, how strongly, and how sure that is."""
    if fitted is None or effects is None:
        return Section("Effects", [])
    names = fitted.vocabulary.perturbation_names
    latents = latent_names(fitted, effects)
    n_active, used = int(effects.active.sum()), int(effects.active.any(axis=0).sum())
    acting = int(effects.active.any(axis=1).sum())
    rule = "inclusion probability above one half" if effects.sparse else f"a mean {CLEAR_ABOVE:g} sd or more from zero"
    blocks: list[Block] = [
        Text(
            f"{n_active:,} effects are active ({rule}): {acting} of {len(names)} perturbations act, on {used} of "
            f"{effects.mean.shape[1]} latent dimensions. {SIGN}"
        )
    ]
    if truth:
        found = ", ".join(f"{name.split('/')[-1].replace('_', ' ')} {value:.2f}" for name, value in truth.items())
        blocks.append(Text(f"The true masks of this simulation are known; the masks found have {found}."))
    if not n_active:
        return Section("Effects", [*blocks, Notice("No perturbation has an active effect.", "warning")])
    blocks.append(_map(names, latents, effects))
    if acting > 1 and effects.mean.shape[1] > 1:
        shown = effects.active.any(axis=1)
        caption = (
            "Perturbations that act, in the plane with most of their effects; the cross is no effect. Farther out "
            "is stronger, and the same direction means the same mechanisms. The farthest are named."
        )
        draw = partial(effects_plane, effects.mean[shown], np.asarray(names)[shown])
        blocks.append(Figure(draw, caption, f"A map of {acting} perturbations by their effects."))
    return Section("Effects", [*blocks, _active_table(fitted, effects, latents)])


def mechanisms_section(
    fitted: Fitted | None, effects: PosteriorEffects | None, responses: GeneResponses | None
) -> Section:
    """What each latent dimension in use does to genes."""
    if fitted is None or effects is None or responses is None or not effects.active.any():
        return Section(MECHANISMS, [])
    frame = mechanisms_table(fitted, effects, responses, n_genes=GENES_LISTED)
    frame = frame[frame.n_perturbations > 0].sort_values("n_perturbations", ascending=False, kind="stable")
    rows = [
        (f"{r.latent}  {r.name}", r.genes_up, r.genes_down, r.top_perturbations, int(r.n_perturbations), float(r.step))
        for r in frame.itertuples(index=False)
    ]
    columns = [
        Column("latent dimension"),
        Column("genes up"),
        Column("genes down"),
        Column("strongest perturbations"),
        Column("acting", "number", 0, hint="perturbations"),
        Column("step", "number", 2, signed=True, hint="basal sd"),
    ]
    caption = (
        "Latent dimensions in use: who acts on them, and which genes rise and fall most with the typical step. "
        "Perturbations whose effect has the sign of the step move genes as listed, others the opposite way."
    )
    unit = transform_named(responses.transform).unit
    draw = partial(programme_bars, responses, fitted.vocabulary.gene_names, latent_names(fitted, effects))
    figure_caption = (
        "Genes that rise (right) and fall (left) most when cells move along a latent dimension by the typical step; "
        f"expected expression, {unit}. The dimensions that move genes most."
    )
    figure = Figure(draw, figure_caption, "Bars of gene responses for each latent dimension in use.")
    return Section(MECHANISMS, [figure, Table(columns, rows, caption, searchable=True)])


def _map(names: tuple[str, ...], latents: np.ndarray, effects: PosteriorEffects) -> Figure:
    if effects.sparse:
        draw = partial(mask_map, effects.inclusion_probability, names, latent_names=latents)
        caption = (
            "Probability that a perturbation acts on a latent dimension, named by the perturbations that act on it "
            "most. Similar rows and columns are neighbours."
        )
        alt = f"A heat map of inclusion probabilities of {len(names)} perturbations."
        return Figure(draw, caption, alt)
    caption = "Posterior mean effects in standard deviations of the basal state; this model has no masks."
    return Figure(
        partial(effect_map, effects.mean, names), caption, f"A heat map of effects of {len(names)} perturbations."
    )


def _active_table(fitted: Fitted, effects: PosteriorEffects, latents: np.ndarray) -> Table:
    rows, columns = np.nonzero(effects.active)
    order = np.argsort(-np.abs(effects.mean[rows, columns]), kind="stable")
    listed = [
        (
            fitted.vocabulary.perturbation_names[t],
            f"{k}  {latents[k]}",
            float(effects.inclusion_probability[t, k]),
            float(effects.mean[t, k]),
            float(effects.sd[t, k]),
            int(fitted.n_training_cells[t]),
        )
        for t, k in zip(rows[order][:MOST_ROWS].tolist(), columns[order][:MOST_ROWS].tolist(), strict=True)
    ]
    titles = [
        Column("perturbation"),
        Column("latent dimension"),
        Column("probability", "number", 3, hint="of acting on it"),
        Column("effect", "number", 2, signed=True, hint="posterior mean"),
        Column("sd", "number", 2, hint="posterior"),
        Column("training cells", "number", 0),
    ]
    caption = "Active effects, strongest first, in standard deviations of the basal state at dosage 1."
    if len(order) > MOST_ROWS:
        caption += f" The strongest {MOST_ROWS:,} of {len(order):,}; effects.csv holds all."
    return Table(titles, listed, caption, searchable=True)
