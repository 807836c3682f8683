"""How many machines there should be: enough for who listens, and some slack."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

EVERY_SECONDS = 15.0
"""Between two decisions, as Kubernetes' autoscaler has it."""


@dataclass
class Autoscaler:
    """Grows at once, and shrinks to the most that was wanted in the last ``calm_seconds``.

    Attributes:
        spare: slack to keep, as a share of those who listen.
        least, most: machines.
    """

    spare: float = 0.25
    least: int = 1
    most: int = 1000
    calm_seconds: float = 300.0
    _wanted: deque[tuple[float, int]] = field(default_factory=deque)

    def machines(self, now: float, listening: int, bears: float) -> int:
        """How many there should be, where one of them bears ``bears`` listeners."""
        wanted = math.ceil(listening * (1 + self.spare) / bears)
        self._wanted.append((now, min(self.most, max(self.least, wanted))))
        while self._wanted[0][0] < now - self.calm_seconds:
            self._wanted.popleft()
        return max(count for _, count in self._wanted)
