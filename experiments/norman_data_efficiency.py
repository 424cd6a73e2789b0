"""Norman et al. 2019: how many cells of pairs of genes does a model need to predict these pairs?

    python -m experiments.norman_data_efficiency --data.path norman.h5ad --out runs/norman_data_efficiency

As `norman_ood`, with another split: 20 % of the cells of pairs are the test, of every pair, and of the training cells
with pairs 0 to 100 % are kept. Published are again means and sample standard deviations over five splits; validation
bounds are not published for this split.

| test/predictive_iwelbo relative | 0 | 0.25 | 0.5 | 0.75 | 1 |
|---|---|---|---|---|---|
| sams_vae_correlated | 0.00 (0.00) | 6.73 (0.27) | 8.96 (0.26) | 10.35 (0.24) | 11.56 (0.43) |
| sams_vae_mean_field | 2.34 (0.32) | 6.44 (0.22) | 8.75 (0.29) | 10.31 (0.21) | 11.31 (0.32) |
| cpa_vae | 0.65 (0.38) | 6.32 (0.31) | 8.56 (0.30) | 10.05 (0.23) | 11.19 (0.42) |
| conditional_vae | -2.36 (0.19) | 3.91 (0.36) | 6.51 (0.33) | 8.21 (0.18) | 9.59 (0.30) |
| sams_vae_correlated_unique | -9.88 (0.39) | 5.55 (0.16) | 8.09 (0.21) | 9.93 (0.28) | 11.26 (0.38) |
| sams_vae_mean_field_unique | -8.50 (0.26) | 5.01 (0.34) | 7.65 (0.42) | 9.63 (0.33) | 11.00 (0.26) |
| cpa_vae_unique | -12.56 (0.27) | 6.34 (0.40) | 8.71 (0.31) | 10.24 (0.36) | 11.55 (0.31) |
| conditional_vae_unique | -16.20 (0.27) | -0.01 (0.22) | 4.00 (0.29) | 6.27 (0.29) | 7.81 (0.30) |
| svae_plus_unique | -3.80 (0.16) | 3.46 (0.37) | 5.89 (0.34) | 7.55 (0.48) | 8.67 (0.36) |

| test/predictive_iwelbo | 0 | 0.25 | 0.5 | 0.75 | 1 |
|---|---|---|---|---|---|
| sams_vae_correlated | -1784.04 (4.00) | -1777.31 (3.99) | -1775.08 (4.00) | -1773.68 (4.00) | -1772.48 (3.85) |
| sams_vae_mean_field | -1781.70 (3.97) | -1777.60 (3.94) | -1775.29 (3.93) | -1773.72 (3.99) | -1772.73 (3.99) |
| cpa_vae | -1783.38 (4.07) | -1777.72 (4.09) | -1775.48 (3.98) | -1773.99 (4.03) | -1772.85 (4.10) |
| conditional_vae | -1786.40 (4.12) | -1780.12 (4.02) | -1777.52 (4.02) | -1775.83 (4.00) | -1774.45 (3.92) |
| sams_vae_correlated_unique | -1793.92 (4.07) | -1778.49 (4.04) | -1775.95 (4.13) | -1774.11 (4.12) | -1772.78 (4.04) |
| sams_vae_mean_field_unique | -1792.54 (3.93) | -1779.03 (3.97) | -1776.39 (4.03) | -1774.40 (3.93) | -1773.04 (3.91) |
| cpa_vae_unique | -1796.60 (4.00) | -1777.70 (4.07) | -1775.33 (3.98) | -1773.80 (3.95) | -1772.49 (3.90) |
| conditional_vae_unique | -1800.24 (3.96) | -1784.05 (4.00) | -1780.04 (3.89) | -1777.76 (4.01) | -1776.23 (4.07) |
| svae_plus_unique | -1787.84 (3.94) | -1780.58 (4.01) | -1778.15 (3.98) | -1776.49 (3.93) | -1775.36 (4.04) |

| ate/published/pearson | 0 | 0.25 | 0.5 | 0.75 | 1 |
|---|---|---|---|---|---|
| sams_vae_correlated | 0.666 (0.013) | 0.728 (0.004) | 0.753 (0.013) | 0.758 (0.011) | 0.765 (0.006) |
| sams_vae_mean_field | 0.658 (0.010) | 0.726 (0.007) | 0.752 (0.019) | 0.762 (0.005) | 0.768 (0.013) |
| cpa_vae | 0.628 (0.010) | 0.735 (0.005) | 0.765 (0.014) | 0.774 (0.014) | 0.774 (0.015) |
| conditional_vae | 0.677 (0.002) | 0.726 (0.003) | 0.748 (0.006) | 0.752 (0.006) | 0.760 (0.004) |
| sams_vae_correlated_unique | -0.025 (0.061) | 0.662 (0.014) | 0.709 (0.011) | 0.720 (0.010) | 0.752 (0.024) |
| sams_vae_mean_field_unique | 0.176 (0.025) | 0.667 (0.009) | 0.700 (0.002) | 0.728 (0.012) | 0.737 (0.007) |
| cpa_vae_unique | 0.242 (0.008) | 0.766 (0.011) | 0.776 (0.006) | 0.780 (0.008) | 0.785 (0.013) |
| conditional_vae_unique | 0.077 (0.044) | 0.645 (0.004) | 0.693 (0.010) | 0.725 (0.007) | 0.732 (0.004) |
| svae_plus_unique | -0.028 (0.068) | 0.697 (0.019) | 0.738 (0.019) | 0.754 (0.010) | 0.760 (0.013) |

| ate/published/pearson_top20 | 0 | 0.25 | 0.5 | 0.75 | 1 |
|---|---|---|---|---|---|
| sams_vae_correlated | 0.852 (0.008) | 0.905 (0.003) | 0.916 (0.006) | 0.921 (0.003) | 0.923 (0.003) |
| sams_vae_mean_field | 0.838 (0.006) | 0.893 (0.006) | 0.910 (0.004) | 0.919 (0.003) | 0.925 (0.004) |
| cpa_vae | 0.856 (0.004) | 0.914 (0.002) | 0.929 (0.004) | 0.933 (0.003) | 0.935 (0.004) |
| conditional_vae | 0.881 (0.001) | 0.911 (0.003) | 0.919 (0.002) | 0.922 (0.002) | 0.924 (0.001) |
| sams_vae_correlated_unique | -0.072 (0.076) | 0.836 (0.007) | 0.877 (0.009) | 0.895 (0.009) | 0.914 (0.005) |
| sams_vae_mean_field_unique | 0.338 (0.035) | 0.829 (0.004) | 0.865 (0.004) | 0.890 (0.005) | 0.904 (0.006) |
| cpa_vae_unique | 0.467 (0.017) | 0.927 (0.006) | 0.940 (0.003) | 0.946 (0.003) | 0.951 (0.003) |
| conditional_vae_unique | 0.099 (0.129) | 0.869 (0.004) | 0.886 (0.004) | 0.892 (0.002) | 0.899 (0.002) |
| svae_plus_unique | -0.117 (0.094) | 0.847 (0.009) | 0.884 (0.008) | 0.898 (0.005) | 0.908 (0.006) |

Not run by us on the full data. Estimate for two CPU cores, as for `norman_ood`: 250 minutes a run, 225 runs.
"""

from dataclasses import replace

from experiments import norman_ood
from experiments.published import published_tables
from experiments.sweep import run_preset

GRID = replace(
    norman_ood.GRID,
    preset="norman_data_efficiency",
    common=f"{norman_ood.GRID.common} --data.split combination_cells",
    published=published_tables(__doc__),
)

if __name__ == "__main__":
    run_preset(GRID, __doc__)
