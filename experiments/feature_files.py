"""What a run keeps of features of perturbations: those of its own, and those of perturbations that no cell carries.

Nothing is written for data without features.
"""

from collections.abc import Sequence
from pathlib import Path

from samsjax.data import PerturbationData
from samsjax.data.features import PerturbationFeatures, feature_table, features_of_labels, read_features
from samsjax.errors import InputError

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


def stored_features(run: Path, labels: Sequence[str]) -> PerturbationFeatures:
    """Features of perturbations as the model of a run knows them, but not standardised, in the order of `labels`.

    Where doses were perturbations of their own, a label such as `A@0.25` need not be one of them: its features are
    those of `A`, and the logarithm of the dose.

    Raises:
        InputError: if the run has no features, naming perturbations without, or for a dose where the model has no
            feature for it.
    """
    path = run / FEATURES
    if not path.is_file():
        raise InputError(
            f"{run} has no {FEATURES}: it was fitted without features of perturbations (--features.source)"
        )
    return features_of_labels(read_features(path), labels)
