"""Capacity: the real-time streams that the machine can play. Every model's step has to fit into a frame's time.

The time of a step, with its message to the server, is measured at start for 1, 4, 16, … streams at the pace of
playback, and corrected by every later step: prompts, another program or heat slow the machine down, and leave less room
for new streams. A step has a fixed cost, which is large beside that of few streams: it is part of what was measured, or
steps of few would make those of many look slow.

The correction is the time that the last steps took over the time expected, not the mean of their ratios: an interrupted
step of one stream takes five times as long, and says almost nothing of a step of forty.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cache

import numpy as np

from whispergpt.engine.config import FRAME_RATE

MOST_LOAD = 0.8
"""Share of each frame's time that steps may take; the rest absorbs the machine's unevenness."""
WEIGHT = 0.002
"""Weight of the last step in the averages: some 500 steps count, seconds of a busy machine."""
MOST_SLOWDOWN = 10.0
"""Largest slowdown that a single step may contribute, so that one hiccup does not shrink the capacity."""


@dataclass(frozen=True)
class StepCost:
    """Seconds of one model's step by the number of ``streams``, rising, as measured at start."""

    streams: list[int]
    seconds: list[float]

    def of(self, streams: int) -> float:
        """Return the seconds of a step of ``streams``, extrapolated beyond the measured numbers."""
        if streams == 0:
            return 0.0
        if streams <= self.streams[-1] or len(self.streams) == 1:
            return float(np.interp(streams, self.streams, self.seconds))
        run, rise = self.streams[-1] - self.streams[-2], self.seconds[-1] - self.seconds[-2]
        return self.seconds[-1] + max(rise, 0.0) / run * (streams - self.streams[-1])


class Capacity:
    """The costs of the models of one process, which take turns at its processors.

    Args:
        max_load: the share of each frame's time that steps may take; 0 to let the slots alone decide.
    """

    def __init__(self, costs: dict[str, StepCost], max_load: float = MOST_LOAD) -> None:
        self._cost_of = {model: cache(cost.of) for model, cost in costs.items()}  # asked several times a step
        self._seconds = max_load / FRAME_RATE
        self._took = self._should = min((cost.of(1) for cost in costs.values()), default=1.0) / WEIGHT

    @property
    def slowdown(self) -> float:
        """Return the machine's slowdown since the start, for all models: one without streams would not be measured."""
        return self._took / self._should

    def observe(self, model: str, streams: int, seconds: float) -> None:
        """Note the seconds that a step of ``streams`` took, with all that goes with it."""
        should = self._cost_of[model](streams)
        self._took += min(seconds, MOST_SLOWDOWN * should) - WEIGHT * self._took
        self._should += should - WEIGHT * self._should

    def most(self, model: str, playing: dict[str, int], slots: int) -> int:
        """Return how many real-time streams of a model may play beside those of others: at most ``slots``, at least one
        where no other plays.

        ``playing``: real-time streams by model.
        """
        if self._seconds == 0:
            return slots
        others = {name: count for name, count in playing.items() if name != model and count}
        left = self._seconds / self.slowdown - sum(self._cost_of[name](count) for name, count in others.items())
        fitting = bisect_right(range(1, slots + 1), left, key=self._cost_of[model])
        return fitting if others else max(1, fitting)
