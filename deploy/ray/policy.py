"""Autoscaling policy: keep a share of the capacity free, and shrink only if the streams fit with a margin.

Ray copies this module into its controller by value, so it imports nothing of this package.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext

PLAYING, SLACK = "playing", "slack"
"""Names of the metrics that a replica reports."""
SPARE = 0.25
"""Share of the fleet's capacity that is kept free while a new replica loads its models."""
REST = 0.5
"""Share that must be free on fewer replicas before one is removed, because removal moves its streams."""


@dataclass(frozen=True)
class Load:
    """Load of a replica.

    Attributes:
        playing: real-time streams that play, wait or have a reservation.
        slack: how many more fit; below 0 some wait.
    """

    playing: float
    slack: float

    @property
    def capacity(self) -> float:
        """Number of streams that the replica can play."""
        return self.playing + self.slack


def replicas_wanted(loads: Sequence[Load], target: int, spare: float = SPARE, rest: float = REST) -> int:
    """Return the number of replicas that the streams need.

    Args:
        loads: loads of the running replicas, without those that still load their models.
        target: current target, which is returned if the loads are unknown.
        spare: least share of the capacity to keep free.
        rest: share that must be free on fewer replicas before one is removed.
    """
    capacity = sum(load.capacity for load in loads) / len(loads) if loads else 0.0
    if capacity <= 0:
        return target
    playing = sum(load.playing for load in loads)
    least = _replicas(playing, capacity * (1 - spare))
    fewer = _replicas(playing, capacity * (1 - rest))
    return max(least, min(target, fewer), 1)


def _replicas(streams: float, each: float) -> int:
    # Ray's values are averages over time, whose rounding errors must not add a replica.
    return math.ceil(round(streams / each, 6))


class SlackPolicy:
    """The policy in Ray Serve's form; Ray adds limits and delays.

    Raises:
        ValueError: not 0 ≤ ``spare`` ≤ ``rest`` < 1.
    """

    def __init__(self, spare: float = SPARE, rest: float = REST) -> None:
        if not 0 <= spare <= rest < 1:
            raise ValueError(f"0 ≤ spare ≤ rest < 1 is needed, not spare {spare:g} and rest {rest:g}")
        self._spare, self._rest = spare, rest

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """Return the number of replicas, and no state."""
        told = context.aggregated_metrics or {}
        playing, slack = told.get(PLAYING, {}), told.get(SLACK, {})
        loads = [Load(playing[replica], slack[replica]) for replica in playing if replica in slack]
        return replicas_wanted(loads, context.target_num_replicas, self._spare, self._rest), {}
