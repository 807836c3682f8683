"""A region: machines, a router before them, and everybody who comes, played to the end on a clock that jumps."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from whispergpt.benchmarks.simulation.agenda import Agenda
from whispergpt.benchmarks.simulation.autoscaler import EVERY_SECONDS
from whispergpt.benchmarks.simulation.listener import Listener
from whispergpt.benchmarks.simulation.machine import Costs, Machine
from whispergpt.benchmarks.simulation.plan import Plan
from whispergpt.benchmarks.simulation.profile import Profile
from whispergpt.benchmarks.simulation.router import Router
from whispergpt.engine.config import FRAME_RATE
from whispergpt.load.plan import Visit
from whispergpt.server.settings import Settings

AFTER_SECONDS = 120.0
"""For which those who came last may listen and wait."""


@dataclass(frozen=True)
class Sample:
    """One moment: streams that play or wait, machines by state, and the streams that all ready ones say they bear."""

    at: float
    streams: int
    starting: int
    ready: int
    draining: int
    limit: int


class Region:
    """Everything of one run.

    Args:
        profile: of its machines, all alike.
        settings: of every server.

    Attributes:
        machines: all that ever were.
        listeners: all who came, in order.
        samples: one a second.
        machine_seconds: of all machines from their start to their end; ``stepped_seconds`` of these, and seconds of
            audio that were made, all while listeners came.
    """

    def __init__(self, plan: Plan, profile: Profile, settings: Settings) -> None:
        self.plan, self.profile = plan, profile
        self.machines: list[Machine] = []
        self.listeners: list[Listener] = []
        self.samples: list[Sample] = []
        self.machine_seconds = self.stepped_seconds = self.audio_seconds = 0.0
        self._settings, self._costs = settings, Costs.of(profile)
        self._agenda, self._router = Agenda(), Router(plan.router)
        self._draw = random.Random(plan.seed)
        self._visits = iter(plan.visits())

    def run(self) -> None:
        """Play it to its end."""
        plan, agenda = self.plan, self._agenda
        for _ in range(plan.machines):
            self._ready(self._start())
        for at in plan.deaths:
            agenda.at(at, self._kill_one)
        self._expect_next()
        self._every(1.0, self._look)
        self._every(plan.report_seconds, self._router.hear_reports)
        if plan.autoscaler is not None:
            self._every(EVERY_SECONDS, self._scale)
        agenda.run(plan.duration + plan.mix.seconds.most + AFTER_SECONDS)

    # --- who comes

    def _expect_next(self) -> None:
        visit = next(self._visits, None)
        if visit is not None:
            self._agenda.at(visit.at, lambda: self._come(visit))

    def _come(self, visit: Visit) -> None:
        seconds, tries = self._settings.queue_seconds, self.plan.tries
        listener = Listener(visit, self._agenda, self._router, self.profile, seconds, tries)
        self.listeners.append(listener)
        listener.come()
        self._expect_next()

    # --- machines

    def _start(self) -> Machine:
        number, plan = len(self.machines), self.plan
        machine = Machine(number, self._costs, self._settings, self._agenda, plan.chunk, str(plan.seed))
        self.machines.append(machine)
        return machine

    def _ready(self, machine: Machine) -> None:
        if machine.state == "starting":
            machine.state = "ready"
            self._router.add(machine)

    def _kill_one(self) -> None:
        ready = self._in("ready")
        if ready:
            machine = self._draw.choice(ready)
            machine.die()
            self._agenda.after(self.plan.notice_seconds, lambda: self._router.remove(machine))

    def _scale(self) -> None:
        scaler, ready = self.plan.autoscaler, self._in("ready")
        assert scaler is not None
        if not ready or self._agenda.now > self.plan.duration:
            return
        there = ready + self._in("starting")
        limit = sum(machine.most_listened("") for machine in ready) / len(ready)
        wanted = scaler.machines(self._agenda.now, sum(len(machine.live()) for machine in ready), limit)
        for _ in range(wanted - len(there)):
            machine = self._start()
            self._agenda.after(self.profile.start_seconds, partial(self._ready, machine))
        fewest = sorted(ready, key=lambda machine: len(machine.sessions))
        for machine in fewest[: max(0, min(len(there) - wanted, len(ready) - 1))]:
            self._drain(machine)

    def _drain(self, machine: Machine) -> None:
        """As SIGTERM does: nobody new, and whoever still plays at the deadline goes on elsewhere."""
        machine.state = "draining"
        self._router.remove(machine)
        self._agenda.after(self.plan.drain_seconds, machine.die)

    # --- what is seen of it

    def _look(self) -> None:
        for machine in self._in("draining"):
            if not machine.sessions:
                machine.die()
        starting, ready, draining = (self._in(state) for state in ("starting", "ready", "draining"))
        there = starting + ready + draining
        self.machine_seconds += len(there)
        self.stepped_seconds = sum(machine.busy for machine in self.machines)
        self.audio_seconds = sum(machine.frames for machine in self.machines) / FRAME_RATE
        self.samples.append(
            Sample(
                self._agenda.now,
                sum(len(machine.live()) for machine in ready + draining),
                len(starting),
                len(ready),
                len(draining),
                sum(machine.most_listened("") for machine in ready),
            )
        )

    def _in(self, state: str) -> list[Machine]:
        return [machine for machine in self.machines if machine.state == state]

    def _every(self, seconds: float, act: Callable[[], None]) -> None:
        def again() -> None:
            act()
            if self._agenda.now < self.plan.duration:
                self._agenda.after(seconds, again)

        self._agenda.after(seconds, again)
