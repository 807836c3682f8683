"""A long run at four fifths of the server's limit: speed and memory stay constant, and listeners hear everything."""

from __future__ import annotations

from typing import Any

from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.benchmarks.attacks.tools.visitors import visitors

LOAD = 0.8
"""Load as a fraction of the limit that the server measured."""
MOST_SLOWER = 0.1
MOST_REFUSED = 0.05
"""Largest share of refused listeners: arrivals exceed their mean at times, and there is no queue."""
FIRST_AUDIO_MS = 250.0
"""Longest 99th percentile of the time to first audio, in milliseconds."""


async def steady(served: ServerProcess, count: int, seed: int) -> dict[str, Any]:
    """Run ``count`` minutes at ``LOAD`` and return the measurements of each minute."""
    seen = await visitors(served, LOAD, count, seed)
    listeners, first = seen.summary.listeners, seen.summary.time_to_first_audio_ms
    refused = listeners.get("refused", 0) / listeners["arrived"]
    prompt = first is not None and first.p99 < FIRST_AUDIO_MS
    held = seen.whole and prompt and refused <= MOST_REFUSED and seen.slower < MOST_SLOWER
    return seen.as_json() | {"refused": refused, "held": held}
