"""Expression matrices as they come and as they are used: read into memory, checked, in the smallest fitting type.

Sparse stays sparse (CSR). Counts become uint16 (uint32 where they do not fit), continuous values float32. A matrix is
never changed in place, since it belongs to the caller's AnnData.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp

from samsjax.errors import InputError

Matrix: TypeAlias = Any
"""CSR matrix or array, (cell, gene); `Any` because scipy.sparse has no types."""

Test: TypeAlias = Callable[[np.ndarray], np.ndarray]

CHUNK = 1 << 24
"""Entries looked at together, so that checks need little memory beside a large matrix."""


def in_memory(matrix: Any) -> Matrix:
    """A (cell, gene) matrix of any kind AnnData holds, on disk or in memory, as canonical CSR or as an array."""
    if hasattr(matrix, "to_memory"):  # a sparse matrix on disk
        matrix = matrix.to_memory()
    if not sp.issparse(matrix):
        return np.ascontiguousarray(matrix)  # so that flat views below cost nothing
    rows = sp.csr_matrix(matrix)
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    if not rows.data.all():
        rows = rows.copy()
        rows.eliminate_zeros()
    return rows


def entries(x: Matrix) -> np.ndarray:
    """The stored values, flat."""
    return x.data if sp.issparse(x) else x.reshape(-1)


def position(x: Matrix, flat: int) -> tuple[int, int]:
    """Row and column of entry `flat` of `entries(x)`."""
    if sp.issparse(x):
        return int(np.searchsorted(x.indptr, flat, side="right") - 1), int(x.indices[flat])
    return divmod(flat, x.shape[1])


def first_where(x: Matrix, test: Test) -> int | None:
    """Place in `entries(x)` of the first value that `test` (array -> bool array) holds for; None if there is none."""
    values = entries(x)
    for start in range(0, values.size, CHUNK):
        hits = test(values[start : start + CHUNK])
        if hits.any():
            return start + int(hits.argmax())
    return None


def is_fractional(values: np.ndarray) -> np.ndarray:
    """Which values are not whole numbers; integer types never are."""
    return np.zeros(values.shape, dtype=bool) if values.dtype.kind in "iub" else values != np.floor(values)


def check_values(
    x: Matrix, what: str, cells: np.ndarray, genes: np.ndarray, *, counts: bool, advice: Callable[[], str]
) -> None:
    """Check the values of a matrix that is called `what` in messages.

    Args:
        x: (cell, gene).
        what: such as `adata.X`.
        cells: names of the rows, for messages.
        genes: names of the columns, for messages.
        counts: whether values must be whole numbers, not negative; otherwise they must only be finite.
        advice: says which matrix to use instead, added to a message; called only then, as it may read from disk.

    Raises:
        InputError: naming the first bad value with its cell and gene.
    """
    if entries(x).dtype.kind not in "iufb":
        raise InputError(f"{what} holds values of type {entries(x).dtype}, expected numbers")

    def refuse(test: Test, problem: str) -> None:
        flat = first_where(x, test)
        if flat is not None:
            cell, gene = position(x, flat)
            raise InputError(
                f"{what} holds {problem} (first: {entries(x)[flat]:g} in cell '{cells[cell]}', gene '{genes[gene]}'). "
                + advice()
            )

    refuse(lambda values: ~np.isfinite(values), "NaN or infinite values")
    if counts:
        refuse(lambda values: values < 0, "negative values, so they are not counts; they look scaled or centred")
        kind = "log-normalised" if entries(x).max(initial=0) < 20 else "normalised"
        refuse(is_fractional, f"fractional values, so they are not raw counts; they look {kind}")
        limit = np.iinfo(np.uint32).max
        refuse(lambda values: values > limit, f"counts above {limit} (the range of uint32)")


def compact(x: Matrix, *, counts: bool) -> Matrix:
    """Checked values in their smallest type: uint16 or uint32 for counts, else float32."""
    if not counts:
        return x.astype(np.float32)
    top = entries(x).max(initial=0)
    return x.astype(np.uint16 if top <= np.iinfo(np.uint16).max else np.uint32)


def row_sums(x: Matrix) -> np.ndarray:
    """Total of each cell, float64 (cell,); exact for counts."""
    return np.asarray(x.sum(axis=1, dtype=np.float64)).reshape(-1)


def cells_per_gene(x: Matrix) -> np.ndarray:
    """How many cells have a value other than 0, int (gene,)."""
    if sp.issparse(x):
        return np.bincount(x.indices, minlength=x.shape[1])
    return np.count_nonzero(x, axis=0)


def looks_like_counts(matrix: Any, n_cells: int = 1000) -> bool:
    """Whether the first cells hold only whole numbers that are not negative; reads no more than these."""
    values = entries(in_memory(matrix[:n_cells]))
    return values.dtype.kind in "iub" or bool((values >= 0).all() and not is_fractional(values).any())


def describe_matrices(matrices: Sequence[tuple[str, Any]]) -> str:
    """Names of matrices, each marked with whether it could be counts."""
    marks = [f"{name!r} ({'whole numbers' if looks_like_counts(m) else 'not whole numbers'})" for name, m in matrices]
    return ", ".join(marks) or "(none)"
