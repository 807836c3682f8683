"""Search for the most streams that a generation loop plays in real time, by playing them on playback clocks.

A *runner* steps a number of streams together. Playback of a stream starts ``LEAD_SECONDS`` after its first frames are
made. Frame i is due i/75 s after that start, and a later frame is late. The loop works ahead of playback by the lead
and the frames of one step, so that a runner of large chunks is never idle. A server limits itself likewise,
since listeners may leave at any time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from whispergpt.engine.config import FRAME_RATE

LEAD_SECONDS = 0.2
"""Delay of playback, which is also the longest delay that a frame may have."""
ADJACENT = 0.03
"""Largest relative difference between the last number that held and the first that failed when the search ends."""
MOST_STREAMS = 8192
WARM_STEPS = 3
PROBE_STEPS = 3


class Runner(Protocol):
    """A generation loop whose number of streams can change between runs.

    Attributes:
        frames: frames that ``advance`` makes for each stream.
    """

    frames: int

    def prepare(self, streams: int) -> None:
        """Make ``streams`` streams play, all of them with full KV rings."""
        ...

    def advance(self) -> None:
        """Make the next frames of every stream; their samples are ready when it returns."""
        ...


@dataclass(frozen=True)
class Clock:
    """Monotonic time in seconds, and a way to sleep."""

    now: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Point:
    """Median time of a step at a number of streams."""

    streams: int
    step_seconds: float

    def rate(self, frames: int) -> float:
        """Return how many streams could play in batches of this size that are stepped one after the other."""
        return self.streams * frames / FRAME_RATE / self.step_seconds


@dataclass(frozen=True)
class Run:
    """One run on playback clocks.

    Attributes:
        held: whether every frame was in time.
        seconds: length of the run.
        slack: least seconds that any frame was early; negative if one was late.
    """

    streams: int
    held: bool
    seconds: float
    slack: float


@dataclass(frozen=True)
class Search:
    """Result of a search.

    Attributes:
        streams: the largest number without a late frame.
        failed: the smallest number with one.
        runs: all runs in order.
    """

    streams: int
    failed: int
    runs: list[Run]


def play(runner: Runner, streams: int, seconds: float, clock: Clock | None = None) -> Run:
    """Play ``streams`` streams for ``seconds``, or until a frame is late."""
    clock = clock or Clock()
    _warm(runner, streams)
    runner.advance()
    began = clock.now()  # the first frames are ready: playback starts LEAD_SECONDS from now
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
    """Step ``streams`` streams without pacing for ``seconds``, and at least three times."""
    clock = clock or Clock()
    _warm(runner, streams)
    taken: list[float] = []
    while sum(taken) < seconds or len(taken) < PROBE_STEPS:
        began = clock.now()
        runner.advance()
        taken.append(clock.now() - began)
    return Point(streams, median(taken))


def _warm(runner: Runner, streams: int) -> None:
    """Run a few steps, so that caches are warm and kernels for this number of streams are compiled."""
    runner.prepare(streams)
    for _ in range(WARM_STEPS):
        runner.advance()


def curve(runner: Runner, seconds: float = 0.5, most: int = MOST_STREAMS, clock: Clock | None = None) -> list[Point]:
    """Measure step times at 1, 2, 4 … streams, up to the first number that is too slow for real time or to ``most``."""
    points: list[Point] = []
    streams = 1
    while streams <= most:
        points.append(step_time(runner, streams, seconds, clock))
        if points[-1].rate(runner.frames) < streams:
            break
        streams *= 2
    return points


def estimate(points: list[Point], frames: int) -> float:
    """Estimate the most real-time streams by linear interpolation between the points of a curve."""
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
    most: int = MOST_STREAMS,
) -> Search:
    """Find the most streams, up to ``most``, that play for ``seconds`` without a late frame.

    The search moves from the guess in growing strides until one number holds and a larger one fails. It then bisects
    the interval until its width is 3 %.
    """
    runs: list[Run] = []
    held, failed, streams, stride = 0, most + 1, min(most, max(1, round(guess))), 1
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
        elif failed > most:
            streams = min(most, streams + step)
        else:
            streams = (held + failed) // 2
