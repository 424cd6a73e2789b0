"""Baselines against closed forms, scikit-learn and brute force; what they may learn from."""

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge

import samsjax
from samsjax.data import treatments
from samsjax.errors import InputError
from samsjax.evaluation.baselines import (
    BASELINES,
    fit_baselines,
    load_training_effects,
    save_training_effects,
    training_effects,
)
from samsjax.evaluation.baselines.linear import PENALTIES, _blocks, best_penalty, leave_one_out
from samsjax.evaluation.baselines.training import conditions_of, multi_hot
from samsjax.evaluation.data_effects import data_effects
from tests import small
from tests.evaluation.toy_screens import screen_of


def fitted(name, data, transform="counts", **options):
    return fit_baselines(training_effects(data, treatments(data), transform, **options), [name])[0]


def predicted(name, data, transform="counts"):
    """Effects by label."""
    treated = treatments(data)
    return dict(zip(treated.labels, fitted(name, data, transform).effects(treated).ate, strict=True))


def repeated(rows):
    """Two equal cells of each treatment: label -> values."""
    labels = [label for label in rows for _ in range(2)]
    return labels, np.repeat(np.array(list(rows.values())), 2, axis=0)


@pytest.fixture(scope="module")
def combined():
    """Noisy continuous effects of singles and pairs; D occurs in one pair only, E+F in no training cell."""
    rng = np.random.default_rng(0)
    labels = ["ctrl", "A", "B", "C", "A+B", "B+C", "C+D", "A+C", "E+F", "A+E"]
    train = [label for label in labels if label not in ("E+F", "A+C", "A+E")]
    sizes = dict(zip(train, (9, 3, 5, 4, 8, 2, 6), strict=True))
    rows = [label for label in train for _ in range(sizes[label])]
    x = rng.standard_normal((len(rows), 7)) + np.array([train.index(label) for label in rows])[:, None] % 3
    held = ["E+F", "A+C", "A+E"]
    x = np.concatenate([x, rng.standard_normal((3, 7))]).astype(np.float32)
    return screen_of(rows + held, x, ["train"] * len(rows) + ["test"] * 3)


def test_every_baseline_speaks_of_every_treatment_in_the_scale_asked_for():
    data = small.screen()
    treated = treatments(data)
    for transform in samsjax.evaluation.TRANSFORMS:
        for baseline in fit_baselines(training_effects(data, treated, transform)):
            effects = baseline.effects(treated)
            assert effects.transform == transform
            assert_array_equal(effects.labels, treated.labels)
            assert effects.ate.shape == effects.standard_error.shape == (len(treated.labels), data.n_genes)
            if baseline.name != "low_rank":  # the perturbations of the simulation are no genes
                assert np.isfinite(effects.ate).all()
    assert all(entry.description for entry in BASELINES.values())


def test_held_out_cells_do_not_matter():
    data = small.screen()
    x = data.x.toarray()
    x[data.split != "train"] += 5
    changed = samsjax.PerturbationData(**{**data.__dict__, "x": x})
    treated = treatments(data)
    for one, other in zip(
        *(fit_baselines(training_effects(d, treated, "log2_cp10k")) for d in (data, changed)), strict=True
    ):
        assert_allclose(one.effects(treated).ate, other.effects(treated).ate, rtol=1e-4, atol=1e-5)


def test_own_training_mean_is_the_measured_effect_of_the_training_cells():
    data = small.screen()
    treated = treatments(data)
    measured = data_effects(data, treated, data.cells("train"))
    own = fitted("own_training_mean", data, "log2_cp10k").effects(treated)
    assert_allclose(own.of(measured.labels), measured.ate, rtol=1e-5, atol=1e-6)
    assert_allclose(own.standard_error, measured.standard_error, rtol=1e-5)
    assert_allclose(own.control_mean, measured.control_mean, rtol=1e-6)


def test_own_training_mean_is_silent_without_training_cells(combined):
    own = predicted("own_training_mean", combined)
    assert {label for label, row in own.items() if np.isnan(row).all()} == {"E+F", "A+C", "A+E"}
    assert sum(np.isnan(row).any() for row in own.values()) == 3


def test_means_over_treatments_count_each_treatment_once():
    labels, x = repeated({"ctrl": [1.0, 1.0], "A": [3.0, 1.0], "A+B": [1.0, 5.0], "C": [2.0, 0.0]})
    x = np.concatenate([x, x[2:3], x[2:3], x[:1], x[:1], x[:1]])
    held = ["A", "A", "B", "D", "B+D"]
    data = screen_of(labels + held, x, ["train"] * 10 + ["test"] * 3)
    assert_allclose(predicted("training_mean", data)["B"], np.mean([[2, 0], [0, 4], [1, -1]], axis=0))
    matching = predicted("matching_mean", data)
    assert_allclose(matching["A"], [1, 2])  # A and A+B
    assert_allclose(matching["B"], [0, 4])  # A+B
    assert_allclose(matching["D"], [1, 1])  # nothing: the mean of all
    assert_allclose(matching["B+D"], [0.5, 2.5])
    assert_array_equal(predicted("no_effect", data)["B"], 0.0)


@pytest.mark.parametrize("transform", ["counts", "cp10k"])
def test_additive_multiplies_counts(transform):
    # 1 + mean is (4, 8), A doubles the first, B makes the second half of it. The last gene fills rows up to one total.
    scale = 1 if transform == "counts" else 10
    rows = {"ctrl": [3, 7], "A": [7, 7], "B": [3, 3], "A+B": [0, 0], "A@3": [0, 0], "B+D": [0, 0]}
    labels, x = repeated({label: [*row, 1000 - sum(row)] for label, row in rows.items()})
    bare = [label.split("@")[0] for label in labels]
    doses = [3.0 if "@" in label else 1.0 for label in labels]
    data = screen_of(bare, x, ["train"] * 6 + ["test"] * 6, doses)
    additive = predicted("additive", data, transform)
    if transform == "counts":
        assert_allclose(additive["A+B"][:2], [4, -4], rtol=1e-6)
        assert_allclose(additive["A@3"][:2], [4 * 8 - 4, 0], rtol=1e-6, atol=1e-6)  # three times the log change
    base, a, b = (1 + scale * np.array(row) for row in ([3, 7], [7, 7], [3, 3]))
    assert_allclose(additive["A+B"][:2], a * b / base - base, rtol=1e-5)
    assert_allclose(additive["A"][:2], a - base, rtol=1e-5, atol=1e-5)
    assert np.isnan(additive["B+D"]).all()


def test_additive_adds_log_changes_and_continuous_values(combined):
    additive, own = (predicted(name, combined) for name in ("additive", "own_training_mean"))
    assert_allclose(additive["A+B"], own["A"] + own["B"], rtol=1e-5)
    assert_allclose(additive["A+C"], own["A"] + own["C"], rtol=1e-5)
    assert np.isnan(additive["C+D"]).all()
    data = small.screen()
    additive, own = (predicted(name, data, "log2_cp10k") for name in ("additive", "own_training_mean"))
    double = next(label for label in own if "+" in label)
    assert_allclose(additive[double], sum(own[part] for part in double.split("+")), rtol=1e-5)


def test_additive_takes_the_nearest_dose_in_proportion():
    labels = ["ctrl", "ctrl", "A", "A", "A", "A"]
    x = np.array([[0.0], [0.0], [1.0], [6.0], [0.0], [0.0]])
    data = screen_of(labels, x, ["train"] * 4 + ["test"] * 2, [1, 1, 1, 3, 2, 4.5])
    additive = predicted("additive", data)
    assert_allclose(additive["A@4.5"], 9.0)  # 6 at dose 3
    assert_allclose(additive["A@2"], 2.0)  # as near to 1 as to 3: the smaller


def test_nearest_shares_perturbations_or_correlates(combined):
    nearest, own = (predicted(name, combined) for name in ("nearest", "own_training_mean"))
    # A+C: A and C have Jaccard 1/2; C has more training cells. E+F shares nothing. A+E: A is 1/2, A+B only 1/3.
    assert_array_equal(nearest["A+C"], own["C"])
    assert_array_equal(nearest["A+E"], own["A"])
    assert np.isnan(nearest["E+F"]).all()
    trained = [label for label, row in own.items() if np.isfinite(row).all()]
    for label in trained:
        others = [other for other in trained if other != label]
        best = max(others, key=lambda other, label=label: np.corrcoef(own[label], own[other])[0, 1])
        assert_array_equal(nearest[label], own[best])


def test_nearest_prefers_the_nearest_dose():
    labels = ["ctrl", "ctrl", "A", "A", "A", "A"]
    x = np.array([[0.0, 1], [0.0, 1], [1.0, 1], [6.0, 1], [6.0, 1], [0.0, 1]])
    data = screen_of(labels, x, ["train"] * 5 + ["test"], [1, 1, 1, 3, 3, 1.5])
    assert_allclose(predicted("nearest", data)["A@1.5"], [1.0, 0.0])


def test_ridge_is_that_of_scikit_learn_at_the_penalty_of_the_smallest_left_out_error(combined):
    treated = treatments(combined)
    training = training_effects(combined, treated, "counts")
    dosage = multi_hot(training.conditions, len(training.perturbation_names)).toarray()
    weight = training.n_cells / training.n_cells.mean()
    n = len(weight)
    root = np.sqrt(weight)
    blocks = _blocks(
        multi_hot(training.conditions, dosage.shape[1]).multiply(root[:, None]).tocsr(), root[:, None] * training.effect
    )
    errors = []
    for penalty in PENALTIES:
        error = 0.0
        for left_out in range(n):
            kept = np.arange(n) != left_out
            ridge = Ridge(penalty, fit_intercept=False, solver="cholesky")
            ridge.fit(dosage[kept], training.effect[kept], sample_weight=weight[kept])
            difference = ridge.predict(dosage[left_out : left_out + 1])[0] - training.effect[left_out]
            error += weight[left_out] * (difference**2).sum()
        errors.append(error)
        assert_allclose(leave_one_out(blocks, penalty), error, rtol=1e-6)
    assert 0 < int(np.argmin(errors)) < len(PENALTIES) - 1
    ridge = Ridge(PENALTIES[np.argmin(errors)], fit_intercept=False, solver="cholesky")
    ridge.fit(dosage, training.effect, sample_weight=weight)
    expected = ridge.predict(multi_hot(conditions_of(treated), dosage.shape[1]).toarray())
    assert_allclose(fitted("ridge", combined).effects(treated).ate, expected, rtol=1e-4, atol=1e-5)


def test_ridge_shrinks_least_where_nothing_can_be_left_out():
    assert best_penalty([2.0 * (1 + 1e-13), 2.0, *[2.0] * (len(PENALTIES) - 2)]) == PENALTIES[0]
    labels, x = repeated({"ctrl": [0.0, 0.0], "A": [1.0, 2.0], "B": [-3.0, 0.0]})
    ridge = predicted("ridge", screen_of(labels, x))
    assert_allclose(ridge["A"], np.array([1.0, 2.0]) / (1 + PENALTIES[0]), rtol=1e-6)


def test_low_rank_is_its_formula_and_silent_about_targets_off_the_panel():
    rng = np.random.default_rng(1)
    genes = [f"G{i}" for i in range(14)]
    singles = [*genes[:12], "drug"]
    labels = [label for label in ["ctrl", *singles] for _ in range(3)]
    x = rng.standard_normal((len(labels), 14)) * 2
    held = ["G0+G1", "G12", "G0+drug"]
    x = np.concatenate([x, rng.standard_normal((3, 14))]).astype(np.float32)
    data = screen_of(labels + held, x, ["train"] * len(labels) + ["test"] * 3, gene_names=genes)
    training = training_effects(data, treatments(data), "counts")
    y = training.effect.T
    mean = y.mean(axis=1, keepdims=True)
    g = np.linalg.svd(y - mean)[0][:, :10]
    on_panel = [place for place, label in enumerate(training.labels) if label != "drug"]
    p = np.stack([g[genes.index(label)] for label in training.labels[on_panel]])
    ridge = 0.1 * np.eye(10)
    w = np.linalg.inv(g.T @ g + ridge) @ g.T @ (y - mean)[:, on_panel] @ p @ np.linalg.inv(p.T @ p + ridge)
    low_rank = predicted("low_rank", data)
    assert_allclose(low_rank["G3"], (g @ w @ g[3]) + mean[:, 0], rtol=1e-4, atol=1e-5)
    assert_allclose(low_rank["G12"], (g @ w @ g[12]) + mean[:, 0], rtol=1e-4, atol=1e-5)
    assert_allclose(low_rank["G0+G1"], g @ w @ (g[0] + g[1]) + mean[:, 0], rtol=1e-4, atol=1e-5)
    assert np.isnan(low_rank["drug"]).all() and np.isnan(low_rank["G0+drug"]).all()


def test_cells_are_training_controls_moved_by_the_effect():
    data = small.screen()
    treated = treatments(data)
    baseline = fitted("own_training_mean", data, "log2_cp10k")
    cells = baseline.cells(jax.random.key(0), treated, 2, 400)
    moved_back = cells - baseline.effects(treated).ate[2]
    controls = baseline.training.controls.toarray()
    distance = np.abs(moved_back[:, None] - controls[None]).max(axis=-1)
    assert distance.min(axis=1).max() < 1e-4
    assert len(np.unique(distance.argmin(axis=1))) == len(controls)  # every control is drawn by now


def test_training_cells_need_controls_and_treated_ones():
    data = small.screen()
    treated = treatments(data)
    controls = np.flatnonzero(treated.assignment < 0)
    for cells in (controls, np.setdiff1d(np.arange(data.n_cells), controls)):
        with pytest.raises(samsjax.InputError, match="treated ones and controls"):
            training_effects(data, treated, "log2_cp10k", cells)
    with pytest.raises(samsjax.InputError, match="Did you mean 'training_mean'"):
        fit_baselines(training_effects(data, treated, "log2_cp10k"), ["traning_mean"])


def test_training_effects_survive_the_disk(tmp_path):
    data = small.screen()
    treated = treatments(data)
    training = training_effects(data, treated, "log2_cp10k")
    save_training_effects(training, tmp_path / "training.npz")
    loaded = load_training_effects(tmp_path / "training.npz")
    assert loaded.conditions == training.conditions and loaded.whole_counts == training.whole_counts
    assert loaded.transform == "log2_cp10k"
    for one, other in zip(fit_baselines(training), fit_baselines(loaded), strict=True):
        assert one.name == other.name
        assert_allclose(other.effects(treated).ate, one.effects(treated).ate, atol=1e-4)
    assert loaded.controls.shape[0] == min(500, training.controls.shape[0])
    with pytest.raises(InputError, match="no training effects"):
        load_training_effects(tmp_path / "absent.npz")
    (tmp_path / "training.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="damaged"):
        load_training_effects(tmp_path / "training.npz")
