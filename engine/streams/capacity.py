"""How many real-time streams the machine bears: every model's step has to fit into a frame's time, with some to spare.

What a step takes is measured at start for one stream, for two, for four, … and corrected by every step there is:
whatever slows the machine down, be it prompts, another program or its own heat, leaves less room for newcomers.

The correction is the time that the last steps took over the time that they should have taken, not the mean of their
ratios: a step of one stream that was interrupted takes five times as long, and says next to nothing of one of forty.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cache

import numpy as np

from whispergpt.engine.config import FRAME_RATE

MOST_LOAD = 0.8
"""The share of each frame's time that steps may take; what is left absorbs the machine's unevenness."""
WEIGHT = 0.002
"""Of the last step in what steps took and should have taken: some 500 count, seconds of a busy machine."""
MOST_SLOWDOWN = 10.0
"""That one step can tell of: a single hiccup says little about the next thousand."""


@dataclass(frozen=True)
class StepCost:
    """Seconds of one model's step for so many ``streams``, rising, as measured at start."""

    streams: list[int]
    seconds: list[float]

    def of(self, streams: int) -> float:
        """Seconds of a step for so many streams; beyond what was measured along the last stretch."""
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
        self._cost_of = {model: cache(cost.of) for model, cost in costs.items()}  # asked some times a step
        self._seconds = max_load / FRAME_RATE
        self._took = self._should = min((cost.of(1) for cost in costs.values()), default=1.0) / WEIGHT

    @property
    def slowdown(self) -> float:
        """Of the machine since the start. One for all models: a model that nobody may start a stream of would never be
        measured again."""
        return self._took / self._should

    def observe(self, model: str, streams: int, seconds: float) -> None:
        """A step of a model for so many streams took so long, all that goes with it included."""
        should = self._cost_of[model](streams)
        self._took += min(seconds, MOST_SLOWDOWN * should) - WEIGHT * self._took
        self._should += should - WEIGHT * self._should

    def most(self, model: str, playing: dict[str, int], slots: int) -> int:
        """How many real-time streams of a model may play, up to ``slots``, beside those of others that do: at least one
        where nobody else plays.

        ``playing``: real-time streams by model.
        """
        if self._seconds == 0:
            return slots
        others = {name: count for name, count in playing.items() if name != model and count}
        left = self._seconds / self.slowdown - sum(self._cost_of[name](count) for name, count in others.items())
        fitting = bisect_right(range(1, slots + 1), left, key=self._cost_of[model])
        return fitting if others else max(1, fitting)
