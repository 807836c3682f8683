"""Readers that stop reading: those who read hear every frame in time, and memory stays within its bounds."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect

from benchmarks.attacks.footprint import footprint, settled
from benchmarks.attacks.prompts import short_prompt
from benchmarks.attacks.server_process import ServerProcess
from benchmarks.load.playback_clock import PlaybackClock
from engine.config import SAMPLE_RATE

LISTENERS = 2
"""Who read, and are judged."""
SECONDS = 40.0
SETTLE_SECONDS = 10.0
APART_SECONDS = 0.25
NARROW = 4096
"""Bytes that a stalled reader's system takes in."""
MOST_MB, MOST_MB_EACH = 24.0, 1.0
"""That an allocator may keep; and for each stalled reader what its connection may hold, the frames that it has credit
for, its session and its prompt."""


async def stall(served: ServerProcess, count: int, seed: int) -> dict[str, Any]:
    """``count`` sessions that ask for endless audio and read none of it, around some listeners; those that the server
    has no time for wait in line."""
    first = [asyncio.create_task(_listen(served.url, 5.0, seed + n)) for n in range(LISTENERS)]
    await asyncio.gather(*first)  # all that is made at a first time is made
    before, most_mb = await footprint(served), MOST_MB + MOST_MB_EACH * count
    listeners = [asyncio.create_task(_listen(served.url, SECONDS, seed + n)) for n in range(LISTENERS)]
    await asyncio.sleep(1)
    stalled = []
    for number in range(count):
        stalled.append(await _stall(served.url, seed + number))
        await asyncio.sleep(APART_SECONDS)
    await asyncio.sleep(SETTLE_SECONDS)
    amid = await footprint(served)
    gaps = list(itertools.chain(*await asyncio.gather(*listeners)))
    for connection in stalled:
        connection.transport.abort()
    after = await settled(served, before, most_mb)
    left = after.leaked(before, most_mb)
    grown = amid.resident_mb - before.resident_mb
    return {
        "stalled": count,
        "playing": amid.busy,
        "gaps_of_the_others_ms": [round(1e3 * gap, 1) for gap in gaps],
        "grown_mb": grown,
        "bound_mb": most_mb,
        "left": left,
        "held": not gaps and not left and grown < most_mb,
    }


async def _ask(connection: ClientConnection, seconds: float | None, seed: int) -> None:
    for kind, fields in (
        ("session.update", {"session": {"seed": seed, "pace": "realtime"}}),
        (None, {}),
        ("input_audio_buffer.commit", {}),
        ("response.create", {"response": {"seconds": seconds}}),
    ):
        await connection.send(json.dumps({"type": kind, **fields}) if kind else short_prompt())


async def _stall(url: str, seed: int) -> ClientConnection:
    address = urlsplit(url)
    wire = socket.socket()
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
    await asyncio.to_thread(wire.connect, (address.hostname, address.port))
    to = url.replace("http", "ws", 1) + "/stream"
    connection = await connect(to, sock=wire, compression=None, ping_interval=None, max_queue=1)
    await _ask(connection, None, seed)
    return connection


async def _listen(url: str, seconds: float, seed: int) -> list[float]:
    """The gaps of one listener, in seconds."""
    clock = PlaybackClock(0.05)
    async with connect(url.replace("http", "ws", 1) + "/stream", compression=None) as connection:
        await _ask(connection, seconds, seed)
        async for message in connection:
            now = time.perf_counter()
            if isinstance(message, bytes):
                clock.arrive(now, len(message) / 2 / SAMPLE_RATE)
            elif json.loads(message)["type"] in ("response.done", "error"):
                clock.end(now, complete=json.loads(message)["type"] == "response.done")
                break
    return [gap.seconds for gap in clock.gaps]
