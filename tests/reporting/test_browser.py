"""The page in a browser: it sorts, searches, folds, prints and fits a phone, and asks nobody for anything."""

import shutil

import numpy as np
import pytest

from samsjax.reporting import Page, Section, report, write_page
from samsjax.reporting.page import Column, Interval, Table
from tests.reporting.example import example

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = """
--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run
"""
VALUES = [3.0, float("nan"), -20.0, 100.0, 0.0004, float("inf"), 20.0]
ROWS = [(f"gene{i}", value, Interval(value, value - 1, value + 1)) for i, value in enumerate(VALUES)]


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"needs a browser on the path: {', '.join(NAMES)}")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=QUIET.split())
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    odd = ("<b>drug</b> & \"5 mM\" 'x'",)
    write_page(report(**example(n_treatments=40, odd=odd)), folder / "report.html")
    columns = [Column("name"), Column("value", "number", 1), Column("score", "interval", 1)]
    many = [(f"P{i}", i % 7, None) for i in range(300)]
    tables = [Table(columns, ROWS, "few", shown=100), Table(columns, many, "many", searchable=True, shown=20)]
    write_page(Page("Tables", "", [Section("Tables", tables)]), folder / "tables.html")
    return folder


@pytest.fixture
def visit(browser, files):
    """Open a page at a width; at the end, nothing may have gone wrong and nothing else been asked for."""
    troubles, contexts = [], []

    def go(name, width=1280, **options):
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        contexts.append(context)
        page, address = context.new_page(), (files / name).as_uri()
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda r: troubles.append(r.url) if not r.url.startswith((address, "data:")) else None)
        page.goto(address)
        return page

    yield go
    for context in contexts:
        context.close()
    assert troubles == []


def firsts(table):
    return table.locator("tbody tr:visible th").all_inner_texts()


def header(table, title):
    return table.locator("thead th").filter(has_text=title)


@pytest.mark.parametrize("title", ["value", "score"])
def test_numbers_are_sorted_by_value_and_what_is_missing_comes_last(visit, title):
    table = visit("tables.html").locator("table").first
    order = sorted((i for i in range(7) if i != 1), key=VALUES.__getitem__)
    given = [f"gene{i}" for i in range(7)]
    assert header(table, title).get_attribute("aria-sort") is None and firsts(table) == given
    button = header(table, title).get_by_role("button")
    button.click()
    assert header(table, title).get_attribute("aria-sort") == "descending"
    assert firsts(table) == [f"gene{i}" for i in (*reversed(order), 1)]
    button.click()
    assert header(table, title).get_attribute("aria-sort") == "ascending"
    assert firsts(table) == [f"gene{i}" for i in (*order, 1)]
    button.click()
    assert header(table, title).get_attribute("aria-sort") is None and firsts(table) == given


def test_names_are_sorted_as_people_count_with_the_keyboard(visit):
    page = visit("tables.html")
    table = page.locator("table").nth(1)
    page.get_by_role("button", name="Show all 300 rows").click()
    header(table, "value").get_by_role("button").click()
    button = header(table, "name").get_by_role("button")
    button.focus()
    page.keyboard.press("Enter")
    assert firsts(table) == [f"P{i}" for i in range(300)]
    assert [h.get_attribute("aria-sort") for h in table.locator("thead th").all()] == ["ascending", None, None]


def test_typing_shows_the_rows_that_hold_all_words(visit):
    page = visit("tables.html")
    table, count, more = page.locator("table").nth(1), page.locator("output"), page.locator(".more").nth(1)
    assert len(firsts(table)) == 20 and count.inner_text() == "300 rows, 20 shown"
    search = page.get_by_label("Search rows")
    search.fill("p29")
    assert firsts(table) == ["P29", *(f"P{i}" for i in range(290, 300))]
    assert count.inner_text() == "11 of 300 rows match" and not more.is_visible()
    search.fill("p29 nowhere")
    assert firsts(table) == [] and count.inner_text() == "0 of 300 rows match"
    search.fill("")
    assert len(firsts(table)) == 20
    more.click()
    assert len(firsts(table)) == 300 and more.inner_text() == "Show the first 20"


def test_the_search_outlives_sorting(visit):
    page = visit("tables.html")
    table = page.locator("table").nth(1)
    page.get_by_label("Search rows").fill("P1")
    header(table, "value").get_by_role("button").click()
    expected = sorted((i for i in range(300) if str(i).startswith("1")), key=lambda i: -(i % 7))
    assert firsts(table) == [f"P{i}" for i in expected[:20]]


def test_every_figure_is_there(visit):
    page = visit("report.html")
    sizes = page.evaluate(
        "Array.from(document.images, (i) => [i.complete, i.naturalWidth, i.clientWidth, i.clientHeight])"
    )
    assert len(sizes) >= 9 and all(complete and min(rest) > 50 for complete, *rest in sizes)
    captions = page.locator("figcaption b").all_inner_texts()
    assert captions == [f"Figure {i + 1}." for i in range(len(sizes))]


def test_links_of_the_contents_lead_somewhere(visit):
    page = visit("report.html", reduced_motion="reduce")
    links = page.locator("nav a")
    links.last.click()
    assert page.url.endswith(links.last.get_attribute("href"))
    top = page.evaluate("document.querySelector(location.hash).getBoundingClientRect().top")
    assert 0 <= top < 800


@pytest.mark.parametrize("name", ["report.html", "tables.html"])
def test_a_phone_never_scrolls_sideways(visit, name):
    page = visit(name, width=375)
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    if name == "report.html":  # wide tables move inside their own frame, and the names of rows stay
        frame = page.locator(".scroll").filter(has=page.locator("th", has_text="best baseline")).first
        inner, outer = frame.evaluate("(f) => [f.scrollWidth, f.clientWidth]")
        assert inner > outer
        frame.evaluate("(f) => { f.scrollLeft = 150; }")
        left = frame.evaluate(
            "(f) => f.querySelector('tbody th').getBoundingClientRect().left - f.getBoundingClientRect().left"
        )
        assert abs(left) < 2


def test_paper_shows_every_row_and_no_controls(visit):
    page = visit("tables.html")
    page.get_by_label("Search rows").fill("P29")
    page.emulate_media(media="print")
    assert len(firsts(page.locator("table").nth(1))) == 300
    for part in ("input", ".more", "nav"):
        assert not page.locator(part).first.is_visible()
    page.emulate_media(media="screen")
    assert len(firsts(page.locator("table").nth(1))) == 11


def test_paper_is_wide_enough_for_every_table(visit):
    page = visit("report.html", width=680)  # A4 between its margins
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 680


def test_what_is_folded_is_printed_and_folded_again(visit):
    page = visit("report.html")
    table = page.locator("details table").first
    assert not table.is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert table.is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not table.is_visible()


def test_without_scripts_everything_is_shown(visit):
    page = visit("tables.html", java_script_enabled=False)
    assert len(firsts(page.locator("table").nth(1))) == 300
    assert not page.locator("input").is_visible() and not page.locator(".more").first.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_against_its_background(visit, scheme):
    """Contrast of WCAG level AA, 4.5 to 1, for every piece of text that is shown."""
    page = visit("report.html", color_scheme=scheme)
    pairs = page.evaluate(
        """() => Array.from(document.querySelectorAll("body *")).filter((e) => e.offsetParent &&
          Array.from(e.childNodes).some((n) => n.nodeType === 3 && n.textContent.trim())).map((e) => {
            const paper = (part) => getComputedStyle(part).backgroundColor;
            let behind = e;
            while (paper(behind) === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
            return [getComputedStyle(e).color, paper(behind)];
          })"""
    )
    shown = {tuple(pair) for pair in pairs}
    assert len(shown) > 3 and all(contrast(*pair) >= 4.5 for pair in shown)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (luminance(paper) > 0.5) == (scheme == "light")


def luminance(colour):
    channels = np.array([int(part) for part in colour[4:-1].split(",")]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one, two):
    light, dark = sorted((luminance(one), luminance(two)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
