"""What tests of features share: a small screen with named perturbations, and tables to read."""

import numpy as np
import pandas as pd

from samsjax.data import PerturbationData, encode_labels

GENES = tuple(f"G{i}" for i in range(8))


def screen(labels=("A", "B", "C", "D"), held=("D",), doses=None, cells_per_label=3, n_controls=12, seed=0, **options):
    """Cells of each label and controls; those of the labels `held` are test cells, all others train."""
    named = [*np.repeat(np.array(labels, dtype=str), cells_per_label).tolist(), *["control"] * n_controls]
    amounts = None if doses is None else [*np.repeat(doses, cells_per_label), *[1.0] * n_controls]
    counts = np.random.default_rng(seed).poisson(4.0, (len(named), len(GENES))) + 1
    fields = {
        "x": counts.astype(np.uint16),
        "library_size": counts.sum(axis=1).astype(np.float32),
        "gene_names": np.array(GENES),
        "cell_names": np.array([f"c{i}" for i in range(len(named))]),
        "split": np.array(["test" if name in held else "train" for name in named]),
        **vars(encode_labels(named, control="control", doses=amounts)),
    }
    return PerturbationData(**{**fields, **options})


def table(folder, **columns):
    path = folder / "table.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path
