"""Programs that some tests need besides Python."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def require_tool(name: str) -> str:
    """The path of a program; without it the test skips, or fails where ``CI=true`` promises that it is installed."""
    path = shutil.which(name)
    if path is None:
        skip(f"{name} is not installed")
    return path


def skip(reason: str) -> NoReturn:
    """Skip the test, or fail it where ``CI=true`` promises that nothing is missing."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and CI must not skip what needs it")
    pytest.skip(reason)
