"""Numbers as text and words as HTML: the same everywhere, whatever the language of the machine."""

import re
from collections.abc import Iterable
from html import escape
from math import floor, inf, isinf, log10
from numbers import Integral, Real
from statistics import median
from typing import Any

from samsjax.reporting.page.blocks import is_missing

MISSING = '<abbr title="not defined">—</abbr>'
MINUS, TIMES, THIN = "\u2212", "\u00d7", "\u202f"
RAISED = str.maketrans("0123456789-", "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b")
LARGE = 1e6
"""From here on numbers that are not whole are written with a power of ten."""
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_CODE = re.compile("`([^`]+)`")


def words(text: Any) -> str:
    """Any text, safe in HTML and in quoted attributes; what HTML cannot hold becomes a replacement character."""
    return escape(_UNPRINTABLE.sub("\ufffd", str(text)), quote=True)


def prose(text: str) -> str:
    """Text with `code` between backticks."""
    return _CODE.sub(r"<code>\1</code>", words(text))


def number(value: float, decimals: int, *, signed: bool = False) -> str:
    """A number with so many decimals; one that would be written as zero or is huge has a power of ten."""
    if isinf(value):
        text = "∞" if value > 0 else MINUS + "∞"
    elif isinstance(value, Integral) or decimals == 0:
        text = _grouped(f"{value:.0f}")
    elif abs(value) >= LARGE or 0 < abs(value) < 0.5 * 10.0**-decimals:
        text = _power(value)
    else:
        text = _grouped(f"{value + 0.0:.{decimals}f}")
    return f"+{text}" if signed and value > 0 else text


def decimals_for(values: list[Any], wanted: int | None) -> int:
    """Decimals of a column: as wanted, or none for whole numbers, else three."""
    if wanted is not None:
        return wanted
    known = [float(value) for value in values if not is_missing(value)]
    return 0 if all(isinf(value) or value == int(value) for value in known) else 3


def fitting_decimals(values: Iterable[float], most: int = 6) -> int:
    """Decimals, at least two, in which typical values (their median size) show two digits that are not zero."""
    sizes = [abs(float(value)) for value in values if not is_missing(value) and 0 < abs(float(value)) < inf]
    return 2 if not sizes else min(max(2, 1 - floor(log10(median(sizes)))), most)


def plain(value: Any) -> str:
    """A value of any type in a list of facts."""
    if is_missing(value):
        return MISSING
    if isinstance(value, bool) or type(value).__name__ == "bool_":
        return "yes" if value else "no"
    if isinstance(value, Real):
        if isinstance(value, Integral) or value in (inf, -inf):
            return number(float(value), 0)
        size = abs(float(value))
        decimals = 4 if not size else max(0, 3 - int(log10(size)) if size >= 1 else 4)
        text = number(float(value), decimals)
        return text.rstrip("0").rstrip(".") if "." in text and TIMES not in text else text
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value)) or "none"
    return prose(str(value))


def exact(value: float) -> str:
    """A number for the machine, in an attribute without quotes."""
    return f"{float(value):.7g}"


def _grouped(text: str) -> str:
    """The true minus, and thin spaces between thousands from five digits on."""
    sign, digits = (MINUS, text[1:]) if text.startswith("-") else ("", text)
    whole, point, rest = digits.partition(".")
    if not (whole + rest).strip("0"):
        sign = ""
    if len(whole) > 4:
        whole = f"{int(whole):,}".replace(",", THIN)
    return sign + whole + point + rest


def _power(value: float) -> str:
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.replace('-', MINUS)}{TIMES}10{str(int(exponent)).translate(RAISED)}"
