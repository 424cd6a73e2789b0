"""The benchmarks run and print tables of positive times; what they time is their own business."""

from dataclasses import fields, replace

import jax
import numpy as np
import pytest

import samsjax
from benchmarks import __main__ as door
from benchmarks import artifacts, ate, coverage, rotation, unseen
from benchmarks.artifacts import ArtifactsBenchmark
from benchmarks.ate import AteBenchmark
from benchmarks.coverage import CoverageBenchmark
from benchmarks.rotation import RotationBenchmark
from benchmarks.step import StepBenchmark
from benchmarks.together import TogetherBenchmark, measure
from benchmarks.unseen import UnseenBenchmark, mean_correlation, relative_error
from samsjax.data.artifact_simulation import ArtifactSimulationConfig
from samsjax.data.feature_simulation import FeatureSimulationConfig
from samsjax.errors import InputError
from samsjax.evaluation.quality import QualityConfig
from samsjax.inference.fitted import prepare
from samsjax.inference.references import draw_references
from samsjax.models import CRADLEVAEConfig
from tests import small


@pytest.mark.slow
def test_a_step_is_timed_for_every_case_and_its_growth_stated(capsys):
    sizes = ("--n-genes", "20", "--n-latent", "3", "--n-hidden", "4", "--batch-size", "16", "--n-batches", "2")
    others = ["cradle_vae", "sams_vae, features"]
    flags = ("--n-particles", "1", "--n-perturbations", "4", "40", "--rounds", "2", "--beside", *others)
    door.main(["step", *sizes, *flags])
    lines = capsys.readouterr().out.splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith(("| sams_vae", "| cradle_vae"))]
    names = ["sams_vae", *others]
    assert "python" in lines[0]
    assert [row[:3] for row in rows[:6]] == [[name, "1", n] for name in names for n in ("4", "40")]
    assert [row[:3] for row in rows[6:9]] == [[name, "1", "4 -> 40"] for name in names]
    assert [row[:3] for row in rows[9:]] == [[f"sams_vae -> {name}", "1", n] for name in others for n in ("4", "40")]
    assert all(float(cell) > 0 for row in rows for cell in row[3:])
    door.main(["step", *sizes, "--n-particles", "1", "--n-perturbations", "4", "--rounds", "1", "--beside"])
    assert "->" not in capsys.readouterr().out


def test_an_unknown_arm_is_named_with_the_nearest():
    with pytest.raises(InputError, match=r"unknown benchmark arm 'sams_vae, hil'. Did you mean 'sams_vae, hill'"):
        StepBenchmark(beside=("sams_vae, hil",))


@pytest.mark.slow
def test_members_are_timed_beside_single_fits(monkeypatch, capsys):
    monkeypatch.setattr(samsjax, "simulate", lambda *, seed: (small.screen(seed), None))
    (row,) = measure(TogetherBenchmark(n_members=(2,), n_steps=2, rounds=2))
    assert row["members"] == 2 and row["min"] <= row["ratio, median of rounds"] <= row["max"]
    assert min(row["one by one s, median"], row["together s, median"], row["compile s, together"]) > 0
    assert "| members |" in capsys.readouterr().out


def test_an_unknown_benchmark_is_named_with_the_nearest():
    with pytest.raises(InputError, match=r"unknown benchmark 'steps'. Did you mean 'step'"):
        door.main(["steps"])


@pytest.mark.slow
def test_rotation_is_compared_on_every_screen(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(rotation, "BUILT_IN", small.SCREEN)
    command = RotationBenchmark(seeds=(0,), n_steps=20, screens=("8 latents",), figures=tmp_path / "figures")
    (off, sparse) = rotation.measure(command)
    assert (off["rotation"], sparse["rotation"]) == ("off", "sparse")
    assert all(0 <= float(row[name]) <= 1 for row in (off, sparse) for name in ("mean", "mean "))
    assert capsys.readouterr().out.count("8 latents") == 2
    assert "8 latents" in (tmp_path / "figures" / "rotation-scores.svg").read_text()
    assert "sparse rotation" in (tmp_path / "figures" / "rotation-effects.svg").read_text()
    with pytest.raises(InputError, match=r"unknown screen '9 latents'. Did you mean '8 latents'"):
        RotationBenchmark(screens=("9 latents",))


@pytest.mark.slow
def test_estimators_of_effects_are_compared_and_drawn(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(ate, "SCREEN", small.SCREEN)
    monkeypatch.setattr(ate, "SHOWN", (("sampled", 20), ("marginal", 20)))
    monkeypatch.setattr(ate, "NOISES", ("sampled", "marginal"))
    command = AteBenchmark(n_steps=10, n_reference=200, n_repeats=3, n_particles=(20,), figures=tmp_path)
    rows = ate.measure(command)
    assert [row["noise"] for row in rows] == ["sampled", "marginal"]
    assert all(float(row[name]) >= 0 for row in rows for name in ("bias", "sd", "stated SE", "total error"))
    assert all(row["s, median"] > 0 for row in rows)
    assert capsys.readouterr().out.count("marginal") == 1
    assert "particles" in (tmp_path / "ate-error.svg").read_text()


def test_estimators_are_repeated():
    with pytest.raises(InputError, match="n_repeats must be >= 2"):
        AteBenchmark(n_repeats=1)


@pytest.mark.slow
def test_coverage_is_counted_on_every_screen(monkeypatch, capsys):
    monkeypatch.setattr(coverage, "SCREEN", small.SCREEN)
    monkeypatch.setattr(coverage, "MODEL", small.MODEL)
    rows = coverage.measure(CoverageBenchmark(seeds=(0, 1), n_steps=12, n_refits=0))
    assert [row["seed"] for row in rows] == ["0", "1"]
    assert all(0 <= row[name] <= 1 for row in rows for name in ("genes, own", "latent space, own"))
    assert "| mean |" in capsys.readouterr().out


@pytest.mark.slow
def test_models_of_quality_are_compared(monkeypatch, capsys, tmp_path):
    sizes = {f.name: getattr(small.SCREEN, f.name) for f in fields(small.SCREEN)} | {"n_genes": 40}
    screen = ArtifactSimulationConfig(**sizes, n_confounded=2, n_mito_genes=4, n_ribo_genes=2)
    monkeypatch.setattr(artifacts, "SCREEN", screen)
    monkeypatch.setattr(artifacts, "DRAWN", QualityConfig(n_cells=10, n_particles=4, min_cells=4, folds=2))
    small_arms = {
        name: arm._replace(model=replace(arm.model, n_latent=4, n_hidden=8))
        for name, arm in artifacts.ARMS.items()
        if name in ("sams, good cells", "cradle", "cradle, wrong rows")
    }
    monkeypatch.setattr(artifacts, "ARMS", small_arms)
    rows = artifacts.measure(ArtifactsBenchmark(seeds=(0,), arms=tuple(small_arms), n_steps=20))
    assert [row["model"] for row in rows] == list(small_arms)
    left = {row["model"]: row["artefact left in cells"] for row in rows}
    assert left["sams, good cells"] == "-" and float(left["cradle"].split()[0]) > 0
    assert rows[1] != {**rows[2], "model": "cradle"}
    assert "| cradle, wrong rows |" in capsys.readouterr().out


def test_references_of_the_published_code_are_positions_taken_for_rows():
    """Its references are cells of any treatment, while ours are of the cell's own."""
    data = small.labelled(small.screen())
    wanted = CRADLEVAEConfig().quality_training
    arrays = prepare(data, CRADLEVAEConfig(), small.TRAIN).arrays
    known = (arrays.cells.x, arrays.cells.artifacts, arrays.cells.covariates)
    condition = samsjax.treatments(data).assignment
    shares = []
    for each in (arrays, artifacts._with_wrong_rows(arrays)):
        place = np.asarray(draw_references(jax.random.key(0), each.pools, wanted, *known).place)
        cells = np.flatnonzero(place >= 0)
        assert place.max() < data.n_cells
        shares.append((condition[place[cells]] == condition[cells]).mean())
    assert shares[0] == 1 and shares[1] < 0.5


@pytest.mark.slow
def test_unseen_perturbations_are_scored_apart(monkeypatch, capsys):
    sizes = {f.name: getattr(small.SCREEN, f.name) for f in fields(small.SCREEN)} | {"n_perturbations": 8}
    screen = FeatureSimulationConfig(**sizes, n_features=3, held_out=0.4)
    monkeypatch.setattr(unseen, "SCREEN", screen)
    monkeypatch.setattr(unseen, "MODEL", small.MODEL)
    monkeypatch.setattr(unseen, "DRAWN", replace(unseen.DRAWN, n_particles=8, noise="mean"))
    names = ("sams_vae, features", "training_mean", "own_training_mean", "feature_ridge", "feature_ridge, shuffled")
    rows = unseen.measure(UnseenBenchmark(seeds=(2,), arms=names, n_steps=8))
    table = {row["predictor"]: row for row in rows}
    assert tuple(table) == names and "| feature_ridge, shuffled |" in capsys.readouterr().out
    assert 0 <= float(table["sams_vae, features"]["unseen: coverage"].split()[0]) <= 1
    own = table["own_training_mean"]
    assert own["unseen: error"] == own["combined: error"] == "-" and float(own["seen: error"].split()[0]) > 0
    assert table["feature_ridge"] != {**table["feature_ridge, shuffled"], "predictor": "feature_ridge"}
    with pytest.raises(InputError, match="unknown arm 'features'"):
        UnseenBenchmark(arms=("features",))


def test_numbers_of_unseen_perturbations():
    true = np.array([[1.0, -1.0, 0.0], [0.1, 0.0, -0.1]])
    assert relative_error(true, true) == 0 and relative_error(0 * true, true) == 1
    assert relative_error(0.5 * true, true) == pytest.approx(0.5)
    wrong = np.array([[2.0, -2.0, 0.0], [-0.1, 0.0, 0.1]])  # right for the large effect, wrong for the small one
    assert mean_correlation(wrong, true) == pytest.approx((2.0 - 0.02) / (2.0 + 0.02))
    assert mean_correlation(0 * true, true) == 0
