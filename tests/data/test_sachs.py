"""The Sachs table: conditions from columns, controls, one-hot features, annotated targets, the consensus graph."""

import numpy as np
import pandas as pd
import pytest

from samsjax.causal.graphs import is_acyclic
from samsjax.data.studies import study
from samsjax.data.studies.sachs import STIMULATION, TARGETS, annotated_targets, consensus_graph
from samsjax.errors import InputError

TABLE, GRAPH = "sachs.2005.log_with_interventions.txt", "sachs.2005.ground.truth.graph.txt"
MOLECULES = np.array(["raf", "mek", "plc", "pip2", "pip3", "erk", "akt", "pka", "pkc", "p38", "jnk"])


def table(n_each=20):
    """Cells of every condition in the published layout: two conditions come without the stimulation."""
    rng = np.random.default_rng(0)
    values = pd.DataFrame(rng.normal(3.0, 1.0, (n_each * len(TARGETS), len(MOLECULES))), columns=MOLECULES)
    condition = np.repeat(list(TARGETS), n_each)
    for name in TARGETS:
        values[name] = (condition == name).astype(int)
    values.loc[~np.isin(condition, ("pma", "b2camp")), STIMULATION] = 1
    return values


@pytest.fixture
def path(tmp_path):
    table().to_csv(tmp_path / TABLE, sep="\t", index=False)
    return tmp_path / TABLE


def test_conditions_become_perturbations_with_one_hot_features(path):
    data = study("sachs").load(path)
    assert data.gene_names.tolist() == MOLECULES.tolist() and data.library_size_source == "ones"
    assert data.perturbation_names.tolist() == sorted(set(TARGETS) - {STIMULATION})
    assert np.array_equal(np.asarray(data.x), table()[MOLECULES].to_numpy(np.float32))
    assert data.is_control.sum() == 20 and data.control_name == STIMULATION
    received = np.where(data.is_control, STIMULATION, data.perturbation_names[data.perturbation_index[:, 0]])
    assert received.tolist() == np.repeat(list(TARGETS), 20).tolist()
    assert data.features.names == tuple(data.perturbation_names) and np.array_equal(data.features.values, np.eye(8))
    assert np.array_equal(study("sachs").load(path, backed=True).split, data.split)


def test_a_second_stimulation_can_be_a_control_too(path):
    data = study("sachs").load(path, control=(STIMULATION, "icam2"))
    assert data.is_control.sum() == 40 and "icam2" not in data.perturbation_names


def test_targets_are_those_of_the_table(path):
    data = study("sachs").load(path)
    targets = annotated_targets(data)
    found = {name: tuple(MOLECULES[row]) for name, row in zip(data.perturbation_names.tolist(), targets, strict=True)}
    assert found == {name: TARGETS[name] for name in found} and not targets[data.perturbation_names == "icam2"].any()
    assert {target for group in TARGETS.values() for target in group} <= set(MOLECULES)


def test_the_graph_is_read_by_names(tmp_path):
    (tmp_path / "g.txt").write_text("Graph Edges:\n1. erk --> akt\n2. pkc-->raf\n")
    graph = consensus_graph(tmp_path / "g.txt", MOLECULES)
    assert [(MOLECULES[i], MOLECULES[j]) for i, j in np.argwhere(graph)] == [("erk", "akt"), ("pkc", "raf")]
    (tmp_path / "g.txt").write_text("1. erk --> akd")
    with pytest.raises(InputError, match=r"unknown molecule 'akd'. Did you mean 'akt'"):
        consensus_graph(tmp_path / "g.txt", MOLECULES)
    (tmp_path / "g.txt").write_text("nothing")
    with pytest.raises(InputError, match="holds no edge"):
        consensus_graph(tmp_path / "g.txt", MOLECULES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns=["ly", "pma"]), "no columns ly, pma"),
        (lambda t: t.assign(ly=2), "must hold only 0 and 1"),
        (lambda t: t.assign(ly=1), "140 cells .* have no condition, or two beside cd3_cd28; the first in row 20"),
        (lambda t: t.assign(cd3_cd28=0), "20 cells .* have no condition"),
        (lambda t: t.assign(raf="x"), "columns raf .* are not numbers"),
    ],
)
def test_other_tables_are_refused(tmp_path, change, message):
    change(table()).to_csv(tmp_path / "t.txt", sep="\t", index=False)
    with pytest.raises(InputError, match=message):
        study("sachs").load(tmp_path / "t.txt")


def test_what_the_study_does_not_have_is_refused(path):
    with pytest.raises(InputError, match=r"unknown condition 'icam'. Did you mean 'icam2'"):
        study("sachs").load(path, control=("icam",))
    with pytest.raises(InputError, match="continuous values"):
        study("sachs").read(study("sachs").settings(path=path), counts=True)


def test_the_public_table(shared_data_dir):
    data = study("sachs").load(shared_data_dir / TABLE)
    assert (data.n_cells, data.n_genes, data.n_perturbations) == (7466, 11, 8)
    assert data.gene_names.tolist() == MOLECULES.tolist()
    received = np.where(data.is_control, STIMULATION, data.perturbation_names[data.perturbation_index[:, 0]])
    n_cells = dict(zip(*np.unique(received, return_counts=True), strict=True))
    assert (n_cells[STIMULATION], n_cells["pma"], n_cells["b2camp"]) == (853, 913, 707)
    graph = consensus_graph(shared_data_dir / GRAPH, data.gene_names)
    assert graph.sum() == 20 and is_acyclic(graph)
