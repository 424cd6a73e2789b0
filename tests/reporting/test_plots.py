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
from samsjax.reporting import (
    agreement_matrix,
    effect_map,
    effect_maps,
    perturbation_agreement,
    save_figure,
    score_dots,
    stability_figure,
)
from samsjax.reporting.plots import MARKS, row_order

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
