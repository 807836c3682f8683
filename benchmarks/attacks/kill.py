"""The engine's process killed again and again under load: every listener goes on by its token, each frame once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

from whispergpt_client import AsyncClient

from benchmarks.attacks.prompts import short_prompt
from benchmarks.attacks.server_process import ServerProcess
from engine.config import FRAME_RATE, HOP

LISTENERS = 8
BETWEEN_SECONDS = 4.0
"""From the moment that everybody hears again to the engine's next death."""
DEATH_SECONDS = 10.0
"""Of audio for each death, with room for its engine's return."""
RETURN_SECONDS = 60.0


async def kill(served: ServerProcess, count: int, seed: int) -> dict[str, Any]:
    """``count`` deaths while some listen in real time.

    Each listener asks for so many frames and no more, and the server counts them over all its engines: one that was
    lost or came twice would leave another number than was asked for.
    """
    seconds = count * DEATH_SECONDS
    away: list[float] = []
    async with AsyncClient(served.url) as client:
        ears = [Ear(client, seconds, seed + number) for number in range(LISTENERS)]
        hearing = [asyncio.create_task(ear.listen()) for ear in ears]
        while len(away) < count and not any(task.done() for task in hearing):
            await asyncio.sleep(BETWEEN_SECONDS)
            for pid in served.engine_pids():
                os.kill(pid, signal.SIGKILL)
            away.append(await _until_all_hear(ears))
        ended = await asyncio.gather(*hearing, return_exceptions=True)
    lost = [repr(error) for error in ended if error is not None]
    wanted = round(seconds * FRAME_RATE)
    return {
        "deaths": len(away),
        "listeners": LISTENERS,
        "frames_asked_for": wanted,
        "frames_heard": [ear.bytes / (2 * HOP) for ear in ears],
        "silent_seconds": [round(one, 2) for one in away],
        "lost": lost,
        "held": len(away) == count and not lost and all(ear.bytes == 2 * HOP * wanted for ear in ears),
    }


async def _until_all_hear(ears: list[Ear]) -> float:
    """Seconds until every listener hears something on a new connection."""
    began, before = time.monotonic(), [ear.connections for ear in ears]
    while any(ear.connections == then for ear, then in zip(ears, before, strict=True)):
        if time.monotonic() - began > RETURN_SECONDS:
            break
        await asyncio.sleep(0.05)
    return time.monotonic() - began


class Ear:
    """One listener, who goes on by itself."""

    def __init__(self, client: AsyncClient, seconds: float, seed: int) -> None:
        self._stream = client.stream(short_prompt(), seconds=seconds, pace="realtime", seed=seed)
        self._session: str | None = None
        self.bytes = self.connections = 0

    async def listen(self) -> None:
        """Raises WhisperGPTError where the stream is lost for good."""
        async for pcm in self._stream:
            self.bytes += len(pcm)
            session = str(self._stream.session.get("id"))
            if session != self._session:
                self._session, self.connections = session, self.connections + 1
