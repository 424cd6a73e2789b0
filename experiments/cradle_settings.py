"""What the presets of the CRADLE-VAE studies share: three arms, the recipe of training, and the published evaluation.

Arms, with the same sizes, priors and budget:

- `cradle_vae_reference_2024`: the published variant. References are medians by gene of up to 50 failed cells, drawn
  once and encoded under draws of their own; the divergence lacks a division by the variance and is added up over the
  batch; observations are weighted by the share of failed cells in the batch; validation is penalised as training is;
  thresholds of quality are learnt on all cells, test cells included.
- `cradle_vae`: the same networks, trained on what the method means: references of the other quality, one cell, drawn
  for every pass; the exact divergence under the same draws, averaged over cells; no weights; validation by the plain
  bound; thresholds learnt on the training cells. These are the defaults of `--model cradle_vae`, whose other defaults
  (parts that are added, a table for artefacts) are not taken over here.
- `sams_vae`: SAMS-VAE on the same cells, good and failed, which it does not tell apart. Its decoder has one layer, as
  published; those of the others have two.

So the good cells on which effects are measured can differ between the first arm and the other two; the flag
--data.quality-split all, given to all arms, makes them the same. Labels are never used to remove a cell from training.

The same `counterfactual_weight` is not the same weight in both. `cradle_vae` takes it for the mean over cells of a
divergence. The published penalty is a sum, up to 512 times that mean, while its squared differences are not divided by
a variance, which makes it smaller where posteriors are narrow: 100 times at a standard deviation of 0.1.

Source: the published configurations and code of CRADLE-VAE (AAAI 2025, arXiv 2409.05484), from a specification; the
sweep, not the demonstration runs, whose values differ.

Differs, in `cradle_vae_reference_2024` as well: references are cells of their pool, where the published code takes the
numbers of a pool's rows for rows of the whole file; a pool holds cells of the same perturbations, where the published
one of Replogle goes by gene, and those of Norman and Dixit by label; statistics of quality are those of the genes that
are used; doublets are Scrublet's anew, and need the extra `doublets`. To leave them out, name the others:
--data.quality-criteria n_counts n_genes percent_mito percent_ribo percent_hb. What the README says of the
implementation holds here as well.

The flags of the published variant, for a screen of your own; the weight (0.05 to 0.5 in the studies) is yours to give:

    python -m experiments.fit --data.path screen.h5ad --out runs/screen --data.quality-criteria auto \
        $(python -m experiments.cradle_settings) --model.counterfactual-weight 0.1

Presets print theirs in full with --list: python -m experiments.cradle_norman --list --arms cradle_vae_reference_2024
--data.path norman.h5ad --out runs/cradle_norman
"""

from dataclasses import dataclass

from experiments.grid import Grid

BATCH_SIZE = 512
EPOCHS = 2000
"""Most passes over the training cells; early stopping may come first."""
REPLICATES = (0, 1, 2, 3, 4)

NETWORKS = (
    "--model.n-layers 1 --model.guide correlated --model.embedding-n-layers 4 --model.embedding-n-hidden 400 "
    "--model.no-mean-field-encoder --model.embedding-prior-scale 1 "
    "--model.likelihood library_nb --model.normalization log_standardize"
)
ARTIFACTS = (
    "--model.indicators any --model.artifact-prior-scale 1 --model.artifact-posterior network "
    "--model.composition concatenation --model.decoder-n-layers 2 --model.stop-gradient none"
)
PUBLISHED_PENALTY = (
    "--model.reference failed --model.pseudo-cell median --model.refresh once --model.divergence shipped "
    "--model.reduction batch_sum --model.no-share-globals --model.weighting batch_share --model.penalize-validation"
)
INTENDED_PENALTY = (
    "--model.reference opposite --model.pseudo-cell cell --model.refresh epoch --model.divergence exact "
    "--model.reduction mean --model.share-globals --model.weighting none --model.no-penalize-validation"
)
TRAINING = (
    f"--train.batch-size {BATCH_SIZE} --train.n-particles 5 --train.objective sampled_kl --train.schedule constant "
    "--train.warmup-fraction 0 --train.effect-step-factor 1 --train.weight-decay 1e-6 --train.clip-norm 100 "
    "--train.rotation off"
)
EVALUATION = (
    "--evaluation.quality good --evaluation.iwelbo-particles 100 --evaluation.effects.n-particles 2500 "
    "--evaluation.effects.library-size 10000 --evaluation.effects.no-paired --evaluation.effects.noise sampled "
    "--evaluation.effects.untrained --evaluation.quality-report.n-cells 100 "
    "--evaluation.quality-report.max-treatments 1000"
)
CRITERIA = "--data.quality-criteria n_counts n_genes percent_mito percent_ribo percent_hb doublet"
ALL_CELLS = "--data.quality-split all"
REFERENCE_2024 = f"--model cradle_vae {NETWORKS} {ARTIFACTS} {PUBLISHED_PENALTY}"
OWN_SCREEN_2024 = f"{REFERENCE_2024} {ALL_CELLS} {TRAINING}"
"""The published variant for any screen: without a study's sizes, weight, learning rate and budget."""


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """One study's row in the table of published hyper-parameters."""

    data: str
    """Flags that choose the study, its genes and its split."""
    n_latent: int
    mask_prior_prob: float
    counterfactual_weight: float
    learning_rate: float
    patience: int
    """Passes without a better validation bound after which training stops."""
    n_training_cells: int
    """From which steps are counted."""
    split_seeds: bool
    """Whether repetitions are splits; else they are seeds of the fit."""
    n_hidden: int = 400

    @property
    def n_steps(self) -> int:
        """Steps of `EPOCHS` passes."""
        return EPOCHS * -(-self.n_training_cells // BATCH_SIZE)


def cradle_grid(preset: str, row: SweepRow) -> Grid:
    """The runs of a study: three arms, three thresholds of quality and five repetitions."""
    weight = f"--model.counterfactual-weight {row.counterfactual_weight:g}"
    splits = {"data.split-seed": tuple(map(str, REPLICATES))} if row.split_seeds else {}
    return Grid(
        preset=preset,
        common=(
            f"{row.data} {CRITERIA} --model.n-latent {row.n_latent} --model.n-hidden {row.n_hidden} "
            f"--model.mask-prior-prob {row.mask_prior_prob:g} --train.n-steps {row.n_steps} "
            f"--train.learning-rate {row.learning_rate:g} --train.patience {row.patience} {TRAINING} {EVALUATION}"
        ),
        arms={
            "cradle_vae_reference_2024": f"{REFERENCE_2024} {weight} {ALL_CELLS}",
            "cradle_vae": f"--model cradle_vae {NETWORKS} {ARTIFACTS} {INTENDED_PENALTY} {weight}",
            "sams_vae": f"--model sams_vae {NETWORKS}",
        },
        vary={"data.quality-mads": ("3", "4", "5"), **splits},
        seeds=(0,) if row.split_seeds else REPLICATES,
        relative_to={"arm": "sams_vae"},
    )


if __name__ == "__main__":
    print(OWN_SCREEN_2024)
