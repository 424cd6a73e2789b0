"""Downloading the file of a study: what, from where, how large, and is it the file it should be.

Where the address of a file is not on record, or a hash was never published, that is said and nothing is made up. A hash
that was found at the first download is kept beside the file, so that later calls notice a changed or damaged file.
pooch does the download; it is the optional extra `datasets`, imported when it is needed.
"""

import hashlib
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from samsjax.data.studies.base import Remote, Study
from samsjax.errors import InputError

HDF5 = b"\x89HDF\r\n\x1a\n"
"""How every .h5ad file begins."""
TIMEOUT = 20.0
"""Seconds to wait for a server to state the size of a file."""


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def fetch(study: Study, folder: str | Path, *, say: Callable[[str], None] = _to_stderr) -> Path:
    """Download the file of a study into `folder` unless it is there, check its hash, and return its path.

    Args:
        study: an entry of `STUDIES`.
        folder: where the file goes; made if it does not exist.
        say: receives what is downloaded from where, its size, and what its hash was checked against.

    Raises:
        InputError: if no address is on record, pooch is not installed, the download fails, or the hash differs.
    """
    remote, path = study.remote, Path(folder).expanduser() / study.remote.filename
    if remote.address is None:
        raise InputError(
            f"no download address is on record for the study {study.name!r} ({study.citation}). {_by_hand(study)}"
        )
    pooch = _pooch(study)
    was_there = path.is_file()
    size = "already there" if was_there else _size(remote)
    say(f"{study.citation}\nsource: {remote.source}\naddress: {remote.address}\nsize: {size}\nfile: {path}")
    try:
        known = remote.sha256 or _kept_hash(path)
        _retrieve(pooch, remote.address, path, known)
        _check_content(path, remote, keep=was_there)
        say(_verdict(remote, path, known))
    except (OSError, ValueError) as error:  # requests raises kinds of OSError, pooch ValueError for another hash
        reason = " ".join(str(error).split())
        raise InputError(
            f"cannot download the file of the study {study.name!r} from {remote.address}: {type(error).__name__}: "
            f"{reason}. {_by_hand(study)}"
        ) from error
    return path


def _by_hand(study: Study) -> str:
    return f"Get it by hand and give its path. Source: {study.remote.source}. Expected: {study.layout}."


def _pooch(study: Study) -> Any:
    try:
        import pooch
    except ImportError:
        raise InputError(
            f"downloading needs pooch, which is not installed: pip install 'samsjax[datasets]'. {_by_hand(study)}"
        ) from None
    return pooch


def _retrieve(pooch: Any, address: str, path: Path, known: str | None) -> None:
    pooch.get_logger().setLevel("WARNING")  # what it would say is said here
    pooch.retrieve(
        url=address,
        known_hash=None if known is None else f"sha256:{known}",
        fname=path.name,
        path=path.parent,
        progressbar=sys.stderr.isatty(),
    )


def _size(remote: Remote) -> str:
    """The size on record, or what the server says."""
    if remote.n_bytes is not None:
        return f"{remote.n_bytes} bytes"
    n_bytes = _size_at(str(remote.address))
    return "not on record, and not stated by the server" if n_bytes is None else f"{n_bytes} bytes, says the server"


def _size_at(address: str) -> int | None:
    request = urllib.request.Request(address, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
            return int(reply.headers["Content-Length"]) or None
    except (OSError, ValueError, TypeError):  # unreachable, no number, no such header: a size is only information
        return None


def _hash_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _kept_hash(path: Path) -> str | None:
    """The hash found at the first download, in the format of sha256sum."""
    kept = _hash_file(path)
    return kept.read_text().split()[0] if kept.is_file() else None


def _check_content(path: Path, remote: Remote, *, keep: bool) -> None:
    """Servers that are asked too often answer with an empty page or one of text, which must not pass for data."""
    with path.open("rb") as file:
        is_hdf5 = file.read(len(HDF5)) == HDF5
    n_bytes = path.stat().st_size
    if is_hdf5 and remote.n_bytes in (None, n_bytes):
        return
    if not keep:
        path.unlink()
    wanted = "an .h5ad file" if remote.n_bytes is None else f"the published .h5ad file of {remote.n_bytes} bytes"
    raise ValueError(f"what is in {path} ({n_bytes} bytes) is not {wanted}")


def _verdict(remote: Remote, path: Path, known: str | None) -> str:
    """What is known about the file that lies there now; keeps its hash if none was known."""
    if remote.sha256 is not None:
        return f"sha256 {known}: as published"
    if known is not None:
        return f"sha256 {known}: as at the first download; no published hash is on record"
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    _hash_file(path).write_text(f"{found}  {path.name}\n")
    return (
        f"{path.stat().st_size} bytes, sha256 {found}: UNVERIFIED, because no published hash is on record; compare it "
        f"with the source. It is kept in {_hash_file(path)} and checked from now on"
    )
