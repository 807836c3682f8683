"""A crowd in one process or in several, whose listeners share one plan and one clock."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from whispergpt.load.crowd import Crowd
from whispergpt.load.listener import Output
from whispergpt.load.plan import Visit
from whispergpt.load.record import ListenerRecord
from whispergpt.load.voices import Voices

_START_SECONDS = 1.0
"""Seconds that each process has to start in before the first listener is due."""


@dataclass(frozen=True)
class Crowding:
    """Everything that a crowd is made from.

    Attributes:
        address: address of the server's ``/stream``.
        prompts: recordings to cut prompts from.
        buffer_seconds: audio that each listener's player buffers before it plays.
    """

    address: str
    visits: Sequence[Visit]
    prompts: Sequence[Path]
    buffer_seconds: float
    model: str | None = None
    api_key: str | None = None
    output: Output = "pcm_s16le"

    def crowd(self) -> Crowd:
        """Return the listeners, who have not arrived yet.

        Raises:
            ValueError: a recording cannot be used, or the key has characters that no key has.
        """
        voices = Voices(self.prompts)
        return Crowd(self.address, self.visits, voices, self.buffer_seconds, self.model, self.api_key, self.output)


@dataclass(frozen=True)
class Heard:
    """Records of a run's listeners in the order of their arrival, and the generator's own delays in seconds."""

    records: list[ListenerRecord]
    lags: list[float]
    seconds: float


def hear_in(processes: int, crowding: Crowding) -> Heard:
    """Run a crowd divided among ``processes`` processes; an interrupt ends it early, and returns what was heard."""
    began = time.perf_counter() + _START_SECONDS * (1 + processes)
    parts = [replace(crowding, visits=crowding.visits[first::processes]) for first in range(processes)]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        running = [pool.submit(_hear, part, began) for part in parts]
        with contextlib.suppress(KeyboardInterrupt):  # the terminal interrupts the processes too
            wait(running)
        heard = [part.result() for part in running]
    records = sorted((record for part in heard for record in part.records), key=lambda record: record.came)
    lags = [lag for part in heard for lag in part.lags]
    return Heard(records, lags, max(part.seconds for part in heard))


def _hear(crowding: Crowding, began: float) -> Heard:
    """Run a part of a crowd in this process, on the clock of ``time.perf_counter``, which all processes share."""
    crowd = crowding.crowd()
    crowd.lags.append(max(0.0, time.perf_counter() - began))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(crowd.run(began))
    return Heard(crowd.records, crowd.lags, crowd.now())
