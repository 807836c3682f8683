"""How many replicas there should be: enough that slack is left for newcomers, fewer only when what plays fits on them.

Ray copies this module into its controller by value, so it imports nothing of ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext

PLAYING, SLACK = "playing", "slack"
"""What a replica reports, by Ray's names for its metrics."""
SPARE = 0.25
"""The share of the fleet's streams that is kept free: another replica comes as late as its models take to load."""
REST = 0.5
"""The share that must be free on fewer replicas before one is taken away: whoever it played moves by a token, and so
does the fleet's mind if that was too early."""


@dataclass(frozen=True)
class Load:
    """One replica: real-time streams that play, wait or have a place there, and how many more it bears; below 0 some
    wait."""

    playing: float
    slack: float

    @property
    def capacity(self) -> float:
        """Streams that it bears in all."""
        return self.playing + self.slack


def replicas_wanted(loads: Sequence[Load], target: int, spare: float = SPARE, rest: float = REST) -> int:
    """How many replicas the streams need.

    Args:
        loads: of replicas that run; those that still load their models are not among them.
        target: how many there are to be now; also the answer where the loads tell nothing.
        spare: the least share of all capacity that is to be free.
        rest: the share that must be free on fewer.
    """
    capacity = sum(load.capacity for load in loads) / len(loads) if loads else 0.0
    if capacity <= 0:
        return target
    playing = sum(load.playing for load in loads)
    least = _replicas(playing, capacity * (1 - spare))
    fewer = _replicas(playing, capacity * (1 - rest))
    return max(least, min(target, fewer), 1)


def _replicas(streams: float, each: float) -> int:
    # Ray's values are averages over time, whose last digits must not call for a replica.
    return math.ceil(round(streams / each, 6))


class SlackPolicy:
    """Ray Serve's form of it; Ray adds its bounds and delays.

    Raises:
        ValueError: not 0 ≤ ``spare`` ≤ ``rest`` < 1.
    """

    def __init__(self, spare: float = SPARE, rest: float = REST) -> None:
        if not 0 <= spare <= rest < 1:
            raise ValueError(f"0 ≤ spare ≤ rest < 1 is needed, not spare {spare:g} and rest {rest:g}")
        self._spare, self._rest = spare, rest

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """The number of replicas, and no state."""
        told = context.aggregated_metrics or {}
        playing, slack = told.get(PLAYING, {}), told.get(SLACK, {})
        loads = [Load(playing[replica], slack[replica]) for replica in playing if replica in slack]
        return replicas_wanted(loads, context.target_num_replicas, self._spare, self._rest), {}
