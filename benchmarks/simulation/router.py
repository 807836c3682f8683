"""Routing rules, each using only what a proxy in front of the machines can know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from whispergpt.benchmarks.simulation.machine import Machine

Rule = Literal["round-robin", "least-loaded", "most-slack"]


class Router:
    """Router that chooses a machine for each session; the session then stays there.

    ``round-robin`` uses no knowledge of the machines. ``least-loaded`` counts the open sessions at each. ``most-slack``
    uses the slack that each last reported, less the sessions sent there since.
    """

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._slack: dict[Machine, int] = {}
        self._sent = 0

    def add(self, machine: Machine) -> None:
        """Add a machine to choose from."""
        self._slack[machine] = machine.slack

    def remove(self, machine: Machine) -> None:
        """Remove a machine."""
        self._slack.pop(machine, None)

    def hear_reports(self) -> None:
        """Update the slack of every machine that is not gone."""
        for machine in self._slack:
            if machine.state != "gone":
                self._slack[machine] = machine.slack

    def choose(self, asked: Sequence[Machine]) -> Machine | None:
        """Return a machine not in ``asked``; None if there is no other."""
        there = [machine for machine in self._slack if machine not in asked]
        if not there:
            return None
        # Rotated, so that equal machines take turns.
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
