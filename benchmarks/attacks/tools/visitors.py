"""Minutes of random arrivals: what the listeners heard, and the server's step times and footprint."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

from whispergpt.benchmarks.attacks.tools.crowds import crowd
from whispergpt.benchmarks.attacks.tools.footprint import footprint, metrics, settled
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.load.percentiles import Percentiles
from whispergpt.load.plan import Mix, open_loop
from whispergpt.load.record import Summary

MOST_MB = 40.0
MINUTE_SECONDS = 60.0
WARM_SECONDS = 60.0
"""Seconds of warm-up at the server's first limit, in which it measures the cost of listeners besides steps."""
MIX = Mix()
_STEPS, _SECONDS = "whispergpt_frame_step_seconds_count", "whispergpt_frame_step_seconds_sum"
_FRAMES = "whispergpt_frames_total"


@dataclass(frozen=True)
class Visitors:
    """Measurements of a run.

    Attributes:
        limit: real-time streams that the server reports as its limit after the warm-up.
        streams: average number of listeners at once without refusals.
        minutes: step times and footprint of each minute.
        left: streams left on the server after all listeners had gone.
        lag_ms: delay of the load generator itself.
    """

    limit: float
    streams: float
    minutes: list[dict[str, float]]
    summary: Summary
    left: int
    lag_ms: Percentiles

    @property
    def slower(self) -> float:
        """Relative increase of the step time per stream from the first third of the run to the last."""
        return self._last("frame_ms") / self._first("frame_ms") - 1

    @property
    def grown_mb(self) -> float:
        return self._last("resident_mb") - self._first("resident_mb")

    @property
    def whole(self) -> bool:
        """Whether every admitted listener heard everything without a gap, and the server kept nothing of them."""
        summary = self.summary
        return (
            not summary.listeners.get("failed") and not summary.underruns and self.grown_mb < MOST_MB and not self.left
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "limit": self.limit,
            "streams": self.streams,
            "minutes": self.minutes,
            "heard": self.summary.as_json(),
            "generator_lag_p99_ms": self.lag_ms.p99,
            "frame_slower": self.slower,
            "grown_mb": self.grown_mb,
            "left": self.left,
        }

    def _first(self, name: str) -> float:
        return mean(minute[name] for minute in self.minutes[: self._third])

    def _last(self, name: str) -> float:
        return mean(minute[name] for minute in self.minutes[-self._third :])

    @property
    def _third(self) -> int:
        return max(1, len(self.minutes) // 3)


async def visitors(served: ServerProcess, load: float, count: int, seed: int) -> Visitors:
    """Run ``count`` minutes at ``load`` times the server's measured limit and return the measurements."""
    limit = await _learnt(served, seed)
    visits = open_loop(MIX, load * limit, count * MINUTE_SECONDS, seed)
    listeners = crowd(served.url, visits)
    running = asyncio.create_task(listeners.run())
    minutes = []
    before = await metrics(served.url)
    for _ in range(count):
        await asyncio.sleep(MINUTE_SECONDS)
        now, held = await metrics(served.url), await footprint(served)
        steps, frames, seconds = (now[name] - before.get(name, 0.0) for name in (_STEPS, _FRAMES, _SECONDS))
        before = now
        step = {"step_ms": 1e3 * seconds / steps, "streams_a_step": frames / steps, "frame_ms": 1e3 * seconds / frames}
        minutes.append(step | asdict(held) | {"limit": now["whispergpt_streams_limit"]})
    await running
    after = await settled(served, await footprint(served), MOST_MB)
    lag = Percentiles.of([1e3 * one for one in listeners.lags])
    return Visitors(limit, load * limit, minutes, listeners.summary(), after.busy, lag)


async def _learnt(served: ServerProcess, seed: int) -> float:
    """Return the average of the server's limit over the second half of ``WARM_SECONDS``."""
    begins = (await metrics(served.url))["whispergpt_streams_limit"]
    running = asyncio.create_task(crowd(served.url, open_loop(MIX, begins, WARM_SECONDS, seed + 1)).run())
    await asyncio.sleep(WARM_SECONDS / 2)
    told: list[float] = []
    while not running.done() and len(told) < WARM_SECONDS / 2:
        told.append((await metrics(served.url))["whispergpt_streams_limit"])
        await asyncio.sleep(1)
    await running
    return mean(told) if told else begins
