"""Names of latent dimensions, the table of mechanisms and its short text, for effects and responses set by hand."""

import csv
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from samsjax.evaluation.gene_responses import GeneResponses, typical_steps
from samsjax.evaluation.posterior_effects import PosteriorEffects
from samsjax.reporting import effects_table, latent_names, mechanisms_summary, mechanisms_table

PERTURBATIONS = ("IFNGR1", "JAK2", "SOCS1", 'drug "A", 5 mM', "2,4-D", "NA")
GENES = ("STAT1", "IRF1", "MYC", 'HLA-A"*02', "a,b", "NA")
MEAN = np.array(
    [
        # 0: most act downwards; 1: ties; 2: nothing acts; 3: one with an odd name
        [-2.1, 0.5, 3.0, 0.0],
        [-2.0, 0.5, 0.0, 0.0],
        [2.5, -0.5, 0.0, 0.0],
        [-0.8, 0.5, 0.0, 1.0],
        [-0.1, 0.5, 0.0, 0.0],
        [9.0, 0.5, 0.0, 0.0],
    ]
)
PROBABILITY = np.array([[1, 1, 0.4, 0], [1, 1, 0, 0], [1, 1, 0, 0], [0.6, 1, 0, 0.9], [0.51, 1, 0, 0], [0.5, 1, 0, 0]])
RESPONSE = np.array(
    [[2.0, 3.0, -1.0, 0.5, 0.0, -4.0], [1.0, 1.0, -1.0, -1.0, 1.0, 0.0], [0.0] * 6, [0.0, 0.0, 0.0, 1.0, 0.5, 2.0]]
)


@pytest.fixture(scope="module")
def effects():
    return PosteriorEffects(PROBABILITY, MEAN, np.full_like(MEAN, 0.1), sparse=True)


@pytest.fixture(scope="module")
def fitted():
    return SimpleNamespace(
        config=SimpleNamespace(has_latent_space=True),
        vocabulary=SimpleNamespace(perturbation_names=PERTURBATIONS, gene_names=GENES),
        n_training_cells=np.arange(6),
    )


@pytest.fixture(scope="module")
def table(fitted, effects):
    return mechanisms_table(fitted, effects, GeneResponses(typical_steps(effects), RESPONSE, "log2_cp10k"))


def test_names_are_the_strongest_active_perturbations_that_move_cells_as_most_do(fitted, effects):
    # SOCS1 acts most on 0, but against the others; "NA" has the largest mean but is not active. Ties keep their order.
    assert latent_names(fitted, effects).tolist() == [
        'IFNGR1/JAK2/drug "A", 5 mM',
        'IFNGR1/JAK2/drug "A", 5 mM',
        "unused",
        'drug "A", 5 mM',
    ]
    assert latent_names(fitted, effects, 1).tolist() == ["IFNGR1", "IFNGR1", "unused", 'drug "A", 5 mM']


def test_table(table):
    assert table.columns.tolist() == [
        *("latent", "name", "n_perturbations", "step", "top_perturbations", "genes_up", "genes_down")
    ]
    assert table.latent.tolist() == [0, 1, 2, 3] and table.n_perturbations.tolist() == [5, 6, 0, 1]
    assert table.step.tolist() == pytest.approx([-np.sqrt(3.062), 0.5, 0.0, 1.0])
    assert table.top_perturbations.tolist() == [
        'SOCS1 +2.50, IFNGR1 -2.10, JAK2 -2.00, drug "A", 5 mM -0.80, 2,4-D -0.10',
        'IFNGR1 +0.50, JAK2 +0.50, SOCS1 -0.50, drug "A", 5 mM +0.50, 2,4-D +0.50',
        "",
        'drug "A", 5 mM +1.00',
    ]
    assert table.genes_up.tolist() == ['IRF1, STAT1, HLA-A"*02', "STAT1, IRF1, a,b", "", 'NA, HLA-A"*02, a,b']
    assert table.genes_down.tolist() == ["NA, MYC", 'MYC, HLA-A"*02', "", ""]


def test_at_most_as_many_are_named_as_asked(fitted, effects):
    responses = GeneResponses(typical_steps(effects), RESPONSE, "log2_cp10k")
    short = mechanisms_table(fitted, effects, responses, n_perturbations=1, n_genes=1)
    assert short.top_perturbations.tolist() == ["SOCS1 +2.50", "IFNGR1 +0.50", "", 'drug "A", 5 mM +1.00']
    assert short.genes_up.tolist() == ["IRF1", "STAT1", "", "NA"]
    assert short.genes_down.tolist() == ["NA", "MYC", "", ""]


def test_odd_names_survive_in_csv(table, fitted, effects, tmp_path):
    for name, frame in {"mechanisms": table, "effects": effects_table(fitted, effects)}.items():
        frame.to_csv(tmp_path / name, index=False)
        with (tmp_path / name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        words = frame.select_dtypes(exclude="number")
        assert words.shape[1] == {"mechanisms": 4, "effects": 2}[name]
        assert all([row[column] for row in rows] == values.tolist() for column, values in words.items())
    read = pd.read_csv(tmp_path / "mechanisms", keep_default_na=False)
    assert mechanisms_summary(read) == mechanisms_summary(table)


def test_effects_table_names_the_latents(fitted, effects):
    frame = effects_table(fitted, effects)
    assert frame.columns.tolist()[:3] == ["perturbation", "latent", "latent_name"]
    assert frame.columns.tolist()[3:] == ["inclusion_probability", "effect_mean", "effect_sd", "n_training_cells"]
    assert frame.latent_name.tolist() == latent_names(fitted, effects).tolist() * 6


def test_without_masks_doubtful_effects_name_nothing(fitted, effects):
    dense = effects._replace(inclusion_probability=np.ones_like(MEAN), sd=np.full_like(MEAN, 0.6), sparse=False)
    assert latent_names(fitted, dense).tolist() == ["NA/SOCS1", "unused", "IFNGR1", "unused"]


def test_summary_shows_the_most_used_first_and_counts_the_rest(table):
    assert mechanisms_summary(table).splitlines() == [
        "mechanisms that perturbations act on: 3 of 4 latent dimensions",
        '    1 IFNGR1/JAK2/drug "A", 5 mM (6 perturbations): up STAT1, IRF1, a,b; down MYC, HLA-A"*02',
        '    0 IFNGR1/JAK2/drug "A", 5 mM (5 perturbations): up IRF1, STAT1, HLA-A"*02; down NA, MYC',
        '    3 drug "A", 5 mM (1 perturbation): up NA, HLA-A"*02, a,b',
    ]
    short = mechanisms_summary(table, n_shown=1, n_genes=1).splitlines()
    assert short[1].endswith("up STAT1; down MYC") and short[2:] == ["  ... and 2 more in mechanisms.csv"]
    unused = mechanisms_summary(table[table.n_perturbations == 0])
    assert unused == "mechanisms that perturbations act on: 0 of 1 latent dimensions"
