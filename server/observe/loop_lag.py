"""How late the event loop comes to what is due: what computes or blocks on it is heard by every listener."""

from __future__ import annotations

import asyncio
import time

from prometheus_client import Histogram

_EVERY_SECONDS = 0.1


async def watch_loop_lag(lag: Histogram) -> None:
    """Until cancelled, ten times a second: observe by how many seconds the loop was late."""
    while True:
        due = time.perf_counter() + _EVERY_SECONDS
        await asyncio.sleep(_EVERY_SECONDS)
        lag.observe(max(0.0, time.perf_counter() - due))
