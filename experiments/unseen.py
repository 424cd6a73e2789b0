"""Perturbations that nobody measured: what are features worth, and would others have done as well?

    python -m experiments.unseen --out runs/unseen
    python -m experiments.unseen --data.path screen.h5ad --data.split perturbations --arms features shuffled none \
        --features.source table --features.path genes.csv --out runs/unseen
    python -m experiments.unseen --data.path screen.h5ad --data.split perturbations --arms random --out runs/unseen

SAMS-VAE with priors from features of perturbations, on screens some of whose perturbations do not train: by default the
built-in simulation with features, where features tell effects in part; or a file. Of a file, --data.split perturbations
holds perturbations out at random, in clusters of features (--data.perturbation-features) or in groups such as pathways
(--data.perturbation-groups), and every seed may take another split (--vary data.split-seed=0,1,2). Four arms:

| arm | the model learns priors from |
|---|---|
| features | the features as they are |
| shuffled | the features of other perturbations: their distribution without their meaning |
| random | random numbers |
| none | nothing; plain SAMS-VAE, which says nothing of perturbations it has not seen |

`unseen/<predictor>/pearson_delta` is over treatments with a perturbation that no training cell carries, and
`trained/...` over the others. Features are of use if `features` is better than `shuffled` and `random`, and better than
baselines on the same features, `feature_ridge` and `feature_nearest`, and than `training_mean`, which needs none.
Features given for a file are those of three arms; the arm `random` takes none, so it is a command of its own, into the
same folder, and the table there is that of all.

No table is published for this; nothing stands beside our numbers.

Measured on two CPU cores: one to two minutes a run.
"""

from collections.abc import Sequence
from dataclasses import replace

from experiments.cli import run
from experiments.grid import Grid
from experiments.sweep import main as sweep

_LEARNED = "--model sams_vae --model.feature-prior"

GRID = Grid(
    preset="unseen",
    common="--simulation features",
    arms={
        "features": _LEARNED,
        "shuffled": f"{_LEARNED} --features.shuffled",
        "random": f"{_LEARNED} --features.source random",
        "none": "--model sams_vae --model.no-feature-prior",
    },
    seeds=(0, 1, 2),
    relative_to={"arm": "none"},
)


def main(argv: Sequence[str]) -> None:
    """Fit the grid: to the simulation, or without it where flags name a file of cells."""
    reads_file = any(token.partition("=")[0] in ("--data.path", "--fetch") for token in argv)
    grid = replace(GRID, common="") if reads_file else GRID
    sweep(argv, grid, program="python -m experiments.unseen", description=__doc__)


if __name__ == "__main__":
    run(main)
