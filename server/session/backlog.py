"""Backlog of audio for a slow listener, for servers that drop late audio instead of stopping the stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator

from whispergpt.engine.config import HOP, SAMPLE_RATE


class Backlog:
    """The last ``seconds`` of s16le audio that are not taken yet."""

    def __init__(self, seconds: float) -> None:
        self._most = round(seconds * SAMPLE_RATE) * 2
        self._waiting: deque[bytes] = deque()
        self._bytes = self._dropped = 0

    def add(self, pcm: bytes) -> None:
        """Add a message; the oldest are dropped where there are too many."""
        self._waiting.append(pcm)
        self._bytes += len(pcm)
        while self._bytes > self._most and len(self._waiting) > 1:
            oldest = self._waiting.popleft()
            self._bytes -= len(oldest)
            self._dropped += len(oldest)

    def take(self) -> tuple[int, bytes] | None:
        """Return the frames dropped before the oldest message, and the message; None where none waits."""
        if not self._waiting:
            return None
        frames, self._dropped = self._dropped // (2 * HOP), 0
        pcm = self._waiting.popleft()
        self._bytes -= len(pcm)
        return frames, pcm


async def latest(messages: AsyncIterator[bytes], seconds: float) -> AsyncGenerator[tuple[int, bytes]]:
    """Yield ``messages`` whenever they are taken, each with the number of frames dropped before it.

    Raises:
        ApiError: as ``messages`` raised it, once everything before is taken.
    """
    backlog, changed = Backlog(seconds), asyncio.Event()

    async def fill() -> None:
        async for pcm in messages:
            backlog.add(pcm)
            changed.set()

    filling = asyncio.create_task(fill())
    filling.add_done_callback(lambda _: changed.set())
    try:
        while True:
            changed.clear()
            over = filling.done()
            while (taken := backlog.take()) is not None:
                yield taken
            if over:
                filling.result()
                return
            await changed.wait()
    finally:
        filling.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await filling


async def every(messages: AsyncIterator[bytes]) -> AsyncGenerator[tuple[int, bytes]]:
    """Yield ``messages`` one by one, in the form of ``latest``, and drop none."""
    async for pcm in messages:
        yield 0, pcm
