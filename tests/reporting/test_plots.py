"""Figures: the Axes hold the numbers they should, in the order they should, and files are the same every time."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from samsjax.errors import InputError
from samsjax.evaluation import Member, PosteriorEffects, stability
from samsjax.evaluation.gene_responses import GeneResponses
from samsjax.reporting import (
    DoseCurve,
    agreement_matrix,
    calibration_curve,
    dose_curves,
    effect_map,
    effect_maps,
    effect_scatter,
    effect_scatters,
    effects_plane,
    mask_map,
    perturbation_agreement,
    predictive_check,
    programme_bars,
    save_figure,
    score_comparison,
    score_dots,
    stability_figure,
    training_curves,
)
from samsjax.reporting.plots import MARKS, row_order
from samsjax.reporting.plots.base import spread
from samsjax.reporting.plots.effects import plane
from tests.reporting.example import scores

MATRIX = np.array([[1.0, 0.25, 0.5], [0.25, 1.0, 0.75], [0.5, 0.75, 1.0]])
LABELS = ("seed-0", "seed-1", "half-1a")
EFFECTS = np.array([[0.0, 0.0, 0.0], [0.0, -3.0, 1.0], [2.0, 0.0, 0.0], [0.0, 1.5, 0.5], [-2.5, 0.1, 0.0]])


def texts(labels):
    return [label.get_text() for label in labels]


def colour_bar(axes):
    (bar,) = (other for other in axes.figure.axes if other is not axes)
    return bar


def test_a_matrix_shows_its_numbers():
    axes = agreement_matrix(MATRIX, LABELS)
    (image,) = axes.images
    np.testing.assert_array_equal(image.get_array(), MATRIX)
    assert image.get_clim() == (0, 1)
    written = {(t.get_position()[1], t.get_position()[0]): float(t.get_text()) for t in axes.texts}
    assert written == dict(np.ndenumerate(MATRIX))
    assert texts(axes.get_xticklabels()) == texts(axes.get_yticklabels()) == list(LABELS)
    assert "F1" in colour_bar(axes).get_ylabel()


def test_a_large_matrix_has_no_numbers():
    assert len(agreement_matrix(np.eye(12), list(range(12))).texts) == 144
    assert not agreement_matrix(np.eye(13), list(range(13))).texts


def test_perturbations_stand_worst_first_with_mean_and_range():
    agreement = {"seeds": np.array([[1.0, 0.2, 0.8], [1.0, 0.6, 0.6]]), "halves": np.array([[1.0, 0.5, 0.5]])}
    axes = perturbation_agreement(agreement, ["A", "B", "C"])
    assert texts(axes.get_yticklabels()) == ["B", "C", "A"]
    bottom, top = axes.get_ylim()
    assert bottom > top  # the first stands on top
    seeds, halves = axes.lines
    np.testing.assert_allclose(seeds.get_xdata(), [0.4, 0.7, 1.0])
    np.testing.assert_allclose(halves.get_xdata(), [0.5, 0.5, 1.0])
    ranges = [segment[:, 0].tolist() for segment in axes.collections[0].get_segments()]
    np.testing.assert_allclose(ranges, [[0.2, 0.6], [0.6, 0.8], [1.0, 1.0]])
    for line in (seeds, halves):
        assert np.abs(line.get_ydata() - np.arange(3)).max() < 0.25
    assert texts(axes.get_legend().get_texts()) == ["seeds (2 pairs)", "halves (1 pair)"]
    assert [(line.get_marker(), to_hex(line.get_color()).upper()) for line in axes.lines] == list(MARKS[:2])


def test_of_many_perturbations_the_worst_are_shown():
    names = np.array([f"P{i}" for i in range(150)])
    axes = perturbation_agreement({"seeds": np.linspace(1, 0, 150)[None]}, names)
    assert texts(axes.get_yticklabels()) == names[:49:-1].tolist()
    assert "100 of 150" in axes.get_title()


def test_effects_are_ordered_by_their_dominant_latent():
    assert row_order(EFFECTS).tolist() == [2, 4, 3, 1, 0]
    assert row_order(-EFFECTS).tolist() == [4, 2, 1, 3, 0]
    assert row_order(np.zeros((3, 2))).tolist() == [0, 1, 2]
    axes = effect_map(EFFECTS, list("abcde"), title="after")
    (image,) = axes.images
    np.testing.assert_array_equal(image.get_array(), EFFECTS[[2, 4, 3, 1, 0]])
    assert texts(axes.get_yticklabels()) == ["c", "e", "d", "b", "a"] and axes.get_title() == "after"
    assert all(place == int(place) for place in axes.get_xticks())  # latents have whole numbers
    given = effect_map(EFFECTS, list("abcde"), order=False)
    np.testing.assert_array_equal(given.images[0].get_array(), EFFECTS)
    assert texts(given.get_yticklabels()) == list("abcde")


def test_colours_of_effects_are_symmetric():
    axes = effect_map(EFFECTS)
    assert axes.images[0].get_clim() == (-3.0, 3.0)
    assert colour_bar(axes).get_ylabel() == "effect, sd of the basal state"
    assert effect_map(EFFECTS, limit=5).images[0].get_clim() == (-5, 5)
    assert effect_map(np.zeros((2, 2))).images[0].get_clim() == (-1, 1)


def test_names_that_cannot_be_read_are_not_written():
    axes = effect_map(np.ones((101, 2)), [f"P{i}" for i in range(101)])
    assert not texts(axes.get_yticklabels()) and axes.get_ylabel() == "101 perturbations"


def test_figures_draw_where_they_are_told():
    figure = Figure()
    before, after = figure.subplots(1, 2)
    assert effect_map(EFFECTS, ax=before) is before and effect_map(EFFECTS, ax=after) is after
    assert len(figure.axes) == 4  # and their two colour bars


@pytest.fixture(scope="module")
def found():
    rng = np.random.default_rng(0)
    fits = [(rng.random((30, 4)) < 0.3).astype(np.float32) for _ in range(4)]
    divisions = (None, None, 1, 1)
    members = [
        Member(f"fit {i}", divisions[i], PosteriorEffects(p, 2 * p, np.ones_like(p), True)) for i, p in enumerate(fits)
    ]
    return stability(members, np.array([f"P{i}" for i in range(30)]))


def test_both_views_are_those_of_the_comparison(found):
    figure = stability_figure(found)
    matrix, perturbations = figure.axes[0], next(axes for axes in figure.axes if axes.get_legend())
    np.testing.assert_array_equal(matrix.images[0].get_array(), found.matrix)
    assert len(perturbations.get_yticklabels()) == 30
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in perturbations.get_yticklabels()]
    assert all(above.y0 >= below.y1 - 1 for above, below in pairwise(boxes))  # names do not overlap


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_files_are_the_same_every_time(found, tmp_path, suffix):
    for name in ("one", "two"):
        save_figure(stability_figure(found), tmp_path / f"{name}{suffix}")
    one, two = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("one", "two"))
    assert one == two and b"<dc:date>" not in one and b"Software" not in one


def test_refusals(tmp_path, monkeypatch):
    for call, text in (
        (lambda: agreement_matrix(MATRIX, LABELS[:2]), "2 labels for a matrix of shape"),
        (lambda: perturbation_agreement({}, []), "1 to 3 kinds"),
        (lambda: perturbation_agreement({"seeds": np.ones((1, 2))}, ["A"]), "1 names for agreement over seeds of 2"),
        (lambda: effect_map(EFFECTS, ["A"]), "1 names for effects of 5 perturbations"),
        (lambda: effect_map(EFFECTS, limit=0), "limit must be > 0, got 0"),
        (lambda: save_figure(Figure(), tmp_path / "a.jpg"), r"unknown figure format '.jpg'.*\.png, \.svg"),
    ):
        with pytest.raises(InputError, match=text):
            call()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"pip install 'samsjax\[plot\]'"):
        effect_map(EFFECTS)


def test_importing_does_not_import_matplotlib():
    code = "import sys, samsjax.reporting.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_maps_share_rows_and_colours():
    figure = effect_maps({"truth": EFFECTS, "found": 10 * EFFECTS[:, :2]})
    truth, found = (ax for ax in figure.axes if ax.images)
    order = row_order(EFFECTS)
    np.testing.assert_array_equal(truth.images[0].get_array(), EFFECTS[order])
    np.testing.assert_array_equal(found.images[0].get_array(), 10 * EFFECTS[order, :2])
    assert truth.images[0].get_clim() == found.images[0].get_clim() == (-3.0, 3.0)
    assert (truth.get_title(), found.get_title()) == ("truth", "found")
    with pytest.raises(InputError, match="'found' has 4 perturbations, and the first map 5"):
        effect_maps({"truth": EFFECTS, "found": EFFECTS[:4]})


def test_scores_stand_in_the_rows_of_their_cases():
    axes = score_dots({"before": {"easy": [0.4, 0.5], "hard": [0.3]}, "after": {"hard": [0.7]}}, "F1")
    assert texts(axes.get_yticklabels()) == ["easy", "hard"]
    before, after = axes.lines
    np.testing.assert_array_equal(np.c_[before.get_xdata(), before.get_ydata()], [[0.4, 0], [0.5, 0], [0.3, 1]])
    np.testing.assert_array_equal(np.c_[after.get_xdata(), after.get_ydata()], [[0.7, 1]])
    means = [segment[:, 0].mean() for segment in axes.collections[0].get_segments()]
    np.testing.assert_allclose(means, [0.45, 0.3])
    with pytest.raises(InputError, match="1 to 3 groups"):
        score_dots({}, "F1")


def history(n=20, rotated=(8,)):
    rows = [{"epoch": e, "train_objective": -100.0 - 500 / e, "val_elbo": -102.0 - 500 / e} for e in range(1, n + 1)]
    return [row | ({"rotated": 1.0} if row["epoch"] in rotated else {}) for row in rows]


def test_training_shows_both_bounds_and_every_rotation():
    axes = training_curves(history(), best_epoch=15)
    train, val, rotation, kept = axes.lines
    np.testing.assert_array_equal(train.get_xdata(), np.arange(1, 21))
    np.testing.assert_allclose(val.get_ydata(), train.get_ydata() - 2)
    assert list(rotation.get_xdata()) == [8, 8] and kept.get_xdata() == [15]
    assert train.get_linestyle() != val.get_linestyle()
    assert texts(axes.get_legend().get_texts()) == [
        "training cells",
        "validation cells",
        "latent space rotated",
        "kept",
    ]
    assert axes.get_ylim()[0] > min(train.get_ydata())  # the first climb would hide the rest
    assert "below the frame" in axes.get_title(loc="left")
    twice = training_curves(history(rotated=(8, 12)))
    assert len(twice.lines) == 4 and len(twice.get_legend().get_texts()) == 3  # named once
    without = [row | {"val_elbo": np.nan} for row in history(rotated=())]
    assert texts(training_curves(without, best_epoch=3).get_legend().get_texts()) == ["training cells"]
    level = training_curves([{"epoch": 1, "train_objective": -5.0}])
    assert level.get_title(loc="left") == "" and level.lines[0].get_marker() == "."


def test_scatter_names_the_genes_that_change_most():
    measured, predicted = np.array([0.0, -3.0, 1.0, 2.0]), np.array([0.5, -1.0, 1.5, 2.0])
    error = np.full(4, 0.25)
    axes = effect_scatter(measured, predicted, "KLF1", list("abcd"), measured_error=error, n_labels=2)
    assert sorted(texts(axes.texts)) == ["b", "d"] and axes.get_title() == "KLF1"
    places = {text.get_text(): text.xy for text in axes.texts}
    assert places == {"b": (-3.0, -1.0), "d": (2.0, 2.0)}
    (bars,) = axes.collections
    assert sorted(s[:, 0].tolist() for s in bars.get_segments()) == [[-3.25, -2.75], [1.75, 2.25]]
    assert axes.get_xlim() == axes.get_ylim() and axes.get_xlim()[1] > 3
    rest = axes.lines[3]
    assert rest.get_xdata().tolist() == [0.0, 1.0] and rest.get_ydata().tolist() == [0.5, 1.5]
    assert not effect_scatter(measured, predicted, "x", list("abcd"), n_labels=0).texts


def test_small_multiples_show_the_first_treatments():
    effects = np.random.default_rng(0).normal(size=(5, 6))
    figure = effect_scatters(effects, effects, [f"T{i}" for i in range(5)], list("abcdef"), n_shown=3)
    assert [ax.get_title() for ax in figure.axes if ax.axison] == ["T0", "T1", "T2"]


def test_names_keep_apart_and_in_order():
    rng = np.random.default_rng(0)
    for _ in range(20):
        places = np.sort(rng.normal(size=6))
        moved = spread(places, 0.3, (-2.0, 2.0))
        assert (np.diff(moved) >= 0.3 - 1e-9).all() and moved[0] >= -2 - 1e-9 and moved[-1] <= 2 + 1e-9
    np.testing.assert_allclose(spread(np.array([0.0, 1.0]), 0.3, (-2, 2)), [0, 1])  # nothing to do
    np.testing.assert_allclose(spread(np.zeros(2), 1.0, (-2, 2)), [-0.5, 0.5])  # as little as needed
    assert len(spread(np.empty(0), 1.0, (0, 1))) == 0


def test_predictors_stand_in_order_with_interval_and_ceiling():
    found = scores(np.random.default_rng(0), ["A", "B", "A+B"])
    figure = score_comparison(found, ["mse", "pearson_delta"])
    mse, pearson = (ax for ax in figure.axes if ax.axison)
    assert (mse.get_title(), pearson.get_title()) == ("mse", "pearson_delta")
    assert texts(mse.get_yticklabels()) == list(found.predictors) and not any(texts(pearson.get_yticklabels()))
    assert (mse.get_xlabel(), pearson.get_xlabel()) == ("← better", "better →")
    intervals = [line for line in pearson.lines if len(line.get_xdata()) == 2 and line.get_linestyle() == "-"]
    drawn = [[*line.get_xdata(), line.get_ydata()[0]] for line in intervals]
    np.testing.assert_allclose(drawn, [[found.mean_low[p, 0], found.mean_high[p, 0], p] for p in range(4)])
    dots = [line for line in pearson.lines if len(line.get_xdata()) == 1]
    np.testing.assert_allclose([line.get_xdata()[0] for line in dots], found.mean[:4, 0])
    assert [line.get_marker() for line in dots] == ["D", "o", "o", "o"]
    assert any(list(line.get_xdata()) == [0.8, 0.8] for line in pearson.lines)
    assert [text.get_position()[1] for text in pearson.texts if text.get_text() == "not defined"] == [4]
    unknown = found._replace(ceiling_mean=np.full(3, np.nan))
    assert "ceiling" not in texts(score_comparison(unknown, ["mse"]).axes[0].texts)
    assert len([ax for ax in score_comparison(found).axes if ax.axison]) == 3


def test_mask_map_leaves_out_unused_latents_and_joins_what_is_alike():
    probability = np.zeros((6, 5))
    probability[[0, 2, 4], 1] = 0.9
    probability[[1, 3, 5], 4] = 0.8
    probability[:, 2] = 0.4  # never likely
    names = list("abcdef")
    axes = mask_map(probability, names, latent_names=[f"L{k}" for k in range(5)])
    (image,) = axes.images
    assert image.get_array().shape == (6, 2) and image.get_clim() == (0, 1)
    shown = texts(axes.get_yticklabels())
    assert {frozenset(shown[:3]), frozenset(shown[3:])} == {frozenset("ace"), frozenset("bdf")}
    columns = [int(text.split()[1]) for text in texts(axes.get_xticklabels())]
    assert sorted(columns) == [1, 4] and "2 of 5" in axes.get_xlabel()
    np.testing.assert_array_equal(image.get_array(), probability[[names.index(n) for n in shown]][:, columns])
    given = mask_map(probability, names, clustered=False)
    assert texts(given.get_yticklabels()) == names and texts(given.get_xticklabels()) == ["1", "4"]
    many = mask_map(np.tile(probability, (20, 1)), [str(i) for i in range(120)])
    assert not texts(many.get_yticklabels()) and many.get_ylabel() == "120 perturbations"


def test_perturbations_lie_in_the_plane_of_their_effects():
    rng = np.random.default_rng(0)
    inside = rng.normal(size=(8, 2)) @ rng.normal(size=(2, 7))  # of rank 2: the plane holds everything
    places, share = plane(inside)
    np.testing.assert_allclose(places @ places.T, inside @ inside.T, atol=1e-9)  # lengths and angles are kept
    assert share.sum() == pytest.approx(1) and share[0] >= share[1]
    np.testing.assert_allclose(plane(-inside)[0], places * np.sign((places * plane(-inside)[0]).sum(0)), atol=1e-9)
    assert (places[np.abs(places).argmax(axis=0), [0, 1]] > 0).all()
    axes = effects_plane(inside, list("abcdefgh"), n_labels=3)
    farthest = np.argsort(-np.linalg.norm(places, axis=1))[:3]
    assert sorted(texts(axes.texts)) == sorted("abcdefgh"[t] for t in farthest)
    np.testing.assert_allclose(np.c_[axes.lines[2].get_data()], places)
    assert plane(np.zeros((3, 3)))[1].tolist() == [0, 0]


def test_programmes_show_genes_that_rise_above_those_that_fall():
    response = np.array([[1.0, -2.0, 0.5, 0.0], [0.0] * 4, [5.0, 4.0, 3.0, 2.0]])
    responses = GeneResponses(np.array([1.0, 0.0, -1.0]), response, "log2_cp10k")
    figure = programme_bars(responses, list("abcd"), ["x", "unused", "y"], n_genes=2)
    strongest, other = (ax for ax in figure.axes if ax.axison)
    assert (strongest.get_title(), other.get_title()) == ("2  y", "0  x")
    assert texts(strongest.get_yticklabels()) == ["a", "b"] and texts(other.get_yticklabels()) == ["a", "c", "b"]
    assert [bar.get_width() for bar in other.patches] == [1.0, 0.5, -2.0]
    bottom, top = other.get_ylim()
    assert bottom > top  # the first stands on top


def test_doses_have_their_own_panels():
    dose = np.array([0.1, 1.0, 10.0])
    curve = DoseCurve(dose, dose, dose - 1, dose + 1)
    near = curve._replace(dose=np.array([1.0, 2.0, 3.0]))
    figure = dose_curves({"A": {"model": curve, "measured": curve}, "B": {"measured": near}}, "effect")
    a, b = (ax for ax in figure.axes if ax.axison)
    assert (a.get_title(), a.get_xscale(), b.get_xscale()) == ("A", "log", "linear")
    assert [line.get_marker() for line in a.lines[1:]] == ["o", "D"]
    assert b.lines[1].get_marker() == "D"  # a line looks the same in all panels
    vertices = a.collections[0].get_paths()[0].vertices
    assert vertices[:, 1].min() == -0.9 and vertices[:, 1].max() == 11


def test_calibration_stands_against_the_diagonal():
    nominal = np.array([0.5, 0.9])
    axes = calibration_curve(nominal, {"genes": np.array([0.4, np.nan]), "cells": nominal})
    diagonal, genes, cells = axes.lines
    np.testing.assert_array_equal(diagonal.get_data(), [[0, 1], [0, 1]])
    np.testing.assert_array_equal(genes.get_ydata(), [0.4, np.nan])
    np.testing.assert_array_equal(cells.get_ydata(), nominal)
    assert genes.get_marker() != cells.get_marker()


def test_drawn_cells_beside_measured_ones():
    rng = np.random.default_rng(0)
    measured, simulated = rng.poisson(3.0, (30, 8)), rng.poisson(1.0, (40, 8))
    measured[:, 0] = 0  # never seen on one side
    means, variances, zeros, totals = predictive_check(measured, simulated).axes
    x, y = means.lines[0].get_data()
    assert np.isnan(x[0])
    np.testing.assert_allclose(x[1:], measured.mean(axis=0)[1:])
    np.testing.assert_allclose(y, simulated.mean(axis=0))
    by_name = {line.get_label(): line for line in variances.lines}
    np.testing.assert_allclose(by_name["simulated"].get_ydata(), simulated.var(axis=0))
    share = {line.get_label(): line.get_ydata() for line in zeros.lines}
    assert share["measured"][0] == 1 and share["simulated"].max() < 1
    below = {line.get_label(): line.get_data() for line in totals.lines}
    places, shares = below["measured"]
    assert places[-1] == measured.sum(axis=1).max() and shares[-1] == 1


def test_refusals_of_results():
    effects, names = np.ones((2, 3)), ["A", "B"]
    responses = GeneResponses(np.zeros(2), np.zeros((2, 3)), "counts")
    curve = DoseCurve(np.ones(2), np.ones(2), np.ones(3), np.ones(2))
    found = scores(np.random.default_rng(0), ["A", "B", "C"])
    for call, text in (
        (lambda: training_curves([]), "a row per epoch"),
        (lambda: effect_scatter(effects[0], effects[0, :2], "A", "abc"), r"predicted has shape \(2,\), and measured"),
        (lambda: effect_scatter(effects[0], effects[0], "A", "ab"), "2 names for effects of 3 genes"),
        (lambda: effect_scatters(effects, effects, ["A"], "abc"), "1 names for effects of 2 treatments"),
        (lambda: effect_scatters(effects[:0], effects[:0], [], "abc"), "no treatment"),
        (lambda: score_comparison(found, ["pearson"]), "unknown metric 'pearson'.*pearson_delta"),
        (lambda: score_comparison(found, []), "no metric"),
        (lambda: mask_map(2 * effects, names), "from 0 to 1"),
        (lambda: mask_map(effects, names, latent_names=names), "2 names for probabilities of 3 latent dimensions"),
        (lambda: effects_plane(effects[:1], ["A"]), r"at least 2 perturbations.*\(1, 3\)"),
        (lambda: programme_bars(responses, "abc", names), "no latent dimension is in use"),
        (lambda: dose_curves({}, "x"), "no perturbation"),
        (lambda: dose_curves({"A": {"m": curve}}, "x"), r"low has shape \(3,\), and dose \(2,\)"),
        (lambda: calibration_curve(np.ones(2), {}), "1 to 3 kinds"),
        (lambda: calibration_curve(np.ones(2), {"a": np.full(2, 1.5)}), "'a' must hold shares from 0 to 1, got 1.5"),
        (lambda: calibration_curve(np.ones(2), {"a": np.ones(3)}), r"'a' has \(3,\) levels"),
        (lambda: predictive_check(np.ones((2, 3)), np.ones((2, 4))), "3 genes, and simulated ones 4"),
        (lambda: predictive_check(np.ones((1, 3)), np.ones((2, 3))), r"measured must be .* at least 2 cells.*\(1, 3\)"),
    ):
        with pytest.raises(InputError, match=text):
            call()
