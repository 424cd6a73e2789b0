"""Agreement of fits with each other: would another seed, or other cells, have given the same masks?

Fits number their latent dimensions in any order and with either sign. Of two fits, latents are matched one to one so
that most active entries coincide (`masks.mask_agreement`), and signs so that effects of matched latents point the same
way. Agreement says that a result is reproducible, not that it is true: fits may agree on the same mistake.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from samsjax.errors import InputError
from samsjax.evaluation.masks import mask_agreement
from samsjax.evaluation.posterior_effects import PosteriorEffects

KINDS = ("seeds", "halves")
"""What is summarized: pairs of fits of all training cells, and the two halves of one division of them."""
SCORES = ("f1", "f1_shuffled", "same_mask", "effect_correlation")
"""Fields of `PairAgreement` that are one number for a pair."""
N_SHUFFLES = 20
"""Shufflings of perturbations behind the agreement that chance gives."""


class PairAgreement(NamedTuple):
    """How well two fits agree. Active = inclusion probability above one half; the effect is 0 where it is not."""

    f1: float
    """Of the active entries, latents matched, in [0, 1]; 1 if neither fit has one."""
    f1_shuffled: float
    """Mean of the same with the perturbations of one fit shuffled: what masks of these sizes reach by chance."""
    same_mask: float
    """Share of the perturbations with exactly the same mask, latents matched."""
    effect_correlation: float
    """Of matched effects about 0, in [-1, 1]: signs of latents are arbitrary, and so would be a mean over them. NaN if
    a fit has no active entry."""
    perturbation_f1: np.ndarray
    """(perturbation,): F1 of each one's own row of the masks; 1 if it is empty in both."""
    latents: np.ndarray
    """int (latent,): the second fit's latent that is matched to each latent of the first. Arbitrary among latents that
    share no active entry."""
    signs: np.ndarray
    """(latent,): 1, or -1 where the matched latent points the other way."""


class Member(NamedTuple):
    """A fit to be compared."""

    label: str
    division: int | None
    """Number of the division into halves of which this fit saw one half; None if it saw all training cells."""
    effects: PosteriorEffects


class Pair(NamedTuple):
    """Two fits and their agreement."""

    kind: str
    """"seeds", "halves", or "mixed": a half and all cells, or halves of different divisions, which share cells."""
    first: str
    second: str
    agreement: PairAgreement


class Stability(NamedTuple):
    """Every fit compared with every other."""

    perturbation_names: np.ndarray
    members: tuple[Member, ...]
    """In the order given; latents in the order and with the signs of the first."""
    pairs: tuple[Pair, ...]

    def of_kind(self, kind: str) -> list[Pair]:
        """The pairs of one kind; none if too few fits were made."""
        return [pair for pair in self.pairs if pair.kind == kind]

    @property
    def matrix(self) -> np.ndarray:
        """(fit, fit): F1 of every pair, 1 on the diagonal."""
        place = {member.label: i for i, member in enumerate(self.members)}
        matrix = np.eye(len(place))
        for pair in self.pairs:
            i, j = place[pair.first], place[pair.second]
            matrix[i, j] = matrix[j, i] = pair.agreement.f1
        return matrix

    @property
    def perturbation_f1(self) -> dict[str, np.ndarray]:
        """(pair, perturbation) for each kind of `KINDS` that has pairs."""
        found = {kind: self.of_kind(kind) for kind in KINDS}
        return {kind: np.stack([p.agreement.perturbation_f1 for p in pairs]) for kind, pairs in found.items() if pairs}

    @property
    def scores(self) -> dict[str, float]:
        """`stability/<kind>/<score>_mean` over pairs, and the lowest F1; NaN where no pair has the score."""
        scores = {}
        for kind in KINDS:
            agreements = [pair.agreement for pair in self.of_kind(kind)]
            for name in SCORES if agreements else ():
                values = np.array([getattr(agreement, name) for agreement in agreements])
                known = values[~np.isnan(values)]
                scores[f"stability/{kind}/{name}_mean"] = float(known.mean()) if len(known) else float("nan")
            if agreements:
                scores[f"stability/{kind}/f1_min"] = min(agreement.f1 for agreement in agreements)
        return scores


def stability(members: Sequence[Member], perturbation_names: np.ndarray) -> Stability:
    """Compare every fit with every other.

    Args:
        members: at least two fits with different labels and tables of the same shape.
        perturbation_names: str (perturbation,). Leave out perturbations that a fit never saw: their masks are the
            prior's, and agree for no reason.

    Raises:
        InputError: for fewer than two fits, equal labels, or tables of different shapes.
    """
    labels = [member.label for member in members]
    if len(members) < 2 or len(set(labels)) < len(labels):
        raise InputError(f"agreement needs two or more fits with different labels, got {labels}")
    if len(perturbation_names) != len(members[0].effects.mean):
        raise InputError(f"{len(perturbation_names)} names for {len(members[0].effects.mean)} perturbations")
    pairs = tuple(_pairs(members))
    reference = {pair.second: pair.agreement for pair in pairs if pair.first == labels[0]}
    aligned = (m._replace(effects=matched(m.effects, reference[m.label])) for m in members[1:])
    return Stability(np.asarray(perturbation_names, dtype=str), (members[0], *aligned), pairs)


def _pairs(members: Sequence[Member]) -> Iterator[Pair]:
    for first, second in combinations(members, 2):
        kind = "mixed"
        if first.division == second.division:
            kind = "seeds" if first.division is None else "halves"
        yield Pair(kind, first.label, second.label, pair_agreement(first.effects, second.effects))


def pair_agreement(first: PosteriorEffects, second: PosteriorEffects) -> PairAgreement:
    """Agreement of two fits on the same perturbations.

    Raises:
        InputError: if their tables differ in shape.
    """
    if first.mean.shape != second.mean.shape:
        raise InputError(f"effects of shapes {first.mean.shape} and {second.mean.shape} cannot be compared")
    agreement = mask_agreement(first.mask, second.mask)
    latents = agreement.estimated_latents  # as many as there are, so those of the first fit are matched in order
    mask, other = first.mask, second.mask[:, latents]
    effect = np.where(mask, first.mean, 0.0).astype(float)
    other_effect = np.where(other, second.mean[:, latents], 0.0).astype(float)
    signs = np.where((effect * other_effect).sum(axis=0) < 0, -1.0, 1.0)
    n_active = mask.sum(axis=1) + other.sum(axis=1)
    return PairAgreement(
        f1=agreement.f1,
        f1_shuffled=_shuffled_f1(first.mask, second.mask),
        same_mask=float((mask == other).all(axis=1).mean()),
        effect_correlation=_correlation_about_zero(effect, other_effect * signs),
        perturbation_f1=np.where(n_active > 0, 2 * (mask & other).sum(axis=1) / np.maximum(n_active, 1), 1.0),
        latents=latents,
        signs=signs,
    )


def matched(effects: PosteriorEffects, agreement: PairAgreement) -> PosteriorEffects:
    """The second fit of a pair with its latents in the order and with the signs of the first."""
    order = agreement.latents
    return effects._replace(
        inclusion_probability=effects.inclusion_probability[:, order],
        mean=effects.mean[:, order] * agreement.signs.astype(effects.mean.dtype),
        sd=effects.sd[:, order],
    )


def worst_first(perturbation_f1: Mapping[str, np.ndarray]) -> np.ndarray:
    """Perturbations by mean agreement, lowest first, every kind of pairs with the same weight; ties in their order.

    Args:
        perturbation_f1: (pair, perturbation) by kind, as `Stability.perturbation_f1`.

    Returns:
        int (perturbation,): row numbers.
    """
    return np.argsort(np.mean([values.mean(axis=0) for values in perturbation_f1.values()], axis=0), kind="stable")


def _shuffled_f1(first: np.ndarray, second: np.ndarray) -> float:
    rng = np.random.default_rng(0)
    return float(np.mean([mask_agreement(first, rng.permutation(second)).f1 for _ in range(N_SHUFFLES)]))


def _correlation_about_zero(first: np.ndarray, second: np.ndarray) -> float:
    norm = np.sqrt((first**2).sum() * (second**2).sum())
    return float((first * second).sum() / norm) if norm else float("nan")
