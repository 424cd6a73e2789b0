"""The report of quality: all its numbers under flat names, equal for equal keys."""

import jax
import numpy as np
import pytest

import samsjax
from samsjax.errors import InputError
from samsjax.evaluation.model_effects import EffectsConfig
from samsjax.evaluation.quality import QualityConfig, quality_report
from tests import small

CONFIG = QualityConfig(n_cells=20, n_particles=4, min_cells=4, folds=2)
FEATURES = ("z_basal", "z_basal_label_hidden", "offset", "counts")
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def data():
    return small.labelled(small.screen())


@pytest.fixture(scope="module")
def fitted(data):
    return samsjax.fit(data, small.MODEL, small.TRAIN, progress=False)


def test_numbers_have_flat_names_and_follow_the_key(fitted, data):
    report = quality_report(KEY, fitted, data, CONFIG)
    metrics = report.metrics()
    probes = [
        f"quality/probe/{f}/{n}"
        for f in FEATURES
        for n in ("linear_auroc", "mlp_auroc", "linear_balanced_accuracy", "mlp_balanced_accuracy", "chance_error")
    ]
    # Labels here came without a rule: cells are judged by one learnt from counts, which has these two criteria.
    rates = [
        f"quality/pass_rate/{criterion}{source}"
        for criterion in ("", "n_counts/", "n_genes/")
        for source in ("generated", "baseline", "real", "real_good", "real_failed")
    ]
    distances = [f"quality/energy/{s}" for s in ("generated", "baseline", "other_quality", "half_split")]
    assert set(metrics) == {*probes, *rates, *distances}
    assert report.rates.rule.origin == "counts"
    assert np.isfinite(list(metrics.values())).all() and all(isinstance(value, float) for value in metrics.values())
    assert quality_report(KEY, fitted, data, CONFIG).metrics() == metrics


def test_data_without_held_out_cells_leave_only_what_is_generated(fitted, data):
    training = data.with_split(np.full(data.n_cells, "train"))
    metrics = quality_report(KEY, fitted, training, CONFIG).metrics()
    finite = {name for name, value in metrics.items() if np.isfinite(value)}
    assert finite == {n for n in metrics if n.endswith(("/generated", "/baseline")) and "/pass_rate/" in n}
    assert not any("/probe/" in name for name in metrics)


def test_what_does_not_fit_is_refused(fitted, data):
    with pytest.raises(InputError, match="no quality labels"):
        quality_report(KEY, fitted, small.screen(), CONFIG)
    with pytest.raises(InputError, match="the model knows no quality"):
        quality_report(KEY, fitted, data, CONFIG, EffectsConfig(fails=("failed",)))
    for name, value in (("n_cells", 1), ("folds", 1), ("max_treatments", -1), ("min_cells", 3), ("n_mads", 0.0)):
        with pytest.raises(InputError, match=name):
            QualityConfig(**{name: value})
