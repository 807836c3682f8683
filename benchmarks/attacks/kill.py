"""The engine's process is killed repeatedly under load: every listener resumes by its token where it stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from typing import Any

from whispergpt_client import AsyncClient

from whispergpt.benchmarks.attacks.tools.ear import Ear, Seam, in_place, judge
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess

LISTENERS = 8
SECONDS = 9.0
"""Seconds of audio that each listener requests."""
BEFORE_SECONDS = 3.0
"""Seconds from the requests to the engine's death, so that all listeners are playing."""
RETURN_SECONDS = 60.0


async def kill(served: ServerProcess, count: int, seed: int) -> dict[str, Any]:
    """Kill the engine ``count`` times, each while listeners play in real time, and return the measurements."""
    away: list[float] = []
    seams: Counter[Seam] = Counter()
    lost: list[str] = []
    wrong: list[str] = []
    async with AsyncClient(served.url) as client:
        for death in range(count):
            ears = [Ear(client, SECONDS, seed + LISTENERS * death + number) for number in range(LISTENERS)]
            hearing = [asyncio.create_task(ear.listen()) for ear in ears]
            await asyncio.sleep(BEFORE_SECONDS)
            await asyncio.gather(*(ear.begun.wait() for ear in ears))
            for pid in served.engine_pids():
                os.kill(pid, signal.SIGKILL)
            away.append(await _until_all_hear(ears))
            ended = await asyncio.gather(*hearing, return_exceptions=True)
            lost += [repr(error) for error in ended if error is not None]
            found, differing = await judge(ears)
            seams, wrong = seams + found, wrong + differing
    return {
        "deaths": len(away),
        "listeners": LISTENERS,
        "silent_seconds": [round(one, 2) for one in away],
        "seams": dict(seams),
        "lost": lost,
        "wrong": wrong,
        "held": not lost and not wrong and in_place(seams),
    }


async def _until_all_hear(ears: list[Ear]) -> float:
    """Return the seconds until every listener gets audio on a new connection."""
    began = time.monotonic()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(RETURN_SECONDS):
            for ear in ears:
                await ear.resumed.wait()
    return time.monotonic() - began
