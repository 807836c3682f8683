"""Twice as many listeners as the server bears: those let in hear all, the others are told at once."""

from __future__ import annotations

from typing import Any

from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.benchmarks.attacks.tools.visitors import visitors

LOAD = 2.0
"""Times the limit that the server itself measured."""
TOLD_MS = 100.0
"""For 99 in 100 of those refused."""


async def overload(served: ServerProcess, count: int, seed: int) -> dict[str, Any]:
    """``count`` minutes at ``LOAD``."""
    seen = await visitors(served, LOAD, count, seed)
    refused = seen.summary.refused_after_ms
    told = refused is not None and refused.p99 < TOLD_MS
    return seen.as_json() | {"held": seen.whole and told}
