"""Small data and small models that several tests share, so that each is compiled once per worker."""

from dataclasses import replace

import numpy as np

from samsjax.data import PerturbationData, SimulationConfig, simulate
from samsjax.data.features.table import PerturbationFeatures
from samsjax.inference.config import TrainConfig
from samsjax.models import SAMSVAEConfig

SCREEN = SimulationConfig(
    n_genes=24,
    n_latent=3,
    n_perturbations=6,
    n_without_effect=1,
    n_doubles=3,
    n_control_cells=70,
    cells_per_single=30,
    cells_per_double=20,
    median_library_size=150.0,
)
MODEL = SAMSVAEConfig(n_latent=4, n_hidden=8, mask_prior_prob=0.1)
TRAIN = TrainConfig(n_steps=12, batch_size=64, learning_rate=1e-2, rotation="off")


def screen(seed: int = 0) -> PerturbationData:
    return simulate(SCREEN, seed=seed)[0]


def labelled(data: PerturbationData) -> PerturbationData:
    """The same cells with quality labels that have nothing to do with them: a third fails, by one criterion or both."""
    failed = np.random.default_rng(1).random((data.n_cells, 2)) < 0.2
    return replace(data, failed=failed, criteria=("n_counts", "percent_mito"))


def featured(data: PerturbationData) -> PerturbationData:
    """The same cells with three features of the perturbations that have nothing to do with them."""
    values = np.random.default_rng(2).normal(size=(data.n_perturbations, 3))
    return replace(data, features=PerturbationFeatures(("weight", "size", "charge"), values))


def gaussian_data(x: np.ndarray, index: np.ndarray, dosage: np.ndarray, split: np.ndarray) -> PerturbationData:
    """Continuous values with one perturbation slot per cell."""
    n_cells, n_genes = x.shape
    return PerturbationData(
        x=x.astype(np.float32),
        perturbation_index=index.reshape(-1, 1).astype(np.int32),
        dosage=dosage.reshape(-1, 1).astype(np.float32),
        library_size=np.ones(n_cells, dtype=np.float32),
        gene_names=np.array([f"g{i}" for i in range(n_genes)]),
        perturbation_names=np.array([f"P{i}" for i in range(int(index.max()) + 1)]),
        cell_names=np.array([f"c{i}" for i in range(n_cells)]),
        split=split,
        library_size_source="ones",
    )
