"""One small fit that every test of the doors shares, once drawn by the door and once read from a file."""

import shutil
from pathlib import Path

import anndata
import pytest

from experiments import fit
from tests.experiments.doors import EVALUATION, MODEL, SMALL, Runs, from_file_flags


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    screen = folder / "screen.h5ad"
    fit.main(["--out", str(folder / "simulated"), *SMALL])
    adata = anndata.read_h5ad(folder / "simulated" / "simulation.h5ad")
    adata.obs["batch"] = ["one", "two"] * (adata.n_obs // 2)
    adata.write_h5ad(screen)
    flags = (*from_file_flags(screen), "--data.covariate-keys", "batch")
    fit.main(["--out", str(folder / "from_file"), *flags, *MODEL, *EVALUATION])
    return Runs(folder / "simulated", folder / "from_file", screen)


@pytest.fixture
def run_copy(runs, tmp_path) -> Path:
    """A run of one's own, to be damaged."""
    return shutil.copytree(runs.from_file, tmp_path / "copy")


@pytest.fixture
def unwritten(tmp_path):
    """A folder for outputs that must be just as it was when the test ends."""
    folder = tmp_path / "parent"
    folder.mkdir()
    (folder / "bystander.txt").write_text("mine")
    yield folder
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*")] == ["bystander.txt"]
    assert (folder / "bystander.txt").read_text() == "mine"
