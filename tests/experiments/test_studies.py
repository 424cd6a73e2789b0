"""Published studies at the doors: read by their own rules, remembered by the run, downloaded only on request."""

import json
from dataclasses import fields

import anndata
import numpy as np
import pytest

from experiments import evaluate, fit, predict, screens
from experiments.fit_checks import check_command
from experiments.fit_command import command_from
from experiments.stored import data_settings
from samsjax.data import DataConfig, treatments
from samsjax.data.studies import STUDIES
from tests.data.study_files import LAYOUTS, N_DROPPED, N_SMALL, small
from tests.experiments.doors import EVALUATION, MODEL, assert_same_bits, read_json, refused, untimed

pytestmark = pytest.mark.filterwarnings("ignore:.*left out:UserWarning")
SMALL = (*MODEL, *EVALUATION, "--train.rotation", "off")  # in so short a fit no effect stands out


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Makes, once for each study, a small file of its layout and a run fitted to it: the run and the file."""
    folder, made = tmp_path_factory.mktemp("studies"), {}

    def of(name):
        if name not in made:
            screen, run = folder / f"{name}.h5ad", folder / name
            small(name).write_h5ad(screen)
            fit.main(["--out", str(run), "--study", name, "--data.path", str(screen), *SMALL])
            made[name] = run, screen
        return made[name]

    return of


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_run_follows_the_rules_of_its_study_and_names_it(fitted, name):
    run, screen = fitted(name)
    config = read_json(run / "config.json")
    assert (config["study"], config["simulation_name"]) == (name, None)
    assert config["data"]["path"] == str(screen) and config["fetch"] is None
    assert list(config["data"]) == [field.name for field in fields(STUDIES[name].settings)]
    data, words = STUDIES[name].load(screen), predict.load_run(run).vocabulary
    assert words.perturbation_names == tuple(data.perturbation_names)
    assert words.gene_names == tuple(data.gene_names)
    assert (words.separator, words.control_name) == (data.separator, data.control_name)
    latents = anndata.read_h5ad(run / "latents.h5ad")
    assert latents.obs_names.tolist() == data.cell_names.tolist()
    assert latents.obs["split"].tolist() == data.split.tolist()
    assert anndata.read_h5ad(run / "ate.h5ad").obs_names.tolist() == treatments(data).labels.tolist()


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_own_cells_give_the_own_metrics(fitted, tmp_path, name):
    run, screen = fitted(name)
    rule = ("--data.split", STUDIES[name].settings().split)
    flags = ["--run", str(run), "--data.path", str(screen), *rule, *EVALUATION]
    evaluate.main(["--out", str(tmp_path / "scores"), *flags])
    assert untimed(tmp_path / "scores") == untimed(run)
    assert read_json(tmp_path / "scores" / "config.json")["study"] == name


@pytest.fixture
def scored(unwritten, monkeypatch):
    """What an evaluation with these flags would score."""

    class Enough(Exception):
        pass

    def stop(fitted, data, *args, **kwargs):
        raise Enough(data)

    def of(run, screen, *flags):
        monkeypatch.setattr(evaluate, "evaluate", stop)
        own = ["--run", str(run), "--data.path", str(screen), "--out", str(unwritten / "scores")]
        with pytest.raises(Enough) as caught:
            evaluate.main([*own, *flags])
        return caught.value.args[0]

    return of


def test_all_cells_count_as_test_and_those_of_the_training_warn(fitted, scored):
    run, screen = fitted("adamson")
    n_trained = (anndata.read_h5ad(run / "latents.h5ad").obs["split"] == "train").sum()
    with pytest.warns(UserWarning, match=f"{n_trained} test cells have names of cells the model was trained on"):
        data = scored(run, screen)
    assert data.n_cells == N_SMALL and set(data.split) == {"test"}


def test_settings_are_inherited_and_replaced(fitted, tmp_path):
    run, _ = fitted("dixit")
    stored = tmp_path / "run"
    stored.mkdir()
    config = read_json(run / "config.json")
    config["data"] |= {"without_guides_as_control": True, "split_seed": 3}
    (stored / "config.json").write_text(json.dumps(config))
    settings = data_settings(stored)
    assert settings == STUDIES["dixit"].settings(without_guides_as_control=True, split_seed=3, split="test")
    del config["study"]
    config["data"] = {field.name: config["data"][field.name] for field in fields(DataConfig)}
    (stored / "config.json").write_text(json.dumps(config))  # as runs looked before studies had a flag
    assert type(data_settings(stored)) is DataConfig


@pytest.mark.filterwarnings("ignore:.*cells the model was trained on")
def test_flags_of_the_study_are_flags_of_an_evaluation(fitted, scored):
    assert scored(*fitted("dixit")).n_cells == N_SMALL
    assert scored(*fitted("dixit"), "--data.without-guides-as-control").n_cells == N_SMALL + N_DROPPED


def test_combinations_are_joined_by_the_sign_of_the_study(fitted, tmp_path):
    run, screen = fitted("replogle")
    first, second = STUDIES["replogle"].load(screen).perturbation_names[:2]
    assert "+" in first and "|" in first
    label = f"{first}&{second}"
    flags = ["--run", str(run), "--perturbations", label, first, "--effects.n-particles", "8"]
    predict.main([*flags, "--out", str(tmp_path / "p.h5ad")])
    predicted = anndata.read_h5ad(tmp_path / "p.h5ad")
    assert predicted.obs_names.tolist() == [label, first] and np.isfinite(predicted.X).all()
    assert not np.allclose(predicted.layers["ate"][0], predicted.layers["ate"][1])


@pytest.fixture
def downloads(monkeypatch):
    """Calls of a pretended download, which finds the file where it was put."""
    calls = []

    def download(study, folder):
        calls.append((study.name, folder))
        return folder / study.remote.filename

    monkeypatch.setattr(screens, "fetch", download)
    return calls


def test_a_fetched_file_is_read_and_its_path_recorded(fitted, tmp_path, downloads):
    run, screen = fitted("norman")
    out = tmp_path / "run"
    fit.main(["--out", str(out), "--study", "norman", "--fetch", str(screen.parent), *SMALL])
    assert downloads == [("norman", screen.parent)]
    own = read_json(run / "config.json")
    assert own["data"]["path"] == str(screen)
    assert read_json(out / "config.json") | {"out": str(run)} == own
    assert untimed(out) == untimed(run)
    assert_same_bits(predict.load_run(out).params, predict.load_run(run).params)


def test_fetching_twice_downloads_once(fitted, downloads):
    screen = fitted("norman")[1]
    command = command_from(["--out", "run", "--study", "norman", "--fetch", str(screen.parent)])
    assert screens.load_data(command)[0].n_cells == N_SMALL
    command = screens.fetched(command)
    check_command(command)
    assert screens.fetched(command) == command and command.data.path == screen and len(downloads) == 2


def test_a_file_is_not_downloaded_into_what_will_be_replaced(run_copy, capsys, downloads):
    flags = ["--out", run_copy, "--overwrite", "--study", "norman", "--fetch", run_copy / "data"]
    refused(fit.main, flags, [f"{run_copy} holds {run_copy / 'data'}", "will not be overwritten"], capsys)
    assert downloads == [] and (run_copy / "metrics.json").is_file()


def test_a_study_without_address_cannot_be_fetched(unwritten, tmp_path, capsys):
    flags = ["--out", unwritten / "run", "--study", "replogle", "--fetch", tmp_path]
    refused(fit.main, flags, ["no download address is on record for the study 'replogle'", "by hand"], capsys)


def test_the_file_of_another_study(fitted, unwritten, capsys):
    flags = ["--out", unwritten / "run", "--study", "dixit", "--data.path", fitted("replogle")[1], *SMALL]
    refused(fit.main, flags, ["no column per guide, such as sgCREB1_2", "The file of the study 'dixit'"], capsys)


def without_gene(adata):
    return adata[:, 1:].copy()


def with_another_perturbation(adata):
    adata.obs["perturbation"] = adata.obs["perturbation"].str.replace("CREB1", "CREB5")
    return adata


def without_labels(adata):
    adata.obs = adata.obs.drop(columns="perturbation")
    return adata


OTHER_CELLS = {
    "missing gene": (without_gene, [], ["1 of the 8 genes of the model are not in the data: G0"]),
    "new perturbation": (
        with_another_perturbation,
        [],
        ["not in the vocabulary: CREB5", "nearest to 'CREB5' are CREB1"],
    ),
    "other layout": (without_labels, [], ["perturbation_key", "The file of the study 'adamson' holds whole counts"]),
    "other totals": (lambda adata: adata, ["--data.library-size-key", "UMI count"], ["trained with 'row_sum'"]),
    "unknown flag": (lambda adata: adata, ["--data.highly-variable"], ["--data.highly-variable"]),
    "study's own rule": (lambda adata: adata, ["--data.dosage-key", "dose"], ["dosage_key 'dose'", "by its own rule"]),
}


@pytest.mark.parametrize("case", OTHER_CELLS)
def test_other_cells_are_checked_like_those_of_any_screen(fitted, tmp_path, unwritten, capsys, case):
    change, flags, words = OTHER_CELLS[case]
    run, screen = fitted("adamson")
    change(anndata.read_h5ad(screen)).write_h5ad(tmp_path / "other.h5ad")
    own = ["--run", run, "--data.path", tmp_path / "other.h5ad", "--out", unwritten / "scores", *EVALUATION]
    refused(evaluate.main, [*own, *flags], words, capsys)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"study": "norma"}, ["unknown study 'norma'", "Did you mean 'norman'"]),
        ({"study": ["norman"]}, ["unknown study"]),
        ({"study": "adamson"}, ["highly_variable"]),
        ({"study": None}, ["highly_variable"]),
        ({"data": {"former_setting": 1}}, ["former_setting"]),
        ({"data": {"layer": "raw"}}, ["layer 'raw' has genes of its own"]),
        ({"data": {"obsm_key": "guides"}}, ["obsm_key 'guides'"]),
        ({"data": {"train_combinations": "many"}}, []),
    ],
)
def test_settings_that_no_longer_fit_are_damage(fitted, tmp_path, unwritten, capsys, changes, words):
    run, screen = fitted("norman")
    config = read_json(run / "config.json")
    data = config["data"] | changes.get("data", {})
    (tmp_path / "config.json").write_text(json.dumps(config | changes | {"data": data}))
    flags = ["--run", tmp_path, "--data.path", screen, "--out", unwritten / "scores"]
    refused(evaluate.main, flags, ["config.json is damaged", *words], capsys)
