"""A matplotlib figure inside a page: SVG or PNG, whichever is smaller, as a data URI."""

from base64 import b64encode
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

from samsjax.errors import InputError
from samsjax.reporting.page.blocks import Figure
from samsjax.reporting.plots import require_matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

PIXELS_PER_INCH = 96
"""Of a page, by the definition of CSS."""
SHARPNESS = 2
"""Pixels of a PNG for one of the page, for fine screens and print."""


class Picture(NamedTuple):
    """What an image element needs."""

    address: str
    width: int
    height: int
    """Pixels of the page."""


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    try:
        require_matplotlib()
    except InputError:
        return False
    return True


def picture(block: Figure) -> Picture:
    """Draw a figure; the same figure gives the same bytes."""
    drawn = block.draw() if callable(block.draw) else block.draw
    figure: MatplotlibFigure = getattr(drawn, "figure", None) or drawn  # type: ignore[assignment]
    vector, pixels = _written(figure, "svg"), _written(figure, "png")
    kind, data = ("svg+xml", vector) if len(vector) < len(pixels) else ("png", pixels)
    width, height = (round(PIXELS_PER_INCH * inches) for inches in figure.get_size_inches())
    return Picture(f"data:image/{kind};base64,{b64encode(data).decode('ascii')}", width, height)


def _written(figure: "MatplotlibFigure", kind: str) -> bytes:
    from matplotlib import rc_context

    nothing = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    file = BytesIO()
    with rc_context({"svg.hashsalt": "samsjax", "svg.fonttype": "path"}):
        figure.savefig(file, format=kind, dpi=SHARPNESS * PIXELS_PER_INCH, metadata=nothing, facecolor="white")
    return file.getvalue()
