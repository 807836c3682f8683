"""Attackers with one key, in a separate process: they occupy everything that a server grants to one key.

``python -m whispergpt.benchmarks.attacks.hog URL`` reads the key from its input, attacks until SIGTERM, and prints as
JSON how often it made each attack. The process computes only where the server leaves a processor idle (Linux), because
a remote attacker would use none of the server's processors.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import json
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import soundfile
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from whispergpt.benchmarks.attacks.stall import NARROW, narrow_wire
from whispergpt.benchmarks.attacks.tools.companion import companion
from whispergpt.benchmarks.attacks.tools.prompts import noise, short_prompt
from whispergpt.benchmarks.attacks.tools.session import say
from whispergpt.load.listener import stream_address
from whispergpt.load.reach import key_headers

MIB = 1024 * 1024
PIPELINES, INBOXES, UNCOMMITTED, CLEARED, DECODED = 8, 2, 2, 2, 2
"""Connections of each kind; pipelining needs no key, and the others are all that a key of two streams may open."""
_PIPELINED = b"GET /health/live HTTP/1.1\r\nHost: here\r\n\r\n" * 6_000
_MESSAGE_MIB = 3
_AGAIN_SECONDS = 0.2
_HELD_SECONDS = 5.0
_NICENESS = 19


@contextlib.contextmanager
def attacking(url: str, key: str, done: Counter[str]) -> Iterator[None]:
    """Attack the server while the context lasts, and add the counts of attacks to ``done`` at the end."""
    with companion(__name__, url, told=key) as hog:
        yield
    done.update(hog.result)


@dataclass
class Hog:
    """Attackers with one key, running until the process ends; ``done`` counts the attacks of each kind."""

    url: str
    headers: dict[str, str]
    done: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Run all kinds of attacks at the same time."""
        kinds: list[tuple[Callable[[int], Awaitable[None]], int]] = [
            (self._pipeline, PIPELINES),
            (self._fill_inbox, INBOXES),
            (self._leave_uncommitted, UNCOMMITTED),
            (self._commit_and_clear, CLEARED),
            (self._have_decoded, DECODED),
        ]
        async with asyncio.TaskGroup() as tasks:
            for kind, count in kinds:
                for number in range(count):
                    tasks.create_task(self._again(kind, number))

    async def _again(self, once: Callable[[int], Awaitable[None]], number: int) -> None:
        """Repeat an attack whenever it ends."""
        while True:
            try:
                await once(number)
            except (OSError, ConnectionClosed, InvalidHandshake, TimeoutError, httpx.HTTPError):
                self.done[f"{once.__name__.strip('_')}: refused"] += 1
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _pipeline(self, _number: int) -> None:
        """Send requests and read no answer."""
        address = urlsplit(self.url)
        with socket.socket() as wire:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
            wire.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(wire, (address.hostname, address.port))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HELD_SECONDS):
                    await loop.sock_sendall(wire, _PIPELINED)
                    await asyncio.sleep(_HELD_SECONDS)
        self.done["pipeline"] += 1

    async def _fill_inbox(self, _number: int) -> None:
        """Send prompts after an event that the server cannot answer, since the client reads nothing."""
        wire = await asyncio.to_thread(narrow_wire, self.url, NARROW)
        async with self._connect(sock=wire, max_queue=1) as session:
            await say(session, "session.update", session={"pace": "fast"})
            await session.send(short_prompt())
            await say(session, "input_audio_buffer.commit")
            await say(session, "response.create", response={"seconds": 600})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2 * _HELD_SECONDS):
                    while True:
                        await say(session, "playback.report", played_frames=9_999_999)
                        await session.send(bytes(_MESSAGE_MIB * MIB))
                        self.done["fill_inbox: MiB"] += _MESSAGE_MIB
            session.transport.abort()

    async def _leave_uncommitted(self, _number: int) -> None:
        """Send a prompt that is never committed."""
        async with self._connect() as session:
            for _ in range(2):
                await session.send(bytes(_MESSAGE_MIB * MIB))
                self.done["leave_uncommitted: MiB"] += _MESSAGE_MIB
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(session.wait_closed(), 2 * _HELD_SECONDS)

    async def _commit_and_clear(self, number: int) -> None:
        """Commit prompts and clear them again, so that their encoding is wasted."""
        random = np.random.default_rng(number)
        async with self._connect() as session:
            for seconds in (30.0, *[0.6] * 20):
                await session.send(noise(random, seconds))
                for kind in ("input_audio_buffer.commit", "input_audio_buffer.clear"):
                    await say(session, kind)
                while json.loads(await session.recv())["type"] != "input_audio_buffer.cleared":
                    pass  # a refusal is followed by it too
                self.done["commit_and_clear"] += 1

    async def _have_decoded(self, _number: int) -> None:
        """Upload a small file that is very large when decoded."""
        async with httpx.AsyncClient(timeout=120, headers=self.headers) as http:
            answer = await http.post(f"{self.url}/v1/play", files={"audio": _bomb()}, data={"seconds": "1"})
        self.done[f"have_decoded: {answer.status_code}"] += 1

    def _connect(self, **more: Any) -> connect:
        address = stream_address(self.url)
        return connect(address, additional_headers=self.headers, compression=None, max_size=None, **more)


@functools.cache
def _bomb() -> bytes:
    """Return 58 seconds of silence in 8 channels at 192 kHz: 89 million samples in some 100 kB."""
    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", 192_000, 8, subtype="PCM_16", format="FLAC") as file:
        for _ in range(58):
            file.write(np.zeros((192_000, 8), np.int16))
    return out.getvalue()


async def _attack(hog: Hog) -> None:
    """Attack until SIGTERM, then print what was done and end the process at once.

    No connection is closed first: the library's ``close`` waits, without a bound, for a server that reads nothing.
    """

    def end() -> None:
        print(json.dumps(hog.done), flush=True)  # noqa: T201
        os._exit(0)

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    await hog.run()


def main() -> None:
    """Attack the server at the address in the argument, with the key on standard input."""
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(_NICENESS)
    asyncio.run(_attack(Hog(sys.argv[1], key_headers(sys.stdin.read()))))


if __name__ == "__main__":
    main()
