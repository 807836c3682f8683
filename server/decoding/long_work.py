"""Decoding that takes long: it stands still while other callers' short work is under way, half of its time at most."""

from __future__ import annotations

import asyncio

from whispergpt.server.access.caller import Caller
from whispergpt.server.access.precedence import Precedence
from whispergpt.server.decoding.job import Job

MOST_STILL_SECONDS = 0.25
"""Seconds that a job stands still at most, before it runs for as long."""


class LongWork:
    """The jobs that take long, by their callers. A lower priority alone is not enough: a decoder that computes on one
    half of a core slows down what computes on the other."""

    def __init__(self, precedence: Precedence) -> None:
        self._precedence = precedence
        self._jobs: dict[Job, tuple[_Standing, _Counted]] = {}
        precedence.watch(self._settle)

    def add(self, job: Job, caller: Caller) -> None:
        """Have a job go behind others from now on."""
        job.give_way()
        standing = _Standing(self._precedence, job, caller)
        self._jobs[job] = standing, _Counted(caller)
        standing.settle()

    def discard(self, job: Job) -> None:
        """Forget a job that has ended, if it took long."""
        if job in self._jobs:
            standing, counted = self._jobs.pop(job)
            standing.close()
            counted.end()

    def _settle(self) -> None:
        for standing, _ in self._jobs.values():
            standing.settle()


class _Standing:
    """Whether one job stands still, and how much longer it may."""

    def __init__(self, precedence: Precedence, job: Job, caller: Caller) -> None:
        self._precedence, self._job, self._caller = precedence, job, caller
        self._loop = asyncio.get_running_loop()
        self._still = self._must_run = False
        self._left, self._at = MOST_STILL_SECONDS, self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def settle(self) -> None:
        """Stop the job or let it go on, and look again when that may change by itself."""
        now = self._loop.time()
        passed, self._at = now - self._at, now
        self._left = min(MOST_STILL_SECONDS, self._left + (-passed if self._still else passed))
        if self._left <= 0:
            self._must_run = True
        elif self._left >= MOST_STILL_SECONDS:
            self._must_run = False
        still = not self._must_run and self._precedence.others_first(self._caller)
        if still != self._still:
            self._still = still
            self._job.stand(still)
        self.close()
        if still:
            self._timer = self._loop.call_later(self._left, self.settle)
        elif self._must_run:
            self._timer = self._loop.call_later(MOST_STILL_SECONDS - self._left, self.settle)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Counted:
    """One job in its caller's count of long work, until as long after its end as it took."""

    def __init__(self, caller: Caller) -> None:
        self._count, self._loop = caller.long_work, asyncio.get_running_loop()
        self._began = self._loop.time()
        self._count.part += 1

    def end(self) -> None:
        """Take the job, which has ended, out of the count after as long as it took."""
        self._loop.call_later(self._loop.time() - self._began, self._forget)

    def _forget(self) -> None:
        self._count.part -= 1
