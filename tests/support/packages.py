"""Packages that some tests need besides those that are always installed."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

ALWAYS_IN_CI = {"pesq", "visqol", "ai_edge_litert", "librosa"}
"""Of the extra ``measures``, what ``make test`` installs where there is a compiler."""


def require_package(module: str) -> None:
    """Skip without an importable ``module``, naming it; where ``CI=true``, fail if it is one that CI installs.

    The rest of the extra ``measures`` is large, so that its tests run where somebody installed it.
    """
    if find_spec(module) is None:
        reason = f"the package {module} is not installed (pip install 'whispergpt[measures]')"
        if os.environ.get("CI") == "true" and module in ALWAYS_IN_CI:
            pytest.fail(f"{reason}, and CI must not skip what needs it")
        pytest.skip(reason)
