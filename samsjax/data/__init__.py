"""Data: from an AnnData, or from nothing but a seed, to plain checked arrays.

Read in this order:

- `dataset`: `PerturbationData`, the arrays every model trains on. It knows nothing of AnnData.
- `encoding`: labels such as `KLF1+TGFBR2` <-> indices and doses; reading a treatment to predict. The grammar of labels
  is in `labels`, the distinct conditions of a data set in `treatments`; `unique_doses` makes doses perturbations.
- `features`: what is known of perturbations beside their cells: `PerturbationFeatures`, and where they come from.
- `covariates`: categorical covariates as one-hots over the levels of the training cells.
- `splits`: which cells train, validate and test, at random, by a column or by combinations; halves of the training
  cells. `held_out` holds out perturbations or doses, with the groups of `perturbation_groups`, of which `group_draws`
  draws some; `split_rules` chooses.
- `studies`: published screens: what their public files mean, how they are split, where they are.
- `simulate`: a screen drawn from a seed, with the truth behind it; the default of the command line. The simulations of
  the papers are in `sams_simulation` and `svae_plus_simulation`; in `artifact_simulation` some cells of the screen fail
  quality, and what they would have been is known. `simulations` is the table that names all of them.
- `quality`: which cells look technically failed, by rules that generated cells can be judged by too; `artifacts`: these
  labels as numbers a model can see.
- `anndata`: `from_anndata` and `read_h5ad`, the one border to AnnData. What can be said about a file is in `config`;
  opening files is in `files`, choosing genes and library sizes in `expression`, checks of values in `counts`.

A screen is one call away:

    data = samsjax.data.from_anndata(adata, perturbation_key="condition", control="ctrl", layer="counts")

Importing this package imports neither anndata nor pandas; the functions that need them do.
"""

from samsjax.data.anndata import DataConfig, from_anndata, read_h5ad
from samsjax.data.artifact_simulation import ArtifactSimulationConfig, simulate_artifacts
from samsjax.data.dataset import SPLITS, UNUSED, PerturbationData
from samsjax.data.encoding import (
    Encoding,
    Treatments,
    encode_labels,
    encode_matrix,
    match_vocabulary,
    parse_treatment,
    treatments,
)
from samsjax.data.features import FeaturesConfig, PerturbationFeatures, with_features
from samsjax.data.held_out import held_out_doses, held_out_perturbations
from samsjax.data.quality.confounding import Confounding, confounding
from samsjax.data.quality.rule import Criterion, QualityRule, learn_rule
from samsjax.data.quality.statistics import cell_statistics
from samsjax.data.simulate import SimulationConfig, Truth, simulate
from samsjax.data.splits import column_split, halves, held_out_combination_cells, held_out_combinations, random_split

__all__ = [
    "SPLITS",
    "UNUSED",
    "ArtifactSimulationConfig",
    "Confounding",
    "Criterion",
    "DataConfig",
    "Encoding",
    "FeaturesConfig",
    "PerturbationData",
    "PerturbationFeatures",
    "QualityRule",
    "SimulationConfig",
    "Treatments",
    "Truth",
    "cell_statistics",
    "column_split",
    "confounding",
    "encode_labels",
    "encode_matrix",
    "from_anndata",
    "halves",
    "held_out_combination_cells",
    "held_out_combinations",
    "held_out_doses",
    "held_out_perturbations",
    "learn_rule",
    "match_vocabulary",
    "parse_treatment",
    "random_split",
    "read_h5ad",
    "simulate",
    "simulate_artifacts",
    "treatments",
    "with_features",
]
