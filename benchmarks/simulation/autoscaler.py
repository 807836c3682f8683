"""Autoscaling rule: enough machines for the current listeners and some slack."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

EVERY_SECONDS = 15.0
"""Seconds between two decisions, the default of Kubernetes' autoscaler."""


@dataclass
class Autoscaler:
    """Autoscaler that grows at once, and shrinks to the largest demand of the last ``calm_seconds``.

    Attributes:
        spare: slack to keep, as a share of the listeners.
        least, most: bounds of the number of machines.
    """

    spare: float = 0.25
    least: int = 1
    most: int = 1000
    calm_seconds: float = 300.0
    _wanted: deque[tuple[float, int]] = field(default_factory=deque)

    def machines(self, now: float, listening: int, bears: float) -> int:
        """Return the number of machines for ``listening`` listeners if each bears ``bears``."""
        wanted = math.ceil(listening * (1 + self.spare) / bears)
        self._wanted.append((now, min(self.most, max(self.least, wanted))))
        while self._wanted[0][0] < now - self.calm_seconds:
            self._wanted.popleft()
        return max(count for _, count in self._wanted)
