"""Plan of a simulation: machines, listeners and failures."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from whispergpt.benchmarks.simulation.autoscaler import Autoscaler
from whispergpt.benchmarks.simulation.router import Rule
from whispergpt.engine.config import FRAME_RATE
from whispergpt.engine.streams.scheduler import SAFE_LEAD_SECONDS
from whispergpt.load.plan import Mix, Visit, open_loop

MOST_CHUNK = int(SAFE_LEAD_SECONDS * FRAME_RATE / 2)
"""Most frames per decision: a stream still plays when it is not stepped for twice this long."""


@dataclass(frozen=True)
class Surge:
    """A period of ``seconds`` from ``at`` on with ``factor`` times as many listeners."""

    factor: float
    at: float
    seconds: float

    def __post_init__(self) -> None:
        if not (self.factor > 1 and self.at >= 0 and self.seconds > 0):
            raise ValueError("A surge has a factor above 1, a beginning, and some seconds.")


@dataclass(frozen=True)
class Plan:
    """Plan of one run.

    Attributes:
        listeners: average number at once without refusals.
        duration: seconds during which listeners arrive.
        tries: machines to ask before a refusal counts.
        report_seconds: seconds between two reports of the machines' slack to the router.
        notice_seconds: seconds until the router notices a dead machine.
        deaths: times at which a machine dies.
        autoscaler: None keeps the number of machines constant.
        drain_seconds: longest time that a removed machine plays on.
        chunk: frames per decision of a scheduler.
    """

    machines: int
    listeners: float
    duration: float = 600.0
    mix: Mix = field(default_factory=Mix)
    router: Rule = "most-slack"
    tries: int = 1
    report_seconds: float = 1.0
    notice_seconds: float = 1.0
    deaths: tuple[float, ...] = ()
    surge: Surge | None = None
    autoscaler: Autoscaler | None = None
    drain_seconds: float = 30.0
    chunk: int = 15
    seed: int = 0

    def __post_init__(self) -> None:
        if self.machines < 1 or self.tries < 1 or not (self.listeners > 0 and self.duration > 0):
            raise ValueError("There must be a machine, a try, and some listeners for some seconds.")
        if not 1 <= self.chunk <= MOST_CHUNK:
            raise ValueError(f"A decision can stand for 1 to {MOST_CHUNK} frames, not {self.chunk}.")
        if not (self.report_seconds > 0 and self.notice_seconds >= 0):
            raise ValueError("Reports need time between them, and no death is noticed before it happens.")

    def visits(self) -> list[Visit]:
        """Return all visits in order of arrival.

        Raises:
            ValueError: there would be too many.
        """
        visits = open_loop(self.mix, self.listeners, self.duration, self.seed)
        if self.surge is not None:
            more = (self.surge.factor - 1) * self.listeners
            seconds = min(self.surge.seconds, self.duration - self.surge.at)
            late = open_loop(self.mix, more, seconds, self.seed + 1) if seconds > 0 else []
            visits += [replace(v, at=v.at + self.surge.at, number=len(visits) + v.number) for v in late]
        return sorted(visits, key=lambda visit: visit.at)

    def as_json(self) -> dict[str, Any]:
        told = asdict(self)
        if told["autoscaler"]:
            del told["autoscaler"]["_wanted"]
        return told
