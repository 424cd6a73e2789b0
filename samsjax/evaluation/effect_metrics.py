"""Row by row agreement of two tables (treatment, gene): the functions behind `samsjax.evaluation.metrics.METRICS`.

All take float64 arrays, measured first, and return float64 (treatment,). NaN: not defined for this treatment, such as
a correlation with a constant; no function warns about it.
"""

import numpy as np

RESOLUTION = 1e-6
"""Effects come in single precision: variation below this share of their size is rounding, and counts as none."""


def correlation(
    measured: np.ndarray, predicted: np.ndarray, sizes_of: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """Pearson correlation over genes; NaN where a side is constant.

    Args:
        measured: (treatment, gene).
        predicted: (treatment, gene).
        sizes_of: the tables whose rows say how large rounding errors are, where the two are differences of larger
            numbers. Without this, what is left of a prediction that equals its reference is noise with a correlation.
    """
    centred = [side - side.mean(axis=1, keepdims=True) for side in (measured, predicted)]
    norms = [np.linalg.norm(side, axis=1) for side in centred]
    sizes = [np.linalg.norm(side, axis=1) for side in sizes_of or (measured, predicted)]
    varies = [norm > RESOLUTION * size for norm, size in zip(norms, sizes, strict=True)]
    return _cosine_of(centred, norms, varies[0] & varies[1])


def cosine(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Cosine of the angle between two rows; NaN where a row is zero."""
    norms = [np.linalg.norm(side, axis=1) for side in (measured, predicted)]
    return _cosine_of([measured, predicted], norms, (norms[0] > 0) & (norms[1] > 0))


def r2(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """1 - squared error / variation over genes of the measured row; NaN where that is constant."""
    centred = measured - measured.mean(axis=1, keepdims=True)
    varies = np.linalg.norm(centred, axis=1) > RESOLUTION * np.linalg.norm(measured, axis=1)
    return 1 - _ratio(((measured - predicted) ** 2).sum(axis=1), (centred**2).sum(axis=1), varies)


def mean_squared_error(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Mean over genes."""
    return ((measured - predicted) ** 2).mean(axis=1)


def mean_absolute_error(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Mean over genes."""
    return np.abs(measured - predicted).mean(axis=1)


def correlation_of_top(measured: np.ndarray, predicted: np.ndarray, n_top: int) -> np.ndarray:
    """Pearson correlation over each treatment's `n_top` genes with the largest |measured effect|.

    NaN where the measured effects name no such genes: no more than `n_top` genes, or a tie at the last place.
    """
    out = np.full(len(measured), np.nan)
    if measured.shape[1] <= n_top:
        return out
    top, known = _measured_top(measured, n_top)
    if known.any():
        # A bool index reads rows in order, and every row has the same number of genes.
        sides = [side[known][top[known]].reshape(-1, n_top) for side in (measured, predicted)]
        out[known] = correlation(*sides)
    return out


def jaccard_of_top(measured: np.ndarray, predicted: np.ndarray, n_top: int) -> np.ndarray:
    """Shared / all genes of the two sets of `n_top` genes with the largest |effect|.

    Ties among predicted effects are broken at random and the expected number of shared genes is used: a prediction of
    no effect scores what a random set of genes would. NaN where the measured effects name no set: no more than `n_top`
    genes, or a tie at the last place.
    """
    if measured.shape[1] <= n_top:
        return np.full(len(measured), np.nan)
    top, known = _measured_top(measured, n_top)
    shared = _expected_shared(top, predicted, np.full(len(measured), n_top))
    return np.where(known, shared / (2 * n_top - shared), np.nan)


def overlap_with_significant(significant: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Share of the N significant genes that are among the N genes with the largest |predicted effect|.

    Ties among predicted effects are broken at random and the expected share is used. NaN if no gene is significant.
    """
    n = significant.sum(axis=1)
    return _ratio(_expected_shared(significant, predicted, n), n, n > 0)


def direction_match(measured: np.ndarray, predicted: np.ndarray, significant: np.ndarray) -> np.ndarray:
    """Share of significant genes with effects of the same sign; 0 is no sign. NaN if no gene is significant."""
    n = significant.sum(axis=1)
    return _ratio((significant & (np.sign(measured) * np.sign(predicted) > 0)).sum(axis=1), n, n > 0)


def rank_correlation(measured: np.ndarray, predicted: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Spearman correlation over the genes `among` (bool, treatment x gene); ties share their mean rank.

    NaN where there are fewer than two genes, or all are tied.
    """
    from scipy.stats import rankdata

    n = among.sum(axis=1)
    inside = np.arange(n.max(initial=0)) < n[:, None]
    centred = []
    for side in (measured, predicted):
        padded = np.full(inside.shape, np.inf)  # Ranked behind all genes, hence without influence on their ranks.
        padded[inside] = side[among]
        ranks = rankdata(padded, axis=1) if padded.size else padded
        centred.append(np.where(inside, ranks - (n[:, None] + 1) / 2, 0.0))
    norms = [np.linalg.norm(side, axis=1) for side in centred]
    return _cosine_of(centred, norms, (norms[0] > 0) & (norms[1] > 0))


def discrimination(measured: np.ndarray, predicted: np.ndarray, distance: str) -> np.ndarray:
    """How near a prediction is to its own treatment's measured effect, among the measured effects of all treatments.

    1 - rank / (treatments - 1), rank 0 for the nearest: 1 if no other measured effect is nearer, 0 if all are. Ties
    take the middle rank. A row of zeros has cosine 0 with everything. NaN with one treatment.

    Args:
        measured: (treatment, gene).
        predicted: (treatment, gene).
        distance: "cityblock", "euclidean" or "cosine".
    """
    if len(measured) < 2:
        return np.full(len(measured), np.nan)
    to_all = _DISTANCES[distance](predicted, measured)
    own = np.diagonal(to_all)[:, None]
    rounding = 1e-11 * np.abs(to_all).max(axis=1, keepdims=True)
    nearer = (to_all < own - rounding).sum(axis=1)
    tied = (np.abs(to_all - own) <= rounding).sum(axis=1) - 1
    return 1 - (nearer + tied / 2) / (len(measured) - 1)


def _cityblock(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    from scipy.spatial.distance import cdist

    return cdist(predicted, measured, "cityblock")


def _squared_euclidean(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Up to what is equal for all of a row, |predicted|^2, which no rank depends on."""
    return (measured**2).sum(axis=1) - 2 * predicted @ measured.T


def _minus_cosine(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    return -_directions(predicted) @ _directions(measured).T


def _directions(effects: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(effects, axis=1, keepdims=True)
    return np.divide(effects, length, out=np.zeros_like(effects), where=length > 0)


_DISTANCES = {"cityblock": _cityblock, "euclidean": _squared_euclidean, "cosine": _minus_cosine}
"""What ranks like each distance. The last two are matrix products, so that hundreds of treatments cost little."""


def _measured_top(values: np.ndarray, n_top: int) -> tuple[np.ndarray, np.ndarray]:
    """(bool (treatment, gene) of those that reach the place `n_top` by size, bool (treatment,): these are `n_top`)."""
    size = np.abs(values)
    place = size.shape[1] - n_top
    top = size >= np.partition(size, place, axis=1)[:, place, None]
    return top, top.sum(axis=1) == n_top


def _expected_shared(chosen: np.ndarray, values: np.ndarray, n_top: np.ndarray) -> np.ndarray:
    """Expected number of `chosen` genes among the `n_top` (treatment,) largest |values|, ties broken at random."""
    size = np.abs(values)
    # Only the places asked for are put in order; a row that asks for no gene gets the largest, and shares none.
    place = np.minimum(size.shape[1] - n_top, size.shape[1] - 1)
    threshold = np.take_along_axis(np.partition(size, np.unique(place), axis=1), place[:, None], axis=1)
    above, tied = size > threshold, size == threshold
    chance = (n_top - above.sum(axis=1)) / tied.sum(axis=1)
    return (chosen & above).sum(axis=1) + chance * (chosen & tied).sum(axis=1)


def _cosine_of(sides: list[np.ndarray], norms: list[np.ndarray], defined: np.ndarray) -> np.ndarray:
    # Divided one after the other: the product of two norms may underflow.
    product = np.einsum("tg,tg->t", *sides)
    return np.clip(_ratio(_ratio(product, norms[0], defined), norms[1], defined), -1.0, 1.0)


def _ratio(numerator: np.ndarray, denominator: np.ndarray, defined: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.full(len(defined), np.nan), where=defined)
