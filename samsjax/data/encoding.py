"""Labels <-> indices and doses: what each cell received, as arrays whose size does not grow with the vocabulary.

Labels or a dosage matrix become an `Encoding` (`encode_labels`, `encode_matrix`); a data set lists its distinct
conditions as `Treatments`; `parse_treatment` reads one back. Equal conditions always encode to equal rows: within a
cell slots ascend by index, and empty slots come last with index 0 and dosage 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from samsjax.data.dataset import check_unique
from samsjax.data.labels import check_dose, check_grammar, parse_treatment, perturbations_of, read_dose
from samsjax.data.treatments import Treatments, canonical_slots, treatments
from samsjax.errors import InputError, listing, names_nearest_to

__all__ = [
    "Encoding",
    "Treatments",
    "combination_names",
    "encode_labels",
    "encode_matrix",
    "match_vocabulary",
    "parse_treatment",
    "treatments",
    "unique_combinations",
]

MISSING_TEXT = ("", "nan", "<NA>")
"""Texts that stand for a missing label: blanks, and what NaN becomes when a column is turned into strings."""


@dataclass(frozen=True, eq=False)
class Encoding:
    """The perturbations of cells. Rows without a dosage are controls."""

    perturbation_index: np.ndarray
    """int32 (cell, slot): position in `perturbation_names`; 0 in empty slots."""
    dosage: np.ndarray
    """float32 (cell, slot): 1 = applied, 0 = empty slot."""
    perturbation_names: np.ndarray
    """str (perturbation,), ascending (or the order of a given vocabulary)."""

    @property
    def n_parts(self) -> np.ndarray:
        """How many perturbations each cell received, int (cell,)."""
        return (self.dosage != 0).sum(axis=1)


def encode_labels(labels: Any, *, control: str | Sequence[str], separator: str = "+", doses: Any = None) -> Encoding:
    """Encode one label per cell; work grows with the number of distinct labels, not of cells.

    Args:
        labels: (cell,) of str, a pandas column included. `A+B` equals `B+A`, `A+ctrl` equals `A`.
        control: the label or labels of unperturbed cells.
        separator: what joins the parts of a combination.
        doses: None (1 each), numbers (cell,) that apply to all parts of a cell, or texts such as `1.0+0.5` in the
            order of the label's own parts (one number applies to all). Doses of controls are not looked at.

    Raises:
        InputError: for missing labels, empty or repeated parts, and doses that are missing, unreadable, negative,
            zero, infinite or of the wrong number.
    """
    controls = {control} if isinstance(control, str) else set(control)
    check_grammar(separator, controls)
    code, texts = _distinct_labels(labels, controls)
    parts = [perturbations_of(text, separator, controls) for text in texts]
    if doses is None:
        return _assemble([dict.fromkeys(names, 1.0) for names in parts], code)
    if len(doses) != len(code):
        raise InputError(f"{len(doses)} doses for {len(code)} cells")
    dose_code, dose_values = _factorize(doses)
    if all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in dose_values):
        return _scaled(parts, texts, code, np.append(dose_values.astype(float), np.nan)[dose_code])
    return _with_dose_texts(parts, texts, code, dose_code, dose_values, separator, controls)


def encode_matrix(matrix: Any, names: Sequence[str] | np.ndarray) -> Encoding:
    """Encode a ready (cell, perturbation) dosage matrix, dense or sparse; rows of zeros are controls.

    All columns stay in the vocabulary, sorted by name, also those no cell uses.

    Raises:
        InputError: if names do not fit the columns or repeat, or a dosage is negative, NaN or infinite.
    """
    names = np.asarray(names, dtype=str)
    if matrix.ndim != 2 or matrix.shape[1] != len(names):
        raise InputError(f"a dosage matrix of shape {matrix.shape} needs one name per column, got {len(names)} names")
    check_unique("perturbation names", names)
    order = np.argsort(names, kind="stable")
    rows = sp.csr_matrix(matrix)[:, order]  # a copy, so that the next lines leave the caller's matrix alone
    rows.sum_duplicates()
    rows.eliminate_zeros()
    wrong = rows.data[~(np.isfinite(_as_float32(rows.data)) & (_as_float32(rows.data) > 0))]
    if len(wrong):
        raise InputError(
            f"{len(wrong)} dosages are negative, NaN or infinite (first: {wrong[0]}); 0 = not applied, 1 = applied"
        )
    used = np.diff(rows.indptr)
    shape = (rows.shape[0], max(1, int(used.max(initial=1))))
    index, dosage = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.float32)
    cell = np.repeat(np.arange(shape[0]), used)
    slot = np.arange(rows.nnz) - np.repeat(rows.indptr[:-1], used)
    index[cell, slot], dosage[cell, slot] = rows.indices, _as_float32(rows.data)
    return Encoding(index, dosage, names[order])


def match_vocabulary(encoding: Encoding, vocabulary: Sequence[str] | np.ndarray) -> Encoding:
    """The same cells with indices into `vocabulary`, for data that a stored model has not seen.

    Raises:
        InputError: listing the perturbations in use that the vocabulary lacks.
    """
    names = np.asarray(vocabulary, dtype=str)
    check_unique("perturbation names", names)
    position = {name: index for index, name in enumerate(names.tolist())}
    used = np.unique(encoding.perturbation_index[encoding.dosage != 0])
    unknown = [name for name in encoding.perturbation_names[used].tolist() if name not in position]
    if unknown:
        hint = names_nearest_to(unknown[0], position)
        raise InputError(
            f"{len(unknown)} perturbations of the cells are not in the vocabulary: {listing(unknown)}.{hint} A model "
            "knows only perturbations it was trained on; leave these cells out, or name their label as a control label "
            "if they are controls"
        )
    table = np.array([position.get(name, 0) for name in encoding.perturbation_names.tolist()] or [0], dtype=np.int32)
    index, dosage = canonical_slots(table[encoding.perturbation_index], encoding.dosage)
    return Encoding(index, dosage, names)


def combination_names(encoding: Encoding, separator: str, control_name: str) -> np.ndarray:
    """Labels without doses, str (cell,), `control_name` for controls: what a split by combination goes by."""
    texts, code = _distinct_combinations(encoding, separator)
    return np.array([text or control_name for text in texts], dtype=str)[code]


def unique_combinations(encoding: Encoding, separator: str = "+") -> Encoding:
    """The same cells with each combination as a perturbation of its own, named `A+B`; one slot per cell.

    The vocabulary becomes what cells received: perturbations that no cell carries alone leave it. Doses of single
    perturbations stay doses. A combination at other doses than 1 is refused, since its parts would need two numbers.

    Raises:
        InputError: for combinations at other doses than 1, and if two conditions get the same name because a name
            contains the separator.

    Source:
        `encode_combos_as_unique` of the Norman study in SAMS-VAE (Bereket & Karaletsos 2023); needed by models such as
        SVAE+ that know one perturbation per cell. Such a model cannot predict a combination it has not seen.

    Differs:
        Conditions are sets of perturbations, so that two labels of the same set are one perturbation.
    """
    texts, code = _distinct_combinations(encoding, separator)
    check_unique("combination labels (rename perturbations whose names contain the separator)", np.array(texts))
    _check_doses_of_combinations(encoding, texts, code)
    names = np.array(sorted(text for text in texts if text), dtype=str)
    position = {name: index for index, name in enumerate(names.tolist())}
    index = np.array([position.get(text, 0) for text in texts] or [0], dtype=np.int32)[code]
    return Encoding(index[:, None], encoding.dosage.max(axis=1, keepdims=True), names)


def _distinct_combinations(encoding: Encoding, separator: str) -> tuple[list[str], np.ndarray]:
    """Labels of the distinct sets of perturbations, without doses, "" for controls; and the one of each cell."""
    index, dosage = canonical_slots(encoding.perturbation_index, encoding.dosage)
    rows, code = np.unique(np.where(dosage != 0, index, -1), axis=0, return_inverse=True)
    names = encoding.perturbation_names
    return [separator.join(sorted(names[row[row >= 0]].tolist())) for row in rows], code.reshape(-1)


def _check_doses_of_combinations(encoding: Encoding, texts: Sequence[str], code: np.ndarray) -> None:
    dosed = ((encoding.dosage != 0) & (encoding.dosage != 1)).any(axis=1)
    cells = np.flatnonzero(dosed & (encoding.n_parts > 1))
    if len(cells):
        row = cells[0]
        given = listing([f"{dose:g}" for dose in encoding.dosage[row] if dose])
        raise InputError(
            f"combination {texts[code[row]]!r} has doses {given} in row {row} ({len(cells)} such cells): a combination "
            "that is a perturbation of its own has no doses of its parts; switch combinations_as_unique off or "
            "doses_as_unique on, or give every part of a combination the dose 1"
        )


def _as_float32(values: np.ndarray) -> np.ndarray:
    """Out of range becomes inf or 0 without a warning: callers check for both."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(values).astype(np.float32)


def _factorize(values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Codes (cell,), -1 where missing, and the distinct values; hashing, so millions of strings take a second."""
    import pandas as pd  # late: importing samsjax stays light

    column = pd.Series(values)
    code, distinct = pd.factorize(column.astype(object) if column.dtype == bool else column)
    return code, np.asarray(distinct, dtype=object)


def _distinct_labels(labels: Any, controls: set[str]) -> tuple[np.ndarray, list[str]]:
    code, values = _factorize(labels)
    texts = [str(value).strip() for value in values]
    missing = np.array([text in MISSING_TEXT and text not in controls for text in texts] + [True])
    bad = np.flatnonzero(missing[code])  # code -1 reads the last entry
    if len(bad):
        raise InputError(
            f"{len(bad)} of {len(code)} cells have no perturbation label (empty or NaN), the first in row {bad[0]}; "
            "remove these cells or give them the control label"
        )
    return code, texts


def _assemble(doses: Sequence[dict[str, float]], code: np.ndarray) -> Encoding:
    """One (name -> dose) mapping per distinct condition and the condition of each cell, as arrays."""
    names = sorted({name for condition in doses for name in condition})
    position = {name: index for index, name in enumerate(names)}
    shape = (len(doses), max([1, *map(len, doses)]))
    index, dosage = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.float32)
    for row, condition in enumerate(doses):
        for slot, name in enumerate(sorted(condition)):
            index[row, slot], dosage[row, slot] = position[name], condition[name]
    return Encoding(index[code], dosage[code], np.array(names, dtype=str))


def _scaled(parts: Sequence[list[str]], texts: Sequence[str], code: np.ndarray, amount: np.ndarray) -> Encoding:
    """One number per cell applies to all its parts."""
    single = _assemble([dict.fromkeys(names, 1.0) for names in parts], code)
    perturbed = np.array([bool(names) for names in parts])[code]
    usable = np.isfinite(_as_float32(amount)) & (_as_float32(amount) > 0)
    bad = np.flatnonzero(perturbed & ~usable)
    if len(bad):
        row = bad[0]
        check_dose(float(amount[row]), f"label {texts[code[row]]!r} ({len(bad)} such cells, the first in row {row})")
    amount = _as_float32(np.where(perturbed, amount, 0.0))
    return Encoding(single.perturbation_index, single.dosage * amount[:, None], single.perturbation_names)


def _with_dose_texts(
    parts: Sequence[list[str]],
    texts: Sequence[str],
    code: np.ndarray,
    dose_code: np.ndarray,
    dose_values: np.ndarray,
    separator: str,
    controls: set[str],
) -> Encoding:
    """Each distinct pair of label and dose text is read once."""
    width = len(dose_values) + 1
    pairs, pair_code = np.unique(code * width + dose_code + 1, return_inverse=True)
    conditions = []
    for pair in pairs:
        label, dose = divmod(int(pair), width)
        text = str(dose_values[dose - 1]).strip() if dose else "nan"
        conditions.append(_dose_of_parts(texts[label], parts[label], text, separator, controls))
    return _assemble(conditions, pair_code)


def _dose_of_parts(label: str, names: list[str], text: str, separator: str, controls: set[str]) -> dict[str, float]:
    if not names:
        return {}
    own = [part.strip() for part in label.split(separator)]
    given = [part.strip() for part in text.split(separator)]
    if len(given) == 1:
        given = given * len(own)
    if len(given) != len(own):
        raise InputError(f"doses {text!r} hold {len(given)} numbers for the {len(own)} parts of label {label!r}")
    return {
        name: read_dose(dose, f"{name} in label {label!r} with doses {text!r}")
        for name, dose in zip(own, given, strict=True)
        if name not in controls
    }
