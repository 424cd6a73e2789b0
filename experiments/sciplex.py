"""Srivatsan et al. 2020, sci-Plex 3: are doses, drugs and pathways predicted that no training cell received?

    python -m experiments.sciplex --data.path sciplex3.h5ad --annotations sciplex3_drugs.csv --out runs/sciplex
    python -m experiments.sciplex --data.path sciplex3.h5ad --data.cell-line MCF7 --arms s1_linear_inside \
        s1_hill_inside --out runs/sciplex_mcf7
    python -m experiments.sciplex --data.path sciplex3.h5ad --annotations sciplex3_drugs.csv --arms s3_features \
        s3_shuffled s3_random --vary "data.test-perturbation-names=Epigenetics,Cell Cycle" --out runs/sciplex_pathways

SAMS-VAE on one cell line at a time, A549 by default, in three tasks:

| arms | held out | compared |
|---|---|---|
| s1_* | one dose of every drug: one inside, drawn for each drug, or the highest | effects linear in dose, Hill curves |
| s2_* | nine drugs at all doses, those that chemCPA holds out | features of molecules, shuffled, random numbers |
| s3_* | one pathway at all doses; Epigenetics, or those of --vary, each in turn | as s2 |

Every drug is a perturbation of its own in s1, which needs no features. Features are 32 principal components of the
descriptors of RDKit (extra `chemistry`); descriptors that some molecule lacks, or that are the same for all drugs that
train, are left out. Without RDKit give a table in the arms with features of their own: --arms s2_features s2_shuffled
--features.source table --features.path FILE --features.undefined refuse. Learned priors of s2 and s3 come with Hill
curves that are shared by the latent dimensions, and features say nothing of a drug's curve.

`--annotations` is a CSV whose first column names drugs as the screen does, with columns `smiles` and `pathway`; without
it arms look for sciplex3_drugs.csv and sciplex3_pathways.csv in the working folder. Its pathways are written to
pathways.csv in the folder of the results. All flags of a fit can be given and replace those of the arms.

Read `unseen/model/...` of s2_features and s3_features beside the shuffled and random arms, and beside `feature_ridge`,
`feature_nearest` and `training_mean`, which know as much; the former two scale effects in proportion to the dose, so
compare at high doses, too. Read s1 beside `matching_mean`, `ridge` and `nearest`, which know a drug's other doses: a
held-out dose is an easy task.

Differs: cells and conditions are chosen as samsjax.data.studies.sciplex says, all cells of the vehicle are kept, and
all genes of the file are used; choose variable genes beforehand, by cells that train. No metacells, no choice of
strong drugs.

Not run by us on the full data, only on small files of its layout, and there with features from a table. Nothing of it
has been compared with published numbers, and none stand beside ours. Estimate for two CPU cores, from the time of a
step of other presets: five minutes for the 2,500 steps of a run at 5,000 genes; evaluation comes on top.
"""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from experiments import output
from experiments.cli import run, take_flag
from experiments.grid import Grid
from experiments.sweep import main as sweep
from samsjax.data.features.reading import read_column
from samsjax.data.perturbation_groups import load_groups
from samsjax.errors import InputError

HELD_OUT_DRUGS = (
    *("Dacinostat", "CUDC-907", "Givinostat", "CUDC-101", "Pirarubicin"),
    *("Hesperadin", "Tanespimycin", "Trametinib", "Raltitrexed"),
)
"""Of the arms s2."""
PATHWAYS = "pathways.csv"

_MOLECULES = (
    "--features.source smiles --features.path sciplex3_drugs.csv --features.n-components 32 "
    "--features.undefined drop --features.constant drop"
)
_FEATURES = {
    "features": _MOLECULES,
    "shuffled": f"{_MOLECULES} --features.shuffled",
    "random": "--features.source random --features.n-components 32",
}
_CURVES = {"linear": "linear", "hill": "hill_shared"}
_DRUGS = f"--data.split perturbations --data.test-perturbation-names {' '.join(HELD_OUT_DRUGS)}"
_PATHWAY = (
    "--data.split perturbations --data.perturbation-groups sciplex3_pathways.csv "
    "--data.test-perturbation-names Epigenetics"
)
_LEARNED = "--model.feature-prior --model.dose hill_shared"

GRID = Grid(
    preset="sciplex",
    common="--study sciplex --data.cell-line A549 --model sams_vae",
    arms={
        **{
            f"s1_{name}_{place}": f"--data.split doses --data.held-out-doses {place} --model.dose {curve}"
            for place in ("inside", "highest")
            for name, curve in _CURVES.items()
        },
        **{
            f"{task}_{name}": f"{held_out} {_LEARNED} {features}"
            for task, held_out in {"s2": _DRUGS, "s3": _PATHWAY}.items()
            for name, features in _FEATURES.items()
        },
    },
    seeds=(0, 1, 2),
)


def main(argv: Sequence[str]) -> None:
    """Fit the grid, with drugs as a table of annotations describes them, if one is given."""
    annotations, rest = take_flag(argv, "--annotations", None)
    out, _ = take_flag(rest, "--out", None)
    grid = GRID
    if annotations is not None and out is not None:
        pathways = Path(out) / PATHWAYS
        grid = annotated(GRID, Path(annotations), pathways)
        if "--list" not in rest:
            write_pathways(Path(annotations), pathways)
    sweep(rest, grid, program="python -m experiments.sciplex", description=__doc__)


def annotated(grid: Grid, annotations: Path, pathways: Path) -> Grid:
    """The grid with these files where an arm reads molecules or holds out pathways."""
    molecules = f" --features.path {shlex.quote(str(annotations))}"
    groups = f" --data.perturbation-groups {shlex.quote(str(pathways))}"
    arms = {
        arm: flags
        + (molecules if "--features.path" in flags else "")
        + (groups if "--data.perturbation-groups" in flags else "")
        for arm, flags in grid.arms.items()
    }
    return replace(grid, arms=arms)


def write_pathways(annotations: Path, path: Path) -> None:
    """The pathway of each drug as a table of groups.

    Raises:
        InputError: if the annotations cannot be read, or another table is there already.
    """
    pathways = read_column(annotations, "pathway", "pathway")
    if path.exists():
        if load_groups(path) != pathways:
            raise InputError(f"{path} holds other pathways than {annotations}; choose another --out")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    output.write_rows(path, [{"drug": drug, "pathway": pathway} for drug, pathway in pathways.items()])


if __name__ == "__main__":
    run(main)
