"""Ridge regression with an intercept that is not shrunk and the penalty that predicts left-out rows best."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np


class Ridge(NamedTuple):
    """The regression with the best of several penalties."""

    coefficients: np.ndarray
    """(feature, response)."""
    intercept: np.ndarray
    """(response,)."""
    penalty: float
    left_out: list[np.ndarray]
    """For every group of rows, their errors when it is left out, (row of the group, response)."""

    @classmethod
    def of(
        cls,
        design: np.ndarray,
        target: np.ndarray,
        penalties: Iterable[float],
        *,
        constant: np.ndarray | None = None,
        groups: Sequence[np.ndarray] | None = None,
    ) -> "Ridge":
        """The regression whose left-out groups are predicted with the smallest squared error, in closed form.

        Args:
            design: (row, feature).
            target: (row, response).
            penalties: candidates; of equally good ones the first.
            constant: what the intercept is multiplied by in each row, (row, 1); by default 1.
            groups: numbers of the rows that are left out together; by default every row alone.
        """
        constant = np.ones((len(design), 1)) if constant is None else constant
        apart = list(np.arange(len(design))[:, None]) if groups is None else groups
        path = _Path.of(design, constant, target)
        left_out = {penalty: path.left_out(apart, penalty) for penalty in map(float, penalties)}
        best = min(left_out, key=lambda penalty: sum(float((errors**2).sum()) for errors in left_out[penalty]))
        return cls(*path.coefficients(best), best, left_out[best])

    def at(self, features: np.ndarray) -> np.ndarray:
        """Responses to features (row, feature), (row, response)."""
        return features @ self.coefficients + self.intercept


class _Path(NamedTuple):
    """What is computed once for all penalties."""

    left: np.ndarray
    """(row, component): left singular vectors of the design, what the intercept explains taken out."""
    values: np.ndarray
    """(component,): singular values."""
    right: np.ndarray
    """(component, feature)."""
    constant: np.ndarray
    """(row, 1): the column of the intercept, of length 1."""
    length: float
    """Of that column."""
    design: np.ndarray
    target: np.ndarray

    @classmethod
    def of(cls, design: np.ndarray, constant: np.ndarray, target: np.ndarray) -> "_Path":
        length = float(np.linalg.norm(constant))
        constant = constant / length
        left, values, right = np.linalg.svd(design - constant @ (constant.T @ design), full_matrices=False)
        return cls(left, values, right, constant, length, design, target)

    def left_out(self, groups: Sequence[np.ndarray], penalty: float) -> list[np.ndarray]:
        """Errors of the rows of every group, predicted without them.

        For a linear smoother H the error of left-out rows is (1 - H of these rows)^-1 times their residual.
        """
        shrunk = self.values**2 / (self.values**2 + penalty)
        fitted = self.left @ (shrunk[:, None] * (self.left.T @ self.target))
        residual = self.target - fitted - self.constant @ (self.constant.T @ self.target)
        errors = []
        for rows in groups:
            own, constant = self.left[rows], self.constant[rows]
            smoother = (own * shrunk) @ own.T + constant @ constant.T
            errors.append(np.linalg.solve(np.eye(len(rows)) - smoother, residual[rows]))
        return errors

    def coefficients(self, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        """(feature, response) and the intercept (response,)."""
        weights = self.values / (self.values**2 + penalty)
        coefficients = self.right.T @ (weights[:, None] * (self.left.T @ self.target))
        return coefficients, (self.constant.T @ (self.target - self.design @ coefficients) / self.length)[0]
