"""What a user reads when the input is wrong: one exception type and the sentences every border shares.

An error names the offending value, lists what is legal and suggests the nearest match. Code that detects a mistake
raises [InputError][samsjax.errors.InputError] where the mistake is made; nothing downstream repairs or guesses.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from math import isfinite


class InputError(ValueError):
    """The caller gave something that cannot be used. Command lines print the message without a traceback."""


def nearest(value: str, legal: Iterable[str], n: int = 3) -> list[str]:
    """The up to `n` entries of `legal` most similar to `value`, best first; upper and lower case count as equal."""
    by_folded = {str(name).casefold(): str(name) for name in legal}
    return [by_folded[match] for match in get_close_matches(str(value).casefold(), by_folded, n=n, cutoff=0.5)]


def listing(names: Iterable[str], limit: int = 12) -> str:
    """`names` as one readable line, cut after `limit` entries with a count of the rest."""
    all_names = [str(name) for name in names]
    shown = ", ".join(all_names[:limit]) or "(none)"
    rest = len(all_names) - limit
    return f"{shown}, and {rest} more" if rest > 0 else shown


def did_you_mean(value: str, legal: Iterable[str]) -> str:
    """A sentence with the nearest of `legal`, a space before it; empty if none is near."""
    close = nearest(value, legal)
    return f" Did you mean {' or '.join(repr(name) for name in close)}?" if close else ""


def names_nearest_to(value: str, legal: Iterable[str]) -> str:
    """The same for one of several missing names, which it repeats."""
    close = nearest(value, legal)
    return f" The names nearest to {value!r} are {listing(close)}." if close else ""


def unknown_name(kind: str, value: str, legal: Sequence[str]) -> InputError:
    """The error for a name outside a table: what was given, the nearest legal names, and what is legal."""
    return InputError(f"unknown {kind} {value!r}.{did_you_mean(value, legal)} Known: {listing(legal)}.")


def check_choice(kind: str, value: str, legal: Sequence[str]) -> None:
    """Raises: InputError if `value` is not one of `legal`."""
    if value not in legal:
        raise unknown_name(kind, value, legal)


def check_range(
    name: str,
    value: float,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
) -> None:
    """Check one number of a configuration; `low` and `high` are inclusive bounds, `above` and `below` exclusive ones.

    Raises:
        InputError: naming the value and the legal range. NaN and infinity are outside every range.
    """
    holds = isfinite(value)
    wanted = []
    for bound, sign, test in (
        (low, ">=", lambda b: value >= b),
        (above, ">", lambda b: value > b),
        (high, "<=", lambda b: value <= b),
        (below, "<", lambda b: value < b),
    ):
        if bound is not None:
            wanted.append(f"{sign} {bound}")
            holds = holds and test(bound)
    if not holds:
        raise InputError(f"{name} must be {' and '.join(wanted) or 'finite'}, got {value}")
