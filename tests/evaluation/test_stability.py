"""Agreement of fits with each other: closed forms, the order and signs of latents, and who is compared with whom."""

import numpy as np
import pytest

from samsjax.errors import InputError
from samsjax.evaluation import Member, PosteriorEffects, pair_agreement, stability
from samsjax.evaluation.stability import matched, worst_first


def effects(mask, sizes=None):
    """Masks that are sure of themselves; entries that are not active have an effect of the wrong size."""
    mask = np.asarray(mask, dtype=bool)
    sizes = np.full(mask.shape, 2.0) if sizes is None else sizes
    probability = np.where(mask, 0.9, 0.1).astype(np.float32)
    mean = np.where(mask, sizes, 0.3).astype(np.float32)
    return PosteriorEffects(probability, mean, np.full_like(mean, 0.1), sparse=True)


def drawn(seed, shape=(30, 5), share=0.3):
    rng = np.random.default_rng(seed)
    return effects(rng.random(shape) < share, rng.normal(2.0, 0.5, shape) * rng.choice([-1, 1], shape))


def renumbered(fit, order, signs):
    return PosteriorEffects(fit.inclusion_probability[:, order], fit.mean[:, order] * signs, fit.sd[:, order], True)


def test_the_order_and_signs_of_latents_do_not_matter():
    fit = drawn(0)
    order, signs = np.array([3, 0, 4, 1, 2]), np.array([1, -1, -1, 1, -1], dtype=np.float32)
    other = renumbered(fit, order, signs)
    agreement = pair_agreement(fit, other)
    assert (agreement.f1, agreement.same_mask) == (1.0, 1.0)
    assert agreement.effect_correlation == pytest.approx(1.0, rel=1e-12)
    assert (agreement.perturbation_f1 == 1).all()
    assert order[agreement.latents].tolist() == [0, 1, 2, 3, 4]
    back = matched(other, agreement)
    for name in ("inclusion_probability", "mean", "sd"):
        np.testing.assert_array_equal(getattr(back, name), getattr(fit, name))
    assert agreement.f1_shuffled < 0.6


def test_one_entry_that_moved_counts_in_its_own_row():
    first = effects([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]])
    second = effects([[1, 0, 0], [1, 0, 0], [0, 1, 1], [0, 0, 0]])
    agreement = pair_agreement(first, second)
    assert agreement.perturbation_f1.tolist() == [1.0, pytest.approx(2 / 3), pytest.approx(2 / 3), 1.0]
    assert agreement.f1 == pytest.approx(2 * 3 / 8) and agreement.same_mask == 0.5
    assert agreement.effect_correlation == pytest.approx(3 / 4)  # three products of four entries, all of one size


def test_one_active_entry_in_different_perturbations_never_agrees():
    agreement = pair_agreement(effects([[1], [0]]), effects([[0], [1]]))
    assert agreement.f1 == agreement.same_mask == agreement.effect_correlation == 0.0
    assert agreement.perturbation_f1.tolist() == [0.0, 0.0]


def test_effects_of_opposite_signs_within_a_latent_disagree():
    first = effects([[1], [1]], np.array([[2.0], [1.0]]))
    second = effects([[1], [1]], np.array([[2.0], [-1.0]]))
    assert pair_agreement(first, second).effect_correlation == pytest.approx(3 / 5)
    flipped = renumbered(second, [0], np.float32(-1))
    assert pair_agreement(first, flipped).effect_correlation == pytest.approx(3 / 5)


def test_empty_masks_agree_and_have_no_effects_to_correlate():
    nothing = effects(np.zeros((4, 2)))
    agreement = pair_agreement(nothing, nothing)
    assert agreement.f1 == agreement.f1_shuffled == agreement.same_mask == 1.0
    assert np.isnan(agreement.effect_correlation) and (agreement.perturbation_f1 == 1).all()
    assert pair_agreement(nothing, effects(np.ones((4, 2)))).perturbation_f1.tolist() == [0.0] * 4
    found = stability([Member("a", None, nothing), Member("b", None, nothing)], np.array(list("wxyz")))
    assert np.isnan(found.scores["stability/seeds/effect_correlation_mean"])


def test_shuffled_perturbations_say_what_chance_gives():
    full = effects(np.ones((10, 3)))
    assert pair_agreement(full, full).f1_shuffled == 1.0
    one, two = drawn(1, (400, 4), 0.2), drawn(2, (400, 4), 0.2)
    agreement = pair_agreement(one, two)
    assert agreement.f1_shuffled == pytest.approx(agreement.f1, abs=0.05)
    assert agreement.f1_shuffled == pytest.approx(0.2, abs=0.06)


@pytest.fixture
def found():
    fits = {name: drawn(seed) for seed, name in enumerate(("seed-0", "seed-4", "half-1a", "half-1b", "half-2a"))}
    divisions = (None, None, 1, 1, 2)
    names = np.array([f"P{i:02d}" for i in range(30)])
    members = [Member(name, division, fit) for (name, fit), division in zip(fits.items(), divisions, strict=True)]
    return stability(members, names)


def test_pairs_are_of_seeds_or_halves_of_one_division(found):
    pairs = {kind: [(p.first, p.second) for p in found.of_kind(kind)] for kind in ("seeds", "halves", "mixed")}
    assert pairs["seeds"] == [("seed-0", "seed-4")] and pairs["halves"] == [("half-1a", "half-1b")]
    assert len(pairs["mixed"]) == 8 and ("half-1a", "half-2a") in pairs["mixed"]


def test_scores_are_those_of_the_pairs(found):
    (pair,) = found.of_kind("halves")
    scores = found.scores
    assert len(scores) == 10
    for name in ("f1", "f1_shuffled", "same_mask", "effect_correlation"):
        assert scores[f"stability/halves/{name}_mean"] == pytest.approx(getattr(pair.agreement, name))
    assert scores["stability/halves/f1_min"] == pair.agreement.f1 == found.matrix[2, 3] == found.matrix[3, 2]
    assert (np.diag(found.matrix) == 1).all()
    assert {kind: values.shape for kind, values in found.perturbation_f1.items()} == {
        "seeds": (1, 30),
        "halves": (1, 30),
    }


def test_all_fits_are_numbered_as_the_first(found):
    first = found.members[0].effects
    for pair, member in zip(found.pairs, found.members[1:], strict=False):
        again = pair_agreement(first, member.effects)
        assert again.latents.tolist() == [0, 1, 2, 3, 4] and (again.signs == 1).all()
        assert again.f1 == pair.agreement.f1


def test_means_and_minima_are_over_pairs():
    fits = [effects([[1], [1]]), effects([[1], [1]]), effects([[1], [0]])]
    members = [Member(str(i), None, fit) for i, fit in enumerate(fits)]
    scores = stability(members, np.array(["a", "b"])).scores
    assert scores["stability/seeds/f1_mean"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert scores["stability/seeds/f1_min"] == pytest.approx(2 / 3)


def test_worst_first_weighs_kinds_equally():
    agreement = {"seeds": np.array([[1.0, 0.5, 0.9], [1.0, 0.5, 0.7]]), "halves": np.array([[0.0, 1.0, 0.8]])}
    assert worst_first(agreement).tolist() == [0, 1, 2]
    assert worst_first({"seeds": agreement["seeds"]}).tolist() == [1, 2, 0]
    assert worst_first({"seeds": np.ones((1, 3))}).tolist() == [0, 1, 2]


def test_what_cannot_be_compared():
    fit = drawn(0)
    with pytest.raises(InputError, match=r"shapes \(30, 5\) and \(30, 4\)"):
        pair_agreement(fit, drawn(0, (30, 4)))
    names = np.array([f"P{i}" for i in range(30)])
    with pytest.raises(InputError, match=r"two or more fits with different labels, got \['a'\]"):
        stability([Member("a", None, fit)], names)
    with pytest.raises(InputError, match="different labels"):
        stability([Member("a", None, fit)] * 2, names)
    with pytest.raises(InputError, match="29 names for 30 perturbations"):
        stability([Member("a", None, fit), Member("b", None, fit)], names[1:])
