"""Pytest plugin that keeps processes of tests apart: those of one run, of other runs and of earlier ones."""

from __future__ import annotations

import gc
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

NUMBA_CACHE = "NUMBA_CACHE_DIR"
"""Variable that names the folder where numba keeps what it compiled."""
_crashed = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Give this process a numba cache of its own, before any test module is imported.

    librosa's functions are compiled at their first call and kept beside their source. Two processes that fill the same
    empty cache read each other's half-written entries, and one ends with SIGSEGV. Filling the cache once before the
    tests are shared out would need a list of every function and argument type that any test uses. A folder for each
    process needs no list, and costs one more compilation. A subprocess inherits the folder of the test that starts it.
    """
    config.stash[_crashed] = []
    if hasattr(config, "workerinput"):
        # Below the controller's folder, which is removed even if this worker crashes.
        os.environ[NUMBA_CACHE] = str(Path(os.environ[NUMBA_CACHE]) / config.workerinput["workerid"])
        return
    folder = tempfile.TemporaryDirectory(prefix="numba-", ignore_cleanup_errors=True)
    config.add_cleanup(folder.cleanup)
    os.environ[NUMBA_CACHE] = folder.name


def pytest_collection_finish() -> None:
    """Collect garbage from now on, but not among the modules and tests that there are: they stay."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object | None) -> None:
    """Note that a worker crashed. ``error`` is None for a worker that ended as it should."""
    if error:
        node.config.stash[_crashed].append(node.gateway.id)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if a worker crashed outside a test, which pytest-xdist reports without a failure."""
    crashed = session.config.stash[_crashed]
    if crashed and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
        print(f"\nThe run fails: {', '.join(crashed)} crashed.")
