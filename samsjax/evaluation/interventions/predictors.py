"""Simple predictors of contexts from their features, which a causal model must be read beside: the table `PREDICTORS`.

To add one, write `fit(training, val, key) -> predict` and a line here; `predict(features, n_cells, rng)` gives one
`Prediction` for every row of features. A causal model is told apart by its target scores, not by its interface.

Where features are nearly linear in the effects, ridge regression is close to the best possible prediction of means: no
causal model can be expected to beat it there.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from samsjax.evaluation.interventions.contexts import Contexts
from samsjax.evaluation.interventions.prediction import Prediction, gaussian_prediction, near_positive
from samsjax.evaluation.ridge import Ridge
from samsjax.inference.regression import fit_gaussian_network

Predict = Callable[[np.ndarray, int, np.random.Generator], list[Prediction]]
"""(features (context, feature), cells to draw of each, random numbers) -> one prediction per context."""
PENALTIES = 10.0 ** np.arange(-3.0, 6.5, 0.5)
"""Candidates of the ridge, beside sums of squares of standardised features."""


class PredictorEntry(NamedTuple):
    """One line of the table."""

    description: str
    """One sentence, as reports print it."""
    fit: Callable[[Contexts, Contexts | None, jax.Array], Predict]
    """(training contexts, validation contexts if there are any, key) -> predictor."""


def fit_no_effect(training: Contexts, val: Contexts | None, key: jax.Array) -> Predict:
    """Every context is like the control."""
    del val, key
    return _constant(training.control.mean(axis=0), np.cov(training.control, rowvar=False))


def fit_mean_effect(training: Contexts, val: Contexts | None, key: jax.Array) -> Predict:
    """Every context is like the average training context: the mean of means, the mean of covariances."""
    del val, key
    return _constant(training.means.mean(axis=0), training.covariances.mean(axis=0))


def fit_nearest(training: Contexts, val: Contexts | None, key: jax.Array) -> Predict:
    """A context is like the training context with the nearest features; of equally near ones the first."""
    del val, key
    means, covariances = training.means, _shrunk(training)

    def predict(features: np.ndarray, n_cells: int, rng: np.random.Generator) -> list[Prediction]:
        distances = ((features[:, None] - training.features[None]) ** 2).sum(axis=-1)
        return [gaussian_prediction(rng, means[row], covariances[row], n_cells) for row in distances.argmin(axis=1)]

    return predict


def fit_feature_ridge(training: Contexts, val: Contexts | None, key: jax.Array) -> Predict:
    """Ridge regression of means, and of the entries of covariances, on features.

    Each has one penalty, that with the smallest squared error when every training context in turn is left out. The
    error of a mean is that of left-out contexts, less what the sampling of their cells explains.
    """
    del val, key
    n_variables = training.control.shape[1]
    lower = np.tril_indices(n_variables)
    of_means = Ridge.of(training.features, training.means, PENALTIES)
    of_covariances = Ridge.of(training.features, training.covariances[:, *lower], PENALTIES)
    sampling = np.mean([cells.var(axis=0, ddof=1) / len(cells) for cells in training.cells], axis=0)
    left_out_variance = (np.concatenate(of_means.left_out) ** 2).mean(axis=0)
    mean_sd = np.sqrt(np.maximum(left_out_variance - sampling, 0.0))

    def predict(features: np.ndarray, n_cells: int, rng: np.random.Generator) -> list[Prediction]:
        found = []
        for mean, entries in zip(of_means.at(features), of_covariances.at(features), strict=True):
            covariance = np.zeros((n_variables, n_variables))
            covariance[lower] = entries
            whole = covariance + np.tril(covariance, -1).T
            found.append(gaussian_prediction(rng, mean, near_positive(whole), n_cells, mean_sd))
        return found

    return predict


def fit_network(training: Contexts, val: Contexts | None, key: jax.Array) -> Predict:
    """A small network from features to means and spreads of Gaussian cells; correlations are those within training.

    Validation contexts, if there are any, say when to stop.
    """
    network = fit_gaussian_network(
        key, _moments_of(training), None if val is None or not val.cells else _moments_of(val)
    )
    within = training.covariances.mean(axis=0)
    spread = np.sqrt(np.diagonal(within))
    correlation = within / spread / spread[:, None]

    def predict(features: np.ndarray, n_cells: int, rng: np.random.Generator) -> list[Prediction]:
        locs, scales = network(features)
        return [
            gaussian_prediction(rng, loc, correlation * scale * scale[:, None], n_cells)
            for loc, scale in zip(locs, scales, strict=True)
        ]

    return predict


PREDICTORS: dict[str, PredictorEntry] = {
    "no effect": PredictorEntry("every context is like the control", fit_no_effect),
    "mean effect": PredictorEntry("every context is like the average training context", fit_mean_effect),
    "nearest": PredictorEntry("the training context with the nearest features", fit_nearest),
    "ridge": PredictorEntry("ridge regression of means and covariances on features", fit_feature_ridge),
    "network": PredictorEntry("a small network from features to Gaussian cells", fit_network),
}
"""By name, simplest first."""


def _constant(mean: np.ndarray, covariance: np.ndarray) -> Predict:
    def predict(features: np.ndarray, n_cells: int, rng: np.random.Generator) -> list[Prediction]:
        return [gaussian_prediction(rng, mean, covariance, n_cells) for _ in features]

    return predict


def _shrunk(training: Contexts) -> np.ndarray:
    """Covariances of few cells half way to their mean over contexts, so that all can be inverted."""
    own = training.covariances
    return (own + own.mean(axis=0)) / 2


def _moments_of(contexts: Contexts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, means and variances of contexts."""
    return contexts.features, contexts.means, np.array([cells.var(axis=0) for cells in contexts.cells])
