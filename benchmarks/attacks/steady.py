"""Listeners who come and go for long, four fifths of what the server bears: it stays as it was, and they hear all."""

from __future__ import annotations

from typing import Any

from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.benchmarks.attacks.tools.visitors import visitors

LOAD = 0.8
"""Of the limit that the server itself measured."""
MOST_SLOWER = 0.1
MOST_REFUSED = 0.05
"""Of those who come: an open loop is above its mean at times, and nobody stands in line."""
FIRST_AUDIO_MS = 250.0
"""For 99 in 100."""


async def steady(served: ServerProcess, count: int, seed: int) -> dict[str, Any]:
    """``count`` minutes at ``LOAD``; each minute's figures, and the last third beside the first."""
    seen = await visitors(served, LOAD, count, seed)
    listeners, first = seen.summary.listeners, seen.summary.time_to_first_audio_ms
    refused = listeners.get("refused", 0) / listeners["arrived"]
    prompt = first is not None and first.p99 < FIRST_AUDIO_MS
    held = seen.whole and prompt and refused <= MOST_REFUSED and seen.slower < MOST_SLOWER
    return seen.as_json() | {"refused": refused, "held": held}
