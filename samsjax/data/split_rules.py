"""From the name of a split rule and its settings to the split: which function of `splits` or `held_out` is meant."""

import numpy as np

from samsjax.data.config import DataConfig
from samsjax.data.encoding import Encoding, combination_names
from samsjax.data.held_out import carried_perturbations, held_out_doses, held_out_perturbations
from samsjax.data.perturbation_groups import cluster_perturbations, load_features, load_groups
from samsjax.data.splits import held_out_combination_cells, held_out_combinations, random_split
from samsjax.errors import InputError


def split_by_rule(config: DataConfig, applied: Encoding, combination_labels: np.ndarray | None = None) -> np.ndarray:
    """Split cells by any rule but "column", which needs no perturbations.

    Args:
        config: the rule and its settings.
        applied: what each cell received. Combinations are parts here, also where a model knows them as one.
        combination_labels: str (cell,), what the rule "combinations" goes by instead of labels such as `A+B`.

    Returns:
        str (cell,) of "train", "val", "test", "none".

    Raises:
        InputError: if there is nothing to hold out, nothing left to train, or a table cannot be used.
    """
    n_cells, seed = len(applied.dosage), config.split_seed
    match config.split:
        case "test":
            return np.full(n_cells, "test")
        case "random":
            return random_split(n_cells, seed=seed)
        case "combinations":
            labels = combination_labels
            if labels is None:
                labels = combination_names(applied, config.separator, config.control[0])
            shares = {"train_fraction": config.train_combinations, "test_fraction": config.test_combinations}
            return held_out_combinations(labels, applied.n_parts, seed=seed, **shares)
        case "combination_cells":
            return held_out_combination_cells(applied.n_parts, fraction=config.train_combinations, seed=seed)
        case "perturbations":
            return held_out_perturbations(
                applied,
                share=config.test_perturbations,
                names=config.test_perturbation_names,
                groups=_groups(config, applied),
                val_share=config.val_perturbations,
                seed=seed,
            )
        case "doses":
            return held_out_doses(applied, place=config.held_out_doses, doses=config.test_doses, seed=seed)
    raise InputError(f"the split {config.split!r} is no rule: it is read from a column")


def _groups(config: DataConfig, applied: Encoding) -> dict[str, str] | None:
    if config.perturbation_groups is not None:
        return load_groups(config.perturbation_groups)
    if config.perturbation_features is None:
        return None
    names = carried_perturbations(applied)
    features = load_features(config.perturbation_features, names)
    return cluster_perturbations(names, features, config.n_feature_clusters)
