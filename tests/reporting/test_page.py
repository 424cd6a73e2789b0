"""The page: one file that calls nothing, holds any text safely, and is the same everywhere and every time."""

import base64
import hashlib
import os
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as MatplotlibFigure

from samsjax.data.dataset import PerturbationData
from samsjax.errors import InputError
from samsjax.evaluation.scores import Verdict
from samsjax.reporting import render, report, write_page
from samsjax.reporting.page import (
    Bullets,
    Column,
    Facts,
    Figure,
    Folded,
    Interval,
    Notice,
    Page,
    Section,
    Table,
    Text,
)
from samsjax.reporting.page.numbers import fitting_decimals, number, plain
from samsjax.reporting.report.frames import MOST_ROWS, frame_table, settings_table
from samsjax.reporting.report.scores import verdict_sentence
from tests.reporting.example import example, scores

ODD = """<script>alert("1")</script> & 'x' "y" </style>--> \x00\ud800"""
VOID = {"wbr", "meta", "link", "img", "input", "br"}
IMPLIED = {"tr", "td", "th", "li"}
"""Elements that HTML ends by itself."""


class Tree(HTMLParser):
    """Elements with their attributes and text, and a check that all others are closed in turn."""

    inside = False
    """Text behind the end of an element belongs to none."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.texts = [], [], []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.texts.append("")
        self.inside = True
        if tag not in VOID | IMPLIED:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.texts[-1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def written(self, tag):
        return [text.strip() for (name, _), text in zip(self.elements, self.texts, strict=True) if name == tag]


def parsed(html):
    tree = Tree()
    tree.feed(html)
    tree.close()
    assert tree.open == []
    return tree


def page(*blocks):
    return Page("A title", "", [Section("A section", blocks)])


def small_figure():
    figure = MatplotlibFigure(figsize=(2, 1))
    figure.add_subplot().plot([0, 1], [0, 1])
    return figure


def cells_of(table):
    tree = parsed(render(page(table)))
    return [text for tag, text in zip((t for t, _ in tree.elements), tree.texts, strict=True) if tag == "td"]


def test_any_text_is_shown_as_it_is():
    blocks = (
        Text(ODD),
        Bullets([ODD]),
        Notice(ODD, "warning"),
        Facts([(ODD, ODD)]),
        Folded(ODD, [Text(ODD)]),
        Table([Column(ODD, hint=ODD), Column(ODD)], [(ODD, ODD)], ODD, searchable=True),
        Figure(small_figure, ODD, ODD),
    )
    html = render(Page(ODD, ODD, [Section(ODD, blocks)]))
    html.encode("utf-8")
    tree = parsed(html)
    assert len(tree.all("script")) == 1  # that of the page
    shown = ODD.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    for tag in ("title", "h1", "h2", "li", "dt", "dd", "summary", "td", "small"):
        assert shown in tree.written(tag), tag
    assert tree.all("img")[0]["alt"] == shown


def test_backticks_make_code_and_nothing_else():
    tree = parsed(render(page(Text("run `a <b>` now"))))
    assert tree.written("code") == ["a <b>"] and tree.all("b") == []


def test_nothing_outside_the_file_is_named_or_allowed(whole):
    tree = parsed(whole)
    addresses = [a[key] for _, a in tree.elements for key in ("src", "href", "action", "srcset") if key in a]
    assert addresses and all(address.startswith(("#", "data:")) for address in addresses)
    assert not re.search(r"url\(|@import", whole.split("</style>")[0])
    assert all("style" not in a and not any(k.startswith("on") for k in a) for _, a in tree.elements)
    rules = next(a["content"] for a in tree.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert rules.split("; ")[0] == "default-src 'none'" and "unsafe" not in rules and "http" not in rules
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        inside = re.search(f"<{tag}>(.*?)</{tag}>", whole, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}'" in rules


def test_links_lead_to_sections_even_of_the_same_name():
    sections = [Section(title, [Text("x")]) for title in ("Scores", "Scores", "µ", "Main", "Scores 2")]
    tree = parsed(render(Page("t", "s", sections)))
    names = [a["id"] for a in tree.all("h2") if "id" in a]
    ids = [a["id"] for _, a in tree.elements if "id" in a]
    assert len(names) == 5 and len(set(ids)) == len(ids)
    assert [a["href"] for a in tree.all("a") if a["href"] != "#main"] == [f"#{name}" for name in names]


@pytest.fixture(scope="module")
def whole():
    """A report with everything, as HTML."""
    return render(report(**example(odd=(ODD[:30],))))


def test_equal_pages_give_equal_bytes(whole, tmp_path):
    write_page(report(**example(odd=(ODD[:30],))), tmp_path / "again.html")
    again = (tmp_path / "again.html").read_bytes()
    assert again == whole.encode() and b"\r" not in again


def test_neither_the_language_nor_the_hashes_of_the_machine_matter():
    here = render(page(Facts([("n", 12345.5)]), Figure(small_figure, "c", "a")))
    code = "import locale; locale.setlocale(locale.LC_ALL, ''); from tests.reporting.test_page import *"
    code += "; print(ascii(render(page(Facts([('n', 12345.5)]), Figure(small_figure, 'c', 'a')))))"
    environment = os.environ | {"LC_ALL": "C", "PYTHONHASHSEED": "7", "PYTHONPATH": "."}
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment, text=True)
    assert there.stdout.strip() == ascii(here)


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (0.5, 2, "0.50"),
        (-0.5, 2, "\u22120.50"),
        (-0.0, 2, "0.00"),
        (0.0004, 2, "4.0\u00d710⁻⁴"),
        (-0.0004, 2, "\u22124.0\u00d710⁻⁴"),
        (0.0, 2, "0.00"),
        (12345.678, 1, "12\u202f345.7"),
        (1234.5, 1, "1234.5"),
        (12345, 0, "12\u202f345"),
        (2.5e9, 2, "2.5\u00d710⁹"),
        (float("inf"), 2, "∞"),
        (-np.inf, 2, "\u2212∞"),
    ],
)
def test_numbers(value, decimals, text):
    assert number(value, decimals) == text
    assert number(value, decimals, signed=True) == ("+" + text if value > 0 else text)


def test_decimals_show_two_digits_of_typical_values():
    assert fitting_decimals([0.6, -0.4]) == 2 and fitting_decimals([0.031, np.nan, 0.02]) == 3
    assert fitting_decimals([0.0006]) == 5 and fitting_decimals([]) == fitting_decimals([120.0]) == 2
    assert fitting_decimals([1e-30]) == 6


def test_facts_are_written_in_full():
    assert plain(True) == "yes" and plain(np.int64(52183)) == "52\u202f183" and plain("a<b") == "a&lt;b"
    assert plain(48.2131) == "48.21" and plain(np.float32(0.001)) == "0.001" and plain(0.5) == "0.5"
    assert plain([1, "b"]) == "1, b" and plain(()) == "none" and "not defined" in plain(None)


def test_what_is_not_defined_is_a_dash_and_has_no_value_to_sort_by():
    columns = [Column("name"), Column("n", "number"), Column("score", "interval", 2)]
    rows = [("a", float("nan"), Interval(0.5, 0.25, 0.75)), ("b", None, None), ("c", 2, (float("nan"), 0.0, 1.0))]
    html = render(page(Table(columns, [*rows, ("d", -3, (0.5, float("nan"), 1.0))], "caption")))
    body = re.search("<tbody>(.*)</tbody>", html, re.DOTALL)[1]
    assert body.count("—") == 4 and "nan" not in body.lower()
    assert re.findall("data-v=([^>]+)>", body) == ["0.5", "2", "-3", "0.5"]
    assert "0.50 <i>0.25 to 0.75</i>" in body
    assert "0.50\n" in body  # without ends there is no interval to write
    assert "\u22123<" in body  # whole numbers have no decimals


def test_a_table_tells_machines_what_it_is():
    table = Table(
        [Column("name"), Column("n", "number")], [(f"g{i}", i) for i in range(30)], "A caption", searchable=True
    )
    tree = parsed(render(page(table)))
    (caption,) = [a for a in tree.all("p") if a.get("class") == "caption"]
    assert tree.all("table")[0]["aria-labelledby"] == caption["id"]
    scopes = [a["scope"] for a in tree.all("th")]
    assert scopes == ["col", "col", *["row"] * 30]
    assert {"type": "button"} in tree.all("button")
    assert tree.all("label")[0]["for"] == tree.all("input")[0]["id"]
    assert "hidden" in next(a for a in tree.all("div") if a.get("class") == "controls")  # until the script runs
    assert not any("hidden" in a for a in tree.all("tr"))  # without scripts every row is shown
    unsearchable = parsed(render(page(Table(table.columns, table.rows[:7], "few", searchable=True))))
    assert unsearchable.all("input") == []


def test_thousands_of_rows_stay_small():
    rng = np.random.default_rng(0)
    rows = [(f"PERTURBATION{i}", *rng.normal(size=5).tolist()) for i in range(5000)]
    html = render(page(Table([Column("name"), *(Column(f"x{i}", "number") for i in range(5))], rows, "many")))
    assert html.count("<tr>") == 5001 and len(html) < 1_500_000


def test_figures_become_pictures_of_their_size_and_numbers():
    blocks = [
        Figure(small_figure(), "first", "alt"),
        Folded("more", [Figure(small_figure().axes[0].figure, "second", "b")]),
    ]
    tree = parsed(render(page(*blocks)))
    images = tree.all("img")
    assert [(a["width"], a["height"]) for a in images] == [("192", "96")] * 2
    assert all(a["src"].startswith(("data:image/svg+xml;base64,", "data:image/png;base64,")) for a in images)
    assert [text for text in tree.written("b") if text.startswith("Figure")] == ["Figure 1.", "Figure 2."]


def test_many_points_become_pixels():
    def draw():
        figure = MatplotlibFigure(figsize=(3, 3))
        figure.add_subplot().plot(*np.random.default_rng(0).normal(size=(2, 5000)), "o")
        return figure

    (image,) = parsed(render(page(Figure(draw, "c", "a")))).all("img")
    assert image["src"].startswith("data:image/png") and len(image["src"]) < 200_000


def test_without_matplotlib_the_page_says_how_to_get_figures(monkeypatch):
    content = report(**example())
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    tree = parsed(html := render(content))
    assert tree.all("img") == tree.all("figure") == [] and "pip install &#x27;samsjax[plot]&#x27;" in html
    assert len(tree.all("table")) == len([b for s in content.sections for b in tables(s.blocks)])
    assert "matplotlib" not in render(page(Text("x")))  # nothing to draw, nothing to say


def tables(blocks):
    for block in blocks:
        if isinstance(block, Folded):
            yield from tables(block.blocks)
        elif isinstance(block, Table):
            yield block


def test_refusals():
    columns = [Column("name"), Column("n", "number"), Column("i", "interval")]
    for call, text in (
        (lambda: Notice("x", "danger"), "unknown level of a notice 'danger'"),
        (lambda: Column("x", "date"), "unknown kind of a column 'date'"),
        (lambda: Column("x", decimals=-1), "decimals must be >= 0"),
        (lambda: Figure(small_figure, "cap", " "), "'cap' needs a text"),
        (lambda: Table(columns, [("a", 1)], "cap"), "row 0 of the table 'cap' has 2 values for 3 columns"),
        (lambda: Table(columns, [("a", "1", None)], "cap"), "column 'n' wants a number in row 0, got '1'"),
        (lambda: Table(columns, [("a", 1, (1, 2))], "cap"), "column 'i' wants three numbers in row 0"),
        (lambda: Table(columns, [], "cap", shown=0), "shown must be >= 1, got 0"),
        (lambda: render(page("a string")), "str is no block of a page"),
        (lambda: report("t", {}, scores=example()["scores"], headline_metrics=["pearson"]), "unknown metric 'pearson'"),
    ):
        with pytest.raises(InputError, match=re.escape(text)):
            call()
    with pytest.raises(FrozenInstanceError):
        Text("a").text = "b"


def test_a_report_shows_what_was_given_in_the_order_of_reading():
    assert report("t", {}).sections == ()
    only = report("t", {"seed": 3}, warnings=["few cells"])
    assert [section.title for section in only.sections] == ["What was run", "Data"]
    everything = [section.title for section in report(**example()).sections]
    assert everything == [
        "What was run",
        "Data",
        "Quality of cells",
        "Training",
        "Scores",
        "Caveats",
        "Treatments",
        "Effects",
        "Mechanisms and their genes",
        "Interactions",
        "Doses",
        "Uncertainty and checks",
        "Quality in the model",
    ]


def test_verdicts_in_words():
    found = example()["scores"]
    verdicts = (
        Verdict("additive", "pearson_delta", 20, 0.08, 0.03, 0.12),
        Verdict("additive", "pearson_delta_centroid", 20, -0.3, -0.5, -0.1),
        Verdict("additive", "mse", 18, 0.001, -0.002, 0.004),
        Verdict("no change", "mse", 0, float("nan"), float("nan"), float("nan")),
    )
    found = found._replace(verdicts=verdicts)
    names = [metric.name for metric in found.metrics]
    assert verdict_sentence(found, "additive", names) == (
        "SAMS-VAE against additive on 18 to 20 treatments: better by `pearson_delta` (+0.080, +0.030 to +0.120); "
        "worse by `pearson_delta_centroid` (\u22120.30, \u22120.50 to \u22120.10); "
        "undecided by `mse` (+0.0010, \u22120.0020 to +0.0040)."
    )
    assert "on 20 treatments: better by `pearson_delta`" in verdict_sentence(found, "additive", names[:1])
    assert "cannot be compared" in verdict_sentence(found, "no change", names)
    assert verdict_sentence(found, "training mean", names).startswith("SAMS-VAE and training mean cannot")


def block_of(content, title, kind, place=0):
    section = next(section for section in content.sections if section.title == title)
    return [block for block in section.blocks if isinstance(block, kind)][place]


def test_every_predictor_and_metric_has_its_row():
    given = example()
    found, table = given["scores"], block_of(report(**given), "Scores", Table)
    rows = {row[:2]: row for row in table.rows}
    assert len(rows) == len(table.rows) == 15
    row = rows["additive", "mse"]
    np.testing.assert_array_equal(row[2], [found.mean[1, 2], found.mean_low[1, 2], found.mean_high[1, 2]])
    assert row[3:] == (0.01, 0.0025, found.n_scored[1, 2], "lower") and np.isnan(
        rows["no change", "pearson_delta"][2].value
    )


def test_each_treatment_stands_beside_the_best_baseline():
    found = scores(np.random.default_rng(1), ["A", "B", "C", "A+B"])
    table = block_of(
        report("t", {}, scores=found, headline_metrics=["mse", "pearson_delta_centroid"]), "Treatments", Table
    )
    titles = [column.title for column in table.columns]
    assert titles[3:6] == ["mse", "best baseline", "half split"] and titles[6] == "pearson_delta_centroid"
    assert [row[0] for row in table.rows] == ["A", "B", "C", "A+B"] and table.rows[3][1] == "new combination"
    np.testing.assert_array_equal([row[4] for row in table.rows], np.nanmin(found.value[1:, 2], axis=0))
    np.testing.assert_array_equal([row[7] for row in table.rows], np.nanmax(found.value[1:, 1], axis=0))
    np.testing.assert_array_equal(
        [row[3] for row in table.rows], np.stack([v[0, 2] for v in (found.value, found.low, found.high)], 1)
    )


def test_active_effects_strongest_first():
    given = example()
    table, effects = block_of(report(**given), "Effects", Table), given["effects"]
    assert len(table.rows) == effects.active.sum()
    sizes = [abs(row[3]) for row in table.rows]
    assert sizes == sorted(sizes, reverse=True)
    names = given["fitted"].vocabulary.perturbation_names
    for name, latent, probability, mean, sd, n_cells in table.rows:
        t, k = names.index(name), int(latent.split()[0])
        found = (effects.inclusion_probability[t, k], effects.mean[t, k], effects.sd[t, k])
        assert found == (probability, mean, sd) and n_cells == given["fitted"].n_training_cells[t]


def test_no_active_effects_are_told():
    given = example()
    none = given["effects"]._replace(inclusion_probability=np.zeros_like(given["effects"].mean))
    content = report("t", {}, fitted=given["fitted"], effects=none, responses=given["responses"])
    assert "No perturbation has an active effect" in block_of(content, "Effects", Notice).text
    assert "Mechanisms and their genes" not in [section.title for section in content.sections]


def test_worst_treatments_are_drawn_worst_first():
    given = example(n_treatments=20)
    content = report(**given)
    worst = block_of(content, "Treatments", Figure, 1)
    value, labels = given["scores"].value[0, 0], given["scores"].labels
    defined = np.flatnonzero(~np.isnan(value))
    expected = labels[defined[np.argsort(value[defined])]][:12]
    shown = worst.alt.split(": ")[1].rstrip(".").split(", ")
    assert shown == expected.tolist()


def test_perturbations_with_few_cells_are_warned_of():
    given = example()
    notices = [b.text for b in report(**given).sections[1].blocks if isinstance(b, Notice)]
    assert notices[0] == given["warnings"][0] and "1 of 12 perturbations have fewer than 20" in notices[1]
    assert given["fitted"].vocabulary.perturbation_names[0] in notices[1]


def test_sizes_of_the_data_and_the_end_of_training():
    data = PerturbationData(
        x=np.ones((6, 2), dtype=np.float32),
        perturbation_index=np.array([[0, 0], [0, 1], [1, 0], [0, 0], [0, 0], [1, 0]], dtype=np.int32),
        dosage=np.array([[1, 0], [1, 1], [1, 0], [0, 0], [0, 0], [0.5, 0]], dtype=np.float32),
        library_size=np.array([1, 2, 3, 4, 5, 6], dtype=np.float32),
        gene_names=np.array(["g", "h"]),
        perturbation_names=np.array(["A", "B"]),
        cell_names=np.array(list("uvwxyz")),
        split=np.array(["train"] * 4 + ["test"] * 2),
    )
    found = dict(block_of(report("t", {}, data=data), "Data", Facts).items)
    assert found["cells"] == 6 and found["train cells"] == 4 and found["test cells"] == 2 and "val cells" not in found
    assert found["control cells"] == 2 and found["treatments (combinations, doses)"] == 4
    assert found["median library size"] == 3.5
    fitted = example()["fitted"]
    text = block_of(report("t", {}, fitted=fitted), "Training", Text).text
    assert text.startswith("Training stopped early") and text.endswith("60 epochs. The model is that of epoch 44.")
    fitted.fit = None  # a loaded model
    assert "rotated after epochs 25, 40" in block_of(report("t", {}, fitted=fitted), "Training", Text).text


def test_data_frames_and_settings_as_tables():
    frame = pd.DataFrame(
        {"name": ["a", None], "x": [1.5, np.nan], "x_low": [1.0, 0.0], "x_high": [2.0, 0.0], "n_cells": [3, 4]}
    )
    table = frame_table(frame, "c")
    assert [(column.title, column.kind) for column in table.columns] == [
        ("name", "text"),
        ("x", "interval"),
        ("n cells", "number"),
    ]
    assert table.rows[0] == ("a", (1.5, 1.0, 2.0), 3)
    assert [text.strip() for text in cells_of(table)][1] == "3"
    many = frame_table(pd.DataFrame({"i": range(MOST_ROWS + 1)}), "c")
    assert len(many.rows) == MOST_ROWS and many.caption.endswith("The first 5,000 of 5,001 rows are shown.")
    settings = settings_table({"a": {"b": 1, "c": {}}, "d": None, "e": [1, 2], "f": "x"})
    assert list(settings.rows) == [("a.b", "1"), ("a.c", "{}"), ("d", "none"), ("e", "1, 2"), ("f", "x")]


def test_importing_does_not_import_matplotlib_or_pandas_of_our_own():
    code = "import sys, samsjax.reporting; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
