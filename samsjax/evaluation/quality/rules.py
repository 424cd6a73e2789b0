"""By which rule cells are judged that have nothing but the counts of the kept genes, such as generated ones."""

from typing import Literal, NamedTuple

from samsjax.data.dataset import PerturbationData
from samsjax.data.quality.rule import QualityRule, learn_rule
from samsjax.data.quality.statistics import cell_statistics

N_MADS = 3.0
"""Where neither the caller nor the rule of the labels says."""


class CountsRule(NamedTuple):
    """A rule of statistics of counts, and where it is from."""

    rule: QualityRule
    origin: Literal["labels", "counts"]
    """labels = the rule of the labels, without criteria that counts cannot give (doublets); counts = learnt for the
    purpose from the training cells' counts. Cells that this rule fails are then not those labelled as failed."""


def counts_rule(data: PerturbationData, n_mads: float | None = None) -> CountsRule:
    """The rule of the labels if counts of the kept genes can be judged by it, else `panel_rule`.

    A threshold for the total of a whole transcriptome, or for a column of obs, says nothing of the counts of a panel.

    Args:
        data: cells with a quality rule, or without.
        n_mads: of a rule to be learnt; None for that of the rule of the labels, or 3.
    """
    rule = data.quality_rule
    if rule is not None:
        statistics = cell_statistics(data.x[:1], data.gene_names)
        measurable = rule.measurable(statistics)
        if measurable.criteria and all(name in measurable.names for name in rule.names if name in statistics):
            return CountsRule(measurable, "labels")
        n_mads = n_mads or rule.n_mads
    return CountsRule(panel_rule(data, n_mads or N_MADS), "counts")


def panel_rule(data: PerturbationData, n_mads: float = N_MADS) -> QualityRule:
    """A rule learnt from the kept genes of the training cells, of all criteria that their counts give.

    Statistics that are equal in more than half of the cells are left out: all other cells on one side would fail. All
    cells are learnt from if none are for training.
    """
    cells = data.cells("train")
    x = data.x[cells] if len(cells) else data.x
    rule = learn_rule(cell_statistics(x, data.gene_names), n_mads)
    return QualityRule(tuple(c for c in rule.criteria if c.mad), rule.n_mads)
