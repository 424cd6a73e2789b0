"""The door `experiments.stability`: which fits it makes, what it writes, and what it refuses before any of them."""

import csv
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest

import samsjax
from experiments import screens, stability
from experiments.fit_command import command_from
from samsjax.data import halves
from samsjax.errors import InputError
from samsjax.evaluation import Member, PosteriorEffects
from samsjax.evaluation import stability as compared
from samsjax.inference.training import DivergenceError
from samsjax.models import MODELS
from tests import small
from tests.experiments.doors import SMALL, read_json, refused

FILES = {
    *("agreement.csv", "perturbations.csv", "masks.csv", "metrics.json", "stability.png"),
    *("config.json", "environment.json"),
}
LABELS = ["seed-0", "seed-3", "half-1a", "half-1b"]
SEEDS = ("--seeds", "0", "3")
FLAGS = (*SMALL, "--train.rotation", "off", "--model.mask-prior-prob", "0.5")
"""So short a fit leaves masks near their prior: at one half some entries are active and some are not."""


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("stability") / "out"
    stability.main(["--out", str(out), *SEEDS, *FLAGS])
    return out


def test_files_of_two_seeds_and_two_halves(found):
    assert {path.name for path in found.iterdir()} == FILES
    pairs = table(found / "agreement.csv")
    assert [(row["first"], row["second"]) for row in pairs] == [
        (first, second) for i, first in enumerate(LABELS) for second in LABELS[i + 1 :]
    ]
    assert [row["kind"] for row in pairs] == ["seeds", *["mixed"] * 4, "halves"]
    assert all(0 <= float(row[name]) <= 1 for row in pairs for name in ("f1", "f1_shuffled", "same_mask"))
    assert len({row["f1"] for row in pairs}) > 1 and all(0 < float(row["f1"]) < 1 for row in pairs)
    config = read_json(found / "config.json")
    assert (config["seeds"], config["halves"], config["seed"], config["model_name"]) == ([0, 3], 1, 0, "sams_vae")
    assert (found / "stability.png").read_bytes().startswith(b"\x89PNG")


def test_tables_and_scores_tell_the_same(found):
    pairs, rows = table(found / "agreement.csv"), table(found / "perturbations.csv")
    metrics = read_json(found / "metrics.json")
    for kind, row in (("seeds", pairs[0]), ("halves", pairs[-1])):
        assert metrics[f"stability/{kind}/f1_mean"] == metrics[f"stability/{kind}/f1_min"] == float(row["f1"])
    assert sorted(row["perturbation"] for row in rows) == [f"P{i}" for i in range(1, 7)]
    agreement = [float(row["seeds_f1_mean"]) + float(row["halves_f1_mean"]) for row in rows]
    assert agreement == sorted(agreement)
    active = {label: sum(int(row[f"n_active_{label}"]) for row in rows) for label in LABELS}
    assert all(int(row[f"n_active_{side}"]) == active[row[side]] for row in pairs for side in ("first", "second"))
    masks = table(found / "masks.csv")
    assert len(masks) == len(LABELS) * 6 * 4
    entries = [row["fit"] for row in masks if float(row["inclusion_probability"]) > 0.5]
    assert {label: entries.count(label) for label in LABELS} == active
    assert {f"truth/{label}/f1" for label in LABELS} <= metrics.keys()


def test_a_label_says_which_fit_it_is(found):
    command = command_from(["--out", "run", *FLAGS])
    data, truth = screens.load_data(command)
    rows, metrics = table(found / "masks.csv"), read_json(found / "metrics.json")
    for label, own, seed in (("seed-3", data, 3), ("half-1b", halves(data, seed=(0, 1))[1], 0)):
        fitted = samsjax.fit(own, command.model, command.train, seed=seed)
        effects = samsjax.posterior_effects(jax.random.key(seed), fitted)
        sizes = [abs(float(row["effect_mean"])) for row in rows if row["fit"] == label]
        np.testing.assert_allclose(sorted(sizes), np.sort(np.abs(effects.mean), axis=None), rtol=1e-6)
        assert metrics[f"truth/{label}/f1"] == samsjax.mask_agreement(truth.mask, effects.mask).f1


def test_the_same_command_gives_the_same_bits(found, tmp_path, capsys):
    stability.main(["--out", str(tmp_path / "out"), *SEEDS, *FLAGS])
    for name in FILES - {"config.json"}:
        assert (tmp_path / "out" / name).read_bytes() == (found / name).read_bytes(), name
    printed = capsys.readouterr()
    assert "1 of seeds" in printed.out and "1 of halves" in printed.out and "agree least" in printed.out
    assert "masks against the truth" in printed.out and f"written to {tmp_path / 'out'}" in printed.out
    assert [line.split(":")[1].strip() for line in printed.err.splitlines() if " of 4: " in line] == LABELS


def test_the_summary_names_who_agrees_least_and_does_not_praise_empty_masks():
    def found(*masks):
        tables = [np.array(mask, dtype=np.float32)[:, None] for mask in masks]
        fits = [PosteriorEffects(table, 2 * table, np.ones_like(table), sparse=True) for table in tables]
        members = [Member(f"seed-{i}", None, effects) for i, effects in enumerate(fits)]
        return compared(members, np.array(["A", "B", "C"]))

    text = stability.summary(found([1, 1, 0], [1, 0, 0], [1, 0, 0]), {"truth/seed-0/f1": 0.5, "truth/seed-1/f1": 1.0})
    assert "active entries: 1 to 2 of 3 in each fit" in text and "(mean F1, seeds): B 0.33\n" in text
    assert "| 3 of seeds | 0.778 | 0.667 |" in text and "against the truth: F1 0.500 to 1.000" in text
    empty = stability.summary(found([0, 0, 0], [0, 0, 0]), {})
    assert "empty masks agree without saying anything" in empty and "agree least" not in empty


@pytest.fixture
def fits(monkeypatch):
    """What would be fitted; the fits diverge when the plan has been followed so far."""
    loaded, fitted, load_data = [], [], screens.load_data

    def recorded(command):
        loaded.append(command.seed)
        return load_data(command)

    def diverge(data, model, train, *, seed):
        fitted.append((data, seed))
        raise DivergenceError("training diverged")

    monkeypatch.setattr(screens, "load_data", recorded)
    monkeypatch.setattr(samsjax, "fit", diverge)
    return loaded, fitted


def test_a_failing_fit_is_named_and_nothing_written(unwritten, fits):
    with pytest.raises(DivergenceError, match="seed-7: training diverged"):
        stability.main(["--out", str(unwritten / "out"), "--seeds", "7", "8", "--seed", "2", *SMALL])
    assert fits[0] == [2] and [seed for _, seed in fits[1]] == [7]  # the screen is that of --seed


def test_halves_are_fitted_with_the_first_seed_on_data_of_their_own():
    data = small.screen()
    plan = stability.planned(data, (4, 1), 2, division_seed=9)
    assert [(p.label, p.division, p.seed) for p in plan] == [
        *(("seed-4", None, 4), ("seed-1", None, 1)),
        *(("half-1a", 1, 4), ("half-1b", 1, 4), ("half-2a", 2, 4), ("half-2b", 2, 4)),
    ]
    assert plan[0].data is plan[1].data is data
    for division in (1, 2):
        own = [p.data.split.tolist() for p in plan if p.division == division]
        assert own == [half.split.tolist() for half in halves(data, seed=(9, division))]
    assert plan[2].data.split.tolist() != plan[4].data.split.tolist()


def test_perturbations_that_a_fit_does_not_see_are_left_out():
    data = small.screen()
    carries = (data.perturbation_index == 2) & (data.dosage > 0)
    cells = np.flatnonzero(carries.any(axis=1) & (data.split == "train"))
    split = data.split.copy()
    split[cells[1:]] = "none"  # one training cell is left, which is in one half
    rare = data.with_split(split)
    assert stability.known_to_all(stability.planned(rare, (0, 1), 0, 0)).all()
    known = stability.known_to_all(stability.planned(rare, (0, 1), 1, 0))
    assert np.flatnonzero(~known).tolist() == [2]
    alone = np.full(data.n_cells, "none", dtype="U5")
    alone[cells[0]] = "train"
    with pytest.raises(InputError, match=r"no perturbation has training cells in every fit.*--halves 0"):
        stability.known_to_all(stability.planned(data.with_split(alone), (0,), 1, 0))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--seeds", "1", "--halves", "0"], ["seed 1 alone agrees with nothing", "two --seeds, or --halves 1"]),
        (["--seeds"], ["seeds must be one or more different numbers, got (none)"]),
        (["--seeds", "1", "1"], ["different numbers, got 1, 1"]),
        (["--seeds", "-1", "1"], ["seed must be >= 0", "got -1"]),
        (["--halves", "-1"], ["halves must be >= 0, got -1"]),
        (["--nonsense", "3"], ["--nonsense"]),
        (["--data.layer", "counts"], ["--data.path is missing"]),
        (["--model", "sams_va"], ["unknown model 'sams_va'", "'sams_vae'"]),
    ],
)
def test_what_cannot_work_is_refused_before_data_are_read(unwritten, capsys, monkeypatch, flags, words):
    monkeypatch.setattr(screens, "load_data", None)
    refused(stability.main, ["--out", unwritten / "out", *flags], words, capsys)


@pytest.mark.parametrize("model", ["cpa_vae", "conditional_vae"])
def test_models_without_masks_are_refused_before_the_first_fit(unwritten, capsys, fits, model):
    flags = ["--out", unwritten / "out", "--model", model, *SMALL]
    refused(stability.main, flags, ["compares masks", "VAEConfig", "does not have", "--model sams_vae"], capsys)
    assert fits == ([0], [])


def test_a_model_of_genes_alone_is_refused_before_data_are_read(unwritten, capsys, fits):
    flags = ["--out", unwritten / "out", "--model", "gim", "--features.source", "random"]
    refused(stability.main, flags, ["masks of latents", "GIMConfig has no latents, only genes", "sams_vae"], capsys)
    assert fits == ([], [])


def test_a_prior_from_features_is_fitted_if_features_vary_in_every_half(unwritten, capsys, fits, tmp_path):
    flags = ["--out", unwritten / "out", *SMALL, "--features.source"]
    with pytest.raises(DivergenceError):
        stability.main([*map(str, flags), "random"])
    assert fits[1][0][0].features is not None  # the first fit was begun
    with pytest.raises(InputError, match=r"half-1a: 1 features are the same for all 5 .* half.*: f1;.*--halves 0"):
        stability.check_features(samsjax.SAMSVAEConfig(feature_prior=True), {"half-1a": rare_feature()})
    stability.check_features(samsjax.SAMSVAEConfig(), {"half-1a": rare_feature()})


def rare_feature():
    """A half without training cells of P2, the one perturbation of six whose feature f1 is another."""
    data = small.screen()
    values = np.stack([np.arange(data.n_perturbations), np.arange(data.n_perturbations) == 2], axis=1).astype(float)
    carries = ((data.perturbation_index == 2) & (data.dosage > 0)).any(axis=1)
    split = np.where(carries & (data.split == "train"), "none", data.split)
    return replace(data.with_split(split), features=samsjax.PerturbationFeatures(("f0", "f1"), values))


def test_without_matplotlib_there_is_a_way(unwritten, capsys, monkeypatch, fits):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    flags = ["--out", unwritten / "out", *SMALL]
    refused(stability.main, flags, ["pip install 'samsjax[plot]'", "or give --no-plot"], capsys)
    assert fits == ([], [])
    with pytest.raises(DivergenceError):
        stability.main([*map(str, flags), "--no-plot"])


def test_without_a_plot_there_is_no_figure(tmp_path, found, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    stability.main(["--out", str(tmp_path / "out"), *SEEDS, "--halves", "0", "--no-plot", *FLAGS])
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES - {"stability.png"}
    assert not [name for name in read_json(tmp_path / "out" / "metrics.json") if "halves" in name]


def test_results_are_not_replaced_unasked(found, capsys):
    before = (found / "masks.csv").read_bytes()
    refused(stability.main, ["--out", found, *SMALL], ["exists", "--overwrite"], capsys)
    assert (found / "masks.csv").read_bytes() == before


def test_every_model_with_masks_can_be_compared():
    data = small.screen()
    for name in ("sams_vae", "sams_vae_beta_bernoulli", "svae_plus"):
        stability.check_masks(MODELS[name].config(), data)
    stability.check_masks(MODELS["sams_vae"].config(guide="correlated"), data)


def test_the_out_folder_is_needed(capsys):
    refused(stability.main, [], ["--out"], capsys)
