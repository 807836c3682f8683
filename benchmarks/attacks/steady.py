"""Listeners who come and go for a long time: memory and the step stay as they were."""

from __future__ import annotations

import asyncio
from statistics import mean
from typing import Any

from benchmarks.attacks.footprint import footprint, metrics, settled
from benchmarks.attacks.prompts import EXAMPLE
from benchmarks.attacks.server_process import ServerProcess
from benchmarks.load.crowd import Crowd
from benchmarks.load.listener import stream_address
from benchmarks.load.plan import Mix, open_loop
from benchmarks.load.voices import Voices

LOAD = 0.8
"""Of the limit that the server itself measured."""
MOST_MB = 40.0
MOST_SLOWER = 0.1
MOST_REFUSED = 0.05
"""Of those who come: an open loop is above its mean at times."""
_STEPS, _SECONDS = "whispergpt_frame_step_seconds_count", "whispergpt_frame_step_seconds_sum"
_FRAMES = "whispergpt_frames_total"


async def steady(served: ServerProcess, count: int, seed: int) -> dict[str, Any]:
    """``count`` minutes at ``LOAD``; each minute's figures, and the last third beside the first."""
    limit = (await metrics(served.url))["whispergpt_streams_limit"]
    visits = open_loop(Mix(), LOAD * limit, count * 60.0, seed)
    crowd = Crowd(stream_address(served.url), visits, Voices([EXAMPLE]), 0.05)
    await asyncio.sleep(5)
    running = asyncio.create_task(crowd.run())
    minutes: list[dict[str, float]] = []
    before = await metrics(served.url)
    for _ in range(count):
        await asyncio.sleep(60)
        now, held = await metrics(served.url), await footprint(served)
        steps, frames, seconds = (now[name] - before.get(name, 0.0) for name in (_STEPS, _FRAMES, _SECONDS))
        before = now
        step = {"step_ms": 1e3 * seconds / steps, "streams_a_step": frames / steps, "frame_ms": 1e3 * seconds / frames}
        minutes.append(step | held.as_json())
    await running
    summary = crowd.summary()
    third = max(1, count // 3)
    first, last = minutes[:third], minutes[-third:]
    slower = mean(m["frame_ms"] for m in last) / mean(m["frame_ms"] for m in first) - 1
    grown = mean(m["resident_mb"] for m in last) - mean(m["resident_mb"] for m in first)
    after = await settled(served, await footprint(served), MOST_MB)
    listeners = summary.listeners
    heard = not listeners.get("failed") and listeners.get("refused", 0) <= MOST_REFUSED * listeners["arrived"]
    unhurt = heard and summary.underruns == 0
    return {
        "limit": limit,
        "streams": LOAD * limit,
        "minutes": minutes,
        "heard": summary.as_json(),
        "frame_slower": slower,
        "grown_mb": grown,
        "left": after.busy,
        "held": unhurt and slower < MOST_SLOWER and grown < MOST_MB and not after.busy,
    }
