"""Norman et al. 2019: which model predicts pairs of genes that it never saw together?

    python -m experiments.norman_ood --data.path norman.h5ad --out runs/norman_ood
    python -m experiments.norman_ood --data.path norman.h5ad --out runs/norman_ood --arms sams_vae_correlated cpa_vae \
        --vary data.train-combinations=0,0.75 --vary data.split-seed=0 --train.n-steps 3000

A quarter of the pairs is held out for the test; of the pairs, 0 to 100 % train (at 100 % the tested ones among them).
Compared are SAMS-VAE with two guides, CPA-VAE and the conditional VAE, with pairs as two perturbations, and the same
with every pair as a perturbation of its own (`_unique`), as SVAE+ needs it. Five splits, one fit of each.

Settings are those of Bereket & Karaletsos, NeurIPS 2023 (arXiv 2311.02794). Below are the published means and, in
brackets, sample standard deviations over the five splits: bounds in nats per cell, higher is better; `relative` is the
paired difference to sams_vae_correlated at 0 on the same split; effects are of the treatments that have test cells,
measured in all cells.

| test/predictive_iwelbo relative | 0 | 0.25 | 0.5 | 0.75 | 1 |
|---|---|---|---|---|---|
| sams_vae_correlated | 0.00 (0.00) | 4.41 (0.48) | 6.38 (0.53) | 7.59 (0.44) | 11.19 (0.64) |
| sams_vae_mean_field | 2.24 (0.34) | 4.67 (0.65) | 6.27 (0.59) | 7.61 (0.33) | 11.06 (0.64) |
| cpa_vae | 0.40 (0.44) | 3.91 (0.77) | 5.70 (0.41) | 7.24 (0.39) | 10.84 (0.64) |
| conditional_vae | -2.43 (0.80) | 0.96 (0.82) | 3.41 (0.67) | 4.91 (0.54) | 9.29 (0.64) |
| sams_vae_correlated_unique | -8.72 (1.05) | -7.20 (1.14) | -5.79 (1.15) | -4.47 (0.93) | 10.89 (0.58) |
| sams_vae_mean_field_unique | -7.83 (0.74) | -5.88 (0.79) | -4.40 (0.91) | -3.42 (0.75) | 10.77 (0.62) |
| cpa_vae_unique | -12.18 (1.12) | -9.94 (0.95) | -8.54 (0.61) | -7.07 (0.74) | 11.25 (0.68) |
| conditional_vae_unique | -13.94 (1.36) | -12.61 (1.27) | -11.44 (1.40) | -10.56 (1.26) | 7.48 (0.58) |
| svae_plus_unique | -3.55 (0.34) | -1.36 (0.50) | 0.07 (0.41) | 1.20 (0.57) | 8.35 (0.69) |

| test/predictive_iwelbo | 0 | 0.25 | 0.5 | 0.75 | 1 |
|---|---|---|---|---|---|
| sams_vae_correlated |-1780.43 (18.11)|-1776.03 (18.03)|-1774.05 (17.79)|-1772.84 (17.84)|-1769.24 (17.98)|
| sams_vae_mean_field |-1778.19 (17.89)|-1775.77 (17.88)|-1774.16 (17.84)|-1772.82 (18.00)|-1769.37 (17.86)|
| cpa_vae |-1780.03 (17.73)|-1776.52 (17.83)|-1774.74 (17.98)|-1773.20 (17.82)|-1769.59 (17.97)|
| conditional_vae |-1782.86 (17.75)|-1779.47 (17.83)|-1777.03 (18.00)|-1775.53 (17.86)|-1771.14 (17.94)|
| sams_vae_correlated_unique |-1789.15 (18.30)|-1787.63 (18.41)|-1786.22 (18.68)|-1784.90 (18.47)|-1769.55 (17.94)|
| sams_vae_mean_field_unique |-1788.26 (18.37)|-1786.31 (18.53)|-1784.83 (18.69)|-1783.85 (18.71)|-1769.66 (17.87)|
| cpa_vae_unique |-1792.61 (18.59)|-1790.37 (18.31)|-1788.97 (18.32)|-1787.51 (18.24)|-1769.18 (17.72)|
| conditional_vae_unique |-1794.37 (18.67)|-1793.05 (18.89)|-1791.87 (19.09)|-1790.99 (18.98)|-1772.95 (17.94)|
| svae_plus_unique |-1783.98 (18.10)|-1781.79 (18.01)|-1780.36 (18.04)|-1779.23 (18.01)|-1772.09 (17.95)|

| val/predictive_iwelbo | 0 | 0.25 | 0.5 | 0.75 | 1 |
|---|---|---|---|---|---|
| sams_vae_correlated | -1799.47 (2.14) | -1796.34 (2.53) | -1793.62 (3.06) | -1791.47 (2.32) | -1788.80 (1.85) |
| sams_vae_mean_field | -1798.74 (2.00) | -1796.40 (2.54) | -1793.76 (2.98) | -1791.51 (2.31) | -1789.09 (1.83) |
| cpa_vae | -1798.58 (2.12) | -1796.37 (2.54) | -1793.88 (2.86) | -1791.64 (2.30) | -1789.15 (1.86) |
| conditional_vae | -1800.27 (1.99) | -1797.84 (2.62) | -1795.16 (2.91) | -1792.84 (2.18) | -1790.36 (1.83) |
| sams_vae_correlated_unique | -1799.28 (2.15) | -1796.76 (2.55) | -1794.18 (2.86) | -1791.88 (2.25) | -1789.24 (1.88) |
| sams_vae_mean_field_unique | -1799.00 (2.13) | -1796.60 (2.63) | -1793.99 (2.92) | -1791.88 (2.29) | -1789.26 (1.88) |
| cpa_vae_unique | -1798.83 (2.21) | -1796.49 (2.66) | -1793.65 (2.97) | -1791.43 (2.45) | -1788.96 (1.83) |
| conditional_vae_unique | -1801.15 (2.00) | -1799.03 (2.59) | -1796.51 (2.77) | -1794.37 (2.24) | -1791.84 (1.81) |
| svae_plus_unique | -1800.83 (2.03) | -1798.41 (2.63) | -1796.00 (2.87) | -1793.81 (2.18) | -1791.38 (1.85) |

| ate/published/pearson | 0 | 0.25 | 0.5 | 0.75 | 1 |
|---|---|---|---|---|---|
| sams_vae_correlated | 0.682 (0.011) | 0.720 (0.030) | 0.736 (0.021) | 0.733 (0.016) | 0.775 (0.012) |
| sams_vae_mean_field | 0.671 (0.041) | 0.689 (0.048) | 0.704 (0.036) | 0.721 (0.023) | 0.777 (0.027) |
| cpa_vae | 0.643 (0.049) | 0.703 (0.047) | 0.719 (0.044) | 0.723 (0.047) | 0.779 (0.031) |
| conditional_vae | 0.689 (0.021) | 0.707 (0.024) | 0.717 (0.018) | 0.722 (0.015) | 0.769 (0.009) |
| sams_vae_correlated_unique | 0.001 (0.071) | -0.058 (0.068) | -0.125 (0.073) | -0.045 (0.096) | 0.763 (0.023) |
| sams_vae_mean_field_unique | 0.171 (0.032) | 0.162 (0.017) | 0.166 (0.012) | 0.182 (0.027) | 0.749 (0.014) |
| cpa_vae_unique | 0.250 (0.024) | 0.240 (0.029) | 0.249 (0.025) | 0.242 (0.018) | 0.789 (0.008) |
| conditional_vae_unique | 0.076 (0.052) | 0.059 (0.032) | -0.027 (0.050) | 0.004 (0.042) | 0.738 (0.022) |
| svae_plus_unique | -0.034 (0.077) | -0.025 (0.061) | -0.076 (0.070) | 0.006 (0.031) | 0.764 (0.014) |

| ate/published/pearson_top20 | 0 | 0.25 | 0.5 | 0.75 | 1 |
|---|---|---|---|---|---|
| sams_vae_correlated | 0.858 (0.016) | 0.893 (0.016) | 0.907 (0.011) | 0.907 (0.010) | 0.928 (0.010) |
| sams_vae_mean_field | 0.840 (0.024) | 0.866 (0.029) | 0.888 (0.023) | 0.899 (0.016) | 0.932 (0.011) |
| cpa_vae | 0.860 (0.016) | 0.887 (0.020) | 0.901 (0.016) | 0.906 (0.015) | 0.938 (0.011) |
| conditional_vae | 0.887 (0.016) | 0.898 (0.015) | 0.906 (0.013) | 0.908 (0.012) | 0.930 (0.012) |
| sams_vae_correlated_unique | -0.056 (0.144) | -0.117 (0.150) | -0.230 (0.158) | -0.017 (0.196) | 0.924 (0.008) |
| sams_vae_mean_field_unique | 0.335 (0.056) | 0.360 (0.050) | 0.363 (0.033) | 0.381 (0.088) | 0.914 (0.005) |
| cpa_vae_unique | 0.499 (0.044) | 0.477 (0.053) | 0.502 (0.043) | 0.495 (0.040) | 0.955 (0.003) |
| conditional_vae_unique | 0.064 (0.121) | 0.115 (0.101) | -0.062 (0.172) | -0.009 (0.170) | 0.903 (0.015) |
| svae_plus_unique | -0.123 (0.093) | -0.064 (0.131) | -0.176 (0.116) | -0.062 (0.060) | 0.913 (0.008) |

Differs: a pair is the set of its two genes, whatever their order in the file (see samsjax.data.studies.norman), which
matters for `_unique`; what the README says of the implementation holds here as well.

Not run by us on the full data. Estimate for two CPU cores: half a second a step at 5,000 genes and 5 particles, hence
250 minutes for the 30,000 steps of a run and 39 days for all 225 runs; evaluation comes on top.
"""

from experiments.grid import Grid
from experiments.published import published_tables
from experiments.sweep import run_preset

_EITHER = {
    "sams_vae_correlated": (
        "--model sams_vae --model.guide correlated --model.embedding-n-layers 4 --model.embedding-n-hidden 400 "
        "--model.mask-prior-prob 0.01 --model.embedding-prior-scale 1 --model.no-mean-field-encoder"
    ),
    "sams_vae_mean_field": (
        "--model sams_vae --model.guide mean_field "
        "--model.mask-prior-prob 0.01 --model.embedding-prior-scale 1 --model.no-mean-field-encoder"
    ),
    "cpa_vae": "--model cpa_vae --model.embedding-prior-scale 1 --model.no-mean-field-encoder",
    "conditional_vae": "--model conditional_vae",
}
_UNIQUE = {**_EITHER, "svae_plus": "--model svae_plus --model.mask-beta-1 1 --model.mask-beta-2 2"}

GRID = Grid(
    preset="norman_ood",
    common=(
        "--study norman --data.split combinations --data.test-combinations 0.25 "
        "--model.n-latent 200 --model.n-hidden 400 --model.n-layers 1 "
        "--model.likelihood library_nb --model.normalization log_standardize "
        "--train.n-steps 30000 --train.batch-size 512 --train.n-particles 5 --train.objective sampled_kl "
        "--train.learning-rate 3e-4 --train.schedule constant --train.warmup-fraction 0 --train.effect-step-factor 1 "
        "--train.weight-decay 1e-6 --train.clip-norm 100 --train.patience None --train.rotation off "
        "--evaluation.iwelbo-particles 100 --evaluation.effects.n-particles 2500 "
        "--evaluation.effects.library-size 10000 --evaluation.effects.no-paired --evaluation.effects.noise sampled "
        "--evaluation.effects.untrained"
    ),
    arms={**_EITHER, **{f"{arm}_unique": f"{flags} --data.combinations-as-unique" for arm, flags in _UNIQUE.items()}},
    vary={"data.train-combinations": ("0", "0.25", "0.5", "0.75", "1"), "data.split-seed": ("0", "1", "2", "3", "4")},
    published=published_tables(__doc__),
    relative_to={"arm": "sams_vae_correlated", "data.train-combinations": "0"},
)

if __name__ == "__main__":
    run_preset(GRID, __doc__)
