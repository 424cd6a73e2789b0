"""Fixtures every test folder shares. Session-wide so that models are compiled once per worker."""

import gc
import os
from pathlib import Path

# Compiling dominates these tests. Workers share what they compiled, and so do later runs in the same checkout; the
# cache is keyed by program, compiler and flags. This must stand before the first import of jax.
CHECKOUT = Path(__file__).resolve().parents[1]
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CHECKOUT / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# Programs that run for milliseconds are not worth the compiler's effort: a third of the time of these tests.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Workers share the cores; threads of their linear algebra would only wait for each other: half the time of many small
# fits. Libraries read this when they are loaded; those that pytest's plugins have loaded before are limited below.
for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from threadpoolctl import threadpool_limits  # noqa: E402

threadpool_limits(1)

# Assertions in modules that test files share show the values they compared, as those of test files do.
pytest.register_assert_rewrite("tests.models.contract", "tests.models.subject")

SHARED = CHECKOUT.parent / "shared"


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run tests marked slow (minutes on two cores)")
    parser.addoption("--gpu", action="store_true", help="also run tests marked gpu")


def pytest_collection_modifyitems(config, items):
    for flag in ("slow", "gpu"):
        if not config.getoption(f"--{flag}"):
            skip = pytest.mark.skip(reason=f"marked {flag}: run with --{flag}")
            for item in items:
                if flag in item.keywords:
                    item.add_marker(skip)


def _shared_folder(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"needs the folder shared/{name} beside the checkout, which is absent")
    return folder


@pytest.fixture(scope="session")
def parity_dir() -> Path:
    return _shared_folder("parity")


@pytest.fixture(scope="session")
def shared_data_dir() -> Path:
    return _shared_folder("data")


@pytest.fixture(scope="session")
def specs_dir() -> Path:
    return _shared_folder("specs")


@pytest.fixture(scope="session")
def parity(parity_dir):
    """Load one file of reference numbers as a dictionary of arrays."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(parity_dir / f"{name}.npz") as archive:
            return {key: archive[key] for key in archive.files}

    return load


MOST_MEMORY_MAPS = 20_000
"""Of one process: every compiled program holds some, and Linux allows 65,530; beyond that XLA crashes."""


@pytest.fixture(autouse=True, scope="module")
def few_programs_in_memory():
    """Let go of compiled programs between modules before a worker has too many; they come back from the cache."""
    yield
    maps = Path("/proc/self/maps")
    if maps.is_file() and maps.read_bytes().count(b"\n") > MOST_MEMORY_MAPS:
        import jax

        jax.clear_caches()
        gc.collect()
