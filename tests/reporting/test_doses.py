"""Curves along doses: which perturbations have them, of which gene, and with what intervals."""

from types import SimpleNamespace

import numpy as np

from samsjax.data import treatments
from samsjax.evaluation.average_effects import AverageEffects
from samsjax.reporting import dose_responses
from tests.evaluation.toy_screens import screen_of

WORDS = SimpleNamespace(perturbation_names=("A", "B"), gene_names=("g0", "g1", "g2"))


def dosed():
    labels = ["ctrl", "A", "A", "A", "B", "A+B"]
    doses = [1, 3, 0.1, 1, 1, 1]
    return treatments(screen_of(labels, np.ones((6, 3), np.int64), doses=np.array(doses, float)))


def effects(treated, sign=1.0, width=None, skip=()):
    size = np.where(treated.dosage != 0, treated.dosage, 0).sum(axis=1)
    ate = sign * size[:, None] * np.array([0.1, -2.0, 0.5])
    keep = [i for i, label in enumerate(treated.labels) if label not in skip]
    values = [v[keep].astype(np.float32) for v in (ate, np.full_like(ate, 0.2))]
    ends = {} if width is None else {"sd": values[1], "low": values[0] - width, "high": values[0] + width}
    return AverageEffects(treated.labels[keep], *values, np.zeros(3), "log2_cp10k", **ends)


def test_doses_rise_and_the_gene_is_the_one_that_responds_most():
    treated = dosed()
    curves = dose_responses(treated, effects(treated, width=0.3), effects(treated, sign=0.9), WORDS)
    assert list(curves) == ["A, g1"]  # B was given alone at one dose
    model, measured = curves["A, g1"]["model"], curves["A, g1"]["measured"]
    np.testing.assert_allclose(model.dose, [0.1, 1, 3])
    np.testing.assert_allclose(model.effect, [-0.2, -2, -6], rtol=1e-6)
    np.testing.assert_allclose(model.high - model.effect, 0.3, rtol=1e-5)
    np.testing.assert_allclose(measured.effect, [-0.18, -1.8, -5.4], rtol=1e-6)
    np.testing.assert_allclose(measured.high - measured.low, 2 * 1.645 * 0.2, rtol=1e-5)


def test_what_was_not_measured_or_predicted_is_not_drawn():
    treated = dosed()
    curves = dose_responses(treated, effects(treated), effects(treated, skip=("A@3",)), WORDS)
    assert np.isnan(curves["A, g1"]["measured"].effect).tolist() == [False, False, True]
    assert np.isnan(curves["A, g1"]["model"].low).all()
    silent = effects(treated)
    silent.ate[:] = np.nan
    assert dose_responses(treated, silent, effects(treated), WORDS) is None
