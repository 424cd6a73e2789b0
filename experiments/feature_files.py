"""What a run keeps of features of perturbations: those of its own, and those of perturbations that no cell carries.

Nothing is written for data without features.
"""

from pathlib import Path

from samsjax.data import PerturbationData
from samsjax.data.features import feature_table

FEATURES = "features.csv"
"""As they came, not standardised; a table that --features.source table reads."""


def write_perturbation_features(folder: Path, data: PerturbationData) -> None:
    """features.csv: a row for each perturbation, also those that no cell carries, and a column for each feature."""
    import pandas as pd  # late: only this needs it

    if data.features is None:
        return
    table = feature_table(data)
    frame = pd.DataFrame(table.values, index=list(table.perturbations), columns=list(table.names))
    frame.to_csv(folder / FEATURES, index_label="perturbation")
