"""One self-contained HTML page from immutable blocks: `write_page(Page(title, subtitle, sections), "report.html")`.

`blocks` says what there is to show, `render` makes HTML of it, `page.css` and `page.js` are the style and the script.
"""

from samsjax.reporting.page.blocks import (
    Block,
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
from samsjax.reporting.page.render import render, write_page

__all__ = [
    "Block",
    "Bullets",
    "Column",
    "Facts",
    "Figure",
    "Folded",
    "Interval",
    "Notice",
    "Page",
    "Section",
    "Table",
    "Text",
    "render",
    "write_page",
]
