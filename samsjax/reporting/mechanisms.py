"""Latent dimensions as mechanisms that people can read: the perturbations that act on each, and genes up and down."""

from typing import TYPE_CHECKING

import numpy as np

from samsjax.evaluation.gene_responses import GeneResponses, typical_steps
from samsjax.evaluation.posterior_effects import PosteriorEffects
from samsjax.inference.fitted import Fitted

if TYPE_CHECKING:
    import pandas as pd

UNUSED = "unused"
"""Name of a latent dimension on which no perturbation acts."""


def latent_names(fitted: Fitted, effects: PosteriorEffects, n_perturbations: int = 3) -> np.ndarray:
    """A short name of each latent dimension, str (latent,): the strongest perturbations on it, such as "IFNGR1/JAK2".

    Only those that move cells the way of the typical step (`typical_steps`), so that a name and the genes of a row of
    `mechanisms_table` can be read together. Names can repeat: perturbations may act together on several dimensions.
    Where genes themselves stand in place of latent dimensions, these are their names.
    """
    if not fitted.config.has_latent_space:
        return np.array(fitted.vocabulary.gene_names, dtype=object)
    along = effects.active & (np.sign(effects.mean) == np.sign(typical_steps(effects)))
    names = fitted.vocabulary.perturbation_names
    tops = (_strongest(effects.mean[:, k], along[:, k], n_perturbations) for k in range(along.shape[1]))
    return np.array(["/".join(names[t] for t in top) or UNUSED for top in tops], dtype=object)


def mechanisms_table(
    fitted: Fitted, effects: PosteriorEffects, responses: GeneResponses, *, n_perturbations: int = 5, n_genes: int = 10
) -> "pd.DataFrame":
    """One row per latent dimension: who acts on it, and what it does to genes.

    Columns: `latent`; `name` (`latent_names`); `n_perturbations` active on it; `step`, the typical movement by these,
    in standard deviations of the basal state's prior; `top_perturbations`, strongest first, with effect means as in
    `effects_table`; `genes_up` and `genes_down` by the step, strongest first. A perturbation whose effect has the sign
    of the step moves genes as listed, one of the other sign the opposite way. An unused dimension has empty cells.

    Args:
        fitted: the model.
        effects: its effects.
        responses: of its genes to the same effects.
        n_perturbations: most to name in `top_perturbations`.
        n_genes: most to name in each direction.
    """
    import pandas as pd  # late: importing samsjax stays light

    latents = range(effects.mean.shape[1])
    return pd.DataFrame(
        {
            "latent": list(latents),
            "name": latent_names(fitted, effects),
            "n_perturbations": effects.active.sum(axis=0),
            "step": responses.step,
            "top_perturbations": [_signed(fitted, effects, k, n_perturbations) for k in latents],
            "genes_up": [_risen(fitted, responses.response[k], n_genes) for k in latents],
            "genes_down": [_risen(fitted, -responses.response[k], n_genes) for k in latents],
        }
    )


def mechanisms_summary(table: "pd.DataFrame", *, n_shown: int = 8, n_genes: int = 3) -> str:
    """The mechanisms in use as a short text: those on which most perturbations act, with their first genes."""
    used = table[table.n_perturbations > 0].sort_values("n_perturbations", ascending=False, kind="stable")
    lines = [f"mechanisms that perturbations act on: {len(used)} of {len(table)} latent dimensions"]
    for row in used.head(n_shown).itertuples():
        both = {"up": _first(row.genes_up, n_genes), "down": _first(row.genes_down, n_genes)}
        genes = [f"{direction} {names}" for direction, names in both.items() if names]
        count = f"{row.n_perturbations} perturbation{'s' if row.n_perturbations > 1 else ''}"
        lines.append(f"  {row.latent:>3} {row.name} ({count}): {'; '.join(genes)}")
    if len(used) > n_shown:
        lines.append(f"  ... and {len(used) - n_shown} more in mechanisms.csv")
    return "\n".join(lines)


def _strongest(effect: np.ndarray, counted: np.ndarray, limit: int) -> np.ndarray:
    """Rows of the perturbations with the largest effects among those counted, strongest first."""
    order = np.argsort(-np.abs(effect), kind="stable")
    return order[counted[order]][:limit]


def _signed(fitted: Fitted, effects: PosteriorEffects, latent: int, limit: int) -> str:
    names, effect = fitted.vocabulary.perturbation_names, effects.mean[:, latent]
    top = _strongest(effect, effects.active[:, latent], limit)
    return ", ".join(f"{names[t]} {effect[t]:+.2f}" for t in top)


def _risen(fitted: Fitted, response: np.ndarray, limit: int) -> str:
    """Names of the genes that respond most, and up."""
    order = np.argsort(-response, kind="stable")[:limit]
    return ", ".join(fitted.vocabulary.gene_names[g] for g in order if response[g] > 0)


def _first(names: str, limit: int) -> str:
    return ", ".join(names.split(", ")[:limit])
