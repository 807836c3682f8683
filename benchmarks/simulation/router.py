"""Who is sent where: three rules, each with what a proxy in front of the machines can know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from whispergpt.benchmarks.simulation.machine import Machine

Rule = Literal["round-robin", "least-loaded", "most-slack"]


class Router:
    """Chooses a machine for a session, which then stays there.

    ``round-robin`` knows nothing of machines; ``least-loaded`` counts the sessions that it has open at each;
    ``most-slack`` knows the slack that each last reported, and whom it has sent there since.
    """

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._slack: dict[Machine, int] = {}
        self._sent = 0

    def add(self, machine: Machine) -> None:
        """Send it listeners from now on."""
        self._slack[machine] = machine.slack

    def remove(self, machine: Machine) -> None:
        """Send it nobody any more."""
        self._slack.pop(machine, None)

    def hear_reports(self) -> None:
        """Every machine says how much slack it has; one that is gone says nothing."""
        for machine in self._slack:
            if machine.state != "gone":
                self._slack[machine] = machine.slack

    def choose(self, asked: Sequence[Machine]) -> Machine | None:
        """One that was not ``asked`` before; None where there is no other."""
        there = [machine for machine in self._slack if machine not in asked]
        if not there:
            return None
        # Turn by turn among those that are alike, or all the first ones would be in front.
        start = self._sent % len(there)
        self._sent += 1
        there = there[start:] + there[:start]
        if self._rule == "least-loaded":
            chosen = min(there, key=lambda machine: len(machine.sessions))
        elif self._rule == "most-slack":
            chosen = max(there, key=self._slack.__getitem__)
        else:
            chosen = there[0]
        self._slack[chosen] -= 1
        return chosen
