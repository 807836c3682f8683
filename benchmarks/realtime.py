"""How many streams a loop can play in real time: found by playing them, on playback clocks.

A *runner* steps so many streams together. Playback of a stream starts ``LEAD_SECONDS`` after its first frames are
made; from then on frame i is due i/75 s later, and a frame that comes after that is late. The loop works ahead of
playback by the lead and no further (by the frames of one step more, lest a runner that makes many at once stand idle),
as a server does whose listeners may leave at any time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from whispergpt.engine.config import FRAME_RATE

LEAD_SECONDS = 0.2
"""How late playback starts, and so how late a frame may come."""
ADJACENT = 0.03
"""The search ends once the largest number that held and the smallest that failed are this near to each other."""
MOST_STREAMS = 8192
WARM_STEPS = 3
PROBE_STEPS = 3


class Runner(Protocol):
    """A generation loop with a number of streams that can be changed between runs.

    Attributes:
        frames: how many frames ``advance`` makes for each stream.
    """

    frames: int

    def prepare(self, streams: int) -> None:
        """Have this many streams playing, all of them with full KV rings."""
        ...

    def advance(self) -> None:
        """Make the next frames of every stream; their samples are there when it returns."""
        ...


@dataclass(frozen=True)
class Clock:
    """Seconds, monotonic, and a way to let them pass."""

    now: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Point:
    """So many streams took so many seconds a step, the median of a few."""

    streams: int
    step_seconds: float

    def rate(self, frames: int) -> float:
        """Streams that could play if all of them went in batches of this one's size, one batch after the other."""
        return self.streams * frames / FRAME_RATE / self.step_seconds


@dataclass(frozen=True)
class Run:
    """One run on playback clocks. ``slack``: the least time, in seconds, that any frame was early; negative: late."""

    streams: int
    held: bool
    seconds: float
    slack: float


@dataclass(frozen=True)
class Search:
    """``streams``: the most that held; ``failed``: the fewest that did not."""

    streams: int
    failed: int
    runs: list[Run]


def play(runner: Runner, streams: int, seconds: float, clock: Clock | None = None) -> Run:
    """Play this many streams for so long, or until a frame is late."""
    clock = clock or Clock()
    _warm(runner, streams)
    runner.advance()
    began = clock.now()  # the first frames are there: playback starts a lead from now
    made, slack = runner.frames, LEAD_SECONDS
    while True:
        ahead = clock.now() - began - (made - runner.frames) / FRAME_RATE
        if ahead < 0:
            clock.sleep(-ahead)
        runner.advance()
        elapsed = clock.now() - began
        slack = min(slack, LEAD_SECONDS + made / FRAME_RATE - elapsed)
        made += runner.frames
        if slack < 0 or elapsed >= seconds:
            return Run(streams, slack >= 0, elapsed, slack)


def step_time(runner: Runner, streams: int, seconds: float = 0.5, clock: Clock | None = None) -> Point:
    """Step this many streams as fast as they go, for some time and at least three steps."""
    clock = clock or Clock()
    _warm(runner, streams)
    taken: list[float] = []
    while sum(taken) < seconds or len(taken) < PROBE_STEPS:
        began = clock.now()
        runner.advance()
        taken.append(clock.now() - began)
    return Point(streams, median(taken))


def _warm(runner: Runner, streams: int) -> None:
    """A few steps, after which caches are warm and whatever is compiled for this number of streams is compiled."""
    runner.prepare(streams)
    for _ in range(WARM_STEPS):
        runner.advance()


def curve(runner: Runner, seconds: float = 0.5, most: int = MOST_STREAMS, clock: Clock | None = None) -> list[Point]:
    """Step times at 1, 2, 4 … streams, to the first number that is too slow for real time, or to ``most``."""
    points: list[Point] = []
    streams = 1
    while streams <= most:
        points.append(step_time(runner, streams, seconds, clock))
        if points[-1].rate(runner.frames) < streams:
            break
        streams *= 2
    return points


def estimate(points: list[Point], frames: int) -> float:
    """Where a curve's step time, drawn as straight lines, crosses what real time allows."""
    allowed = frames / FRAME_RATE
    last = points[-1]
    if last.step_seconds <= allowed or len(points) == 1:
        return last.rate(frames)
    before = points[-2]
    along = (allowed - before.step_seconds) / max(last.step_seconds - before.step_seconds, 1e-9)
    return before.streams + min(1.0, max(0.0, along)) * (last.streams - before.streams)


def most_streams(
    runner: Runner,
    guess: float,
    seconds: float,
    clock: Clock | None = None,
    told: Callable[[Run], None] | None = None,
) -> Search:
    """The most streams that play for so many seconds without a late frame.

    From a guess it goes up, or down, in growing strides until a number held and a larger one failed, and then halves
    what lies between until that is 3 %.
    """
    runs: list[Run] = []
    held, failed, streams, stride = 0, MOST_STREAMS + 1, max(1, round(guess)), 1
    while True:
        runs.append(play(runner, streams, seconds, clock))
        if told:
            told(runs[-1])
        if runs[-1].held:
            held = streams
        else:
            failed = streams
        if failed - held <= max(1, int(ADJACENT * held)):
            return Search(held, failed, runs)
        step = max(1, int(ADJACENT * streams * stride))
        stride *= 2
        if held == 0:
            streams = max(1, streams - step)
        elif failed > MOST_STREAMS:
            streams = min(MOST_STREAMS, streams + step)
        else:
            streams = (held + failed) // 2
