"""The simulated screen with cells of poor quality, whose artefact and whose good counterpart are known.

A screen is drawn as [simulate][samsjax.data.simulate] does. Then some of its cells fail; their counts are drawn anew:

    failed_i    Bernoulli(failed_share), more often where a perturbation of the cell is confounded
    U           random direction, root mean square `artifact_size`: in all latent dimensions, unlike masked effects
    s_i         basal state + (1 - interaction x failed_i) x effects of the cell's perturbations + failed_i x U
    share_ig    as in the screen; in failed cells, those of mitochondrial and ribosomal genes times a factor first
    total_i     as in the screen; in failed cells times `failed_total`

Given its perturbations, whether a cell fails depends neither on its basal state nor on its total. So good cells are,
bit for bit, those of the screen without artefact: effects measured in them are right, with fewer cells. Pooled with
failed cells, a confounded perturbation gets a part of the artefact for an effect of its own, because its share of
failed cells is not that of the controls.

`MT-` and `RPS`, `RPL` names are given to well-expressed genes of the screen, so that the criteria of
[quality][samsjax.data.quality] apply to it. Labels are true, or measured from the counts and then imperfect.

Source:
    The story is that of CRADLE-VAE, specification 2 and 7, on the screen of this library.
Differs:
    The paper has no simulation. Confounding, interaction, loss of totals and the named genes are of this library.
"""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import scipy.sparse as sp

from samsjax.data.dataset import PerturbationData
from samsjax.data.quality.rule import learn_rule
from samsjax.data.quality.statistics import cell_statistics
from samsjax.data.simulate import Drawn, SimulationConfig, Truth, draw_counts, draw_screen
from samsjax.errors import InputError, check_choice, check_range

Labels = Literal["true", "measured"]
CRITERION = "artifact"
"""The one quality criterion of true labels."""


@dataclass(frozen=True)
class ArtifactSimulationConfig(SimulationConfig):
    """Sizes and strengths of the simulated screen with artefacts.

    Raises:
        InputError: if a value is out of range, or there are fewer genes than names for them.
    """

    failed_share: float = 0.2
    """Probability that a cell fails, where no perturbation of it is confounded."""
    confounding: float = 0.75
    """How far confounded perturbations raise that probability towards 1; 0 = not at all."""
    n_confounded: int = 10
    """Perturbations that do, drawn at random: half of them, as far as there are, from those without effect."""
    interaction: float = 0.0
    """Share of the effects of perturbations that failed cells lack; 0 = artefact and effects add."""
    artifact_size: float = 1.5
    """Root mean square of the artefact over latent dimensions, in standard deviations of the basal state."""
    failed_total: float = 0.5
    """Factor of the totals of failed cells."""
    n_mito_genes: int = 13
    """Genes named MT-."""
    n_ribo_genes: int = 8
    """Genes named RPS and RPL in turn."""
    mito_factor: float = 4.0
    """Of the shares of MT- genes in failed cells, before shares are made to sum to 1."""
    ribo_factor: float = 1.5
    """Of the shares of RPS and RPL genes in failed cells."""
    labels: Labels = "true"
    """Whether quality labels are the truth, or are measured from the counts by a rule that training cells give."""
    n_mads: float = 3.0
    """How many median absolute deviations from the median measured criteria allow."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("confounding", "interaction"):
            check_range(name, getattr(self, name), low=0.0, high=1.0)
        check_range("failed_share", self.failed_share, low=0.0, below=1.0)
        check_range("n_confounded", self.n_confounded, low=0, high=self.n_perturbations)
        check_range("artifact_size", self.artifact_size, low=0.0)
        for name in ("failed_total", "mito_factor", "ribo_factor", "n_mads"):
            check_range(name, getattr(self, name), above=0.0)
        for name in ("n_mito_genes", "n_ribo_genes"):
            check_range(name, getattr(self, name), low=0)
        if self.n_mito_genes + self.n_ribo_genes > self.n_genes:
            raise InputError(
                f"n_mito_genes ({self.n_mito_genes}) and n_ribo_genes ({self.n_ribo_genes}) are more than n_genes "
                f"({self.n_genes})"
            )
        check_choice("labels", self.labels, get_args(Labels))


def simulate_artifacts(
    config: ArtifactSimulationConfig | None = None, *, seed: int = 0
) -> tuple[PerturbationData, Truth]:
    """Draw a screen with failed cells and the truth behind it; the same seed gives the same bits.

    Whatever the artefact, masks, effects, basal states, the split and the counts of good cells are those of `simulate`
    with the same seed and the same settings of the screen.

    Returns:
        The data with quality labels, and the truth; `Truth.mean` is of cells as they are, `Truth.good_mean` of all
        cells had they not failed.

    Raises:
        InputError: if the seed is negative, or counts would not fit 32 bits.
    """
    config = config or ArtifactSimulationConfig()
    check_range("seed", seed, low=0)
    drawn = draw_screen(config, seed=seed)
    # A stream of its own: the screen is the same with and without artefact.
    rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
    artifact = _artifact(config, rng)
    confounded = _confounded(config, rng)
    failed = rng.random(drawn.data.n_cells) < _failure_probability(config, drawn.data, confounded)
    gene_names = _gene_names(config, rng, drawn)
    mean = _failed_mean(config, drawn, failed, artifact, gene_names)
    counts = draw_counts(rng, mean, drawn.theta, config)
    data = _labelled(config, _with_counts(drawn.data, gene_names, failed, counts), failed)
    of_cells = drawn.truth.mean.copy()
    of_cells[failed] = mean
    truth = drawn.truth._replace(
        mean=of_cells,
        artifact=artifact.astype(np.float32),
        good_mean=drawn.truth.mean,
        failed=failed,
        confounded=confounded,
    )
    return data, truth


def _artifact(config: ArtifactSimulationConfig, rng: np.random.Generator) -> np.ndarray:
    """(1, latent); one length for all seeds, so that none is easier to remove by luck."""
    direction = rng.standard_normal((1, config.n_latent))
    return config.artifact_size * direction / np.sqrt((direction**2).mean())


def _confounded(config: ArtifactSimulationConfig, rng: np.random.Generator) -> np.ndarray:
    """Bool (perturbation,): up to half of them do nothing, and will seem to do something."""
    n_active = config.n_perturbations - config.n_without_effect
    active, idle = rng.permutation(n_active), n_active + rng.permutation(config.n_without_effect)
    n_idle = max(min(config.n_confounded // 2, config.n_without_effect), config.n_confounded - n_active)
    confounded = np.zeros(config.n_perturbations, bool)
    confounded[active[: config.n_confounded - n_idle]] = True
    confounded[idle[:n_idle]] = True
    return confounded


def _failure_probability(
    config: ArtifactSimulationConfig, data: PerturbationData, confounded: np.ndarray
) -> np.ndarray:
    """Of each cell, (cell,)."""
    raised = (confounded[data.perturbation_index] & (data.dosage > 0)).any(axis=1)
    return config.failed_share + np.where(raised, config.confounding * (1 - config.failed_share), 0.0)


def _gene_names(config: ArtifactSimulationConfig, rng: np.random.Generator, drawn: Drawn) -> np.ndarray:
    """Names with MT-, RPS and RPL spread over well-expressed genes: of the best quarter, all but the very best."""
    n_ribo, n_named = config.n_ribo_genes, config.n_mito_genes + config.n_ribo_genes
    named = [f"MT-{i + 1}" for i in range(config.n_mito_genes)]
    named += [f"{('RPS', 'RPL')[i % 2]}{i // 2 + 1}" for i in range(n_ribo)]
    start = min(config.n_genes // 20, config.n_genes - n_named)  # one of the very best would be a large share of totals
    ranks = np.linspace(start, max(config.n_genes // 4, start + n_named), n_named, endpoint=False).astype(int)
    best_first = np.argsort(-drawn.truth.mean.mean(axis=0), kind="stable")
    names = drawn.data.gene_names.astype(object)
    names[best_first[rng.permutation(ranks)]] = named
    return names.astype(str)


def _failed_mean(
    config: ArtifactSimulationConfig, drawn: Drawn, failed: np.ndarray, artifact: np.ndarray, gene_names: np.ndarray
) -> np.ndarray:
    """Expected counts of the failed cells, (failed cell, gene)."""
    effects = (1 - config.interaction) * drawn.shift[failed]
    shares = drawn.shares(drawn.truth.z_basal[failed] + effects + artifact)
    shares = shares * np.where(np.char.startswith(gene_names, "MT-"), config.mito_factor, 1.0)
    shares = shares * np.where(np.char.startswith(gene_names, "RP"), config.ribo_factor, 1.0)
    shares /= shares.sum(axis=1, keepdims=True)
    return config.failed_total * drawn.library_size[failed, None] * shares


def _with_counts(
    data: PerturbationData, gene_names: np.ndarray, failed: np.ndarray, counts: np.ndarray
) -> PerturbationData:
    """The data with other names of genes, and other counts (failed cell, gene) of failed cells."""
    order = np.argsort(np.concatenate([np.flatnonzero(~failed), np.flatnonzero(failed)]))
    x = sp.vstack([data.x[~failed], sp.csr_matrix(counts)], format="csr")[order]
    return replace(data, x=x, library_size=np.asarray(x.sum(axis=1), np.float32).ravel(), gene_names=gene_names)


def _labelled(config: ArtifactSimulationConfig, data: PerturbationData, failed: np.ndarray) -> PerturbationData:
    """The data with true or measured quality labels."""
    if config.labels == "true":
        return replace(data, failed=failed[:, None], criteria=(CRITERION,))
    statistics = cell_statistics(data.x, data.gene_names)
    training = data.cells("train")
    rule = learn_rule({name: values[training] for name, values in statistics.items()}, config.n_mads)
    return replace(data, failed=rule.failed(statistics), criteria=rule.names, quality_rule=rule)
