"""Pass rates are shares that pass; generated cells are judged by the rule of measured ones, or one like it."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import samsjax
from samsjax.data.quality.rule import Criterion, QualityRule, learn_rule
from samsjax.data.quality.statistics import cell_statistics
from samsjax.errors import InputError
from samsjax.evaluation.model_effects import EffectsConfig
from samsjax.evaluation.quality import (
    CountsRule,
    QualityConfig,
    counts_rule,
    draw_cells,
    generated_pass_rates,
    panel_rule,
    pass_rates,
)
from samsjax.evaluation.quality.cells import conditions, held_out, of_quality
from samsjax.evaluation.quality.drawn_cells import Drawn
from samsjax.evaluation.quality.mean_cells import MeanCells, learn_mean_cells
from samsjax.models.cradle_vae import CRADLEVAEConfig
from tests import small

CONFIG = QualityConfig(n_cells=40)
KEY = jax.random.key(0)


def labelled(data, n_mads=1.5):
    """Cells with labels from their own counts."""
    statistics = cell_statistics(data.x, data.gene_names)
    trained = data.split == "train"
    rule = learn_rule({name: values[trained] for name, values in statistics.items()}, n_mads)
    return replace(data, failed=rule.failed(statistics), criteria=rule.names, quality_rule=rule)


@pytest.fixture(scope="module")
def screen():
    return labelled(small.screen())


@pytest.fixture(scope="module")
def fitted(screen):
    return samsjax.fit(screen, small.MODEL, small.TRAIN, progress=False)


@pytest.fixture(scope="module")
def drawn(fitted, screen):
    return draw_cells(KEY, fitted, screen, CONFIG)


def below(threshold, name="n_counts"):
    return Criterion(name, "below", threshold)


def test_the_rate_is_the_share_that_passes_below_one_half_too():
    rule = QualityRule((below(10), Criterion("percent_mito", "above", 5.0)))
    statistics = {"n_counts": np.array([9.0, 10, 3, 20]), "percent_mito": np.array([5.0, 6, 9, 0])}
    found = pass_rates(rule, statistics)
    assert found.overall == 0.25 and found.by_criterion == {"n_counts": 0.5, "percent_mito": 0.5} and found.n_cells == 4
    assert pass_rates(QualityRule((below(-1.0),)), statistics).overall == 1.0
    assert pass_rates(QualityRule((below(100.0),)), statistics).overall == 0.0
    assert np.isnan(pass_rates(rule, {name: values[:0] for name, values in statistics.items()}).overall)


def test_measured_cells_pass_as_they_are_labelled(drawn, screen):
    rates = generated_pass_rates(drawn, screen)
    failed = screen.failed[held_out(screen)]
    assert rates.rule.origin == "labels"
    assert_allclose(rates.of("real").overall, 1 - failed.any(axis=1).mean())
    assert_allclose(list(rates.of("real").by_criterion.values()), 1 - failed.mean(axis=0))
    assert rates.of("real_good").overall == 1.0 and rates.of("real_failed").overall == 0.0
    assert rates.of("real").n_cells == len(failed) and rates.n_held_out.sum() == len(failed)


def test_generated_cells_can_pass_all_or_none_and_weigh_as_held_out_cells(drawn, screen):
    all_pass, none_pass = (CountsRule(QualityRule((below(limit),)), "labels") for limit in (-1.0, 1e9))
    n_conditions = 1 + len(samsjax.treatments(screen).labels)
    for source in ("generated", "baseline"):
        found = generated_pass_rates(drawn, screen, all_pass).of(source)
        assert found.overall == 1.0 and found.n_cells == CONFIG.n_cells * n_conditions
        assert generated_pass_rates(drawn, screen, none_pass).of(source).overall == 0.0
    rates = generated_pass_rates(drawn, screen)
    shares = rates.n_held_out / rates.n_held_out.sum()
    assert_allclose(rates.of("generated").overall, (shares * rates.rates["generated"][:, 0]).sum())


def test_conditions_without_cells_are_left_out_of_the_mean(drawn, screen):
    rates = generated_pass_rates(drawn, screen)
    row = int(rates.n_held_out.argmax())
    table = rates.rates["generated"].copy()
    table[:] = 0.25
    table[row] = np.nan
    assert rates._replace(rates=rates.rates | {"generated": table}).of("generated").overall == 0.25
    nothing = rates._replace(rates=rates.rates | {"generated": np.full_like(table, np.nan)}).of("generated")
    assert np.isnan([nothing.overall, *nothing.by_criterion.values()]).all()


def test_cells_have_the_totals_of_training_cells_of_their_quality(drawn, screen, fitted):
    good = screen.library_size[(screen.split == "train") & ~screen.is_failed]
    for cells in (drawn.model, drawn.means):
        assert good.min() - 0.01 <= cells.totals.min() and cells.totals.max() <= good.max() + 0.01
    assert fitted.library_sizes.min() < good.min()
    given = draw_cells(KEY, fitted, screen, QualityConfig(n_cells=40), EffectsConfig(library_size=77.0))
    assert (given.model.totals == 77.0).all() and (given.means.totals == 77.0).all()


def test_a_model_of_failed_cells_draws_them_with_their_totals(screen):
    model = CRADLEVAEConfig(n_latent=4, n_hidden=8, mask_prior_prob=0.1)
    fitted = samsjax.fit(screen, model, small.TRAIN, progress=False)
    drawn = draw_cells(KEY, fitted, screen, CONFIG, EffectsConfig(fails=fitted.vocabulary.artifacts))
    failed = screen.is_failed & (screen.split == "train")
    assert_array_equal(drawn.wanted, screen.is_failed)
    assert drawn.model.totals.max() <= screen.library_size[failed].max() + 0.01
    rates = generated_pass_rates(drawn, screen)
    good = generated_pass_rates(draw_cells(KEY, fitted, screen, CONFIG), screen)
    for source in ("generated", "baseline"):
        assert rates.of(source).overall < good.of(source).overall


def test_cells_of_a_condition_do_not_depend_on_the_others(drawn, fitted, screen):
    few = draw_cells(KEY, fitted, screen, replace(CONFIG, max_treatments=2))
    assert len(few.compared.labels) == 3 and few.compared.labels[0] == screen.control_name
    for row, label in enumerate(few.compared.labels):
        place = drawn.compared.labels.tolist().index(label)
        for one, other in ((few.model, drawn.model), (few.means, drawn.means)):
            assert (one.totals[one.rows(row)] == other.totals[other.rows(place)]).all()
        same = few.model.x[few.model.rows(row)] != drawn.model.x[drawn.model.rows(place)]
        assert same.nnz == 0
    left_out = few.compared.assignment == -1
    assert left_out.any() and not screen.is_control[left_out].any()


def test_nothing_is_said_of_perturbations_without_training_cells(fitted, screen):
    unseen = replace(fitted, n_training_cells=np.where(np.arange(6) == 0, 0, fitted.n_training_cells))
    carries = ((screen.perturbation_index == 0) & (screen.dosage != 0)).any(axis=1)
    without = screen.with_split(np.where(carries & (screen.split == "train"), "none", screen.split))
    cells = draw_cells(KEY, unseen, without, CONFIG)
    silent = ((cells.compared.perturbation_index == 0) & (cells.compared.dosage != 0)).any(axis=1)
    assert_array_equal(cells.model.known, ~silent)
    assert_array_equal(cells.means.known, ~silent)
    rates = generated_pass_rates(cells, without)
    assert_array_equal(np.isnan(rates.rates["generated"][:, 0]), silent)
    assert np.isfinite(rates.of("generated").overall)


def test_rows_of_drawn_cells():
    cells = Drawn(np.arange(6)[:, None], np.ones(6), np.array([True, False, True]))
    assert [cells.x[cells.rows(row), 0].tolist() for row in range(3)] == [[0, 1, 2], [], [3, 4, 5]]
    assert_array_equal(cells.condition, [0, 0, 0, 2, 2, 2])


def test_quality_of_measured_cells_by_names():
    failed = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=bool)
    data = replace(small.screen().subset(np.arange(4)), failed=failed, criteria=("a", "b"))
    for fails, expected in (((), [0]), (("failed",), [1, 2, 3]), (("a",), [1]), (("a", "b"), [3])):
        assert_array_equal(np.flatnonzero(of_quality(data, fails)), expected)


def test_cells_about_means_have_the_stated_mean_and_variance():
    share, dispersion = np.array([[0.5, 0.3, 0.2], [np.nan] * 3]), np.array([0.0, 0.5, 2.0])
    totals = np.full(40_000, 20.0)
    x = MeanCells(share, dispersion, np.array([True, False])).draw(np.random.default_rng(0), 0, totals)
    mean = 20 * share[0]
    variance = mean + dispersion * mean**2
    assert_allclose(x.mean(axis=0), mean, atol=5 * np.sqrt(variance.max() / len(x)))
    assert_allclose(x.var(axis=0), variance, rtol=0.06)


def test_means_and_dispersions_are_learnt_from_the_cells_given():
    rng, data = np.random.default_rng(0), small.screen()
    compared = conditions(KEY, data, 100)
    truth = MeanCells(
        rng.dirichlet(np.full(24, 5.0), len(compared.labels)),
        np.where(np.arange(24) < 12, 0.0, 1.0),
        np.ones(len(compared.labels), bool),
    )
    x = np.stack([truth.draw(rng, c, data.library_size[i : i + 1])[0] for i, c in enumerate(compared.assignment)])
    learnt = learn_mean_cells(replace(data, x=x), np.arange(data.n_cells), compared)
    assert learnt.known.all()
    control = data.is_control
    assert_allclose(learnt.share[0], x[control].sum(axis=0) / data.library_size[control].sum())
    assert learnt.dispersion[:12].max() < 0.15
    assert_allclose(learnt.dispersion[12:].mean(), 1.0, atol=0.3)
    few = learn_mean_cells(replace(data, x=x), np.flatnonzero(control), compared)
    assert few.known[0] and not few.known[1:].any() and np.isnan(few.share[1:]).all()


def test_labels_that_counts_cannot_give_are_replaced_by_a_rule_of_counts(screen):
    rule = screen.quality_rule
    assert counts_rule(screen) == CountsRule(rule, "labels")
    doublet = Criterion("doublet", "above", 0.5, source="predicted")
    both = replace(
        screen,
        failed=np.column_stack([screen.failed, screen.is_control]),
        criteria=(*rule.names, "doublet"),
        quality_rule=QualityRule((*rule.criteria, doublet), rule.n_mads),
    )
    assert counts_rule(both) == CountsRule(rule, "labels")
    column = rule.criteria[0]._replace(threshold=20_000.0, source="obs column total")
    other = replace(screen, quality_rule=QualityRule((column, *rule.criteria[1:]), rule.n_mads))
    learnt = counts_rule(other)
    assert learnt == CountsRule(panel_rule(screen, rule.n_mads), "counts")
    ready = counts_rule(replace(screen, quality_rule=None), n_mads=4.0)
    assert ready.origin == "counts" and ready.rule.n_mads == 4.0


def test_a_panel_rule_is_learnt_from_training_cells_and_leaves_out_what_does_not_vary(screen):
    names = screen.gene_names.copy()
    names[0] = "MT-ND1"
    x = screen.x.toarray()
    x[:, 0] = np.where(np.arange(len(x)) % 5 == 0, 3, 0)
    x[screen.split != "train"] = 0
    rule = panel_rule(replace(screen, x=x, gene_names=names), 3.0)
    trained = cell_statistics(x[screen.split == "train"], names)
    assert "percent_mito" in trained and rule.names == ("n_counts", "n_genes")
    assert rule.criteria[0].median == np.median(trained["n_counts"])


def test_continuous_values_have_no_pass_rates(drawn, screen):
    with pytest.raises(InputError, match="quality rules judge counts"):
        generated_pass_rates(drawn._replace(means=None), screen)
