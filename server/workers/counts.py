"""Counters and histograms of all front ends together, which the hub reads: a front end has listeners who would wait."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from whispergpt.server.errors import internal
from whispergpt.server.observe import logs
from whispergpt.server.observe.front_end_metrics import Reading
from whispergpt.server.workers import messages as m
from whispergpt.server.workers.questions import HubQuestions

log = logs.get("server.hub")
_REST = 3.0
"""Times as long as a reading took that the hub does other things before the next, however many are asked for."""


class CountsReader:
    """The hub's side. Front ends that ask while the hub reads or rests get the next reading, which is one for all.

    Args:
        folder: of the metrics' files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._turn, self._rests_until = asyncio.Lock(), 0.0
        self._next: asyncio.Task[Reading] | None = None

    async def answer(self, question: m.ShowCounts) -> m.Counts | m.Refusal:
        """Return the answer to a front end's question."""
        if self._next is None:
            self._next = asyncio.create_task(self._read())
        try:
            return m.Counts((await self._next).text(question.accepted))
        except Exception as error:  # the files are gone, for example; the front end must not wait for ever
            log.error("the metrics of the front ends cannot be read", error=f"{type(error).__name__}: {error}")
            return m.Refusal.of(internal())

    async def _read(self) -> Reading:
        async with self._turn:
            await asyncio.sleep(self._rests_until - time.monotonic())
            self._next = None
            began = time.monotonic()
            try:
                return Reading(self._folder)
            finally:
                ended = time.monotonic()
                self._rests_until = ended + _REST * (ended - began)


class HubCounts:
    """A front end's side."""

    def __init__(self, questions: HubQuestions) -> None:
        self._questions = questions

    async def text(self, accepted: str) -> bytes:
        """Return the text in the format for ``accepted``.

        Raises:
            ApiError: 500, the hub cannot read them.
        """
        answer = await self._questions.ask(m.ShowCounts(accepted))
        if not isinstance(answer, m.Counts):
            raise internal()
        return answer.text
