"""Lag of the event loop: every listener hears what computes or blocks on it."""

from __future__ import annotations

import asyncio
import time

from prometheus_client import Histogram

_EVERY_SECONDS = 0.1


async def watch_loop_lag(lag: Histogram) -> None:
    """Observe ten times a second by how many seconds the loop is late, until cancelled."""
    while True:
        due = time.perf_counter() + _EVERY_SECONDS
        await asyncio.sleep(_EVERY_SECONDS)
        lag.observe(max(0.0, time.perf_counter() - due))
