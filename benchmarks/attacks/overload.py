"""Twice as many listeners as the server can play: admitted ones hear everything, others are refused at once."""

from __future__ import annotations

from typing import Any

from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.benchmarks.attacks.tools.visitors import visitors

LOAD = 2.0
"""Load as a multiple of the limit that the server measured."""
TOLD_MS = 100.0
"""Longest 99th percentile of the time to a refusal, in milliseconds."""


async def overload(served: ServerProcess, count: int, seed: int) -> dict[str, Any]:
    """Run ``count`` minutes at ``LOAD`` and return the measurements."""
    seen = await visitors(served, LOAD, count, seed)
    refused = seen.summary.refused_after_ms
    told = refused is not None and refused.p99 < TOLD_MS
    return seen.as_json() | {"held": seen.whole and told}
