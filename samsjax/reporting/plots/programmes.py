"""What movements along latent dimensions do to genes."""

from typing import TYPE_CHECKING

import numpy as np

from samsjax.errors import InputError
from samsjax.evaluation.gene_responses import GeneResponses
from samsjax.evaluation.transforms import transform_named
from samsjax.reporting.plots.base import BLUE, MUTED, SMALL, VERMILION, Names, check_names, panels, shortened, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def programme_bars(
    responses: GeneResponses, gene_names: Names, latent_names: Names, *, n_genes: int = 5, n_shown: int = 9
) -> "Figure":
    """A panel for each latent dimension in use: the genes that rise and fall most when cells move along it.

    Args:
        responses: as of `gene_responses`.
        gene_names: str (gene,).
        latent_names: str (latent,), as of `reporting.latent_names`.
        n_genes: most to show in each direction.
        n_shown: most latent dimensions to show: those that move genes most (sum of squared responses).

    Raises:
        InputError: if names do not fit, or no latent dimension is in use.
    """
    n_latent, all_genes = responses.response.shape
    check_names(gene_names, all_genes, "responses", "genes")
    check_names(latent_names, n_latent, "responses", "latent dimensions")
    used = np.flatnonzero(responses.step != 0)
    if not len(used):
        raise InputError("no latent dimension is in use: no perturbation acts on any")
    strength = (responses.response[used] ** 2).sum(axis=1)
    shown = used[np.argsort(-strength, kind="stable")][:n_shown]
    figure, axes = panels(len(shown), 2.9, 0.75 + 0.15 * 2 * n_genes, most_columns=3)
    for k, ax in zip(shown, axes, strict=True):
        _bars(ax, responses.response[k], gene_names, n_genes)
        ax.set_title(shortened(f"{k}  {latent_names[k]}"), fontsize=SMALL + 1.5)
    figure.supxlabel(f"change along the dimension, {transform_named(responses.transform).unit}", fontsize=SMALL + 1)
    return figure


def _bars(ax: "Axes", response: np.ndarray, gene_names: Names, n_genes: int) -> None:
    order = np.argsort(-response, kind="stable")
    up = [g for g in order[:n_genes] if response[g] > 0]
    down = [g for g in order[max(len(order) - n_genes, 0) :] if response[g] < 0]
    genes = [*up, *down]
    colours = [VERMILION if response[g] > 0 else BLUE for g in genes]
    ax.barh(range(len(genes)), response[genes], color=colours, height=0.72)
    ax.axvline(0, color=MUTED, linewidth=0.8)
    ax.set_yticks(range(len(genes)), [str(gene_names[g]) for g in genes], fontsize=SMALL)
    ax.set_ylim(2 * n_genes - 0.4, -0.6)
    ax.tick_params(axis="x", labelsize=SMALL)
    ax.tick_params(axis="y", length=0)
    tidy(ax)
