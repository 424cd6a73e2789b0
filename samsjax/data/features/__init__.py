"""Features of perturbations: what is known of a drug or a gene before any cell is measured under it.

Read in this order:

- `table`: `PerturbationFeatures`, the numbers beside a data set, and how they are standardised.
- `keyed`: `FeatureTable`, features by name, and those of labels such as `A@0.5`.
- `config`: `FeaturesConfig`, where features come from; `sources`: the table of sources, and `with_features`.
- one file for each source: `reading`, `target_genes`, `loadings`, `smiles`; `controls` and `principal` change features.

Features are set after the split is known, since some of them go by the training cells:

    data = with_features(data, FeaturesConfig(source="table", path="drugs.csv"))
"""

from samsjax.data.features.config import FeaturesConfig
from samsjax.data.features.keyed import LOG_DOSE, FeatureTable, features_of_labels
from samsjax.data.features.reading import read_features
from samsjax.data.features.smiles import require_rdkit
from samsjax.data.features.sources import SOURCES, feature_table, with_features
from samsjax.data.features.table import FeatureScale, PerturbationFeatures, feature_scale

__all__ = [
    "LOG_DOSE",
    "SOURCES",
    "FeatureScale",
    "FeatureTable",
    "FeaturesConfig",
    "PerturbationFeatures",
    "feature_scale",
    "feature_table",
    "features_of_labels",
    "read_features",
    "require_rdkit",
    "with_features",
]
