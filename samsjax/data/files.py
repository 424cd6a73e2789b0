"""Opening an `.h5ad` file: every way this fails ends in a sentence that says which file, why, and what lies beside."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samsjax.errors import InputError, listing, nearest

if TYPE_CHECKING:
    import anndata

UNREADABLE = (OSError, KeyError, TypeError, ValueError)
"""What h5py and anndata raise for a damaged file or one of another layout."""


def existing_file(path: Path | None) -> Path:
    """The path, if it is a file.

    Raises:
        InputError: with the files nearest in name, or the files in the folder that was given.
    """
    if path is None:
        raise InputError("no data: give the path of an .h5ad file")
    path = Path(path).expanduser()
    if path.is_dir():
        inside = sorted(entry.name for entry in path.glob("*.h5ad"))
        raise InputError(f"{path} is a folder, expected an .h5ad file; .h5ad files in it: {listing(inside)}")
    if not path.exists():
        raise _missing_file(path)
    return path


def _missing_file(path: Path) -> InputError:
    if not path.parent.is_dir():
        return InputError(f"no file {path}: the folder {path.parent} does not exist either")
    names = sorted(entry.name for entry in path.parent.iterdir() if entry.is_file())
    close = nearest(path.name, names)
    found = [name for name in names if name.endswith(".h5ad")]
    hint = f"Did you mean {listing(close)}?" if close else f".h5ad files in that folder: {listing(found)}"
    return InputError(f"no file {path}. {hint}")


@contextmanager
def opened(
    path: Path | None, *, lazy: bool, obsm: Sequence[str] = (), uns: Sequence[str] = ()
) -> "Iterator[anndata.AnnData]":
    """A file as AnnData; `lazy` leaves matrices on disk until the context ends and reads only what is named.

    anndata's own backed mode would read all layers, which are as large as X.

    Args:
        path: the file.
        lazy: matrices become handles into the open file; obs and var are read.
        obsm: entries of `obsm` to read when `lazy`.
        uns: entries of `uns` to read when `lazy`.

    Raises:
        InputError: if the file is missing, no HDF5, damaged, or holds no AnnData.
    """
    import anndata
    import h5py

    path = existing_file(path)
    if not h5py.is_hdf5(path):
        raise InputError(f"{path} ({path.stat().st_size} bytes) is not an .h5ad file: it does not start like HDF5")
    with ExitStack() as stack:
        try:
            file = stack.enter_context(h5py.File(path, "r")) if lazy else None
            adata = anndata.read_h5ad(path) if file is None else _on_disk(file, obsm, uns)
        except UNREADABLE as error:
            raise _unreadable(path, error) from error
        try:
            yield adata
        except OSError as error:  # a matrix on disk is read only now
            raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    return InputError(
        f"cannot read {path} as .h5ad: it is damaged, incomplete (an interrupted download?) or of another layout. "
        f"Cause: {type(error).__name__}: {reason}"
    )


def _on_disk(file: Any, obsm: Sequence[str], uns: Sequence[str]) -> "anndata.AnnData":
    from anndata import AnnData
    from anndata.io import read_elem, sparse_dataset

    def handle(element: Any) -> Any:
        return element if hasattr(element, "dtype") else sparse_dataset(element)

    def chosen(group: str, names: Sequence[str]) -> dict[str, Any]:
        return {name: read_elem(file[group][name]) for name in names if name in file.get(group, ())}

    raw = {"X": handle(file["raw/X"]), "var": read_elem(file["raw/var"])} if "raw/X" in file else None
    return AnnData(
        X=handle(file["X"]) if "X" in file else None,
        obs=read_elem(file["obs"]),
        var=read_elem(file["var"]),
        layers={name: handle(element) for name, element in file.get("layers", {}).items()},
        obsm=chosen("obsm", obsm),
        uns=chosen("uns", uns),
        raw=raw,
    )
