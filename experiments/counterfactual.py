r"""Take technical artefacts out of measured cells with a stored model that knows the quality of cells.

    python -m experiments.counterfactual --run runs/cradle --data.path screen.h5ad --out cleaned.h5ad
    python -m experiments.counterfactual --run runs/artifacts --data.path runs/artifacts/simulation.h5ad \
        --data.quality-key artifact --out cleaned.h5ad

Every cell is encoded as it is, and decoded as if it had failed no quality criterion, or those of --fails and no others;
its basal state and its perturbations stay its own. Genes are matched by name and perturbations by label; how to read
the file, and as which study, defaults to how the run read its own. The quality of cells is judged by the thresholds of
the run's own training cells, or read from the columns of --data.quality-key. The run's own cells may be cleaned, too.

Writes an AnnData, cells x genes: X the expression expected of each cell in the wanted quality, layer as_is that in the
quality it has, both from the same draws: a cell that has the wanted quality is the same in both. obs holds treatment,
split, library size, covariates, and a column for each criterion, True where the cell fails; uns["samsjax"] says the
quality, scale, particles and seed. Expectations are smooth, and neither counts nor measured: effects of perturbations
are better taken from experiments.predict.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np

from experiments import output
from experiments.cli import check_seed, parse, run, say
from experiments.screens import describe
from experiments.stored import inheriting, load_run, read_for
from samsjax import reporting
from samsjax.data import DataConfig, PerturbationData, treatments
from samsjax.data.artifacts import chosen_artifacts
from samsjax.errors import InputError, check_range
from samsjax.evaluation.counterfactual import counterfactual
from samsjax.inference.fitted import Fitted
from samsjax.likelihoods import models_counts

if TYPE_CHECKING:
    import anndata


@dataclass(frozen=True, kw_only=True)
class CounterfactualCommand:
    """All settings of a removal of artefacts."""

    run: Path
    """Folder written by experiments.fit, of a model that knows the quality of cells."""
    out: Path
    """File for the result (.h5ad); must not exist."""
    overwrite: bool = False
    """Replace an existing file."""
    fails: tuple[str, ...] = ()
    """Quality criteria that cells shall fail; by default none, so that all are of good quality."""
    transform: Literal["log2_cp10k", "cp10k", "counts"] = "counts"
    """Scale of the result."""
    n_particles: int = 16
    """Draws from the posterior to average over."""
    seed: int = 0
    """Decides all draws."""
    data: DataConfig = field(default_factory=DataConfig)

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_range("n_particles", self.n_particles, low=1)


def main(argv: Sequence[str]) -> None:
    """Parse flags with the run's own data settings as defaults, decode all cells twice, write one file."""
    wanted = inheriting(CounterfactualCommand, argv)
    command = parse(wanted, argv, program="python -m experiments.counterfactual", description=__doc__ or "")
    output.check_file(command.out, overwrite=command.overwrite, inputs=[command.data.path])
    fitted = load_run(command.run)
    check_model(command, fitted)
    data = read_for(command.run, fitted, command.data)
    say(describe(data))
    result = changed_cells(command, fitted, data)
    with output.output_file(command.out, overwrite=command.overwrite) as path:
        result.write_h5ad(path, compression="gzip")
    print(f"{result.n_obs} cells x {result.n_vars} genes in {command.transform} written to {command.out}")


def check_model(command: CounterfactualCommand, fitted: Fitted) -> None:
    """Refuse what the model cannot do before cells are read.

    Raises:
        InputError: if it does not know the quality of cells, or these criteria, or has no counts for this scale.
    """
    names = fitted.vocabulary.artifacts
    if not names:
        raise InputError(
            f"{command.run} holds a {fitted.model_name}, which does not know the quality of cells: fit a model that "
            "does (--model cradle_vae)"
        )
    chosen_artifacts(command.fails, names)
    if command.transform != "counts" and not models_counts(fitted.config.likelihood):
        raise InputError(
            f"--transform {command.transform} needs counts, and likelihood {fitted.config.likelihood!r} is one of "
            "continuous values: give --transform counts, the data's own scale"
        )


def changed_cells(command: CounterfactualCommand, fitted: Fitted, data: PerturbationData) -> "anndata.AnnData":
    """The AnnData to write: all cells in the wanted quality, and as they are."""
    key, cells = jax.random.key(command.seed), np.arange(data.n_cells)
    drawn: dict[str, Any] = {"transform": command.transform, "n_particles": command.n_particles}
    wanted, as_is = (counterfactual(key, fitted, data, cells, fails, **drawn) for fails in (command.fails, None))
    said = {"fails": command.fails, "seed": command.seed, **drawn}
    return reporting.counterfactual_to_anndata(fitted, data, treatments(data), wanted, as_is, **said)


if __name__ == "__main__":
    run(main)
