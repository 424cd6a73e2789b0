"""Flags that name a model, study or simulation, flags given several times, and what is refused before any work."""

import pytest

from experiments import fit, screens
from experiments.cli import take_flag
from experiments.fit_checks import check_command
from experiments.fit_command import command_from, settings_of
from samsjax.data import DataConfig
from samsjax.data.simulations import SIMULATIONS
from samsjax.data.studies import STUDIES
from samsjax.errors import InputError
from samsjax.models import MODELS
from tests.experiments.doors import CONTINUOUS, MODEL, SIMULATION, refused

REPEATED = {
    "number": (["--train.n-steps", "1", "--seed", "3", "--train.n-steps", "2"], ["--seed", "3", "--train.n-steps=2"]),
    "equals sign": (["--train.n-steps=1", "--train.n-steps=2"], ["--train.n-steps", "2"]),
    "both signs": (["--train.n-steps", "1", "--train.n-steps=2"], ["--train.n-steps", "2"]),
    "underscore last": (["--train.n-steps", "1", "--train.n_steps", "2"], ["--train.n-steps", "2"]),
    "hyphen last": (["--train.n_steps=1", "--train.n-steps=2"], ["--train.n-steps", "2"]),
    "switched off": (["--data.backed", "--data.no-backed"], ["--data.no-backed"]),
    "switched on": (["--data.no-backed", "--data.backed"], ["--data.backed"]),
    "switched by names": (
        ["--data.combinations_as_unique", "--data.no-combinations-as-unique"],
        ["--data.no-combinations-as-unique"],
    ),
    "tuple": (["--data.control", "a", "b", "--data.control", "c"], ["--data.control", "c"]),
    "longer tuple": (["--data.control", "a", "--data.control", "b", "c"], ["--data.control", "b", "c"]),
    "emptied tuple": (["--data.covariate-keys", "a", "b", "--data.covariate-keys"], []),
    "none": (["--train.patience", "3", "--train.patience", "None"], ["--train.patience", "None"]),
    "not none": (["--train.patience", "None", "--train.patience", "3"], ["--train.patience", "3"]),
    "choice": (["--data.split", "combinations", "--data.split", "test"], ["--data.split", "test"]),
    "path": (["--data.path", "a.h5ad", "--data.path", "b.h5ad"], ["--data.path", "b.h5ad"]),
    "two deep": (
        ["--evaluation.effects.n-particles", "8", "--evaluation.effects.n-particles", "9"],
        ["--evaluation.effects.n-particles", "9"],
    ),
    "factors": (
        [
            *("--train.objective", "sampled_kl", "--train.reweighting", "prior"),
            *("--train.reweighting-factors", "mask", "2", "E", "3", "--train.reweighting-factors", "E", "4"),
        ],
        [
            *("--train.objective", "sampled_kl", "--train.reweighting", "prior"),
            *("--train.reweighting-factors", "E", "4"),
        ],
    ),
    "model": (["--model", "cpa_vae", "--model=svae_plus"], ["--model", "svae_plus"]),
    "study": (["--study=dixit", "--study", "norman"], ["--study", "norman"]),
    "simulation": (["--simulation", "sams", "--simulation", "screen"], []),
    "a preset, an axis and the user": (
        [
            *("--model", "cpa_vae", "--train.n-steps", "1", "--data.backed", "--data.control", "a", "b"),
            *("--model", "sams_vae", "--model.mask-prior-prob", "0.1", "--data.no-backed"),
            *("--train.n_steps=7", "--model.mask-prior-prob", "0.2"),
        ],
        ["--train.n-steps", "7", "--data.control", "a", "b", "--model.mask-prior-prob", "0.2"],
    ),
}


@pytest.mark.parametrize("case", REPEATED)
def test_of_a_repeated_flag_the_last_one_counts(case):
    repeated, once = REPEATED[case]
    assert command_from(["--out", "run", *repeated]) == command_from(["--out", "run", *once])


@pytest.mark.parametrize(
    ("argv", "value", "rest"),
    [
        ([], "default", []),
        (["a", "--model", "x", "b"], "x", ["a", "b"]),
        (["--model=x", "--model.n-latent", "3"], "x", ["--model.n-latent", "3"]),
        (["--model", "x", "--seed", "1", "--model=y"], "y", ["--seed", "1"]),
        (["--model=x", "--models", "z", "--model", "y"], "y", ["--models", "z"]),
        (["--model="], "", []),
    ],
)
def test_a_flag_is_taken_out_of_the_others(argv, value, rest):
    assert take_flag(argv, "--model", "default") == (value, rest)


@pytest.mark.parametrize("argv", [["--model"], ["--model", "--seed"], ["--model", "x", "--model"]])
def test_a_flag_taken_out_needs_a_value(argv):
    with pytest.raises(InputError, match="--model needs a value"):
        take_flag(argv, "--model", None)


def test_names_decide_the_types_and_are_recorded():
    command = command_from(["--out", "run"])
    assert type(command.data) is DataConfig and type(command.simulation) is SIMULATIONS["screen"].config
    recorded = settings_of(command)
    assert list(recorded)[:3] == ["model_name", "study", "simulation_name"]
    assert [recorded[name] for name in list(recorded)[:3]] == ["sams_vae", None, "screen"]
    for name, entry in MODELS.items():
        command = command_from(["--out", "run", "--model", name])
        assert command.model == entry.config() and settings_of(command)["model_name"] == name
    for name, entry in SIMULATIONS.items():
        command = command_from(["--out", "run", "--simulation", name])
        assert command.simulation == entry.config() and settings_of(command)["simulation_name"] == name
    for name, entry in STUDIES.items():
        command = command_from(["--out", "run", "--study", name, "--data.path", "a.h5ad"])
        assert isinstance(command.data, entry.settings)
        recorded = settings_of(command)
        assert (recorded["study"], recorded["simulation_name"]) == (name, None)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--study", "normann"], ["unknown study 'normann'", "Did you mean 'norman'", "replogle"]),
        (["--study"], ["--study needs a value"]),
        (["--simulation", "sam"], ["unknown simulation 'sam'", "Did you mean 'sams'", "svae_plus"]),
        (["--study", "adamson", "--data.path", "a.h5ad", "--data.highly-variable"], ["--data.highly-variable"]),
        (["--study", "norman", "--data.highly-varable"], ["--data.highly-varable", "--data.highly-variable"]),
        (["--simulation", "sams", "--simulation.n-doubles", "3"], ["--simulation.n-doubles"]),
        (["--study", "norman", "--data.obsm-key", "g"], ["obsm_key 'g'", "read by its own rule"]),
        (["--study", "norman"], ["--study norman", "--data.path FILE", "--fetch FOLDER", "figshare file 34027562"]),
        (["--study", "norman", "--data.split-seed", "1"], ["--study norman needs its file", "figshare"]),
        (["--study", "replogle"], ["--data.path FILE", "--fetch cannot", "the filtered file is distributed with"]),
        (["--fetch", "data"], ["--fetch data", "--study (norman, replogle, adamson, dixit, sachs, sciplex)"]),
        (["--fetch", "data", "--data.path", "a.h5ad"], ["--fetch data", "name one with --study"]),
        (
            ["--study", "norman", "--fetch", "data", "--data.path", "a.h5ad"],
            ["--fetch data and --data.path a.h5ad exclude each other"],
        ),
        (["--data.path", "a.h5ad", "--simulation", "sams"], ["--simulation flags and --data.path exclude each other"]),
        (["--data.path", "a.h5ad", "--simulation.n-genes", "9"], ["--simulation flags and --data.path exclude"]),
        (["--study", "norman", "--fetch", "data", "--simulation", "sams"], ["--simulation flags and --data.path"]),
        (["--data.layer", "counts"], ["--data.path is missing"]),
        (["--simulation", "sams", "--simulation.n-control-cells", "0"], ["n-control-cells 0", "at least 1"]),
        (
            ["--model.likelihood", "normal", "--model.normalization", "standardize"],
            ["'log2_cp10k' need counts", "--evaluation.effects.transform counts"],
        ),
        (
            ["--simulation", "sams"],
            [
                *("--simulation sams draws continuous values", "'library_nb' and normalization 'log_standardize'"),
                *("--model.likelihood normal", "--model.normalization standardize"),
                "--evaluation.effects.transform counts",
            ],
        ),
        (
            ["--simulation", "sams", "--model.likelihood", "normal", "--evaluation.effects.transform", "counts"],
            ["which normalization 'log_standardize' cannot take: give", "--model.normalization standardize"],
        ),
        (
            ["--simulation", "sams", "--model.likelihood", "poisson", "--model.normalization", "none"],
            ["which likelihood 'poisson' cannot take: give --model.likelihood normal"],
        ),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(unwritten, capsys, monkeypatch, flags, words):
    for module, name in ((screens, "fetch"), (fit, "load_data"), (fit, "fit")):
        monkeypatch.setattr(module, name, lambda *args, **kwargs: pytest.fail("work was done"))
    refused(fit.main, ["--out", unwritten / "run", *MODEL, *flags], words, capsys)


def test_what_can_work_is_not_refused():
    for flags in (
        SIMULATION,
        ["--data.path", "a.h5ad", "--data.layer", "counts"],
        ["--data.path", "a.h5ad", "--simulation", "screen"],
        ["--study", "norman", "--fetch", "data", "--data.split-seed", "1"],
        ["--simulation", "svae_plus", "--model", "svae_plus"],
        ["--simulation", "sams", *CONTINUOUS],
        ["--simulation", "sams", *CONTINUOUS, "--model.likelihood=normal_fixed_variance", "--model.normalization=none"],
    ):
        check_command(command_from(["--out", "run", *flags]))
