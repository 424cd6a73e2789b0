"""Where quality shows in a model: probes of what it knows of a cell, and what its artefacts do to genes."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from samsjax.data.artifacts import ANY
from samsjax.data.dataset import PerturbationData
from samsjax.data.quality.statistics import gene_sets
from samsjax.errors import listing
from samsjax.evaluation.quality import ProbeResult
from samsjax.evaluation.quality.artifact_genes import ArtifactGenes
from samsjax.evaluation.quality.disentanglement import HIDDEN, Probes
from samsjax.evaluation.transforms import transform_named
from samsjax.reporting.page import Block, Bullets, Column, Figure, Table, Text
from samsjax.reporting.page.numbers import fitting_decimals, number
from samsjax.reporting.plots import artifact_changes, probe_dots

FEATURES = {
    "z_basal": "basal state, label known",
    HIDDEN: "basal state, label hidden",
    "offset": "perturbation",
    "counts": "counts",
}
UNTOLD = "basal state"
"""Of a model whose encoder does not see the label: known or hidden, it is the same."""
PROBES = {"linear": "linear", "mlp": "network"}
GENES_LISTED = 12
"""Genes that rise, and genes that fall, in the table of each artefact."""
SETS = {"percent_mito": "mitochondrial", "percent_ribo": "ribosomal", "percent_hb": "haemoglobin"}


def probe_blocks(probes: dict[str, Probes]) -> list[Block]:
    """How well the label is told from each set of features: in words, as a figure, and as a table."""
    if not probes:
        return [Text("There are too few held-out cells to probe for quality.")]
    known, hidden = probes.get("z_basal"), probes.get(HIDDEN)
    told = known != hidden
    shown = {FEATURES[name]: kinds for name, kinds in probes.items() if told or name not in ("z_basal", HIDDEN)}
    if known is not None and not told:
        shown = {UNTOLD: known} | shown
    flat = [(features, PROBES[kind], result) for features, kinds in shown.items() for kind, result in kinds.items()]
    results = [result for *_, result in flat]
    text = (
        "Can the label of a held-out cell be told from what the model knows of it? An area under the curve of .5 is "
        "chance, 1 is certainty. The counts show what there is to tell; what the perturbation tells no model can undo, "
        "as some perturbations fail more often than others."
    )
    caption = (
        "How well classifiers tell failed cells from others by what the model knows of them: mean area under the curve "
        "over folds, with its standard deviation. Grey: 19 of 20 areas by chance lie below its right end; filled marks "
        "are above it."
    )
    area, sd, error = (np.array([getattr(r, name) for r in results]) for name in ("auroc", "auroc_sd", "chance_error"))
    draw = partial(probe_dots, area, sd, error, [f"{features}, {kind}" for features, kind, _ in flat])
    alt = "; ".join(f"{features}, {kind}: {verdict(result)}" for features, kind, result in flat)
    columns = [Column("features"), Column("probe"), Column("area", "number", 3, hint="under the curve")]
    columns += [Column("verdict")]
    columns += [Column("sd", "number", 3, hint="over folds"), Column("chance error", "number", 3, hint="about .5")]
    columns += [Column("balanced accuracy", "number", 3), Column("cells", "number", 0), Column("failed", "number", 0)]
    rows = [
        (f, k, r.auroc, verdict(r), r.auroc_sd, r.chance_error, r.balanced_accuracy, r.n_cells, r.n_failed)
        for f, k, r in flat
    ]
    table = Table(columns, rows, "Probes of the label `fails any criterion`, in held-out cells.")
    said = [f"{_upper(features)}: {_probe_words(kinds)}" for features, kinds in shown.items()]
    return [Text(text), Bullets(said), *_meaning(known, hidden), Figure(draw, caption, alt), table]


def verdict(result: ProbeResult) -> str:
    """Of one probe: "at chance", "above chance", or why there is none."""
    if np.isnan(result.auroc):
        return f"not defined, as {result.reason}"
    return "at chance" if result.at_chance else "above chance"


def _probe_words(kinds: Probes) -> str:
    """All probes of some features."""
    said = [
        f"{PROBES[kind]} {verdict(r)}" + ("" if np.isnan(r.auroc) else f" ({number(r.auroc, 2)})")
        for kind, r in kinds.items()
    ]
    errors = [r.chance_error for r in kinds.values() if not np.isnan(r.chance_error)]
    return f"{'; '.join(said)}." + (f" By chance .5, standard error {number(max(errors), 3)}." if errors else "")


def _meaning(known: Probes | None, hidden: Probes | None) -> list[Block]:
    """What the probes of the basal state say of the model."""
    if known is None or hidden is None or any(np.isnan(r.auroc) for p in (known, hidden) for r in p.values()):
        return []
    seen, seen_hidden = (any(not result.at_chance for result in probes.values()) for probes in (known, hidden))
    if known == hidden:
        said = "holds traces of quality" if seen else "holds no trace of quality that these probes find"
        return [Text(f"The basal state {said}; the encoder is not told the label.")]
    if not seen and not seen_hidden:
        return [Text("The basal state holds no trace of quality that these probes find, told the label or not.")]
    if not seen:
        return [Text("Told the label, the encoder keeps quality out of the basal state; not told, it does not.")]
    if not seen_hidden:
        return [
            Text("Counts leave no trace of quality in the basal state, but the encoder puts in the label it is told.")
        ]
    return [Text("The basal state holds traces of quality, whether the encoder is told the label or not.")]


def genes_blocks(genes: ArtifactGenes, gene_names: Sequence[str], data: PerturbationData | None) -> list[Block]:
    """What each artefact does to genes: a figure, and a table of those that change most."""
    unit = transform_named(genes.transform).unit
    text = (
        "What artefacts do to genes, as the model sees it: mean change of expected expression of control cells that "
        f"fail an indicator and no other, with the basal states and library sizes of cells that pass; {unit}."
    )
    idle = _untrained(genes.indicators, data)
    if idle:
        text += f" No training cell fails {listing(idle)}: what is shown of it is the prior's."
    columns = {SETS[name]: found for name, found in gene_sets(gene_names).items() if len(found)}
    titles = ["any criterion" if name == ANY else name for name in genes.indicators]
    draw = partial(artifact_changes, genes.good_mean, genes.difference, gene_names, titles, columns, unit)
    marked = f" Marks: {', '.join(columns)} genes." if columns else ""
    caption = (
        f"Change of every gene in control cells that fail, against its mean in control cells that pass ({unit}). The "
        f"genes that change most are named.{marked}"
    )
    figure = Figure(draw, caption, f"Changes of {len(gene_names)} genes for {', '.join(titles)}.")
    return [Text(text), figure, _genes_table(genes, gene_names, titles)]


def _untrained(indicators: Sequence[str], data: PerturbationData | None) -> list[str]:
    """Criteria among the indicators that no training cell fails."""
    if data is None or data.failed is None or not (data.split == "train").any():
        return []
    fails = dict(zip(data.criteria, data.failed[data.split == "train"].any(axis=0), strict=True))
    return [name for name in indicators if not fails.get(name, True)]


def _genes_table(genes: ArtifactGenes, gene_names: Sequence[str], titles: Sequence[str]) -> Table:
    decimals = fitting_decimals(np.sort(np.abs(genes.difference), axis=None)[-GENES_LISTED:])
    rows = []
    for title, change, error in zip(titles, genes.difference, genes.standard_error, strict=True):
        order = np.argsort(-change, kind="stable")
        up, down = (order[:GENES_LISTED], order[::-1][:GENES_LISTED])
        chosen = [g for g in up if change[g] > 0] + [g for g in down if change[g] < 0]
        rows += [(gene_names[g], title, float(change[g]), float(error[g]), float(genes.good_mean[g])) for g in chosen]
    columns = [Column("gene"), Column("artefact"), Column("change", "number", decimals, signed=True)]
    columns += [Column("error", "number", decimals, hint="Monte Carlo"), Column("in good cells", "number", 2)]
    caption = f"Genes that change most in cells that fail: up to {GENES_LISTED} that rise, and as many that fall."
    return Table(columns, rows, caption, searchable=True, shown=2 * GENES_LISTED)


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
