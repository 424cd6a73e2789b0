"""Scores and interactions as data frames, and the scores as the few lines a terminal shows."""

from typing import TYPE_CHECKING

import numpy as np

from samsjax.evaluation.interactions import Interactions
from samsjax.evaluation.scores import Scores

if TYPE_CHECKING:
    import pandas as pd

SHOWN = ("pearson_delta", "mse_delta", "discrimination_score_l2")
"""Metrics printed at the end of a run, as far as they were computed."""
HALVES, PERFECT = "half_split", "perfect"
"""Names of the rows of ceilings: one half of the measured cells against the other, and what the truth would score."""


def scores_table(scores: Scores) -> "pd.DataFrame":
    """One row per predictor and metric: mean over treatments with 90 % interval, and how many treatments are in it.

    The last rows are ceilings: `half_split`, one half of the measured cells as a prediction of the other, and
    `perfect`, what the true effects would score, where that is known. `model_is` says
    whether the first predictor (the model) is better, worse or undecided against that of the row, on the treatments
    both can predict; `difference`, `difference_low` and `difference_high` say by how much, positive where the model is
    better, on `n_compared` treatments. Means of predictors that cover other treatments do not compare, differences do.
    """
    import pandas as pd  # late: importing samsjax stays light

    verdicts = {(v.predictor, v.metric): v for v in scores.verdicts}
    rows = []
    for p, predictor in enumerate(scores.predictors):
        for m, metric in enumerate(scores.metrics):
            verdict = verdicts.get((predictor, metric.name))
            rows.append(
                {
                    "predictor": predictor,
                    "metric": metric.name,
                    "mean": scores.mean[p, m],
                    "low": scores.mean_low[p, m],
                    "high": scores.mean_high[p, m],
                    "n_treatments": int(scores.n_scored[p, m]),
                    "higher_is_better": metric.higher_is_better,
                    "model_is": "" if verdict is None or np.isnan(verdict.difference) else verdict.says,
                    "difference": np.nan if verdict is None else verdict.difference,
                    "difference_low": np.nan if verdict is None else verdict.low,
                    "difference_high": np.nan if verdict is None else verdict.high,
                    "n_compared": 0 if verdict is None else verdict.n_treatments,
                }
            )
    for m, metric in enumerate(scores.metrics):
        known = int((~np.isnan(scores.ceiling[m])).sum())
        for name, value in ((HALVES, scores.ceiling_mean[m]), (PERFECT, scores.perfect[m])):
            mean = {"predictor": name, "metric": metric.name, "mean": value, "n_treatments": known}
            rows.append(mean | {"higher_is_better": metric.higher_is_better, "model_is": "", "n_compared": 0})
    return pd.DataFrame(rows)


def treatment_scores_table(scores: Scores) -> "pd.DataFrame":
    """One row per treatment, predictor and metric: value, 90 % interval, ceiling; unscored treatments with a reason."""
    import pandas as pd

    n_predictors, n_metrics, n_treatments = scores.value.shape
    metrics = [metric.name for metric in scores.metrics]
    table = pd.DataFrame(
        {
            "treatment": np.tile(scores.labels, n_predictors * n_metrics),
            "in_training": np.tile(scores.seen, n_predictors * n_metrics),
            "n_cells": np.tile(scores.n_cells, n_predictors * n_metrics),
            "predictor": np.repeat(scores.predictors, n_metrics * n_treatments),
            "metric": np.tile(np.repeat(metrics, n_treatments), n_predictors),
            "value": scores.value.ravel(),
            "low": scores.low.ravel(),
            "high": scores.high.ravel(),
            "ceiling": np.tile(scores.ceiling.ravel(), n_predictors),
        }
    )
    unscored = pd.DataFrame([{"treatment": u.label, "n_cells": u.n_cells, "reason": u.reason} for u in scores.unscored])
    return pd.concat([table, unscored], ignore_index=True) if len(unscored) else table


def interactions_table(found: Interactions) -> "pd.DataFrame":
    """One row per combination: sizes of the departure from additivity, model against data; why parts are missing."""
    import pandas as pd

    columns = {"combination": found.labels, **found.summary._asdict(), "not_defined_because": found.reason}
    return pd.DataFrame(columns)


def scores_summary(scores: Scores) -> str:
    """Mean scores of all predictors by a few metrics, verdicts by the first, ceilings, and what to beware of."""
    known = {metric.name: m for m, metric in enumerate(scores.metrics)}
    shown = [name for name in SHOWN if name in known]
    width = max(len(name) for name in (*scores.predictors, HALVES)) + 2
    ways = [f"{name} ({'higher' if scores.metrics[known[name]].higher_is_better else 'lower'})" for name in shown]
    columns = [max(len(way), 22) + 2 for way in ways]
    head = "".join(f"{way:>{n}}" for way, n in zip(ways, columns, strict=True))
    head += f"   the model is, by {shown[0]} (treatments)" if shown else ""
    lines = [
        f"mean over {len(scores.labels)} treatments measured in {scores.split} cells; 90 % intervals (which is better)",
        f"  {'':<{width}}{head}",
    ]
    for p, predictor in enumerate(scores.predictors):
        cells = [_interval(scores.mean[p, m], scores.mean_low[p, m], scores.mean_high[p, m]) for m in _of(known, shown)]
        line = f"  {predictor:<{width}}" + "".join(f"{c:>{n}}" for c, n in zip(cells, columns, strict=True))
        lines.append(f"{line}   {_verdict(scores, predictor, shown[0])}".rstrip() if shown else line)
    for name, values in ((HALVES, scores.ceiling_mean), (PERFECT, scores.perfect)):
        cells = ["not known" if np.isnan(values[m]) else f"{values[m]:.3f}" for m in _of(known, shown)]
        lines.append(f"  {name:<{width}}" + "".join(f"{c:>{n}}" for c, n in zip(cells, columns, strict=True)))
    return "\n".join([*lines, *(f"  note: {caveat}" for caveat in scores.caveats)])


def _verdict(scores: Scores, predictor: str, metric: str) -> str:
    """What the model is against a predictor on the treatments both predict, such as "better by 0.103 (24)"."""
    for verdict in scores.verdicts:
        if (verdict.predictor, verdict.metric) == (predictor, metric) and not np.isnan(verdict.difference):
            size = "" if verdict.says == "undecided" else f" by {abs(verdict.difference):.3f}"
            return f"{verdict.says}{size} ({verdict.n_treatments})"
    return ""


def _of(known: dict[str, int], names: list[str]) -> list[int]:
    return [known[name] for name in names]


def _interval(mean: float, low: float, high: float) -> str:
    return "not defined" if np.isnan(mean) else f"{mean:.3f} ({low:.3f}, {high:.3f})"
