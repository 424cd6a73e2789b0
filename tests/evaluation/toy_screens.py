"""Screens made of labels and values, for tests in which every number is known."""

import numpy as np

from samsjax.data import PerturbationData
from samsjax.data.encoding import encode_labels


def screen_of(labels, x, split="train", doses=None, gene_names=None) -> PerturbationData:
    """A screen with the control label "ctrl"; `x` keeps its type, and totals are row sums for counts."""
    labels, x = np.asarray(labels, dtype=str), np.asarray(x)
    encoding = encode_labels(labels, control="ctrl", doses=doses)
    counts = np.issubdtype(x.dtype, np.integer)
    return PerturbationData(
        x=x,
        perturbation_index=encoding.perturbation_index,
        dosage=encoding.dosage,
        library_size=x.sum(axis=1).astype(np.float32) if counts else np.ones(len(x), np.float32),
        gene_names=np.array(gene_names or [f"g{i}" for i in range(x.shape[1])]),
        perturbation_names=encoding.perturbation_names,
        cell_names=np.array([f"c{i}" for i in range(len(x))]),
        split=np.full(len(x), split) if isinstance(split, str) else np.asarray(split),
        control_name="ctrl",
        library_size_source="row_sum" if counts else "ones",
    )


def gaussian_screen(rng, effects, n_cells, n_controls, split, sd=1.0) -> PerturbationData:
    """Continuous values with known mean effects.

    Args:
        rng: NumPy generator.
        effects: label -> (gene,).
        n_cells: of every treatment, in every split.
        n_controls: in every split.
        split: names of splits.
        sd: of cells about their mean.
    """
    labels, x, splits = [], [], []
    n_genes = len(next(iter(effects.values())))
    for name in split:
        for label, effect, n in [
            ("ctrl", np.zeros(n_genes), n_controls),
            *((k, v, n_cells) for k, v in effects.items()),
        ]:
            labels += [label] * n
            splits += [name] * n
            x.append(effect + sd * rng.standard_normal((n, n_genes)))
    return screen_of(labels, np.concatenate(x).astype(np.float32), splits)
