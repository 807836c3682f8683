"""Readers that stop reading: those who read hear every frame in time, and memory stays within its bounds."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect

from whispergpt.benchmarks.attacks.tools.footprint import footprint, settled
from whispergpt.benchmarks.attacks.tools.prompts import short_prompt
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.load.crowd import Crowd
from whispergpt.load.example import PROMPT
from whispergpt.load.listener import stream_address
from whispergpt.load.plan import Mix, steady
from whispergpt.load.voices import Voices

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
    await _listeners(served.url, 5.0, seed).run()  # all that is made at a first time is made
    before, most_mb = await footprint(served), MOST_MB + MOST_MB_EACH * count
    others = _listeners(served.url, SECONDS, seed)
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
        "the_others": heard.as_json(),
        "grown_mb": grown,
        "bound_mb": most_mb,
        "left": left,
        "held": unhurt and not left and grown < most_mb,
    }


def _listeners(url: str, seconds: float, seed: int) -> Crowd:
    visits = steady(Mix(live=0.0), LISTENERS, seconds, seed)
    return Crowd(stream_address(url), visits, Voices([PROMPT]), buffer_seconds=0.05)


async def _stall(url: str, seed: int) -> ClientConnection:
    wire = await asyncio.to_thread(narrow_wire, url, NARROW)
    connection = await connect(stream_address(url), sock=wire, compression=None, ping_interval=None, max_queue=1)
    for kind, fields in (
        ("session.update", {"session": {"seed": seed, "pace": "realtime"}}),
        (None, {}),
        ("input_audio_buffer.commit", {}),
        ("response.create", {"response": {"seconds": None}}),
    ):
        await connection.send(json.dumps({"type": kind, **fields}) if kind else short_prompt())
    return connection


def narrow_wire(url: str, receive_buffer: int) -> socket.socket:
    """A connection to a server whose system takes in so few bytes while nobody reads."""
    address = urlsplit(url)
    wire = socket.socket()
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    wire.connect((address.hostname, address.port))
    return wire
