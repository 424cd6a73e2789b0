"""Features of molecules from their SMILES: descriptors or Morgan fingerprints, by RDKit, which is optional."""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from samsjax.data.features.config import FeaturesConfig
from samsjax.data.features.keyed import FeatureTable, entries_of
from samsjax.data.features.reading import read_column
from samsjax.errors import InputError, listing

if TYPE_CHECKING:
    from samsjax.data.dataset import PerturbationData

UNBOUNDED = ("Ipc",)
"""Descriptors left out: this one grows exponentially with the atoms, so that a larger molecule than those that train
would be off every scale. AvgIpc holds the same."""


def smiles_features(config: FeaturesConfig, data: "PerturbationData") -> FeatureTable:
    """Descriptors of every molecule of the file.

    Raises:
        InputError: without RDKit, if the file cannot be used, or naming perturbations of the cells that are not in it,
            whose SMILES cannot be read, or that some descriptor is not defined for, unless these are to be dropped.
    """
    require_rdkit()
    smiles = read_column(str(config.path), config.column, "smiles")
    where = f"{config.descriptors} of {config.path}"
    molecules = {name: _molecule(text) for name, text in smiles.items()}
    wanted = set(entries_of(data.perturbation_names.tolist(), smiles, str(config.path)))
    bad = [name for name, molecule in molecules.items() if molecule is None]
    carried = [name for name in bad if name in wanted]
    if carried:
        raise InputError(
            f"{len(carried)} SMILES of {config.path} cannot be read, the first {smiles[carried[0]]!r} of perturbation "
            f"{carried[0]!r}: {listing(carried)}"
        )
    if bad:
        text = f"{len(bad)} SMILES of {config.path} that no cell needs cannot be read, and are left out: {listing(bad)}"
        warnings.warn(text, UserWarning, stacklevel=4)
    known = {name: molecule for name, molecule in molecules.items() if molecule is not None}
    names, values = _fingerprints(known, config) if config.descriptors == "morgan" else _descriptors(known)
    return _defined(FeatureTable(tuple(known), names, values, where), sorted(wanted), config)


def _defined(table: FeatureTable, wanted: list[str], config: FeaturesConfig) -> FeatureTable:
    """Without descriptors that are no number for some molecule that a cell carries, if these are to be dropped."""
    known = np.isfinite(table.values[table.rows(wanted)])
    lost = np.flatnonzero(~known.all(axis=0))
    if not len(lost):
        return table
    names, molecules = (
        [table.names[column] for column in lost],
        [wanted[row] for row in np.flatnonzero(~known.all(axis=1))],
    )
    text = (
        f"{len(lost)} descriptors are not defined for {len(molecules)} molecules of the screen ({listing(molecules)})"
    )
    if config.undefined == "refuse":
        first = wanted[int(np.argmin(known[:, lost[0]]))]
        raise InputError(
            f"{text}, the first {names[0]!r} of {first!r}: {listing(names)}; leave them out with --features.undefined "
            "drop, or give --features.descriptors morgan"
        )
    warnings.warn(f"{text} and are dropped: {listing(names)}", UserWarning, stacklevel=5)
    return table.columns(np.flatnonzero(known.all(axis=0)))


def require_rdkit() -> None:
    """Raises: InputError with the command that installs RDKit, if it is not there."""
    try:
        import rdkit  # noqa: F401
    except ImportError:
        raise InputError(
            "features of molecules need RDKit: pip install 'samsjax[chemistry]' (or pip install rdkit), or compute "
            "descriptors elsewhere and give them as a table (--features.source table)"
        ) from None


def _molecule(text: str) -> Any:
    """None for a text that is no molecule, or an empty one."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        return Chem.MolFromSmiles(text) if text else None


def _descriptors(molecules: dict[str, Any]) -> tuple[tuple[str, ...], np.ndarray]:
    from rdkit import rdBase
    from rdkit.Chem import Descriptors

    with rdBase.BlockLogs():
        rows = [Descriptors.CalcMolDescriptors(molecule, missingVal=np.nan) for molecule in molecules.values()]
    names = tuple(name for name in rows[0] if name not in UNBOUNDED) if rows else ()
    return names, np.array([[float(row[name]) for name in names] for row in rows]).reshape(len(rows), len(names))


def _fingerprints(molecules: dict[str, Any], config: FeaturesConfig) -> tuple[tuple[str, ...], np.ndarray]:
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=config.radius, fpSize=config.n_bits)
    rows = [generator.GetFingerprintAsNumPy(molecule).astype(np.float64) for molecule in molecules.values()]
    return tuple(f"bit_{bit}" for bit in range(config.n_bits)), np.array(rows).reshape(len(rows), config.n_bits)
