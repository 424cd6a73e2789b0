"""Dose-response curves on the page and as a table: the right numbers in the right places."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from samsjax.evaluation.dose_response import Band, DoseResponse, Observed
from samsjax.reporting import dose_curves, dose_panels, dose_response_table, render, report

DOSE = np.array([0.05, 1.0, 20.0])
MEASURED = np.array([0.1, 10.0])


def band(mean):
    return Band(mean, *(mean + step for step in (-0.2, -0.1, 0.1, 0.2)))


def response(perturbation="A", n_latent=1, sign=1.0):
    gate = np.linspace(0.1, 0.9, 3)[:, None] * np.ones(n_latent)
    effect = sign * np.linspace(0.1, 0.9, 3)[:, None] * np.array([2.0, -1.0])
    seen = Observed(MEASURED, np.array([[0.3, -0.1], [1.9, np.nan]]), np.array([[0.1, 0.2], [0.1, np.nan]]))
    half = band(np.arange(1.0, n_latent + 1))
    return DoseResponse(perturbation, np.array(["g7", "g2"]), DOSE, band(effect), band(gate), half, seen)


@pytest.fixture(scope="module")
def table():
    linear = response("B")._replace(gate=None, half_dose=None)
    return dose_response_table([response(), linear, response("C", n_latent=2)])


def test_a_panel_shows_the_gene_that_answers_most():
    panels = dose_panels([response(), response("B", sign=-1)])
    assert list(panels) == ["A, g7", "B, g7"]
    model, measured = panels["A, g7"]["model"], panels["A, g7"]["measured"]
    assert_allclose(model.effect, [0.2, 1.0, 1.8])
    ends = np.array([model.low, model.inner_low, model.inner_high, model.high])
    assert_allclose(ends - model.effect, np.tile([[-0.2], [-0.1], [0.1], [0.2]], 3))
    assert not model.points and measured.points
    assert_allclose(measured.dose, MEASURED)
    assert_allclose(measured.high - measured.low, 2 * 1.6449 * 0.1, rtol=1e-4)
    assert_allclose(measured.inner_high - measured.effect, 0.6745 * 0.1, rtol=1e-4)


def test_without_curves_there_are_no_panels():
    assert dose_panels([]) is None
    assert dose_response_table([]).empty


def test_the_table_holds_every_curve(table):
    counts = table.groupby(["perturbation", "quantity", "source"]).size().to_dict()
    assert counts == {
        ("A", "effect", "model"): 6, ("A", "effect", "measured"): 4, ("A", "gate", "model"): 3,
        ("A", "half_dose", "model"): 1, ("B", "effect", "model"): 6, ("B", "effect", "measured"): 4,
        ("C", "effect", "model"): 6, ("C", "effect", "measured"): 4, ("C", "gate", "model"): 6,
        ("C", "half_dose", "model"): 2,
    }  # fmt: skip


def test_rows_of_the_table_are_the_numbers_of_the_curves(table):
    rows = table.set_index(["perturbation", "quantity", "name", "source", "dose"])
    assert_allclose(rows.loc[("A", "effect", "g2", "model", 20.0)], [-0.9, -1.1, -1.0, -0.8, -0.7])
    assert_allclose(rows.loc[("A", "gate", "all", "model", 1.0)], [0.5, 0.3, 0.4, 0.6, 0.7])
    of_c = table[(table.perturbation == "C") & (table.quantity == "half_dose")]
    assert of_c.name.tolist() == ["0", "1"] and of_c.value.tolist() == [1.0, 2.0]
    assert of_c.dose.isna().all()
    seen = rows.loc[("A", "effect", "g2", "measured", 0.1)]
    assert_allclose(seen.value, -0.1)
    assert_allclose(seen.high_90 - seen.low_90, 2 * 1.6449 * 0.2, rtol=1e-4)
    assert rows.loc[("A", "effect", "g2", "measured", 10.0)].isna().all()


def test_the_table_survives_a_file(table, tmp_path):
    table.to_csv(tmp_path / "dose_response.csv", index=False)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "dose_response.csv", dtype={"name": object}), table)


def test_lines_have_bands_and_measured_effects_bars():
    figure = dose_curves(dose_panels([response()]), "effect")
    (ax,) = figure.axes
    model, points = (line for line in ax.lines if line.get_label() in ("model", "measured"))
    assert model.get_linestyle() == "-" and points.get_linestyle() == "None"
    assert_allclose(points.get_xdata(), MEASURED)
    assert ax.get_xscale() == "log"
    bands = [c for c in ax.collections if type(c).__name__ in ("PolyCollection", "FillBetweenPolyCollection")]
    bars = [c for c in ax.collections if type(c).__name__ == "LineCollection"]
    assert (len(bands), len(bars)) == (2, 2)


def test_the_page_has_a_section_of_doses():
    page = render(report("Screen", {}, doses=dose_panels([response()])))
    assert "Doses" in page and "50 % and 90 % intervals" in page
    assert "Doses" not in render(report("Screen", {"seed": 1}))
