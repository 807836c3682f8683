"""Numbers that bounds are checked against: here those of one process. Several front ends share a ``Board`` instead."""

from __future__ import annotations

import heapq
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Number(Protocol):
    """A number that each front end has its part of.

    Attributes:
        part: this process's part. Where the process ends, its part is 0 again.
        common: a part that belongs to no front end: what all of them share, or other replicas of a fleet have.
    """

    part: float
    common: float

    @property
    def total(self) -> float:
        """Return the sum of all parts."""
        ...


class Ledger(Protocol):
    """Numbers by name, and tokens that are used up."""

    @property
    def turn(self) -> AbstractContextManager[object]:
        """Return a context in which no other process changes anything; contexts within it change nothing."""
        ...

    def number(self, *name: str) -> Number:
        """Return the number of a name, 0 at first."""
        ...

    def total(self, *name: str) -> float | None:
        """Return the sum of all parts of a number; None where the number is not used yet."""
        ...

    def is_used(self, token: bytes) -> bool:
        """Return whether a token of 16 bytes was used up."""
        ...

    def use_up(self, token: bytes, end: float, now: float) -> bool:
        """Note that a token is used up; it is forgotten after ``end``. False: there is no room to note it."""
        ...


class OwnNumber:
    """A number of this process alone."""

    __slots__ = ("common", "part")

    def __init__(self) -> None:
        self.part = self.common = 0.0

    @property
    def total(self) -> float:
        return self.part + self.common


class OwnLedger:
    """The ledger of a server that is one process."""

    def __init__(self) -> None:
        self.turn: AbstractContextManager[object] = nullcontext()
        self._numbers: dict[tuple[str, ...], OwnNumber] = {}
        self._used: set[bytes] = set()
        self._ends: list[tuple[float, bytes]] = []

    def number(self, *name: str) -> OwnNumber:
        return self._numbers.setdefault(name, OwnNumber())

    def total(self, *name: str) -> float | None:
        found = self._numbers.get(name)
        return None if found is None else found.total

    def is_used(self, token: bytes) -> bool:
        return token in self._used

    def use_up(self, token: bytes, end: float, now: float) -> bool:
        while self._ends and self._ends[0][0] <= now:
            self._used.remove(heapq.heappop(self._ends)[1])
        heapq.heappush(self._ends, (end, token))
        self._used.add(token)
        return True
