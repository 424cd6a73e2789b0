"""What the doors share: flags from dataclasses, and errors as one sentence instead of a traceback."""

import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tyro

from samsjax.errors import InputError, check_range
from samsjax.inference.training import DivergenceError

Command = TypeVar("Command")


def parse(command: Any, argv: Sequence[str], *, program: str, description: str, default: Any = None) -> Any:
    """Flags of the dataclass `command`, the last one where a flag is repeated (`--x` and `--no-x` are one flag).

    Stops with status 2 and the nearest names on an unknown flag.
    """
    options = {} if default is None else {"default": default}
    return tyro.cli(command, args=list(argv), prog=program, description=description, **options)


def take_flag(argv: Sequence[str], flag: str, default: str | None) -> tuple[str | None, list[str]]:
    """The value of one flag, the last if it is repeated, and the other arguments: for flags that decide which exist.

    Raises:
        InputError: if the flag is given without a value.
    """
    value, rest, position = default, [], 0
    while position < len(argv):
        token = argv[position]
        if token == flag:
            if position + 1 >= len(argv) or argv[position + 1].startswith("--"):
                raise InputError(f"{flag} needs a value")
            value = argv[position + 1]
            position += 1
        elif token.startswith(f"{flag}="):
            value = token[len(flag) + 1 :]
        else:
            rest.append(token)
        position += 1
    return value, rest


def check_seed(seed: int) -> None:
    """Raises: InputError for a seed outside the range that every generator takes."""
    check_range("seed", seed, low=0, below=2**32)


def run(main: Callable[[Sequence[str]], None], argv: Sequence[str] | None = None) -> None:
    """Call a door's main; a mistake in the input ends the process with status 2, divergence with status 1."""
    warnings.showwarning = _show_warning
    WARNINGS.clear()
    try:
        main(sys.argv[1:] if argv is None else argv)
    except InputError as error:
        sys.exit(_complain(f"error: {error}", 2))
    except DivergenceError as error:
        sys.exit(_complain(f"error: {error}", 1))
    except KeyboardInterrupt:
        sys.exit(_complain("interrupted; nothing was written", 130))


WARNINGS: list[str] = []
"""What the user was warned of so far, for reports."""


def say(text: str) -> None:
    """A line of progress, on standard error so that results on standard output stay clean."""
    print(text, file=sys.stderr, flush=True)


def _complain(text: str, status: int) -> int:
    say(text)
    return status


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    del category, filename, lineno, file, line
    WARNINGS.append(str(message))
    say(f"warning: {message}")
