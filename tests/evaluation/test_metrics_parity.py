"""Metrics, masks and measured effects against the reference."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from samsjax.data import PerturbationData, treatments
from samsjax.data.encoding import encode_labels
from samsjax.evaluation.data_effects import data_effects
from samsjax.evaluation.masks import mask_agreement
from samsjax.evaluation.metrics import effect_scores


def test_effect_scores_match_reference(parity):
    numbers = parity("ate_metrics")
    scores = effect_scores(numbers["data_ate"], numbers["model_ate"])
    names = {
        "pearson": "ATE_pearsonr",
        "r2": "ATE_r2",
        "pearson_top20": "ATE_pearsonr_top20",
        "r2_top20": "ATE_r2_top20",
    }
    for ours, theirs in names.items():
        assert_allclose(scores[ours], numbers[theirs], rtol=1e-5)


@pytest.mark.parametrize("case", ["case0", "case1", "case2"])
def test_mask_agreement_matches_reference(parity, case):
    numbers = parity("mask_stats")
    agreement = mask_agreement(numbers[f"{case}.mask_true"], numbers[f"{case}.mask_est"])
    for name in ("precision", "recall", "f1"):
        assert_allclose(getattr(agreement, name), numbers[f"{case}.{name}"], rtol=1e-6)


def test_mask_agreement_of_empty_masks():
    truth, nothing = np.eye(3, dtype=bool), np.zeros((3, 2), dtype=bool)
    assert mask_agreement(truth, nothing)[:3] == (0.0, 0.0, 0.0)
    assert mask_agreement(nothing, nothing)[:3] == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("method", "transform"), [("mean", "counts"), ("perturbseq", "log2_cp10k")])
def test_measured_effects_match_reference(parity, method, transform):
    numbers = parity("ate_data")
    x, labels = numbers["X"], numbers["labels"].astype(str)
    encoding = encode_labels(labels, control="ctrl")
    data = PerturbationData(
        x=x,
        perturbation_index=encoding.perturbation_index,
        dosage=encoding.dosage,
        library_size=x.sum(axis=1),
        gene_names=np.array([f"g{i}" for i in range(x.shape[1])]),
        perturbation_names=encoding.perturbation_names,
        cell_names=np.array([f"c{i}" for i in range(len(x))]),
        split=np.full(len(x), "test"),
        control_name="ctrl",
    )
    effects = data_effects(data, treatments(data), np.arange(len(x)), transform)
    assert set(effects.labels) == set(numbers[f"data_ate_order_{method}"])
    assert_allclose(
        effects.of(numbers[f"data_ate_order_{method}"]), numbers[f"data_ate_{method}"], rtol=1e-5, atol=1e-5
    )
    group, control = x[labels == effects.labels[0]], x[labels == "ctrl"]
    if transform == "counts":
        expected = np.sqrt(group.var(axis=0, ddof=1) / len(group) + control.var(axis=0, ddof=1) / len(control))
        assert_allclose(effects.standard_error[0], expected, rtol=1e-4)
    assert_array_equal(np.isfinite(effects.standard_error), True)
