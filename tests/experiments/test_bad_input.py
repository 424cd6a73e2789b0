"""Bad input at the doors: one clear sentence with the offending value and what is legal, and nothing written."""

import os
import shutil
import subprocess
import sys

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

from experiments import evaluate, fit, predict
from samsjax.errors import InputError
from tests.experiments.doors import (
    EVALUATION,
    MODEL,
    ROOT,
    SMALL,
    assert_same_bits,
    from_file_flags,
    read_json,
    refused,
)

pytestmark = pytest.mark.filterwarnings("ignore:(Observation|Variable) names are not unique:UserWarning")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--trian.n-steps", "5"], ["--trian.n-steps", "--train.n-steps"]),
        (["--data.pertubation-key", "x"], ["--data.pertubation-key", "--data.perturbation-key"]),
        (["surplus"], ["surplus"]),
        (["--train.n-steps", "many"], ["--train.n-steps", "many"]),
        (["--model", "sams_vaee"], ["unknown model 'sams_vaee'", "Did you mean 'sams_vae'"]),
        (["--model"], ["--model needs a value"]),
        (["--model", "sams_vae", "--model=other"], ["unknown model 'other'"]),
        (["--model.likelihood", "negbin"], ["negbin", "library_nb", "poisson", "normal_fixed_variance"]),
        (["--model.guide", "mean"], ["mean", "mean_field", "correlated"]),
        (["--model.n-latent", "0"], ["n_latent", "at least 1", "got 0"]),
        (["--model.n-latent", "-3"], ["n_latent", "at least 1", "got -3"]),
        (["--model.n-hidden", "1.5"], ["--model.n-hidden", "1.5"]),
        (["--model.mask-prior-prob", "nan"], ["mask_prior_prob must be > 0.0 and < 1.0, got nan"]),
        (["--model.mask-prior-prob", "1"], ["mask_prior_prob", "got 1.0"]),
        (["--train.learning-rate", "nan"], ["learning_rate must be > 0.0", "got nan"]),
        (["--train.learning-rate", "-1"], ["learning_rate", "got -1.0"]),
        (["--train.batch-size", "0"], ["batch_size must be >= 1, got 0"]),
        (["--train.n-steps", "0"], ["n_steps must be >= 1, got 0"]),
        (["--train.clip-norm", "nan"], ["clip_norm", "got nan"]),
        (["--seed", "-1"], ["seed must be >= 0 and < 4294967296, got -1"]),
        (["--seed", str(2**32)], ["seed must be", "got 4294967296"]),
        (["--simulation.n-genes", "0"], ["n_genes must be >= 1, got 0"]),
        (["--simulation.n-doubles", "1000"], ["n_doubles must be >= 0 and <= 15, got 1000"]),
        (["--simulation.max-active", "9"], ["max_active (9) cannot exceed n_latent (3)"]),
        (["--simulation.effect-size", "nan"], ["effect_size", "got nan"]),
        (["--simulation.median-library-size", "1e30"], ["expected counts above 1e+09", "median_library_size (1e+30)"]),
        (["--evaluation.iwelbo-particles", "0"], ["iwelbo_particles must be >= 1, got 0"]),
        (["--evaluation.effects.n-particles", "1"], ["n_particles must be >= 2, got 1"]),
        (["--evaluation.effects.library-size", "nan"], ["library_size must be > 0.0", "got nan"]),
        (["--evaluation.effects.transform", "log"], ["log", "log2_cp10k", "cp10k", "counts"]),
        (["--data.split", "colum"], ["colum", "column", "combinations"]),
        (["--data.split", "column"], ["split 'column' needs one"]),
        (["--data.control"], ["control labels must be one or more texts"]),
        (["--data.control", " "], ["control labels must be one or more texts", "' '"]),
        (["--data.separator", ""], ["separator '' cannot join names"]),
        (["--data.min-cells-per-gene", "-1"], ["min_cells_per_gene must be >= 0, got -1"]),
        (["--data.layer", "counts"], ["--data.path is missing"]),
    ],
)
def test_flags_of_fit(unwritten, capsys, flags, words):
    given = list(SMALL)
    if flags[0] in given:
        at = given.index(flags[0])
        del given[at : at + 2]
    refused(fit.main, ["--out", unwritten / "run", *given, *flags], words, capsys)


@pytest.mark.parametrize(
    "flag",
    [
        *("--train.learning-rate", "--simulation.median-library-size", "--simulation.effect-size"),
        "--evaluation.effects.library-size",
    ],
)
def test_infinite_flags(unwritten, capsys, monkeypatch, flag):
    monkeypatch.setattr(fit, "fit", lambda *args, **kwargs: pytest.fail("it was fitted"))
    refused(fit.main, ["--out", unwritten / "run", *SMALL, flag, "inf"], ["got inf"], capsys)


def test_a_door_without_flags_names_what_it_needs(capsys):
    refused(fit.main, [], ["--out"], capsys)
    refused(evaluate.main, [], ["--run", "--out"], capsys)
    refused(predict.main, [], ["--run", "--perturbations", "--out"], capsys)


def relabelled(adata, change):
    adata.obs["perturbation"] = [change(label) for label in adata.obs["perturbation"].astype(str)]
    return adata


def valued(adata, value):
    x = adata.X.toarray().astype(np.float32)
    x[3, 2] = value
    adata.X = sp.csr_matrix(x)
    return adata


def log_normalised(adata):
    adata.layers["counts"] = adata.X.copy()
    adata.X = adata.X.astype(np.float32).log1p()
    return adata


def emptied(adata):
    keep = np.ones((adata.n_obs, 1))
    keep[[3, 7]] = 0
    adata.X = sp.csr_matrix(adata.X.multiply(keep))
    return adata


def renamed(adata, axis):
    names = getattr(adata, axis).tolist()
    setattr(adata, axis, [names[1], *names[1:]])
    return adata


SCREENS = {
    "missing key": (lambda a: a, ["--data.perturbation-key", "pertubation"], ["'pertubation'", "mean 'perturbation'"]),
    "missing layer": (lambda a: a, ["--data.layer", "mea"], ["unknown layer 'mea'", "Did you mean 'mean'"]),
    "missing split": (lambda a: a, ["--data.split-key", "splt"], ["split_key", "'splt'", "Did you mean 'split'"]),
    "missing covariate": (lambda a: a, ["--data.covariate-keys", "bach"], ["'bach'", "Did you mean 'batch'"]),
    "control absent": (
        lambda a: a,
        ["--data.control", "contrl"],
        ["control label 'contrl' is not in", "Did you mean 'control'", "Most frequent: control (60 cells)"],
    ),
    "no controls": (
        lambda a: relabelled(a, lambda label: "P1+control" if label == "control" else label),
        [],
        ["no control cells: every cell of adata.obs['perturbation'] carries a perturbation"],
    ),
    "no perturbed": (lambda a: relabelled(a, lambda _: "control"), [], ["no perturbed cells", "control"]),
    "blank labels": (
        lambda a: relabelled(a, lambda label: "  " if label == "P1" else label),
        [],
        ["25 of 270 cells have no perturbation label (empty or NaN)"],
    ),
    "empty part": (
        lambda a: relabelled(a, lambda label: "P1+" if label == "P1" else label),
        [],
        ["label 'P1+' has an empty part"],
    ),
    "negative": (lambda a: valued(a, -2), [], ["negative", "first: -2 in cell 'cell004', gene 'gene03'"]),
    "NaN": (lambda a: valued(a, np.nan), [], ["NaN or infinite", "cell 'cell004', gene 'gene03'"]),
    "infinite": (lambda a: valued(a, np.inf), [], ["NaN or infinite", "first: inf in cell 'cell004'"]),
    "fractional": (lambda a: valued(a, 33.5), [], ["fractional", "not raw counts", "33.5"]),
    "log-normalised": (log_normalised, [], ["log-normalised", "'counts' (whole numbers)"]),
    "empty cells": (emptied, [], ["2 cells have no counts", "cell004, cell008", "Remove them first"]),
    "genes twice": (lambda a: renamed(a, "var_names"), [], ["duplicated gene names: gene02", "var_names_make_unique"]),
    "cells twice": (lambda a: renamed(a, "obs_names"), [], ["duplicated cell names: cell002", "obs_names_make_unique"]),
    "zero cells": (lambda a: a[:0].copy(), [], ["no data", "0 cells and 30 genes"]),
    "zero genes": (lambda a: a[:, :0].copy(), [], ["no data", "270 cells and 0 genes"]),
    "no gene left": (lambda a: a, ["--data.min-cells-per-gene", "271"], ["no gene is left", "fewer than 271 cells"]),
    "split values": (
        lambda a: a,
        ["--data.split-key", "perturbation"],
        ["column 'perturbation' holds", "'P1'", "legal: train, val, test"],
    ),
    "doses": (lambda a: a, ["--data.dosage-key", "batch"], ["dose 'one'", "is not a number"]),
    "totals": (lambda a: a, ["--data.library-size-key", "batch"], ["library sizes 'batch' are not numbers"]),
}


@pytest.mark.parametrize("case", SCREENS)
def test_screens(runs, tmp_path, unwritten, capsys, case):
    change, flags, words = SCREENS[case]
    path = tmp_path / "bad.h5ad"
    change(anndata.read_h5ad(runs.screen)).write_h5ad(path)
    refused(fit.main, ["--out", unwritten / "run", *from_file_flags(path), *MODEL, *EVALUATION, *flags], words, capsys)


def missing(path, screen):
    return path.parent / "sceen.h5ad"


def not_h5ad(path, screen):
    path.write_text("cell,gene1,gene2\n")
    return path


def truncated(path, screen):
    content = screen.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def empty(path, screen):
    path.touch()
    return path


def folder(path, screen):
    shutil.copy(screen, path)
    return path.parent


FILES = [
    (missing, ["no file", "sceen.h5ad", "Did you mean screen.h5ad"]),
    (not_h5ad, ["is not an .h5ad file"]),
    (truncated, ["cannot read", "damaged, incomplete"]),
    (empty, ["(0 bytes) is not an .h5ad file"]),
    (folder, ["is a folder, expected an .h5ad file; .h5ad files in it: screen.h5ad"]),
]


@pytest.mark.parametrize(("make", "words"), FILES)
@pytest.mark.parametrize("door", ["fit", "evaluate"])
def test_files(runs, tmp_path, unwritten, capsys, door, make, words):
    place = tmp_path / "data" / "screen.h5ad"
    place.parent.mkdir()
    if make is missing:
        shutil.copy(runs.screen, place)
    flags = ["--out", unwritten / "out", "--data.path", make(place, runs.screen)]
    main, own = (fit.main, MODEL) if door == "fit" else (evaluate.main, ("--run", str(runs.from_file)))
    refused(main, [*flags, *own], words, capsys)


def test_missing_file_and_folder(unwritten, capsys):
    flags = ["--out", unwritten / "run", "--data.path", unwritten / "nowhere" / "a.h5ad"]
    refused(fit.main, flags, ["no file", "nowhere does not exist either"], capsys)


def door_flags(door, runs, out):
    """A call of a door that would write `out`."""
    if door == "fit":
        return fit.main, ["--out", out, *SMALL]
    if door == "evaluate":
        return evaluate.main, ["--run", runs.from_file, "--out", out, *from_file_flags(runs.screen), *EVALUATION]
    return predict.main, ["--run", runs.from_file, "--out", out, "--perturbations", "P1"]


@pytest.mark.parametrize("door", ["fit", "evaluate", "predict"])
@pytest.mark.parametrize(
    ("out", "flags", "words"),
    [
        ("bystander.txt/x/out.h5ad", [], ["cannot write", "bystander.txt is not a folder"]),
        ("", [], ["exists; choose another --out or add --overwrite"]),
        ("bystander.txt", ["--overwrite"], ["bystander.txt is a file; give the name of a folder"]),
        ("", ["--overwrite"], ["not a result of samsjax (it has no config.json) and will not be overwritten"]),
    ],
)
def test_outputs(runs, unwritten, capsys, door, out, flags, words):
    main, own = door_flags(door, runs, unwritten / out if out else unwritten)
    if door == "predict" and not out.endswith(".h5ad"):
        words = ["must end in .h5ad"]
    refused(main, [*own, *flags], words, capsys)


@pytest.mark.parametrize("door", ["fit", "evaluate", "predict"])
@pytest.mark.skipif(os.geteuid() == 0, reason="permission bits do not stop root")
def test_a_folder_without_permission(runs, unwritten, capsys, door):
    main, own = door_flags(door, runs, unwritten / "out.h5ad")
    unwritten.chmod(0o500)
    try:
        refused(main, own, ["cannot write", "no permission"], capsys)
    finally:
        unwritten.chmod(0o700)


def test_an_existing_prediction_stays(runs, tmp_path, capsys):
    (tmp_path / "p.h5ad").write_text("mine")
    main, own = door_flags("predict", runs, tmp_path / "p.h5ad")
    refused(main, own, ["p.h5ad exists; choose another --out or add --overwrite"], capsys)
    assert (tmp_path / "p.h5ad").read_text() == "mine"


def test_a_folder_named_like_a_prediction_stays(runs, tmp_path, capsys):
    (tmp_path / "p.h5ad").mkdir()
    main, own = door_flags("predict", runs, tmp_path / "p.h5ad")
    refused(main, [*own, "--overwrite"], ["p.h5ad is a folder; give the name of a file"], capsys)


def contents(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_an_evaluation_never_replaces_what_it_reads(runs, run_copy, capsys):
    shutil.copy(runs.screen, run_copy / "screen.h5ad")
    before = contents(run_copy)
    flags = ["--out", run_copy, "--overwrite", *EVALUATION]
    own = ["--run", run_copy, *from_file_flags(runs.screen)]
    refused(evaluate.main, [*flags, *own], [f"{run_copy} holds {run_copy}, which is to be read"], capsys)
    data = ["--run", runs.from_file, *from_file_flags(run_copy / "screen.h5ad")]
    refused(evaluate.main, [*flags, *data], ["screen.h5ad, which is to be read"], capsys)
    fitting = from_file_flags(run_copy / "screen.h5ad")
    refused(fit.main, ["--out", run_copy, "--overwrite", *fitting, *MODEL], ["screen.h5ad, which is to be"], capsys)
    assert contents(run_copy) == before


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["P11"], ["unknown perturbation 'P11'", "Did you mean 'P1'", "cannot be predicted", "its own cells"]),
        (["P1+Q"], ["unknown perturbation 'Q' in treatment 'P1+Q'", "cannot be predicted", "Known: P1, P2"]),
        (["KLF1"], ["unknown perturbation 'KLF1'", "Known: P1, P2, P3, P4, P5, P6"]),
        ([], ["--perturbations is empty"]),
        ([""], ["empty part"]),
        ([" "], ["empty part"]),
        (["P1+"], ["'P1+' has an empty part"]),
        (["P1", "P2", "P1"], ["repeated in --perturbations: P1"]),
        (["P1+P1"], ["names P1 more than once"]),
        (["P1@0"], ["dose 0"]),
        (["P1@nan"], ["dose nan of P1"]),
        (["P1@-1"], ["dose -1.0 of P1"]),
        (["P1@high"], ["dose 'high'", "not a number"]),
        (["P1", "--effects.n-particles", "1"], ["n_particles must be >= 2, got 1"]),
        (["P1", "--seed", "-1"], ["seed must be >= 0", "got -1"]),
        (["P1", "--sed", "1"], ["--sed", "--seed"]),
    ],
)
def test_predictions(runs, unwritten, capsys, labels, words):
    flags = ["--run", runs.from_file, "--out", unwritten / "new" / "p.h5ad", "--perturbations", *labels]
    refused(predict.main, flags, words, capsys)


def test_a_perturbation_without_training_cells(runs, unwritten, monkeypatch, capsys):
    from dataclasses import replace

    stored = predict.load_run(runs.from_file)
    n_cells = np.where(np.arange(6) == 1, 0, stored.n_training_cells)
    monkeypatch.setattr(predict, "load_run", lambda run: replace(stored, n_training_cells=n_cells))
    flags = ["--run", runs.from_file, "--out", unwritten / "p.h5ad", "--perturbations", "P1+P2"]
    refused(predict.main, flags, ["cannot predict 'P1+P2': P2 had no training cells"], capsys)


OTHER_CELLS = {
    "no file named": (None, [], ["--data.path is missing"]),
    "missing key": (lambda a: a, ["--data.perturbation-key", "target"], ["'target'", "perturbation"]),
    "column lost": (lambda a: (a.obs.drop(columns="batch", inplace=True), a)[1], [], ["covariate_keys", "'batch'"]),
    "missing gene": (lambda a: a[:, 1:].copy(), [], ["1 of the 30 genes of the model are not in the data: gene01"]),
    "no common gene": (
        lambda a: (a.var.set_index(a.var_names.str.replace("gene", "ENSG"), inplace=True), a)[1],
        [],
        ["none of the 30 genes of the model is in the data", "gene01", "ENSG01", "Ensembl"],
    ),
    "new perturbation": (
        lambda a: relabelled(a, lambda label: label.replace("P1", "P1x")),
        [],
        ["not in the vocabulary: P1x", "nearest to 'P1x' are P1", "trained on"],
    ),
    "other control": (lambda a: a, ["--data.control", "ctrl"], ["not in the vocabulary: control", "control label"]),
    "no split": (lambda a: a, ["--data.split", "column"], ["split 'column' needs one"]),
    "counts": (lambda a: log_normalised(a), [], ["log-normalised", "'counts' (whole numbers)"]),
    "no controls": (lambda a: a[a.obs.perturbation != "control"].copy(), [], ["no control cells"]),
    "seed": (lambda a: a, ["--seed", "-1"], ["seed must be >= 0", "got -1"]),
}


@pytest.mark.parametrize("case", OTHER_CELLS)
@pytest.mark.filterwarnings("ignore:.*cells the model was trained on")
def test_other_cells(runs, tmp_path, unwritten, capsys, case):
    change, flags, words = OTHER_CELLS[case]
    own = ["--run", runs.from_file, "--out", unwritten / "scores", *EVALUATION]
    if change is not None:
        change(anndata.read_h5ad(runs.screen)).write_h5ad(tmp_path / "other.h5ad")
        own += ["--data.path", tmp_path / "other.h5ad"]
    refused(evaluate.main, [*own, *flags], words, capsys)


def largest_file(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def without_byte(run):
    path = largest_file(run / "model" / "arrays")
    path.write_bytes(path.read_bytes()[:-1])


def cut_in_half(run):
    path = largest_file(run / "model" / "arrays")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_description(run):
    path = run / "model" / "model.json"
    path.write_text(path.read_text()[:500])


def edited(**changes):
    def edit(run):
        import json

        path = run / "model" / "model.json"
        path.write_text(json.dumps(read_json(path) | changes))

    return edit


DAMAGES = {
    "byte lost": (without_byte, ["damaged"]),
    "half lost": (cut_in_half, ["damaged"]),
    "arrays lost": (lambda run: shutil.rmtree(run / "model" / "arrays"), ["arrays", "damaged"]),
    "description cut": (cut_description, ["model.json is damaged"]),
    "description lost": (lambda run: (run / "model" / "model.json").unlink(), ["has no model.json"]),
    "description empty": (lambda run: (run / "model" / "model.json").write_text(""), ["model.json is damaged"]),
    "description foreign": (lambda run: (run / "model" / "model.json").write_text("[]"), ["model.json is damaged"]),
    "unknown model": (edited(model="sams_vea"), ["model.json is damaged"]),
    "newer format": (edited(format=99), ["format 99"]),
    "no vocabulary": (edited(vocabulary=None), ["model.json is damaged"]),
    "model lost": (lambda run: shutil.rmtree(run / "model"), ["has no model/"]),
    "run lost": (shutil.rmtree, ["no run folder"]),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damaged_models(run_copy, unwritten, capsys, case):
    damage, words = DAMAGES[case]
    damage(run_copy)
    flags = ["--run", run_copy, "--out", unwritten / "p.h5ad", "--perturbations", "P1"]
    refused(predict.main, flags, words, capsys)


def test_a_flipped_byte_never_loads_silently(run_copy):
    """Either the arrays are those that were saved, or the door says that they are not."""
    stored = contents(run_copy)
    reference = predict.load_run(run_copy)
    noticed = 0
    for name in sorted(path for path in stored if path.parts[:2] == ("model", "arrays")):
        for place in {0, len(stored[name]) // 2, len(stored[name]) - 1} if stored[name] else ():
            changed = bytearray(stored[name])
            changed[place] ^= 0x10
            (run_copy / name).write_bytes(changed)
            try:
                loaded = predict.load_run(run_copy)
            except InputError as error:
                noticed += 1
                assert "damaged" in str(error) and "\n" not in str(error)
            else:
                assert_same_bits(loaded.params, reference.params)
                assert np.array_equal(loaded.library_sizes, reference.library_sizes)
        (run_copy / name).write_bytes(stored[name])
    assert noticed > 5


def test_a_damaged_model_ends_the_process_without_traceback(run_copy, unwritten):
    path = run_copy / "model" / "arrays" / "manifest.ocdbt"
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    flags = ["--run", str(run_copy), "--out", str(unwritten / "p.h5ad"), "--perturbations", "P1"]
    command = [sys.executable, "-m", "experiments.predict", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("old", "new"), [('"gene01"', '"gene0q"'), ('"mask_prior_prob": 0.01', '"mask_prior_prob": 0.81')]
)
def test_a_flipped_byte_of_the_description_never_loads_silently(run_copy, old, new):
    path = run_copy / "model" / "model.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match="damaged"):
        predict.load_run(run_copy)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", '{"data": 3}', '{"data": "x"}', "\udcff"])
def test_damaged_settings(runs, run_copy, unwritten, capsys, content):
    (run_copy / "config.json").write_bytes(content.encode(errors="surrogateescape"))
    flags = ["--run", run_copy, "--out", unwritten / "scores", "--data.path", runs.screen]
    refused(evaluate.main, flags, ["config.json is damaged"], capsys)


def test_damaged_latents(runs, run_copy, unwritten, capsys):
    (run_copy / "latents.h5ad").write_bytes((run_copy / "latents.h5ad").read_bytes()[:2000])
    flags = ["--run", run_copy, "--out", unwritten / "scores", "--data.path", runs.screen]
    refused(evaluate.main, flags, ["latents.h5ad", "damaged"], capsys)


@pytest.mark.parametrize("run", ["model", "config.json", "elsewhere"])
def test_what_is_no_run(runs, unwritten, capsys, run):
    place = runs.from_file / run
    predicting = ["--run", place, "--out", unwritten / "p.h5ad", "--perturbations", "P1"]
    refused(predict.main, predicting, ["run folder", str(place)], capsys)
    scoring = ["--run", place, "--out", unwritten / "scores", "--data.path", runs.screen]
    refused(evaluate.main, scoring, ["run folder", str(place)], capsys)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--trian.n-steps", "5"], ["--train.n-steps"]),
        (["--data.path", "nowhere.h5ad"], ["error: no file nowhere.h5ad"]),
        (["--model", "sams_vaee"], ["error: unknown model 'sams_vaee'. Did you mean 'sams_vae'"]),
    ],
)
def test_the_process_ends_with_status_2_and_no_traceback(unwritten, flags, words):
    command = [sys.executable, "-m", "experiments.fit", "--out", str(unwritten / "run"), *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert "Traceback" not in done.stderr and all(word in done.stderr for word in words), done.stderr


def test_totals_of_another_kind_are_refused(runs, unwritten, capsys):
    flags = ["--run", runs.from_file, "--data.path", runs.screen, "--out", unwritten / "scores"]
    words = ["library sizes from 'n_umis'", "trained with 'row_sum'"]
    refused(evaluate.main, [*flags, "--data.library-size-key", "n_umis"], words, capsys)
