"""Tracks: the last seconds of a feed in one format, which all listeners read with cursors of their own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_WOKEN_AT_ONCE = 64
"""Listeners that are woken before other work has its turn on the event loop."""


class SlowListenerError(Exception):
    """A listener is further behind than the audio that is kept."""


class Chunk(NamedTuple):
    """Bytes of a body, and the sample of the response that they begin with."""

    start: int
    data: bytes


class Track:
    """Chunks by number, without those that are too old. Every listener gets the same bytes.

    Args:
        head: bytes that each body begins with.
        start: sample of the response that the first chunk begins with.
        keep: samples that are kept.

    Attributes:
        end: sample after the newest chunk.
        over: whether no more chunks come.
        failed: whether it ended before its audio did.
        readers: listeners that read it now.
    """

    def __init__(self, head: bytes, start: int, keep: int) -> None:
        self.head, self.end = head, start
        self.over = self.failed = False
        self.readers = 0
        self._keep, self._first = keep, 0
        self._chunks: deque[Chunk] = deque()
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def start(self) -> int:
        """Return the sample that the oldest chunk begins with."""
        return self._chunks[0].start if self._chunks else self.end

    @property
    def next_number(self) -> int:
        """Return the number of the chunk that comes next."""
        return self._first + len(self._chunks)

    def append(self, chunk: Chunk, end: int) -> None:
        """Add a chunk whose audio ends before the sample ``end``, and forget those that are too old."""
        self._chunks.append(chunk)
        self.end = end
        while self._chunks[0].start < end - self._keep and len(self._chunks) > 1:
            self._chunks.popleft()
            self._first += 1
        self._wake()

    def finish(self, failed: bool = False) -> None:
        """End the track; only the first call counts."""
        if not self.over:
            self.over, self.failed = True, failed
            self._wake()

    def number_at(self, sample: int) -> int:
        """Return the number of the last chunk that begins at or before a sample, or of the oldest."""
        before = sum(chunk.start <= sample for chunk in self._chunks)
        return self._first + max(0, before - 1)

    def start_of(self, number: int) -> int:
        """Return the sample that a chunk begins with; of the next chunk, the end of the newest."""
        return self._chunks[number - self._first].start if number < self.next_number else self.end

    def available(self, number: int, most_bytes: int) -> Sequence[Chunk]:
        """Return the chunks from a number on, none where it has not come yet, and at least one where it has.

        Args:
            most_bytes: of all chunks but the first.

        Raises:
            SlowListenerError: the chunk of this number is kept no longer.
        """
        if number < self._first:
            raise SlowListenerError
        found: list[Chunk] = []
        size = 0
        for place in range(number - self._first, len(self._chunks)):
            chunk = self._chunks[place]  # the newest are found at once, since a deque is walked from its nearer end
            size += len(chunk.data)
            if found and size > most_bytes:
                break
            found.append(chunk)
        return found

    async def take(self, number: int, most_bytes: int) -> Sequence[Chunk]:
        """Return chunks as ``available`` does, once there is one; an empty answer is the end.

        Raises:
            SlowListenerError: as ``available``.
        """
        while not (found := self.available(number, most_bytes)) and not self.over:
            await self.change()
        return found

    async def reach(self, sample: int) -> None:
        """Wait until the audio goes beyond a sample, or ends."""
        while self.end <= sample and not self.over:
            await self.change()

    async def change(self) -> None:
        """Wait for another chunk, or the end."""
        changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(changed)
        try:
            await changed
        finally:
            self._waiting.discard(changed)

    def _wake(self) -> None:
        """Wake all who wait, some at a time, so that a large audience does not hold up the event loop."""
        if self._waiting:
            woken, self._waiting = self._waiting, set()
            _wake_some(deque(woken))


def joined(chunks: Iterable[Chunk]) -> bytes:
    """Return the bytes of chunks; those of a single chunk are not copied."""
    parts = [chunk.data for chunk in chunks]
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _wake_some(waiting: deque[asyncio.Future[None]]) -> None:
    for _ in range(min(_WOKEN_AT_ONCE, len(waiting))):
        if not (changed := waiting.popleft()).done():
            changed.set_result(None)
    if waiting:
        asyncio.get_running_loop().call_soon(_wake_some, waiting)
