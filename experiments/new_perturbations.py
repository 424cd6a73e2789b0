"""Perturbations that a run knows by their features alone: found by name, in the run's own features or in a new table.

A model that uses features predicts any perturbation that has them. `NEW@0.25` is a dose of `NEW`; where doses are
perturbations of their own, `A@0.25` is one more, with the features of `A` and that dose.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from experiments.feature_files import FEATURES
from experiments.stored import read_for
from samsjax.data import DataConfig, PerturbationData
from samsjax.data.features import LOG_DOSE, FeatureTable, PerturbationFeatures, features_of_labels, read_features
from samsjax.data.labels import DOSE_MARK, canonical_dose, read_dose, split_dose
from samsjax.errors import InputError, listing, nearest
from samsjax.evaluation.baselines import TrainingEffects
from samsjax.inference.fitted import Fitted
from samsjax.inference.unseen import with_unseen


@dataclass(frozen=True)
class KnownFeatures:
    """Features by name that stand behind a run. Its own come first: what it was fitted with does not change."""

    tables: tuple[FeatureTable, ...]
    """Those of the run and, if one was given, a further one with the same columns; none for a run without features."""

    @classmethod
    def of(cls, run: Path, fitted: Fitted, path: Path | None) -> "KnownFeatures":
        """The features of a run, and those of a further table for perturbations that the run does not know.

        Raises:
            InputError: if the model of the run uses no features and a table is given, or the table cannot be read,
                repeats a perturbation or lacks a feature of the run.
        """
        if not fitted.config.uses_features:
            if path is not None:
                raise InputError(
                    f"--features {path}: the model of {run} uses no features of perturbations, its effects are learned "
                    "from cells alone; fit one with --features.source to predict from features"
                )
            return cls(())
        if not (run / FEATURES).is_file():
            raise InputError(f"{run} is damaged: its model uses features of perturbations, and {FEATURES} is missing")
        own = read_features(run / FEATURES)
        return cls((own,) if path is None else (own, _like(read_features(path), own, fitted)))

    def new_names(self, fitted: Fitted, parts: Iterable[str]) -> list[str]:
        """Those of the parts of labels that the model does not know and that have features, each once, in order.

        Raises:
            InputError: for a dose that is missing or not usable, where doses are perturbations of their own.
        """
        known = {*fitted.vocabulary.perturbation_names, fitted.vocabulary.control_name}
        rows = {name for table in self.tables for name in table.perturbations}
        dosed, found = _doses_are_names(fitted), dict[str, None]()
        for part in parts:
            name = canonical_dose(part) if dosed else part
            head, mark, dose = part.rpartition(DOSE_MARK)
            base = head.strip() if mark else part
            if part in known or name in known:
                continue
            if dosed and base in rows:
                _check_dose(part, base, mark, dose)
                found[name] = None
            elif name in rows:
                found[name] = None
            elif base in rows and base not in known:
                found[base] = None
        return list(found)

    def added_to(self, fitted: Fitted, names: Sequence[str]) -> Fitted:
        """The model with new perturbations; itself if there is none.

        Raises:
            InputError: for features that are no finite numbers, or not the same in both tables.
        """
        return with_unseen(fitted, names, self.features(names)) if names else fitted

    def features(self, names: Sequence[str]) -> PerturbationFeatures:
        """Of perturbations that stand in a table, themselves or as doses; in the order of `names`.

        Raises:
            InputError: for features that are no finite numbers, or not the same in both tables.
        """
        found = [_agreed([features_of_labels(t, [name]).values[0] for t in self._with(name)], name) for name in names]
        return PerturbationFeatures(self.tables[0].names, np.array(found))

    def unmet(self, fitted: Fitted) -> list[str]:
        """Names of all perturbations in the tables that the model does not know, each once."""
        words = fitted.vocabulary
        known = {*words.perturbation_names, words.control_name}
        names = dict.fromkeys(name for table in self.tables for name in table.perturbations)
        return [name for name in names if name not in known and words.separator not in name]

    def _with(self, name: str) -> list[FeatureTable]:
        base = split_dose(name)[0]
        return [table for table in self.tables if {name, base} & set(table.perturbations)]

    def why_unknown(self) -> str:
        """What to do about a perturbation that cannot be predicted, for messages."""
        if not self.tables:
            return (
                "A perturbation without cells in training cannot be predicted by this model, because its effect is "
                "learned from its own cells; a model fitted with --features.source predicts whatever has features."
            )
        return (
            "This model predicts every perturbation that has features, and this one has none in the run: give a table "
            f"with them, --features PATH, whose first column names perturbations and the others are "
            f"{listing(self.tables[0].names)}."
        )


def read_with_new(
    run: Path, fitted: Fitted, config: DataConfig, known: KnownFeatures
) -> tuple[Fitted, PerturbationData]:
    """Cells for a stored model, and the model with those of their perturbations that it knows by features alone.

    Raises:
        InputError: as `read_for`, and for features that cannot be used.
    """
    own = fitted.vocabulary.perturbation_names
    every = fitted.vocabulary._replace(perturbation_names=(*own, *known.unmet(fitted)))
    data = read_for(run, replace(fitted, vocabulary=every), config)
    if not known.tables:
        return fitted, data
    carried = np.unique(data.perturbation_index[data.dosage > 0])
    new = data.perturbation_names[carried[carried >= len(own)]].tolist()
    names = [*own, *new]
    place = {name: row for row, name in enumerate(names)}
    rows = np.array([place.get(name, 0) for name in data.perturbation_names.tolist()], dtype=np.int32)
    index = np.where(data.dosage > 0, rows[data.perturbation_index], 0).astype(np.int32)
    features = known.features(names)
    data = replace(data, perturbation_index=index, perturbation_names=np.array(names, dtype=str), features=features)
    return known.added_to(fitted, new), data


def with_new(training: TrainingEffects, data: PerturbationData) -> TrainingEffects:
    """What baselines learn from, for the perturbations of `data`, which may have new ones behind those that trained."""
    if data.features is None:
        return training
    names = np.asarray(data.perturbation_names, dtype=str)
    return training._replace(perturbation_names=names, features=data.features.values)


def parts_of(labels: Iterable[str], separator: str) -> list[str]:
    """What labels are joined of, doses included."""
    return [part.strip() for label in labels for part in label.split(separator)]


def _doses_are_names(fitted: Fitted) -> bool:
    words = fitted.vocabulary
    return LOG_DOSE in words.features and any(split_dose(name)[1] is not None for name in words.perturbation_names)


def _check_dose(part: str, base: str, mark: str, dose: str) -> None:
    if not mark:
        raise InputError(
            f"{part!r} has no dose, and doses are perturbations of their own in this run: ask for {base}@DOSE, such as "
            f"{base}@1"
        )
    read_dose(dose.strip(), f"{base} in {part!r}")


def _agreed(found: Sequence[np.ndarray], name: str) -> np.ndarray:
    if not np.allclose(found[0], found[-1], rtol=1e-6, atol=0.0):
        raise InputError(
            f"the table has other features of {name!r} than the run, which knew them when it was fitted: leave the row "
            "out, or give the perturbation another name"
        )
    return found[0]


def _like(table: FeatureTable, own: FeatureTable, fitted: Fitted) -> FeatureTable:
    """A table with the columns of the run's own, in their order; others are not looked at.

    Raises:
        InputError: naming the columns that are missing.
    """
    if LOG_DOSE not in table.names and _doses_are_names(fitted):  # the dose stands in the label
        zeros = np.zeros((len(table.perturbations), 1))
        entries = None if table.entries is None else np.hstack([table.entries, zeros.astype(object)])
        table = replace(table, names=(*table.names, LOG_DOSE), values=np.hstack([table.values, zeros]), entries=entries)
    missing = [name for name in own.names if name not in table.names]
    if missing:
        close = nearest(missing[0], table.names)
        hint = f" The columns nearest to {missing[0]!r} are {listing(close)}." if close else ""
        raise InputError(
            f"{table.where} lacks {len(missing)} of the {len(own.names)} features of the run: {listing(missing)}.{hint}"
        )
    order = [table.names.index(name) for name in own.names]
    entries = None if table.entries is None else table.entries[:, order]
    return replace(table, names=own.names, values=table.values[:, order], entries=entries)
