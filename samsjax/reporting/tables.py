"""Tables: effects as a data frame, rows as Markdown, and the few numbers a terminal shows at the end of a run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from samsjax.errors import listing
from samsjax.evaluation.posterior_effects import PosteriorEffects
from samsjax.inference.fitted import Fitted
from samsjax.inference.rotating import RotationReport
from samsjax.reporting.mechanisms import latent_names

if TYPE_CHECKING:
    import pandas as pd

CLOSE = 1.01
"""L1 norm of another basis, over that of the best, below which the best is not unique."""
REFERENCES = ("train", "val", "test", "all")


def effects_table(fitted: Fitted, effects: PosteriorEffects) -> "pd.DataFrame":
    """One row per perturbation and latent dimension: inclusion probability, effect mean and sd, training cells.

    `latent_name` is that of `latent_names`. The effect is mask x embedding, in standard deviations of the basal state's
    prior, at dosage 1.
    """
    import pandas as pd  # late: importing samsjax stays light

    n_perturbations, n_latent = effects.mean.shape
    return pd.DataFrame(
        {
            "perturbation": np.repeat(fitted.vocabulary.perturbation_names, n_latent),
            "latent": np.tile(np.arange(n_latent), n_perturbations),
            "latent_name": np.tile(latent_names(fitted, effects), n_perturbations),
            "inclusion_probability": effects.inclusion_probability.ravel(),
            "effect_mean": effects.mean.ravel(),
            "effect_sd": effects.sd.ravel(),
            "n_training_cells": np.repeat(fitted.n_training_cells, n_latent),
        }
    )


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table with the keys of the first as header."""
    header = list(rows[0])
    lines = [header, ["---"] * len(header), *([_cell(row[name]) for name in header] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def metrics_summary(metrics: Mapping[str, float]) -> str:
    """The metrics as a short aligned text: bounds, effects by reference, masks, time and memory."""
    lines = ["predictive IWELBO (nats per cell, higher is better)"]
    lines += [f"  {split:<8}{metrics[name]:12.3f}" for split, name in _present(metrics, "{}/predictive_iwelbo")]
    scores = ("pearson", "pearson_top20", "r2", "r2_top20")
    lines += [
        "treatment effects, model against measured (best 1)",
        "  reference cells" + "".join(f"{s:>15}" for s in scores),
    ]
    for reference, name in _present(metrics, "ate/{}/pearson"):
        values = "".join(f"{metrics[name.replace('pearson', score)]:15.3f}" for score in scores)
        lines.append(f"  {reference:<15}{values}")
    if "mask/f1" in metrics:
        parts = ", ".join(f"{score} {metrics[f'mask/{score}']:.3f}" for score in ("precision", "recall", "f1"))
        lines.append(f"masks against the truth: {parts}")
    if "time/train_s" in metrics:
        lines.append(
            f"{metrics['time/steps']:.0f} steps in {metrics['time/train_s']:.1f} s, compiled in "
            f"{metrics['time/compile_s']:.1f} s; evaluated in {metrics['time/evaluate_s']:.1f} s; "
            f"peak memory {metrics['memory/peak_gb']:.2f} GB"
        )
    return "\n".join(lines)


def rotations_summary(rotations: Sequence[RotationReport]) -> str:
    """One line on how latent space was rotated, and a second one if the last basis is not the only one; "" if never."""
    if not rotations:
        return ""
    last = rotations[-1]
    line = (
        f"latent space rotated after epochs {listing(str(report.epoch) for report in rotations)}; last basis: "
        f"{last.directions_in_use} directions in use, {last.active_entries} effects stand out, found from "
        f"{last.agreeing:.0%} of the starts"
    )
    if last.l1_next < CLOSE * last.l1:
        line += "\nanother basis is as sparse to a per cent: the data may not tell the two apart, see rotations.csv"
    return line


def _present(metrics: Mapping[str, float], pattern: str) -> list[tuple[str, str]]:
    return [(name, pattern.format(name)) for name in REFERENCES if pattern.format(name) in metrics]
