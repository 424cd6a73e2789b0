"""A page as one HTML file that needs nothing else: styles, script and pictures are inside, and no address is called.

A content security policy forbids everything but that very style, that very script, and pictures in the file. Without
scripts the page still shows everything; they only sort, search and fold.
"""

import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from functools import cache, singledispatch
from hashlib import sha256
from importlib.resources import files
from itertools import count
from pathlib import Path

from samsjax.errors import InputError
from samsjax.reporting.page import tables
from samsjax.reporting.page.blocks import Block, Bullets, Facts, Figure, Folded, Notice, Page, Section, Table, Text
from samsjax.reporting.page.numbers import plain, prose, words
from samsjax.reporting.page.pictures import can_draw, picture

NO_FIGURES = (
    "This page has no figures, because matplotlib is not installed where it was written. To get them: "
    "`pip install 'samsjax[plot]'`, then write the page again."
)
WIDE = 560
"""Pixels from which a figure keeps a readable size on a phone and is moved sideways there."""


class Numbers:
    """Running numbers of the tables and figures of a page."""

    def __init__(self, *, figures: bool) -> None:
        self.tables: Iterator[int] = count(1)
        self.figures: Iterator[int] = count(1)
        self.draws = figures


def render(page: Page) -> str:
    """The page as HTML. Equal pages give equal bytes."""
    style, script = asset("page.css"), asset("page.js")
    names = _names(page.sections)
    numbers = Numbers(figures=can_draw())
    parts = [_section(section, name, numbers) for section, name in zip(page.sections, names, strict=True)]
    if not numbers.draws and any(_has_figure(section.blocks) for section in page.sections):
        parts.insert(0, block_html(Notice(NO_FIGURES), numbers))
    sections = "\n".join(parts)
    links = "".join(
        f'<li><a href="#{name}">{words(section.title)}</a>' for section, name in zip(page.sections, names, strict=True)
    )
    subtitle = f'<p class="subtitle">{prose(page.subtitle)}</p>' if page.subtitle else ""
    head = (
        f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{policy(style, script)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f'<title>{words(page.title)}</title>\n<link rel="icon" href="data:,">\n<style>{style}</style>'
    )
    body = (
        '<a class="skip" href="#main">Skip to the content</a>\n'
        f"<header><h1>{words(page.title)}</h1>{subtitle}</header>\n"
        f'<nav aria-label="Contents"><h2>Contents</h2><ol>{links}</ol></nav>\n<main id="main">\n{sections}\n'
        f"</main>\n<script>{script}</script>"
    )
    return f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def write_page(page: Page, path: str | Path) -> None:
    """Render a page into a file; the same bytes on every system."""
    Path(path).write_bytes(render(page).encode("utf-8"))


@cache
def asset(name: str) -> str:
    """The text of the style or script."""
    return (files("samsjax.reporting.page") / name).read_text(encoding="utf-8").replace("\r\n", "\n")


def policy(style: str, script: str) -> str:
    """What the browser may do with the page: apply this style, run this script, show pictures of the file."""
    allowed = {"style-src": style, "script-src": script}
    hashes = [f"{kind} 'sha256-{_digest(text)}'" for kind, text in allowed.items()]
    return "; ".join(["default-src 'none'", *hashes, "img-src data:", "base-uri 'none'", "form-action 'none'"])


def _digest(text: str) -> str:
    return b64encode(sha256(text.encode("utf-8")).digest()).decode("ascii")


def _names(sections: Sequence[Section]) -> list[str]:
    """Targets of links: the words of the title, and a number where two would be the same."""
    names: list[str] = []
    for section in sections:
        stem = re.sub("[^a-z0-9]+", "-", section.title.lower()).strip("-") or "section"
        name = next(n for i in count(1) if (n := stem if i == 1 else f"{stem}-{i}") not in {*names, "main"})
        names.append(name)
    return names


def _section(section: Section, name: str, numbers: Numbers) -> str:
    inside = "\n".join(block_html(block, numbers) for block in section.blocks)
    heading = f'<h2 id="{name}">{words(section.title)}</h2>'
    return f'<section aria-labelledby="{name}">\n{heading}\n{inside}\n</section>'


def _has_figure(blocks: Sequence[Block]) -> bool:
    return any(
        isinstance(block, Figure) or (isinstance(block, Folded) and _has_figure(block.blocks)) for block in blocks
    )


@singledispatch
def block_html(block: Block, numbers: Numbers) -> str:
    """One block as HTML; figures and tables take the next number."""
    raise InputError(f"{type(block).__name__} is no block of a page: {block!r:.60}")


@block_html.register
def _(block: Text, numbers: Numbers) -> str:
    return f"<p>{prose(block.text)}</p>"


@block_html.register
def _(block: Bullets, numbers: Numbers) -> str:
    return "<ul>" + "".join(f"<li>{prose(item)}" for item in block.items) + "</ul>"


@block_html.register
def _(block: Notice, numbers: Numbers) -> str:
    title = "Warning" if block.level == "warning" else "Note"
    return f'<p class="notice {block.level}" role="note"><strong>{title}.</strong> {prose(block.text)}</p>'


@block_html.register
def _(block: Facts, numbers: Numbers) -> str:
    items = "".join(f"<div><dt>{words(name)}</dt><dd>{plain(value)}</dd></div>" for name, value in block.items)
    return f"<dl>{items}</dl>"


@block_html.register
def _(block: Folded, numbers: Numbers) -> str:
    inside = "\n".join(block_html(inner, numbers) for inner in block.blocks)
    return f"<details><summary>{words(block.summary)}</summary>\n{inside}\n</details>"


@block_html.register
def _(block: Figure, numbers: Numbers) -> str:
    if not numbers.draws:
        return ""
    image = picture(block)
    wide = ' class="wide"' if image.width >= WIDE else ""
    return (
        f'<figure{wide}><div class="canvas"><img src="{image.address}" width="{image.width}" height="{image.height}" '
        f'alt="{words(block.alt)}"></div>\n<figcaption><b>Figure {next(numbers.figures)}.</b> {prose(block.caption)}'
        "</figcaption></figure>"
    )


@block_html.register
def _(block: Table, numbers: Numbers) -> str:
    return tables.table_html(block, next(numbers.tables))
