"""Intervals of average effects that know of the networks' error, learned from validation cells.

The posterior of a fitted model is one of masks and embeddings: the decoder is a point estimate, and intervals given the
decoder are too narrow. What they lack is estimated from cells that were not trained on. The error of the networks is
taken to be, for every gene, one share q of the standard deviation of that gene between cells,

    predicted - true effect ~ Normal(0, sd^2 + q^2 gene_sd^2),

and q is the one number with which 90 % intervals cover 90 % of the effects measured in validation cells, when the
error of measurement is added. A share of the posterior sd (tempering) was tried and fits worse: where the posterior is
narrowest the networks err as much as elsewhere.

Our own method, no part of the published models. Standard errors of the measurement rest on the variance in training
cells: that of a few validation cells is itself too noisy, and small where a gene was missed by chance.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri

from samsjax.errors import InputError
from samsjax.evaluation.average_effects import AverageEffects

LEVEL = 0.9
SEEN_IN = 0.05
"""Share of control cells in which a gene must be seen to be learned from; means of rarer ones are far from normal."""
LARGEST_SHARE = 10.0
FEWEST_VALUES = 200
"""Effects (treatment x gene) below which nothing is learned."""


class NetworkError(NamedTuple):
    """What a recalibration learned."""

    share: float
    """q: error of the networks, in standard deviations of a gene between control cells; 0 if intervals were wide
    enough."""
    gene_sd: np.ndarray
    """(gene,): standard deviation of transformed expression between control cells."""
    n_values: int
    """Measured effects it was learned from."""
    covered_before: float
    """Share of them inside the model's own 90 % intervals, error of measurement added."""


def network_error(
    predicted: AverageEffects,
    measured: np.ndarray,
    standard_error: np.ndarray,
    gene_sd: np.ndarray,
    seen: np.ndarray,
) -> NetworkError:
    """Learn the share q from effects measured in cells that were not trained on.

    Args:
        predicted: effects with posterior `sd`.
        measured: (treatment, gene), in the order of `predicted`; rows of NaN are left out.
        standard_error: (treatment, gene), of `measured`.
        gene_sd: (gene,), between control cells.
        seen: (gene,), share of control cells in which a gene is seen.

    Raises:
        InputError: without posterior sd, for other shapes, or fewer than 200 values to learn from.
    """
    if predicted.sd is None:
        raise InputError("effects have no posterior sd: compute them with effect_intervals")
    if not measured.shape == standard_error.shape == predicted.ate.shape:
        raise InputError(
            f"predicted {predicted.ate.shape}, measured {measured.shape} and standard error {standard_error.shape} "
            "differ in shape"
        )
    usable = np.isfinite(measured) & (standard_error > 0) & (seen >= SEEN_IN) & np.isfinite(predicted.ate)
    if usable.sum() < FEWEST_VALUES:
        raise InputError(f"{usable.sum()} measured effects to learn from, fewer than {FEWEST_VALUES}")
    distance = np.abs(measured - predicted.ate)[usable]
    known = (standard_error.astype(np.float64) ** 2 + predicted.sd.astype(np.float64) ** 2)[usable]
    lacking = np.broadcast_to(gene_sd.astype(np.float64) ** 2, measured.shape)[usable]
    half_width = ndtri((1 + LEVEL) / 2)

    def excess(share: float) -> float:
        return float((distance <= half_width * np.sqrt(known + share**2 * lacking)).mean()) - LEVEL

    before = excess(0.0)
    share = 0.0 if before >= 0 else LARGEST_SHARE
    if before < 0 < excess(LARGEST_SHARE):
        share = brentq(excess, 0.0, LARGEST_SHARE, xtol=1e-4)
    return NetworkError(float(share), gene_sd, int(usable.sum()), before + LEVEL)


def recalibrated(predicted: AverageEffects, error: NetworkError) -> AverageEffects:
    """The same effects with the error of the networks in `sd`, and normal 90 % intervals.

    Raises:
        InputError: without posterior sd.
    """
    if predicted.sd is None:
        raise InputError("effects have no posterior sd: compute them with effect_intervals")
    sd = np.sqrt(predicted.sd.astype(np.float64) ** 2 + (error.share * error.gene_sd) ** 2)
    reach = ndtri((1 + LEVEL) / 2) * sd
    return predicted._replace(
        sd=sd.astype(np.float32),
        low=(predicted.ate - reach).astype(np.float32),
        high=(predicted.ate + reach).astype(np.float32),
    )
