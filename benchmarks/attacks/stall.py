"""Clients that stop reading: other listeners hear every frame in time, and memory stays within its bounds."""

from __future__ import annotations

import asyncio
import socket
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect

from whispergpt.benchmarks.attacks.tools.crowds import staying_crowd
from whispergpt.benchmarks.attacks.tools.footprint import footprint, settled
from whispergpt.benchmarks.attacks.tools.prompts import short_prompt
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.benchmarks.attacks.tools.session import say
from whispergpt.load.listener import stream_address

LISTENERS = 2
"""Listeners that keep reading, whose playback is measured."""
SECONDS = 40.0
SETTLE_SECONDS = 10.0
APART_SECONDS = 0.25
NARROW = 4096
"""Size of a stalled client's receive buffer in bytes."""
MOST_MB, MOST_MB_EACH = 24.0, 1.0
"""Megabytes that the allocator may keep, and megabytes for each stalled client: connection, frames, session, prompt."""


async def stall(served: ServerProcess, count: int, seed: int) -> dict[str, Any]:
    """Open ``count`` sessions that request endless audio and read none of it, beside some listeners.

    Sessions beyond the server's limit wait in the queue. Returns the measurements.
    """
    await staying_crowd(served.url, LISTENERS, 5.0, seed).run()  # fills pools and caches
    before, most_mb = await footprint(served), MOST_MB + MOST_MB_EACH * count
    others = staying_crowd(served.url, LISTENERS, SECONDS, seed)
    listening = asyncio.create_task(others.run())
    await asyncio.sleep(1)
    stalled = []
    for number in range(count):
        stalled.append(await _stall(served.url, seed + number))
        await asyncio.sleep(APART_SECONDS)
    await asyncio.sleep(SETTLE_SECONDS)
    amid = await footprint(served)
    await listening
    heard = others.summary()
    unhurt = heard.underruns == 0 and heard.listeners.get("completed") == LISTENERS
    for connection in stalled:
        connection.transport.abort()
    after = await settled(served, before, most_mb)
    left = after.leaked(before, most_mb)
    grown = amid.resident_mb - before.resident_mb
    return {
        "stalled": count,
        "playing": amid.busy,
        "other_listeners": heard.as_json(),
        "grown_mb": grown,
        "bound_mb": most_mb,
        "left": left,
        "held": unhurt and not left and grown < most_mb,
    }


async def _stall(url: str, seed: int) -> ClientConnection:
    wire = await asyncio.to_thread(narrow_wire, url, NARROW)
    connection = await connect(stream_address(url), sock=wire, compression=None, ping_interval=None, max_queue=1)
    await say(connection, "session.update", session={"seed": seed, "pace": "realtime"})
    await connection.send(short_prompt())
    await say(connection, "input_audio_buffer.commit")
    await say(connection, "response.create", response={"seconds": None})
    return connection


def narrow_wire(url: str, receive_buffer: int) -> socket.socket:
    """Return a connection to a server with a receive buffer of ``receive_buffer`` bytes."""
    address = urlsplit(url)
    wire = socket.socket()
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    wire.connect((address.hostname, address.port))
    return wire
