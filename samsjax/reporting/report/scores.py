"""Scores in words, as a figure, and as tables."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from samsjax.errors import unknown_name
from samsjax.evaluation.average_effects import AverageEffects
from samsjax.evaluation.scores import Scores, Verdict
from samsjax.evaluation.transforms import transform_named
from samsjax.inference.fitted import Fitted
from samsjax.reporting.page import Block, Bullets, Column, Figure, Folded, Interval, Section, Table, Text
from samsjax.reporting.page.numbers import fitting_decimals, number
from samsjax.reporting.plots import effect_scatters, score_comparison
from samsjax.reporting.report.frames import column, interval_rows

HEADLINES = ("pearson_delta", "mse_delta", "discrimination_score_l2")
"""Metrics told in words and by treatment, where none are named; without these, the first three."""
DRAWN = (*HEADLINES, "pearson_delta_centroid", "jaccard_top20", "edistance")
"""Metrics in the figure, as far as they were computed; without these, the first six."""
SMALL_MULTIPLES = 12
ROUNDING = 1e-12
"""Differences below are those of sums taken in another order."""
INTERVAL = "90\u00a0% interval"


def headline_metrics(scores: Scores, names: Sequence[str] | None) -> list[int]:
    """Positions of the metrics to tell about: those named, or those of `HEADLINES`.

    Raises:
        InputError: for a metric that was not computed.
    """
    known = [metric.name for metric in scores.metrics]
    for name in names or ():
        if name not in known:
            raise unknown_name("metric", name, known)
    chosen = _first_known(HEADLINES, known) if names is None else names
    return [known.index(name) for name in chosen]


def _first_known(wanted: Sequence[str], known: list[str]) -> list[str]:
    """Those of `wanted` that are known; if none is, as many of the first ones known."""
    return [name for name in wanted if name in known] or known[: len(wanted)]


def scores_section(scores: Scores | None, headlines: Sequence[str] | None = None) -> Section:
    """Whether the model is better than each baseline, in words; then all predictors and metrics."""
    if scores is None:
        return Section("Scores", [])
    shown = [scores.metrics[m].name for m in headline_metrics(scores, headlines)]
    ways = "; ".join(f"`{m.name}`: {m.description.rstrip('.')}" for m in scores.metrics if m.name in shown)
    intro = (
        f"Effects of {len(scores.labels)} treatments, measured in the {scores.split} cells against "
        f"{scores.n_controls:,} control cells, in {transform_named(scores.transform).unit}. {ways}."
    )
    reading = (
        f"Differences below are those between {scores.predictors[0]} and a baseline, averaged over the treatments that "
        f"both can predict, with {INTERVAL}; positive means that {scores.predictors[0]} is better, whatever the "
        "metric. Undecided: the interval holds zero."
    )
    caption = (
        f"Mean score over treatments with {INTERVAL} (bootstrap over cells). Diamond: the model; circles: baselines; "
        "dashed line: one half of the measured cells scored against the other, which is what an experiment with half "
        "the cells would reach, and a predictor with less noise can pass it; dotted line: what a perfect prediction "
        "would score against the noisy measurement, where that is known."
    )
    model = scores.predictors[0]
    drawn = _first_known(DRAWN, [metric.name for metric in scores.metrics])
    alt = f"Dots with intervals for {len(scores.predictors)} predictors in {len(drawn)} metrics; {model} on top."
    blocks: list[Block] = [
        Text(intro),
        Text(reading),
        Bullets([verdict_sentence(scores, other, shown) for other in scores.predictors[1:]]),
        Figure(partial(score_comparison, scores, drawn), caption, alt),
        _score_table(scores),
        Folded("What predictors and metrics are", [_predictors_table(scores), _metrics_table(scores)]),
    ]
    return Section("Scores", [block for block in blocks if not (isinstance(block, Bullets) and not block.items)])


def verdict_sentence(scores: Scores, other: str, metrics: Sequence[str]) -> str:
    """Whether the model is better than another predictor, by each of these metrics."""
    found = {v.metric: v for v in scores.verdicts if v.predictor == other and not np.isnan(v.difference)}
    said = [found[name] for name in metrics if name in found]
    model = scores.predictors[0]
    if not said:
        return f"{_upper(model)} and {other} cannot be compared: no treatment that both can predict."
    parts = []
    for says, words in (("better", "better by"), ("worse", "worse by"), ("undecided", "undecided by")):
        of_kind = [_difference(verdict) for verdict in said if verdict.says == says]
        if of_kind:
            parts.append(f"{words} {_joined(of_kind)}")
    ns = sorted({v.n_treatments for v in said})
    n = str(ns[0]) if len(ns) == 1 else f"{ns[0]} to {ns[-1]}"
    return f"{_upper(model)} against {other} on {n} treatments: {'; '.join(parts)}."


def caveats_section(scores: Scores | None) -> Section:
    """What a reader of the scores must know."""
    return Section("Caveats", [Bullets(scores.caveats)] if scores is not None and scores.caveats else [])


def treatments_section(
    scores: Scores | None,
    measured: AverageEffects | None,
    predicted: AverageEffects | None,
    fitted: Fitted | None,
    headlines: Sequence[str] | None = None,
) -> Section:
    """Each treatment: scatter plots of the strongest and the worst predicted ones, and scores."""
    blocks: list[Block] = []
    if measured is not None and predicted is not None and fitted is not None:
        blocks += _scatters(scores, measured, predicted, fitted.vocabulary.gene_names, headlines)
    if scores is not None:
        blocks.append(_treatment_table(scores, headline_metrics(scores, headlines)))
        if scores.unscored:
            rows = [tuple(treatment) for treatment in scores.unscored]
            columns = [Column("treatment"), Column("cells", "number"), Column("reason")]
            table = Table(columns, rows, "Treatments that are not scored.", searchable=True)
            blocks.append(Folded("Treatments that are not scored", [table]))
    return Section("Treatments", blocks)


def _score_table(scores: Scores) -> Table:
    rows = []
    for m, metric in enumerate(scores.metrics):
        means = interval_rows(scores.mean[:, m], scores.mean_low[:, m], scores.mean_high[:, m])
        for p, predictor in enumerate(scores.predictors):
            half, perfect, n = float(scores.ceiling_mean[m]), float(scores.perfect[m]), int(scores.n_scored[p, m])
            way = "higher" if metric.higher_is_better else "lower"
            rows.append((predictor, metric.name, Interval(*means[p]), half, perfect, n, way))
    columns = [
        Column("predictor"),
        Column("metric"),
        Column("mean score", "interval", 3, hint=INTERVAL),
        Column("half split", "number", 3),
        Column("perfect", "number", 3, hint="estimated"),
        Column("treatments", "number", 0),
        Column("better"),
    ]
    caption = "Scores of all predictors: means over the treatments where a score is defined."
    return Table(columns, rows, caption, searchable=True, shown=max(15, 2 * len(scores.predictors)))


def _treatment_table(scores: Scores, metrics: Sequence[int]) -> Table:
    columns = [Column("treatment"), Column("in training"), Column("cells", "number", 0)]
    values: list[list[Any]] = [column(scores.labels), column(scores.seen), column(scores.n_cells)]
    for m in metrics:
        name = scores.metrics[m].name
        decimals = fitting_decimals(scores.value[0, m])
        columns.append(Column(name, "interval", decimals, hint=f"{scores.predictors[0]}, {INTERVAL}"))
        values.append(interval_rows(scores.value[0, m], scores.low[0, m], scores.high[0, m]))
        columns += [Column(title, "number", decimals, hint=name) for title in ("best baseline", "half split")]
        values += [
            column(_best(scores.value[1:, m], higher_is_better=scores.metrics[m].higher_is_better)),
            column(scores.ceiling[m]),
        ]
    caption = (
        "Each treatment: the model's score with interval, best score of any baseline there (chosen after the fact), "
        "and one half of the cells against the other."
    )
    return Table(columns, list(zip(*values, strict=True)), caption, searchable=True)


def _best(values: np.ndarray, *, higher_is_better: bool) -> np.ndarray:
    """Best over predictors (predictor, treatment); NaN where none has a score."""
    worst = -np.inf if higher_is_better else np.inf
    filled = np.where(np.isnan(values), worst, values)
    best = filled.max(axis=0, initial=worst) if higher_is_better else filled.min(axis=0, initial=worst)
    return np.where(np.isinf(best), np.nan, best)


def _scatters(
    scores: Scores | None,
    measured: AverageEffects,
    predicted: AverageEffects,
    gene_names: Sequence[str],
    headlines: Sequence[str] | None,
) -> list[Block]:
    places = {str(label): i for i, label in enumerate(predicted.labels) if not np.isnan(predicted.ate[i]).any()}
    known = [
        i for i, label in enumerate(measured.labels) if str(label) in places and not np.isnan(measured.ate[i]).any()
    ]
    if not known:
        return []
    labels, truth = np.asarray(measured.labels)[known], measured.ate[known]
    guess = predicted.ate[[places[str(label)] for label in labels]]
    unit = transform_named(measured.transform).unit

    def figure(order: np.ndarray, which: str) -> Figure:
        chosen = order[:SMALL_MULTIPLES]
        draw = partial(effect_scatters, truth[chosen], guess[chosen], labels[chosen], gene_names)
        caption = (
            f"Predicted against measured effects on genes ({unit}) for the {len(chosen)} treatments {which}. A dot is "
            "a gene, those that change most are named, and on the dotted line both agree."
        )
        return Figure(
            draw, caption, f"Scatter plots of predicted against measured effects: {', '.join(labels[chosen])}."
        )

    blocks: list[Block] = [
        figure(
            np.argsort(-_strength(truth, measured.standard_error[known]), kind="stable"), "with the strongest effects"
        )
    ]
    if scores is not None and len(known) > SMALL_MULTIPLES:
        m = headline_metrics(scores, headlines)[0]
        # Against the half split: where there is no effect, nothing can be predicted, and nothing is missed.
        shortfall = (scores.value[0, m] - scores.ceiling[m]) * (1 if scores.metrics[m].higher_is_better else -1)
        of_label = dict(zip(map(str, scores.labels), shortfall, strict=True))
        order = np.argsort([of_label.get(str(label), np.nan) for label in labels], kind="stable")  # NaN comes last
        blocks.append(figure(order, f"that the model falls short of most, {scores.metrics[m].name} against half split"))
    return blocks


def _strength(effect: np.ndarray, standard_error: np.ndarray) -> np.ndarray:
    """Squared size over genes of measured effects (treatment, gene), beyond what their noise gives."""
    return (effect.astype(float) ** 2 - np.nan_to_num(standard_error.astype(float)) ** 2).sum(axis=1)


def _predictors_table(scores: Scores) -> Table:
    rows = list(zip(scores.predictors, scores.predictor_descriptions, strict=True))
    return Table([Column("predictor"), Column("how it predicts")], rows, "Predictors.")


def _metrics_table(scores: Scores) -> Table:
    metrics = scores.metrics
    rows = [(m.name, m.description, m.reference, "higher" if m.higher_is_better else "lower", m.best) for m in metrics]
    columns = [Column("metric"), Column("meaning"), Column("reference"), Column("better"), Column("perfect", "number")]
    return Table(columns, rows, "Metrics.")


def _difference(verdict: Verdict) -> str:
    found = (verdict.difference, verdict.low, verdict.high)
    values = [0.0 if abs(value) < ROUNDING else value for value in found]
    mean, low, high = (number(value, fitting_decimals(values[1:]), signed=True) for value in values)
    return f"`{verdict.metric}` ({mean}, {low} to {high})"


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _upper(name: str) -> str:
    return f"The {name}" if name == "model" else name[:1].upper() + name[1:]
