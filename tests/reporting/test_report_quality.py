"""The report on quality: there for labelled cells only, with the numbers that were given and plain verdicts on them."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_hex

from samsjax.data.artifacts import ANY
from samsjax.data.quality.confounding import confounding
from samsjax.data.quality.rule import Criterion, QualityRule
from samsjax.errors import InputError
from samsjax.evaluation.quality import CountsRule
from samsjax.evaluation.quality.disentanglement import HIDDEN
from samsjax.reporting import render, report
from samsjax.reporting.page import Bullets, Facts, Figure, Folded, Notice, Table, Text
from samsjax.reporting.plots import artifact_changes, distance_dots, failed_shares, probe_dots, rate_dots
from samsjax.reporting.report.model_quality import DISTANCES, MODEL_QUALITY, RATES, model_quality_section
from samsjax.reporting.report.quality import LABELS, quality_section
from samsjax.reporting.report.quality_traces import verdict
from tests.reporting.example import RULE, artifacts, cells, quality

NAMES, GENES = tuple("ABCDEFGH"), ("HBA1", "MT-ND1", "g2", "g3", "g4", "g5")
CELLS = cells(NAMES, GENES)
QUALITY = quality(["x", *NAMES])
NAN = float("nan")


def blocks(section, kind):
    return [block for block in section.blocks if isinstance(block, kind)]


def said(section):
    texts = [block.text for block in blocks(section, (Text, Notice))]
    return "\n".join([*texts, *(item for block in blocks(section, Bullets) for item in block.items)])


def column(table, title):
    place = [c.title for c in table.columns].index(title)
    return [row[place] for row in table.rows]


def failing(failed, criteria=("n_counts",), rule=None, data=CELLS):
    return replace(data, failed=np.asarray(failed).reshape(data.n_cells, -1), criteria=criteria, quality_rule=rule)


UNLABELLED = replace(CELLS, failed=None, criteria=(), quality_rule=None)


def test_nothing_is_said_of_quality_without_labels():
    page = report("t", {}, data=UNLABELLED, of_good_cells=False)
    assert [section.title for section in page.sections] == ["Data"]
    facts = dict(blocks(page.sections[0], Facts)[0].items)
    assert not any("quality" in name or "measured" in name for name in facts)
    titles = [section.title for section in report("t", {}, data=CELLS, quality=QUALITY).sections]
    assert titles == ["Data", LABELS, MODEL_QUALITY]


@pytest.mark.parametrize(
    ("of_good_cells", "words"), [(True, "good cells of 360"), (False, "all 360 cells"), (None, "")]
)
def test_it_is_told_on_which_cells_effects_were_measured(of_good_cells, words):
    page = report("t", {}, data=CELLS, of_good_cells=of_good_cells)
    facts = dict(blocks(page.sections[0], Facts)[0].items)
    n_failed = CELLS.is_failed.sum()
    assert facts["cells that fail quality control"].startswith(f"{n_failed} (")
    assert words in facts.get("effects measured on", "")
    assert ("effects measured on" in facts) == bool(words)
    if of_good_cells:
        assert facts["effects measured on"].startswith(str(360 - n_failed))


def test_criteria_stand_with_thresholds_and_shares():
    table = blocks(quality_section(CELLS), Table)[0]
    assert column(table, "criterion") == ["any", *RULE.names]
    assert column(table, "threshold") == [None, *(c.threshold for c in RULE.criteria)]
    assert column(table, "median")[1:] == [c.median for c in RULE.criteria]
    assert column(table, "fails") == [None, "below", "below", "above"]
    train, held_out = CELLS.split == "train", np.isin(CELLS.split, ["val", "test"])
    failed = np.column_stack([CELLS.is_failed, CELLS.failed])
    np.testing.assert_allclose(column(table, "training cells"), failed[train].mean(axis=0))
    np.testing.assert_allclose(column(table, "held-out cells"), failed[held_out].mean(axis=0))
    assert "3 median absolute deviations" in said(quality_section(CELLS))


def test_criteria_of_one_kind_only_and_columns_of_obs():
    rule = QualityRule(
        (Criterion("doublet", "above", 0.5, source="predicted"), Criterion("n_counts", "below", 9, 3, 2, "t"))
    )
    table = blocks(quality_section(failing(CELLS.failed[:, :2], rule.names, rule)), Table)[0]
    assert (
        column(table, "from") == [None, "predicted from all cells", "column t"] and column(table, "median")[1] is None
    )
    one = blocks(quality_section(failing(CELLS.failed[:, 0])), Table)[0]
    assert column(one, "criterion") == ["n_counts"] and "`any`" not in one.caption


def test_ready_labels_are_told_and_have_no_thresholds():
    section = quality_section(failing(CELLS.failed[:, 0], ("low_quality",)))
    assert "came ready with the data (`low_quality`)" in said(section)
    titles = [c.title for c in blocks(section, Table)[0].columns]
    assert titles == ["criterion", "training cells", "held-out cells", "all cells"]


def test_shares_of_no_cells_are_not_defined_and_cells_in_no_split_are_told():
    elsewhere = CELLS.with_split(np.where(CELLS.is_failed, "none", "test"))
    section = quality_section(elsewhere)
    assert column(blocks(section, Table)[0], "training cells") == [None] * 4
    assert f"{CELLS.is_failed.sum()} cells that fail are in no split" in said(section)
    assert "no split" not in said(quality_section(CELLS))


def test_idle_criteria_are_pointed_out():
    notices = [notice.text for notice in blocks(quality_section(CELLS), Notice)]
    assert notices[0].startswith("No cell fails n_genes:") and "threshold of n_genes is not above 0" in notices[0]
    only_held_out = failing((CELLS.split == "test") & CELLS.failed[:, 0])
    assert "No training cell fails n_counts" in said(quality_section(only_held_out))
    assert "No cell fails" not in said(quality_section(only_held_out))


def test_confounded_labels_are_warned_of_and_what_it_means_depends_on_the_cells_measured():
    rows = [row for row in confounding(CELLS) if row.criterion == "any" and row.is_confounded]
    assert [row.treatment for row in rows] == ["A"]
    for of_good_cells, words in (
        (None, "as if such a treatment caused it"),
        (True, "leaves that out"),
        (False, "on all"),
    ):
        section = quality_section(CELLS, of_good_cells=of_good_cells)
        warning = next(n for n in blocks(section, Notice) if n.level == "warning")
        assert "confounded with perturbations: 1 of 9" in warning.text and words in warning.text
        assert f"A ({rows[0].failed:.1%} of 40 cells, {rows[0].failed_others:.1%} of others)" in warning.text
        assert "by criterion: percent_hb (1)" in warning.text
    assert sum("haemoglobin is biology" in n.text for n in blocks(section, Notice)) == 1


def test_labels_that_have_nothing_to_do_with_perturbations_are_not_warned_of():
    even = failing(np.arange(CELLS.n_cells) % 10 == 0)
    section = quality_section(even)
    assert "No treatment fails clearly more or less" in said(section)
    assert not [n for n in blocks(section, Notice) if n.level == "warning"]
    other = failing(CELLS.failed[:, 2], ("percent_mito",))
    assert "haemoglobin" not in said(quality_section(other)) and "confounded" in said(quality_section(other))


def test_treatments_that_differ_most_come_first():
    table = blocks(quality_section(CELLS), Table)[1]
    found = confounding(CELLS)
    assert table.rows[0][:2] == ("A", "any") and len(table.rows) == len(found)
    np.testing.assert_array_equal(column(table, "q"), [row.q_value for row in found])
    np.testing.assert_array_equal(column(table, "difference"), [row.difference for row in found])
    many = blocks(quality_section(cells([f"P{i}" for i in range(30)], GENES)), Table)[1]
    assert [column(many, "criterion").count(name) for name in ("any", *RULE.names)] == [15] * 4


def test_pass_rates_are_those_of_the_evaluation():
    section = model_quality_section(QUALITY, data=CELLS)
    table = blocks(section, Table)[0]
    assert column(table, "criterion") == ["all criteria", *RULE.names]
    for source, words in RATES.items():
        found = QUALITY.rates.of(source)
        assert column(table, words) == [found.overall, *found.by_criterion.values()]
    text = blocks(section, Text)[0].text
    generated, good = (QUALITY.rates.of(source).overall for source in ("generated", "real_good"))
    assert f"Of generated cells, {generated:.1%} pass" in text and f"labelled good {good:.1%}" in text
    assert f"pass {100 * (good - generated):.0f} percentage points less often" in text


def rates_with(**levels):
    tables = {source: np.full_like(QUALITY.rates.rates[source], level) for source, level in levels.items()}
    return QUALITY._replace(rates=QUALITY.rates._replace(rates=QUALITY.rates.rates | tables))


def test_generated_cells_are_compared_with_measured_ones_of_their_quality():
    for generated, fails, words in (
        (0.9, (), "pass as often as they do"),
        (0.95, (), "5 percentage points more often"),
        (0.4, (ANY,), "Of cells generated as failed cells, 40.0% pass"),
        (0.4, ("n_counts",), "as cells that fail n_counts"),
        (0.4, (ANY,), "labelled failed 10.0%. Generated cells pass 30 percentage points more"),
        (NAN, (), "(none known) pass"),
    ):
        changed = rates_with(generated=generated, real_good=0.9, real_failed=0.1)
        assert words in said(model_quality_section(changed, fails=fails)), words
    assert "points" not in said(model_quality_section(rates_with(generated=NAN)))


def test_the_rule_that_judged_is_said_in_words():
    learnt = QUALITY._replace(rates=QUALITY.rates._replace(rule=CountsRule(RULE, "counts")))
    ready = replace(CELLS, quality_rule=None)
    doublets = replace(CELLS, criteria=(*RULE.names[:2], "doublet"), quality_rule=None)
    for given, data, words in (
        (QUALITY, CELLS, "the rule that made the labels."),
        (QUALITY, doublets, "the rule that made the labels, without doublet, which counts cannot give"),
        (learnt, CELLS, "thresholds of the labels are not for counts of the kept genes"),
        (learnt, ready, "3 MADs from the median, as the labels came ready"),
        (learnt, None, "cannot be applied"),
    ):
        assert words in said(model_quality_section(given, data=data)), words
    assert "no pass rates" in said(model_quality_section(QUALITY._replace(rates=None)))


def test_distances_are_those_of_the_evaluation():
    section = model_quality_section(QUALITY)
    (table,) = next(block.blocks for block in section.blocks if isinstance(block, Folded))
    for source, words in DISTANCES.items():
        np.testing.assert_array_equal(column(table, words), QUALITY.distances.values[source])
        assert re.search(rf"{words} \u2212?{abs(QUALITY.distances.mean(source)):.2f}", said(section)), words
    undefined = QUALITY.distances.values | {"baseline": np.full(9, NAN)}
    continuous = QUALITY._replace(distances=QUALITY.distances._replace(values=undefined))
    assert "about means not defined" in said(model_quality_section(continuous))
    empty = {source: np.zeros(0) for source in DISTANCES}
    nothing = QUALITY._replace(distances=QUALITY.distances._replace(labels=np.array([], dtype=str), values=empty))
    assert "No treatment has enough held-out good cells" in said(model_quality_section(nothing))


def probed(known, hidden):
    """Both probes of the basal state with these areas."""
    by = {
        name: {kind: result._replace(auroc=area) for kind, result in QUALITY.probes["z_basal"].items()}
        for name, area in (("z_basal", known), (HIDDEN, hidden))
    }
    return QUALITY._replace(probes=QUALITY.probes | by)


def test_probes_are_those_of_the_evaluation_with_plain_verdicts():
    section = model_quality_section(QUALITY)
    table = blocks(section, Table)[1]
    flat = [result for kinds in QUALITY.probes.values() for result in kinds.values()]
    np.testing.assert_array_equal(column(table, "area"), [r.auroc for r in flat])
    np.testing.assert_array_equal(column(table, "chance error"), [r.chance_error for r in flat])
    assert column(table, "verdict") == [verdict(r) for r in flat]
    assert column(table, "verdict")[:4] == ["above chance"] * 2 + ["at chance"] * 2
    assert column(table, "verdict")[5] == "not defined, as 3 of 12 cells failed"
    assert "Perturbation: linear above chance (0.58); network not defined, as 3 of 12" in said(section)


@pytest.mark.parametrize(
    ("known", "hidden", "words"),
    [
        (0.51, 0.5, "no trace of quality that these probes find, told the label or not"),
        (0.9, 0.5, "the encoder puts in the label it is told"),
        (0.5, 0.9, "keeps quality out of the basal state"),
        (0.9, 0.8, "traces of quality, whether the encoder is told the label or not"),
        (0.9, 0.9, "The basal state holds traces of quality; the encoder is not told the label"),
        (0.5, 0.5, "holds no trace of quality that these probes find; the encoder is not told"),
    ],
)
def test_what_the_basal_state_holds_is_said_in_words(known, hidden, words):
    section = model_quality_section(probed(known, hidden))
    assert words in said(section)
    assert len(blocks(section, Table)[1].rows) == (6 if known == hidden else 8)


def test_nothing_is_made_of_probes_that_are_not_defined():
    assert "holds" not in said(model_quality_section(probed(NAN, 0.5)))
    assert "too few held-out cells to probe" in said(model_quality_section(QUALITY._replace(probes={})))


def test_genes_that_change_most_are_listed():
    n_genes = 40
    fitted = SimpleNamespace(vocabulary=SimpleNamespace(gene_names=tuple(f"g{i}" for i in range(n_genes))))
    genes = artifacts(n_genes)
    table = blocks(model_quality_section(None, genes, fitted=fitted), Table)[0]
    change = dict(zip(fitted.vocabulary.gene_names, genes.difference[0], strict=True))
    listed = [name for name in sorted(change, key=change.get, reverse=True) if change[name] > 0][:12]
    listed += [name for name in sorted(change, key=change.get) if change[name] < 0][:12]
    assert column(table, "gene") == listed and column(table, "change") == [change[name] for name in listed]
    assert set(column(table, "artefact")) == {"any criterion"}
    assert model_quality_section(None, genes).blocks == []


def test_artefacts_that_no_training_cell_carries_are_told():
    fitted = SimpleNamespace(vocabulary=SimpleNamespace(gene_names=GENES))
    genes = artifacts(len(GENES))
    two = genes._replace(indicators=("n_counts", "n_genes"), difference=np.tile(genes.difference, (2, 1)))
    two = two._replace(standard_error=np.tile(genes.standard_error, (2, 1)))
    section = model_quality_section(None, two, data=CELLS, fitted=fitted)
    assert "No training cell fails n_genes: what is shown of it is the prior's" in said(section)
    assert "prior" not in said(model_quality_section(None, genes, data=CELLS, fitted=fitted))
    (figure,) = blocks(section, Figure)
    assert [ax.get_title() for ax in figure.draw().axes] == ["n_counts", "n_genes"]


def test_every_figure_is_drawn_and_has_a_table_beside_it():
    fitted = SimpleNamespace(vocabulary=SimpleNamespace(gene_names=GENES, perturbation_names=NAMES))
    fitted.n_training_cells, fitted.history = np.full(len(NAMES), 99), ()
    shown = {"data": CELLS, "quality": QUALITY, "artifacts": artifacts(len(GENES))}
    html = render(report("t", {}, **shown, fitted=fitted))
    assert html.count("<figure") == 5 and html.count("<table") == 6
    assert "nan" not in re.sub("<[^>]*>", "", html.split("<main")[1].split("<script>")[0]).lower().split()


def test_treatments_that_stand_out_are_marked_and_named():
    n_cells, share = np.array([40, 500, 40, 60]), np.array([0.1, 0.1, 0.7, 0.15])
    axes = failed_shares(n_cells, share, 0.12, ["A", "B", "C", "control"], share > 0.5)
    like, out = (line for line in axes.lines if line.get_linestyle() == "None")
    np.testing.assert_allclose(10 ** like.get_xdata(), [40, 500, 60])
    assert out.get_ydata().tolist() == [0.7] and [text.get_text() for text in axes.texts] == ["C"]
    inside = axes.collections[0].get_paths()[0].contains_point
    assert inside((np.log10(40), 0.12 + 2.4 * np.sqrt(0.12 * 0.88 / 40)))
    assert not inside((np.log10(40), 0.12 + 2.7 * np.sqrt(0.12 * 0.88 / 40)))
    assert [t.get_text() for t in axes.get_xticklabels()] == ["30", "50", "100", "200", "300", "500"]


def test_rates_and_distances_stand_in_rows():
    axes = rate_dots({"a": np.array([0.5, NAN]), "b": np.array([0.6, 0.7])}, ["x", "y"], "share")
    one, two = axes.lines
    np.testing.assert_array_equal(one.get_xdata(), [0.5, NAN])
    assert np.abs(two.get_ydata() - [0, 1]).max() < 0.2 and axes.get_ylim()[0] > axes.get_ylim()[1]
    assert one.get_marker() != two.get_marker() and [t.get_text() for t in axes.get_yticklabels()] == ["x", "y"]
    axes = distance_dots({"a": np.array([1.0, NAN, 3.0]), "b": np.full(3, NAN)}, "distance")
    assert axes.lines[1].get_xdata().tolist() == [1.0, 3.0] and [t.get_text() for t in axes.texts] == ["not defined"]
    assert axes.collections[0].get_segments()[0][:, 0].tolist() == [2.0, 2.0]


def test_probes_above_chance_are_filled():
    axes = probe_dots(np.array([0.9, 0.52, NAN]), np.full(3, 0.02), np.full(3, 0.02), ["x", "y", "z"])
    above, at = (line for line in axes.lines if line.get_marker() == "D")
    assert to_hex(above.get_markerfacecolor()) == to_hex(above.get_color()) and at.get_markerfacecolor() == "white"
    bands = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches]
    np.testing.assert_allclose(bands, [(0.5 - 1.645 * 0.02, 0.5 + 1.645 * 0.02)] * 2)
    assert [text.get_text() for text in axes.texts] == ["not defined"]


def test_genes_of_sets_have_their_marks_and_those_that_move_most_their_names():
    change = np.array([[2.0, -1.0, 0.1, 0.0, 0.05, -0.02]])
    figure = artifact_changes(np.arange(6.0), change, GENES, ["any"], {"mitochondrial": np.array([1])}, "log")
    (ax,) = figure.axes
    marked = next(line for line in ax.lines if line.get_label() == "mitochondrial")
    assert (marked.get_xdata().tolist(), marked.get_ydata().tolist()) == ([1.0], [-1.0])
    assert {text.get_text() for text in ax.texts} == {*GENES} - {"g3"}


def test_figures_refuse_what_does_not_fit():
    two, three = np.zeros(2), np.zeros(3)
    no = np.zeros(0)
    for call, text in (
        (lambda: failed_shares(two, three, 0.1, "ab", two > 0), "share has shape (3,), and n_cells (2,)"),
        (lambda: failed_shares(no, no, 0.1, "", no > 0), "no treatment"),
        (lambda: rate_dots({}, "ab", "share"), "1 to 4 sources"),
        (lambda: rate_dots({"a": three}, "ab", "share"), "2 names for a of 3 rates"),
        (lambda: probe_dots(two, two, three, "ab"), "chance_error has shape (3,)"),
        (lambda: distance_dots({}, "d"), "no distances"),
        (lambda: artifact_changes(two, np.zeros((1, 3)), "ab", ["x"], {}, ""), "shape (1, 3) for 1 artefacts and 2"),
        (
            lambda: artifact_changes(two, np.zeros((1, 2)), "ab", ["x"], {name: [0] for name in "abcd"}, ""),
            "at most 3 sets",
        ),
    ):
        with pytest.raises(InputError, match=re.escape(text)):
            call()
