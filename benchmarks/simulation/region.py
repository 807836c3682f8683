"""A simulated region: machines behind a router, and all listeners, on a simulated clock."""

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
"""Extra seconds in which the last arrivals may wait and listen."""


@dataclass(frozen=True)
class Sample:
    """State at one moment: streams that play or wait, machines by state, and the sum of the ready machines' limits."""

    at: float
    streams: int
    starting: int
    ready: int
    draining: int
    limit: int


class Region:
    """State of one run.

    Args:
        profile: costs of each machine.
        settings: settings of each server.

    Attributes:
        machines: all machines, including ended ones.
        listeners: all listeners in order of arrival.
        samples: one sample per second.
        machine_seconds: running time of all machines while listeners arrived.
        stepped_seconds: time of these spent in steps.
        audio_seconds: seconds of audio generated in this time.
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
        """Play the plan to its end."""
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

    # --- listeners

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
        """Drain a machine as SIGTERM does: it gets no new listeners, and the rest move away at the deadline."""
        machine.state = "draining"
        self._router.remove(machine)
        self._agenda.after(self.plan.drain_seconds, machine.die)

    # --- observation

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
