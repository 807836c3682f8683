"""Packages that some tests need besides those that are always installed."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest


def require_package(module: str) -> None:
    """Skip without an importable ``module``, naming it; where ``CI=true``, fail: CI installs the extra ``measures``.

    ``make test`` alone installs what is small and needs no compiler; ``make measures`` the rest.
    """
    if find_spec(module) is None:
        reason = f"the package {module} is not installed (make measures)"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}, and CI must not skip what needs it")
        pytest.skip(reason)
