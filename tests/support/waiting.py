"""Waiting for what takes an unknown time, with an end to the patience."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_SECONDS = 60.0
"""Longest wait on a busy machine, where processes take long to start and to end."""
PAUSE_SECONDS = 0.05
_T = TypeVar("_T")


def wait_until(
    condition: Callable[[], _T], what: str, seconds: float = PATIENCE_SECONDS, pause: float = PAUSE_SECONDS
) -> _T:
    """Ask until the answer is true, with a pause of seconds in between, and return it.

    Raises:
        AssertionError: it is not true in time; the message names ``what``.
    """
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(pause)
    return answer
