"""The grammar of a perturbation label: `KLF1+TGFBR2`, `A@0.5+B`, `A+ctrl`. Strings in, names and doses out.

A label is parts joined by a separator. Order and surrounding blanks mean nothing, control parts are dropped, a part may
carry its dose after `@`. Labels this library writes are canonical: parts in ascending order of name, no control part,
the dose only where it is not 1.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cache

import numpy as np

from samsjax.errors import InputError, did_you_mean, listing

DOSE_MARK = "@"


def check_grammar(separator: str, control: Collection[str]) -> None:
    """Raises: InputError if parts, doses or controls could not be told apart in a label."""
    if separator == "" or any(letter.isalnum() or letter in "@." for letter in separator):
        raise InputError(f"separator {separator!r} cannot join names: use signs such as '+', '_' or '|', not @ or .")
    if not control or not all(isinstance(label, str) and label.strip() for label in control):
        raise InputError(f"control labels must be one or more texts, got {list(control)!r}")
    split = [label for label in control if separator in label]
    if split:
        raise InputError(
            f"control label {split[0]!r} contains the separator {separator!r}, which would cut it into parts; "
            "choose another separator (any sign that no label contains, if there are no combinations)"
        )


def split_parts(label: str, separator: str) -> list[str]:
    """The parts of a label in its own order, control parts included.

    Raises:
        InputError: if a part is empty, as in `A+`.
    """
    parts = [part.strip() for part in label.split(separator)]
    if not all(parts):
        raise InputError(f"label {label!r} has an empty part (parts are joined by {separator!r})")
    return parts


def perturbations_of(label: str, separator: str, control: Collection[str]) -> list[str]:
    """The perturbations a label names, in its own order; empty for a control.

    Raises:
        InputError: if a part is empty or a perturbation occurs twice.
    """
    names = [part for part in split_parts(label, separator) if part not in control]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(
            f"label {label!r} names {listing(repeated)} more than once; name it once and give the amount as a dose"
        )
    return names


def read_dose(text: object, where: str) -> float:
    """One dose as a positive finite float.

    Raises:
        InputError: if it is no number, negative, infinite, NaN or 0 (a perturbation that was not applied).
    """
    try:
        dose = float(str(text))
    except ValueError:
        raise InputError(f"dose {str(text)!r} of {where} is not a number") from None
    check_dose(dose, where)
    return dose


def check_dose(dose: float, where: str) -> None:
    """Raises: InputError unless the dose is positive and finite, in float32 too."""
    if dose == 0:
        raise InputError(
            f"dose 0 for {where}: a perturbation at dose 0 was not applied, so label such cells as control "
            "(or leave that part out of a combination)"
        )
    if not 0 < dose <= float(np.finfo(np.float32).max) or np.float32(dose) == 0:
        raise InputError(f"dose {dose} of {where} is not usable: doses are positive and finite, 1 = applied")


def split_dose(label: str) -> tuple[str, str | None]:
    """A name and the text of its dose, as in `A@0.5`; the whole label and None where no number follows an `@`."""
    name, mark, dose = label.rpartition(DOSE_MARK)
    try:
        float(dose if mark else "none")
    except ValueError:
        return label, None
    return name.strip(), dose.strip()


def canonical_dose(label: str) -> str:
    """One name with its dose as this library writes it: `A@0.5` for `A@.50`, `A` for `A@1`; others as they are."""
    name, dose = split_dose(label)
    if dose is None or not 0 < float(dose) <= float(np.finfo(np.float32).max):
        return label
    return write_label({name: float(dose)}, "")


def has_doses_as_names(name: str, names: Collection[str]) -> bool:
    """Whether a vocabulary holds doses of a perturbation as perturbations of their own, as `A@0.5` for `A`."""
    return any(other.startswith(f"{name}{DOSE_MARK}") and split_dose(other)[0] == name for other in names)


def write_dose(dose: float) -> str:
    """The shortest decimal text that reads back as the same float32, never with an exponent (`1e+06` holds a `+`)."""
    return np.format_float_positional(np.float32(dose), unique=True, trim="-")


def write_label(doses: Mapping[str, float], separator: str) -> str:
    """The canonical label of perturbations and their doses."""
    parts = [name if dose == 1 else f"{name}{DOSE_MARK}{write_dose(dose)}" for name, dose in sorted(doses.items())]
    return separator.join(parts)


LEARNED_FROM_CELLS = (
    "A perturbation without cells in training cannot be predicted by this model, because its effect is learned from "
    "its own cells."
)


def parse_treatment(
    label: str,
    perturbation_names: Sequence[str] | np.ndarray,
    *,
    separator: str = "+",
    control_name: str = "control",
    why_unknown: str = LEARNED_FROM_CELLS,
) -> tuple[np.ndarray, np.ndarray]:
    """Read one condition to predict: `KLF1+TGFBR2`, `A@0.5`, `control`.

    A name of the vocabulary that itself contains `@` or the separator is found before the label is split there. So
    where combinations are perturbations of their own, `B+A` means the perturbation `A+B`, not the sum of two effects.

    Args:
        label: the condition, parts in any order, each with an optional `@dose`.
        perturbation_names: the vocabulary the indices refer to.
        separator: what joins the parts.
        control_name: parts of this name are dropped; alone, it means no perturbation.
        why_unknown: what the error says of a name outside the vocabulary.

    Returns:
        Index int32 (slot,) in ascending order and dosage float32 (slot,); both empty for a control.

    Raises:
        InputError: if a name is not in the vocabulary, occurs twice, or a dose is not positive and finite.
    """
    check_grammar(separator, (control_name,))
    position = {str(name): index for index, name in enumerate(perturbation_names)}
    tokens = split_parts(str(label), separator)
    found = _as_one_name(tokens, position, separator, control_name)
    if found is None:
        found = _segment(tuple(tokens), position, separator, control_name)
    if found is None:
        raise _unknown_part(str(label), tokens, list(position), separator, control_name, why_unknown)
    doses: dict[int, float] = {}
    for name, dose in found:
        if position[name] in doses:
            raise InputError(f"treatment {label!r} names {name} more than once; name it once, the amount as its dose")
        doses[position[name]] = 1.0 if dose is None else read_dose(dose, f"{name} in treatment {label!r}")
    order = sorted(doses)
    return np.array(order, dtype=np.int32), np.array([doses[index] for index in order], dtype=np.float32)


Found = list[tuple[str, str | None]]


def _as_one_name(tokens: Sequence[str], names: Mapping[str, int], separator: str, control: str) -> Found | None:
    """The one name of the vocabulary made of just these tokens, in any order; None if there is none, or several."""
    wanted = sorted(token for token in tokens if token != control)
    if len(wanted) < 2:
        return None
    joined = [name for name in names if separator in name]
    same = [name for name in joined if sorted(part.strip() for part in name.split(separator)) == wanted]
    return [(same[0], None)] if len(same) == 1 else None


def _segment(tokens: tuple[str, ...], names: Mapping[str, int], separator: str, control: str) -> Found | None:
    """Tokens grouped into known (name, dose text), longest names first; None if some token belongs to no name."""

    @cache
    def rest(start: int) -> Found | None:
        if start == len(tokens):
            return []
        for end in range(len(tokens), start, -1):
            head = _known(separator.join(tokens[start:end]), names, separator, control)
            tail = rest(end) if head is not None else None
            if head is not None and tail is not None:
                return head + tail
        return None

    return rest(0)


def _known(part: str, names: Mapping[str, int], separator: str, control: str) -> Found | None:
    """One part as (name, dose text); an empty list for the control, None if unknown. The whole part is tried first.

    So where doses are perturbations of their own, `A@.50` means the perturbation `A@0.5`, not a dose of `A`.
    """
    for name in (part, canonical_dose(part)):
        if name in names:
            return [(name, None)]
    if part == control:
        return []
    name, mark, dose = part.rpartition(DOSE_MARK)
    if not mark or separator in dose:  # `A@2+B` is two parts, not a dose of `2+B`
        return None
    if split_dose(part)[1] is not None and has_doses_as_names(name.strip(), names):
        return None
    return [(name.strip(), dose.strip())] if name.strip() in names else None


def _unknown_part(
    label: str, tokens: Sequence[str], names: Sequence[str], separator: str, control: str, why: str
) -> InputError:
    known = dict.fromkeys(names, 0)
    unknown = [token for token in tokens if _known(token, known, separator, control) is None]
    part = unknown[0]
    if has_doses_as_names(split_dose(part)[0], names):
        return InputError(
            f"unknown perturbation {part!r} in treatment {label!r}: doses are perturbations of their own here, and no "
            f"cell had this one. Known: {listing(names)}."
        )
    bare = part.rpartition(DOSE_MARK)[0] or part
    hint = did_you_mean(bare, names)
    return InputError(f"unknown perturbation {bare!r} in treatment {label!r}.{hint} {why} Known: {listing(names)}.")
