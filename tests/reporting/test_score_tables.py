"""Scores as data frames and as lines of a terminal: every number in its place, and nothing that was not said."""

import numpy as np
import pytest

from samsjax.reporting import scores_summary, scores_table, treatment_scores_table
from tests.reporting.example import scores

LABELS = ["A", "B", "C", "A+B"]


@pytest.fixture
def found():
    return scores(np.random.default_rng(0), LABELS)


def test_means_differences_and_ceilings(found):
    table = scores_table(found).set_index(["predictor", "metric"])
    n_predictors, n_metrics, _ = found.value.shape
    assert len(table) == (n_predictors + 2) * n_metrics
    for p, predictor in enumerate(found.predictors):
        for m, metric in enumerate(found.metrics):
            row = table.loc[predictor, metric.name]
            np.testing.assert_array_equal(
                row[["mean", "low", "high"]].astype(float),
                [found.mean[p, m], found.mean_low[p, m], found.mean_high[p, m]],
            )
            assert row.n_treatments == found.n_scored[p, m]
    for verdict in found.verdicts:
        row = table.loc[verdict.predictor, verdict.metric]
        np.testing.assert_array_equal(row.difference, verdict.difference)
        assert row.n_compared == verdict.n_treatments
        assert row.model_is == ("" if np.isnan(verdict.difference) else verdict.says)
    for m, metric in enumerate(found.metrics):
        assert table.loc["half_split", metric.name]["mean"] == found.ceiling_mean[m]
        np.testing.assert_array_equal(table.loc["perfect", metric.name]["mean"], found.perfect[m])


def test_every_treatment_has_its_value_and_the_unscored_their_reason(found):
    table = treatment_scores_table(found)
    n_predictors, n_metrics, n_treatments = found.value.shape
    assert len(table) == n_predictors * n_metrics * n_treatments + len(found.unscored)
    row = table.set_index(["predictor", "metric", "treatment"]).loc[found.predictors[1], found.metrics[2].name, "C"]
    np.testing.assert_array_equal(row[["value", "low", "high"]].astype(float), [
        found.value[1, 2, 2], found.low[1, 2, 2], found.high[1, 2, 2]
    ])  # fmt: skip
    last = table.iloc[-1]
    assert (last.treatment, last.n_cells, last.reason) == tuple(found.unscored[-1])


def test_the_terminal_shows_verdicts_and_caveats(found):
    text = scores_summary(found)
    lines = {line.split("  ")[1]: line for line in text.splitlines() if line.startswith("  ") and "note:" not in line}
    for verdict in found.verdicts:
        if verdict.metric == "pearson_delta" and not np.isnan(verdict.difference):
            assert f"{verdict.says}" in lines[verdict.predictor] and f"({verdict.n_treatments})" in text
    assert all(f"note: {caveat}" in text for caveat in found.caveats)
    assert "not defined" in text and "half_split" in text and "perfect" in text
