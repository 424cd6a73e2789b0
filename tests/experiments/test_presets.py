"""The presets: published settings, published numbers, and every one of them run at tiny sizes."""

import csv
import re
import warnings
from importlib import import_module
from pathlib import Path

import pytest

from experiments import fit_checks, sweep
from experiments.cradle_settings import OWN_SCREEN_2024
from experiments.finished import differences, flat
from experiments.fit_command import command_from, settings_of
from experiments.grid import PRESETS, expand, narrowed, preset
from experiments.published import RELATIVE, table_cells
from samsjax.errors import InputError
from samsjax.models import MODELS, CRADLEVAEConfig
from tests.data.study_files import LAYOUTS
from tests.experiments.doors import EVALUATION, read_json

NORMAN = ("norman_ood", "norman_data_efficiency")
CRADLE = ("cradle_norman", "cradle_dixit", "cradle_replogle", "cradle_adamson")
SIMULATED = ("simulation", "unseen", "gim_synthetic")
SPEC = "sams_vae_published_results.md"


def module(name):
    return import_module(f"experiments.{name}")


@pytest.mark.parametrize("name", PRESETS)
def test_every_run_can_be_started(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path("sciplex3_drugs.csv").touch()
    monkeypatch.setattr(fit_checks, "require_rdkit", lambda: None)  # flags are checked here, not what is installed
    grid = preset(name)
    ends = [f"{flag}={values[0]},{values[-1]}" for flag, values in grid.vary.items()]
    runs = expand(narrowed(grid, arms=[], vary=ends, seeds=grid.seeds[:1]), [], tmp_path)
    file = [] if name in SIMULATED else ["--data.path", "screen.h5ad"]
    for run in runs:
        fit_checks.check_command(command_from([*run.argv, *file]))
    assert {run.arm for run in runs} == set(grid.arms) and len(runs) == len(grid.arms) * 2 ** len(grid.vary)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_what_it_is(name):
    grid, text = preset(name), module(name).__doc__
    assert grid.preset == name and f"python -m experiments.{name} " in text
    costs = "Measured on two CPU cores" if name in SIMULATED else "Estimate for two CPU cores"
    assert costs in text and ("Not run by us" in text) == (name not in SIMULATED)
    assert all(re.fullmatch(r"[a-z0-9_.]+", arm) for arm in grid.arms)
    assert {flag: len(set(values)) for flag, values in grid.vary.items()} == {
        flag: len(values) for flag, values in grid.vary.items()
    }


def test_unknown_presets_are_refused():
    with pytest.raises(InputError, match=r"unknown preset 'norman'.*norman_ood"):
        preset("norman")


def of_arm(name, arm):
    return flat(settings_of(command_from([*preset(name).flags(arm), "--data.path", "x.h5ad", "--out", "x"])))


PAPER = {
    "model.n_hidden": 400,
    "model.n_layers": 1,
    "model.likelihood": "library_nb",
    "model.normalization": "log_standardize",
    "train.batch_size": 512,
    "train.n_particles": 5,
    "train.objective": "sampled_kl",
    "train.reweighting": None,
    "train.learning_rate": 3e-4,
    "train.schedule": "constant",
    "train.warmup_fraction": 0.0,
    "train.effect_step_factor": 1.0,
    "train.weight_decay": 1e-6,
    "train.patience": None,
    "train.rotation": "off",
    "evaluation.iwelbo_particles": 100,
    "evaluation.effects.n_particles": 2500,
    "evaluation.effects.transform": "log2_cp10k",
    "evaluation.effects.library_size": 10000.0,
    "evaluation.effects.paired": False,
    "evaluation.effects.noise": "sampled",
    "evaluation.effects.untrained": True,
}
NORMAN_PAPER = {"model.n_latent": 200, "train.n_steps": 30_000, "train.clip_norm": 100.0, "study": "norman", "seed": 0}
PERTURBED = {"model.embedding_prior_scale": 1.0}


@pytest.mark.parametrize("name", NORMAN)
def test_norman_has_the_settings_of_the_paper(name):
    models = {
        "sams_vae_correlated": {
            "model.guide": "correlated",
            "model.embedding_n_layers": 4,
            "model.embedding_n_hidden": 400,
        }
        | {"model.mask_prior_prob": 0.01, "model.mean_field_encoder": False, **PERTURBED},
        "sams_vae_mean_field": {"model.guide": "mean_field", "model.mask_prior_prob": 0.01}
        | {"model.mean_field_encoder": False, **PERTURBED},
        "cpa_vae": {"model.mean_field_encoder": False, **PERTURBED},
        "conditional_vae": {},
        "svae_plus": {"model.mask_beta_1": 1.0, "model.mask_beta_2": 2.0},
    }
    split = {"data.split": "combinations", "data.test_combinations": 0.25}
    if name == "norman_data_efficiency":
        split = {"data.split": "combination_cells"}
    assert list(preset(name).arms) == [*list(models)[:4], *(f"{model}_unique" for model in models)]
    for arm in preset(name).arms:
        model, found = arm.removesuffix("_unique"), of_arm(name, arm)
        expected = PAPER | NORMAN_PAPER | split | models[model] | {"data.combinations_as_unique": arm != model}
        assert {key: found[key] for key in expected} == expected
        assert model.startswith(found["model_name"])
    assert preset(name).vary == {
        "data.train-combinations": ("0", "0.25", "0.5", "0.75", "1"),
        "data.split-seed": ("0", "1", "2", "3", "4"),
    }


def test_replogle_has_the_sweep_of_the_paper():
    grid = preset("replogle")
    found = {arm: of_arm("replogle", arm) for arm in grid.arms}
    for settings in found.values():
        expected = PAPER | {"train.n_steps": 150_000, "train.clip_norm": None, "study": "replogle"}
        assert {key: settings[key] for key in expected} == expected
    names = ("model_name", "model.guide", "model.mask_prior_prob", "model.mean_field_encoder", "model.mask_beta_2")
    tried = {tuple(settings.get(name) for name in names) for settings in found.values()}
    sams = {
        ("sams_vae", guide, prior, hidden, None)
        for guide in ("correlated", "mean_field")
        for prior in (0.1, 0.01, 0.001)
        for hidden in (False, True)
    }
    cpa = {("cpa_vae", None, None, hidden, None) for hidden in (False, True)}
    svae = {("svae_plus", None, None, None, beta) for beta in (2.0, 5.0, 10.0)}
    assert tried == sams | cpa | svae | {("conditional_vae", None, None, None, None)} and len(found) == len(tried)
    assert all(
        (settings["model.embedding_n_layers"], settings["model.embedding_n_hidden"]) == (2, 200)
        for settings in found.values()
        if settings.get("model.guide") == "correlated"
    )
    assert (grid.vary, grid.seeds) == ({"model.n-latent": ("100", "200")}, (0, 1, 2, 3, 4))


CRADLE_PAPER = PAPER | {
    "seed": 0,
    "model.guide": "correlated",
    "model.embedding_n_layers": 4,
    "model.embedding_n_hidden": 400,
    "model.embedding_prior_scale": 1.0,
    "model.mean_field_encoder": False,
    "train.clip_norm": 100.0,
    "data.quality_criteria": ["n_counts", "n_genes", "percent_mito", "percent_ribo", "percent_hb", "doublet"],
    "evaluation.quality": "good",
    "evaluation.quality_report.n_cells": 100,
    "evaluation.quality_report.max_treatments": 1000,
}
OF_PAIRS = {"data.split": "combinations", "data.train_combinations": 0.75, "data.test_combinations": 0.25}
OF_CELLS = {"data.split": "random", "data.split_seed": 0}
# Steps: 2,000 passes of the batches of 512 that the training cells fill.
SWEEP = {
    "cradle_norman": (200, 0.01, 0.5, 3e-4, 50, 2000 * 175, OF_PAIRS | {"data.highly_variable": False}),
    "cradle_dixit": (200, 0.01, 0.5, 3e-4, 50, 2000 * 163, OF_PAIRS | {"data.min_cells_per_gene": 0}),
    "cradle_replogle": (200, 0.001, 0.05, 1e-3, 100, 2000 * 149, OF_CELLS),
    "cradle_adamson": (100, 0.001, 0.1, 1e-4, 50, 2000 * 82, OF_CELLS | {"data.min_cells_per_gene": 20}),
}
ARTIFACTS = {
    "model.indicators": "any",
    "model.artifact_prior_scale": 1.0,
    "model.artifact_posterior": "network",
    "model.composition": "concatenation",
    "model.decoder_n_layers": 2,
    "model.stop_gradient": "none",
}
REFERENCE_2024 = {
    "model.reference": "failed",
    "model.pseudo_cell": "median",
    "model.refresh": "once",
    "model.divergence": "shipped",
    "model.reduction": "batch_sum",
    "model.share_globals": False,
    "model.weighting": "batch_share",
    "model.penalize_validation": True,
    "data.quality_split": "all",
}
MEANT = {f"model.{name}": value for name, value in vars(CRADLEVAEConfig()).items()} | {"data.quality_split": "train"}


@pytest.mark.parametrize("name", CRADLE)
def test_cradle_has_the_sweep_of_the_paper(name):
    n_latent, prior, weight, rate, patience, n_steps, data = SWEEP[name]
    row = {
        "study": name.removeprefix("cradle_"),
        "model.n_latent": n_latent,
        "model.mask_prior_prob": prior,
        "train.learning_rate": rate,
        "train.patience": patience,
        "train.n_steps": n_steps,
    }
    own = {
        "cradle_vae_reference_2024": {"model.counterfactual_weight": weight, **ARTIFACTS, **REFERENCE_2024},
        "cradle_vae": {
            "model.counterfactual_weight": weight,
            **ARTIFACTS,
            **{key: MEANT[key] for key in REFERENCE_2024},
        },
        "sams_vae": {"data.quality_split": "train"},
    }
    assert list(preset(name).arms) == list(own)
    for arm, settings in own.items():
        found, expected = of_arm(name, arm), CRADLE_PAPER | data | row | settings
        assert {key: found[key] for key in expected} == expected
        assert arm.startswith(found["model_name"])
    of_pairs = data["data.split"] == "combinations"
    splits = {"data.split-seed": ("0", "1", "2", "3", "4")} if of_pairs else {}
    assert preset(name).vary == {"data.quality-mads": ("3", "4", "5")} | splits
    assert preset(name).seeds == ((0,) if of_pairs else (0, 1, 2, 3, 4))
    assert preset(name).relative_to == {"arm": "sams_vae"} and not preset(name).published


@pytest.mark.parametrize("name", CRADLE)
def test_cradle_arms_differ_in_what_is_compared_alone(name):
    reference, meant, sams = (of_arm(name, arm) for arm in preset(name).arms)
    assert differences(reference, meant, []).keys() == REFERENCE_2024.keys()
    only = {key for key in meant if key not in sams}
    assert only == {key for key in MEANT if key.startswith("model.") and key not in sams}
    assert differences(meant, sams, only).keys() == {"model_name"}


def test_the_published_variant_of_cradle_for_a_screen_of_ones_own():
    screen = ("--data.path", "x.h5ad", "--out", "x", "--data.quality-criteria", "auto")
    found = flat(settings_of(command_from([*screen, *OWN_SCREEN_2024.split()])))
    published = of_arm("cradle_replogle", "cradle_vae_reference_2024")
    of_study = {f"model.{name}" for name in ("n_latent", "n_hidden", "mask_prior_prob", "counterfactual_weight")}
    of_study |= {f"train.{name}" for name in ("n_steps", "learning_rate", "patience")}
    shared = [key for key in found if key.startswith(("model", "train.")) or key == "data.quality_split"]
    assert {key for key in shared if found[key] != published[key]} == of_study


def test_the_simulations_try_every_model_without_quality_and_features_on_both():
    grid = preset("simulation")
    found = [flat(settings_of(command_from([*grid.flags(arm), "--out", "x"]))) for arm in grid.arms]
    tried = {(settings["simulation_name"], settings["model_name"]) for settings in found}
    models = set(MODELS) - {"cradle_vae", "gim"}
    assert tried == {(screen, model) for screen in ("sams", "svae_plus") for model in models}
    assert all(settings["model.n_latent"] == settings["simulation.n_latent"] == 15 for settings in found)
    assert {settings["model.likelihood"] for settings in found} == {"normal", "poisson"}


@pytest.mark.parametrize("name", NORMAN)
def test_the_docstring_states_what_the_table_will_show(name):
    grid, cells = preset(name), [table_cells(line) for line in module(name).__doc__.splitlines()]
    headers = [row for row in cells if row and "/" in row[0]]
    assert [row[0] for row in headers] == list(grid.published) and RELATIVE in grid.published
    assert all(tuple(row[1:]) == grid.vary["data.train-combinations"] for row in headers)
    for metric, arms in grid.published.items():
        assert list(arms) == list(grid.arms), metric
        stated = cells[cells.index(next(row for row in headers if row[0] == metric)) + 2 :][: len(arms)]
        digits = 3 if metric.startswith("ate") else 2
        assert stated == [
            [arm, *(f"{mean:.{digits}f} ({sd:.{digits}f})" for mean, sd in values)] for arm, values in arms.items()
        ]


SECTIONS = {
    "norman_ood": {
        RELATIVE: "1.1",
        "test/predictive_iwelbo": "1.2",
        "ate/published/pearson": "1.3",
        "ate/published/pearson_top20": "1.4",
        "val/predictive_iwelbo": "1.5",
    },
    "norman_data_efficiency": {
        RELATIVE: "2.1",
        "test/predictive_iwelbo": "2.2",
        "ate/published/pearson": "2.3",
        "ate/published/pearson_top20": "2.4",
    },
}


@pytest.mark.parametrize("name", NORMAN)
def test_published_numbers_are_those_on_record(specs_dir, name):
    text = (specs_dir / SPEC).read_text()
    for metric, section in SECTIONS[name].items():
        body = text.split(f"\n### {section} ")[1].split("\n#")[0]
        rows = [table_cells(line) for line in body.splitlines() if "(" in line and line.startswith("|")]
        assert len(rows) == 9
        for model, encoding, *values in rows:
            arm = model.replace("svae+", "svae_plus") + ("_unique" if encoding == "unique" else "")
            numbers = [tuple(map(float, re.findall(r"-?\d+\.\d+", value))) for value in values]
            assert list(preset(name).published[metric][arm]) == numbers, (metric, arm)


SYMBOLS = ("MT-ND1", "RPS2", "HBG1")
"""Of the first genes in a file: quality criteria go by these names."""


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Runs a preset at tiny sizes on a small file of its layout. Returns the folder, and the rows of its table."""
    folder = tmp_path_factory.mktemp("presets")

    def run(name, study, *flags):
        file = ()
        if study is not None:
            file = ("--data.path", str(folder / f"{study}.h5ad"))
            adata = LAYOUTS[study]()
            adata.var_names = [*SYMBOLS, *adata.var_names[len(SYMBOLS) :]]
            adata.write_h5ad(folder / f"{study}.h5ad")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*(left out|no training cell fails)")
            sweep.main(["--out", str(folder / name), *file, *flags], preset(name), program=name)
        with (folder / name / "summary.csv").open(newline="") as table:
            return folder / name, list(csv.DictReader(table))

    return run


# Effects of expected counts: samplers of counts take longest to compile.
SCORES = (*EVALUATION, "--evaluation.effects.noise", "mean")
TINY = ("--model.n-hidden", "8", "--train.n-steps", "3", "--train.batch-size", "128", *SCORES)


@pytest.mark.slow
def test_norman_ood_runs(start):
    arms = ("--arms", "sams_vae_correlated", "svae_plus_unique")
    vary = ("--vary", "data.train-combinations=0", "--vary", "data.split-seed=0")
    out, rows = start("norman_ood", "norman", *arms, *vary, "--model.n-latent", "4", *TINY)
    assert [(row["arm"], row["data.train_combinations"], row["runs"]) for row in rows] == [
        (arm, "0", "1") for arm in arms[1:]
    ]
    assert [row[f"published {RELATIVE} mean"] for row in rows] == ["0.0", "-3.55"]
    first, second = (float(row["test/predictive_iwelbo mean"]) for row in rows)
    assert [float(row[f"{RELATIVE} mean"]) for row in rows] == pytest.approx([0, second - first])
    assert [row["published ate/published/pearson mean"] for row in rows] == ["0.682", "-0.034"]
    assert all(float(row["ate/published/pearson mean"]) for row in rows)
    text = (out / "summary.md").read_text()
    assert "train.n_steps 3 instead of 30000" in text and "model.n_latent 4 instead of 200" in text
    (folder,) = out.glob("svae_plus_unique,data.train-combinations=0,*/seed-0")
    config = read_json(folder / "config.json")
    assert (config["preset"], config["arm"], config["study"]) == ("norman_ood", "svae_plus_unique", "norman")
    assert config["data"]["combinations_as_unique"] is True and config["data"]["train_combinations"] == 0


@pytest.mark.slow
def test_norman_data_efficiency_runs(start):
    vary = ("--vary", "data.train-combinations=0.5", "--vary", "data.split-seed=1")
    _, (row,) = start("norman_data_efficiency", "norman", "--arms", "cpa_vae", *vary, "--model.n-latent", "4", *TINY)
    assert (row["arm"], row["data.train_combinations"], row["runs"]) == ("cpa_vae", "0.5", "1")
    assert row["published test/predictive_iwelbo mean"] == "-1775.48" and f"{RELATIVE} mean" not in row


@pytest.mark.slow
def test_replogle_runs(start):
    vary = ("--vary", "model.n-latent=4", "--seeds", "1")
    out, (row,) = start("replogle", "replogle", "--arms", "conditional_vae", *vary, *TINY)
    assert (row["arm"], row["model.n_latent"], row["runs"]) == ("conditional_vae", "4", "1")
    assert not [name for name in row if name.startswith("published ")]
    assert "train.n_steps 3 instead of 150000" in (out / "summary.md").read_text()


@pytest.mark.slow
def test_the_simulations_run(start):
    sizes = ("n-genes 12", "n-latent 3", "n-hidden 12", "n-perturbations 4", "n-control-cells 30", "train-cells 20")
    flags = [part for size in (*sizes, "val-cells 5", "test-cells 5") for part in f"--simulation.{size}".split()]
    arms = ("--arms", "conditional_vae_on_sams", "sams_vae_on_svae_plus", "--seeds", "0")
    _, rows = start("simulation", None, *arms, *flags, "--model.n-latent", "4", *TINY)
    assert [row["arm"] for row in rows] == ["conditional_vae_on_sams", "sams_vae_on_svae_plus"]
    assert [row["mask/f1 mean"] == "" for row in rows] == [True, False]


@pytest.mark.slow
def test_cradle_norman_runs(start):
    arm, *vary = "cradle_vae_reference_2024", "--vary", "data.quality-mads=3", "--vary", "data.split-seed=0"
    # Doublets need an extra.
    flags = ("--data.quality-criteria", "n_counts", "percent_mito", "percent_ribo", "percent_hb")
    tiny = ("--model.n-latent", "4", "--model.embedding-n-hidden", "8", "--model.embedding-n-layers", "1", *TINY)
    out, (row,) = start("cradle_norman", "norman", "--arms", arm, *vary, *flags, *tiny)
    assert (row["arm"], row["data.quality_mads"], row["runs"]) == (arm, "3", "1")
    assert float(row["test/predictive_iwelbo mean"]) < 0 and -1 <= float(row["ate/test/pearson mean"]) <= 1
    assert not [name for name in row if name.startswith("published ")]
    text = (out / "summary.md").read_text()
    assert "train.n_steps 3 instead of 350000" in text and "percent_hb doublet" in text
    found = flat(read_json(next(out.glob(f"{arm},*")) / "seed-0" / "config.json"))
    assert {key: found[key] for key in REFERENCE_2024} == REFERENCE_2024 and found["model_name"] == "cradle_vae"
