"""Perturbations that no cell carries, added to a fitted model by their features; then everything predicts them.

The guide of a perturbation without training cells is the prior that its features give, so nothing is fitted: the new
perturbations get rows in every table, which no program reads, and what was known of the others stays as it was.
"""

from collections.abc import Sequence
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from samsjax.data.features.table import PerturbationFeatures
from samsjax.errors import InputError, listing
from samsjax.inference.fitted import Fitted
from samsjax.inference.log_weights import effect_parameters
from samsjax.models import described
from samsjax.models.base import DataStatistics
from samsjax.types import Features


def with_unseen(fitted: Fitted, names: Sequence[str], features: PerturbationFeatures) -> Fitted:
    """The model with further perturbations behind its own, which have features and no training cells.

    Args:
        fitted: a model that uses features.
        names: of the new perturbations.
        features: one row for each of `names`, on the scales the features of the training data came in; columns are
            found by their names.

    Returns:
        A model for which the new names are perturbations like any other. Draws of their effects are draws from the
        prior. It has no `fit`, and can be saved.

    Raises:
        InputError: for a model without features; no names, or names that are known, repeated, empty or look like
            combinations; another number of rows than names; or other features than the model's.
    """
    known, scale = fitted.statistics.features, fitted.feature_scale
    if known is None or scale is None:
        raise InputError(
            f"{described(fitted.config)} knows no features of perturbations, so it can only predict those it was "
            "fitted to: fit it with --model.feature-prior and --features.source"
        )
    names = tuple(str(name) for name in names)
    _check_names(fitted, names)
    if len(features.values) != len(names):
        raise InputError(f"{len(features.values)} rows of features for {len(names)} new perturbations: give one each")
    added = jnp.asarray(scale.standardise(features.values[:, _columns(fitted, features)]))
    values = jnp.concatenate([known.values, added])
    seen = jnp.concatenate([known.seen, jnp.zeros(len(names))])
    tables = effect_parameters(fitted.model_guide)
    params = {name: _padded(leaf, len(names)) if name in tables else leaf for name, leaf in fitted.params.items()}
    return replace(
        fitted,
        vocabulary=fitted.vocabulary._replace(perturbation_names=(*fitted.vocabulary.perturbation_names, *names)),
        statistics=_statistics(fitted.statistics, Features(values, seen)),
        n_training_cells=np.append(fitted.n_training_cells, np.zeros(len(names), np.int32)),
        params=params,
        fit=None,
    )


def _check_names(fitted: Fitted, names: tuple[str, ...]) -> None:
    words = fitted.vocabulary
    if not names:
        raise InputError("no names of new perturbations: give at least one")
    known = [name for name in names if name in (*words.perturbation_names, words.control_name)]
    if known:
        raise InputError(f"the model knows these perturbations already: {listing(known)}")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"duplicated names of new perturbations: {listing(repeated)}")
    wrong = [repr(name) for name in names if not name.strip() or words.separator in name]
    if wrong:
        raise InputError(
            f"no names of single perturbations (empty, or combinations with {words.separator!r}): {listing(wrong)}"
        )


def _columns(fitted: Fitted, features: PerturbationFeatures) -> list[int]:
    """Where the model's features stand."""
    wanted = fitted.vocabulary.features
    missing = [name for name in wanted if name not in features.names]
    other = [name for name in features.names if name not in wanted]
    if missing or other:
        raise InputError(
            f"the model's features are {listing(wanted)}; missing: {listing(missing)}; not among them: {listing(other)}"
        )
    return [features.names.index(name) for name in wanted]


def _statistics(statistics: DataStatistics, features: Features) -> DataStatistics:
    """For perturbations with these features; the doses of the new ones are not known."""
    n_perturbations, log_doses = len(features.seen), statistics.log_doses
    if log_doses is not None:
        # As perturbations without training cells have: the mean of the others.
        seen = features.seen[: len(log_doses)]
        middle = (log_doses * seen).sum() / jnp.maximum(seen.sum(), 1.0)
        log_doses = jnp.append(log_doses, jnp.full(n_perturbations - len(log_doses), middle))
    return replace(statistics, n_perturbations=n_perturbations, features=features, log_doses=log_doses)


def _padded(table: Array, n_rows: int) -> Array:
    return jnp.concatenate([table, jnp.zeros((n_rows, *table.shape[1:]), table.dtype)])
