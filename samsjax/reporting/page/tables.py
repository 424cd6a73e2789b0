"""Tables of a page as HTML. Ends of rows and cells are left out, which HTML allows and thousands of rows deserve."""

from collections.abc import Callable
from typing import Any

from samsjax.reporting.page.blocks import Column, Table, is_missing
from samsjax.reporting.page.numbers import MISSING, decimals_for, exact, number, prose, words

MANY = 8
"""Fewer rows are not worth a search."""
LONG = 32
"""Letters from which words of a column need room to be read."""


def table_html(table: Table, place: int) -> str:
    """A table with its caption, and above it, for the script to show, what finds and counts its rows."""
    name = f"table-{place}"
    cells = [_cells(column, [row[i] for row in table.rows]) for i, column in enumerate(table.columns)]
    rows = ["<tr>" + "".join(cell(row[i], header=i == 0) for i, cell in enumerate(cells)) + "\n" for row in table.rows]
    header = "".join(_header(column) for column in table.columns)
    return (
        f'<div class="table" data-shown="{table.shown}">\n'
        f'<p class="caption" id="{name}"><b>Table {place}.</b> {prose(table.caption)}</p>\n{_controls(table, name)}'
        f'<div class="scroll" role="region" aria-labelledby="{name}" tabindex="0"><table aria-labelledby="{name}">\n'
        f"<thead><tr>{header}</thead>\n<tbody>\n{''.join(rows)}</tbody></table></div>\n"
        f'<p class="foot" hidden><button type="button" class="more"></button></p>\n</div>'
    )


def _controls(table: Table, name: str) -> str:
    if not table.searchable or len(table.rows) < MANY:
        return ""
    return (
        f'<div class="controls" hidden><label for="{name}-search">Search rows</label>'
        f'<input type="search" id="{name}-search" autocomplete="off" spellcheck="false">'
        '<output aria-live="polite"></output></div>\n'
    )


def _header(column: Column) -> str:
    hint = f"<small>{_breakable(column.hint)}</small>" if column.hint else ""
    return (
        f'<th scope="col" class="{column.kind}" data-kind="{column.kind}">'
        f'<button type="button">{_breakable(column.title)}</button>{hint}'
    )


def _breakable(name: str) -> str:
    """A name that may go on in the next line behind an underscore."""
    return words(name).replace("_", "_<wbr>")


def _cells(column: Column, values: list[Any]) -> Callable[..., str]:
    """How to write the cells of a column."""
    if column.kind == "text":
        kind = "long" if any(len(str(value)) > LONG for value in values) else "text"
        return lambda value, header: _open(header, kind) + (MISSING if is_missing(value) else words(value))
    firsts = [value[0] if column.kind == "interval" and value is not None else value for value in values]
    decimals = decimals_for(firsts, column.decimals if column.decimals is not None or column.kind == "number" else 3)

    def written(value: float) -> str:
        return number(float(value), decimals, signed=column.signed)

    def cell(value: Any, *, header: bool) -> str:
        first, *ends = (value,) if column.kind == "number" or value is None else value
        if is_missing(first):
            return _open(header, column.kind) + MISSING + ("" if column.kind == "number" else " <i></i>")
        text = written(first)
        if ends and not any(map(is_missing, ends)):
            text += f" <i>{written(ends[0])} to {written(ends[1])}</i>"
        return _open(header, column.kind, f" data-v={exact(first)}") + text

    return cell


def _open(header: bool, kind: str, value: str = "") -> str:  # noqa: FBT001 (read at once)
    shown = "" if kind == "text" else f" class={kind[0]}"
    return f"<th scope=row{shown}{value}>" if header else f"<td{shown}{value}>"
