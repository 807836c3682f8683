"""One key that holds all that it can get, beside another: memory stays within its bound, and the other is served."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import json
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import soundfile
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from benchmarks.attacks.footprint import footprint, metrics, settled
from benchmarks.attacks.prompts import EXAMPLE, short_prompt
from benchmarks.attacks.server_process import ServerProcess
from benchmarks.attacks.stall import NARROW, narrow_wire
from benchmarks.load.crowd import Crowd
from benchmarks.load.listener import stream_address
from benchmarks.load.plan import Mix, steady
from benchmarks.load.reach import key_headers
from benchmarks.load.voices import Voices
from benchmarks.percentiles import Percentiles

MIB = 1024 * 1024
UPLOAD_MB, CONTROL_MB = 64, 8
KEYS = {"hog": 2, "other": None}
"""Names and streams: who attacks, and who is judged."""
SETTINGS = {
    "WHISPERGPT_UPLOAD_MEMORY_BYTES": str(UPLOAD_MB * MIB),
    "WHISPERGPT_CONTROL_MEMORY_BYTES": str(CONTROL_MB * MIB),
    "WHISPERGPT_MAX_UPLOAD_BYTES": str(8 * MIB),
    "WHISPERGPT_MAX_MESSAGE_BYTES": str(4 * MIB),
    "WHISPERGPT_PROMPT_SECONDS": "20",
    "WHISPERGPT_OPEN_METRICS": "true",
    "WHISPERGPT_PROMPT_CACHE_BYTES": "0",
}
LISTENERS = 2
MINUTE_SECONDS = 60.0
QUIET_MINUTES = 1.0
VISIT_SECONDS = 0.5
"""Seconds between two visits of the other key, whose first audio is measured."""
MOST_MB = 96.0
"""Megabytes besides the bounds, for two files that are being decoded and for what an allocator keeps."""
MOST_SLOWER = 2.0
PIPELINES, INBOXES, UNCOMMITTED, CLEARED, DECODED = 8, 2, 2, 2, 2
"""Connections of each kind: pipelining ones have no key, the other eight are all that a key of two streams may open."""
_PIPELINED = b"GET /health/live HTTP/1.1\r\nHost: here\r\n\r\n" * 6_000
_AGAIN_SECONDS = 0.2
_HELD_SECONDS = 5.0
_SAMPLE_SECONDS = 1.0


@dataclass
class _Hog:
    """One key's attackers, until they are cancelled; ``done`` counts what each kind of them got done."""

    url: str
    headers: dict[str, str]
    done: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Attack in every way at once."""
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
        """Attack anew whenever the server has ended an attack."""
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
        """Send prompts behind an event whose answer cannot be sent, since nothing is read."""
        wire = await asyncio.to_thread(narrow_wire, self.url, NARROW)
        async with self._connect(sock=wire, max_queue=1) as session:
            await self._say(session, "session.update", session={"pace": "fast"})
            await session.send(short_prompt())
            await self._say(session, "input_audio_buffer.commit")
            await self._say(session, "response.create", response={"seconds": 600})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2 * _HELD_SECONDS):
                    while True:
                        await self._say(session, "playback.report", played_frames=9_999_999)
                        await session.send(bytes(3 * MIB))
                        self.done["fill_inbox: MiB"] += 3
            session.transport.abort()

    async def _leave_uncommitted(self, _number: int) -> None:
        """Send a prompt that is never committed."""
        async with self._connect() as session:
            reading = asyncio.create_task(self._read(session))
            try:
                for _ in range(2):
                    await session.send(bytes(3 * MIB))
                    self.done["leave_uncommitted: MiB"] += 3
                await asyncio.wait([reading], timeout=2 * _HELD_SECONDS)
            finally:
                reading.cancel()

    async def _commit_and_clear(self, number: int) -> None:
        """Have prompts worked on for ever, and make nothing of them."""
        random = np.random.default_rng(number)
        async with self._connect() as session:
            for seconds in (30.0, *[0.6] * 20):
                await session.send(_noise(random, seconds))
                for kind in ("input_audio_buffer.commit", "input_audio_buffer.clear"):
                    await self._say(session, kind)
                while json.loads(await session.recv())["type"] != "input_audio_buffer.cleared":
                    pass
                self.done["commit_and_clear"] += 1

    async def _have_decoded(self, _number: int) -> None:
        """Send little that is much once it is decoded."""
        async with httpx.AsyncClient(timeout=120, headers=self.headers) as http:
            answer = await http.post(f"{self.url}/v1/play", files={"audio": _bomb()}, data={"seconds": "1"})
        self.done[f"have_decoded: {answer.status_code}"] += 1

    def _connect(self, **more: Any) -> connect:
        address = stream_address(self.url)
        return connect(address, additional_headers=self.headers, compression=None, max_size=None, **more)

    async def _say(self, session: ClientConnection, kind: str, /, **fields: Any) -> None:
        await session.send(json.dumps({"type": kind, **fields}))

    async def _read(self, session: ClientConnection) -> None:
        async for _ in session:
            pass


async def hold(served: ServerProcess, count: int, seed: int) -> dict[str, Any]:
    """``count`` minutes in which one key holds all that it can get, and another listens and comes anew all the time."""
    hog = _Hog(served.url, key_headers(served.keys["hog"]))
    key = served.keys["other"]
    seconds = count * MINUTE_SECONDS
    await _visits(served.url, key, QUIET_MINUTES * MINUTE_SECONDS / 4, seed)  # all that is made at a first time is made
    quiet = await _visits(served.url, key, QUIET_MINUTES * MINUTE_SECONDS, seed)
    before, resident_mb = await footprint(served), served.resident_mb()
    plan = steady(Mix(live=0.0), LISTENERS, seconds, seed)
    others = Crowd(stream_address(served.url), plan, Voices([EXAMPLE]), buffer_seconds=0.05, api_key=key)
    listening = asyncio.create_task(others.run())
    attacking = asyncio.create_task(hog.run())
    watching = asyncio.create_task(_most_held(served))
    await asyncio.sleep(min(2.0, seconds / 4))
    amid = await _visits(served.url, key, seconds - min(2.0, seconds / 4), seed + 1)
    await listening
    most = await _stopped(watching)
    await _stopped(attacking)
    bound_mb = UPLOAD_MB + CONTROL_MB + MOST_MB
    after = await settled(served, before, MOST_MB)
    left = after.leaked(before, MOST_MB)
    heard = others.summary()
    completed = heard.listeners.get("completed") == LISTENERS and not amid.failed and bool(amid.first_audio)
    first_audio, at_first = amid.percentiles(), quiet.percentiles()
    grown = most.resident_mb - resident_mb
    return {
        "minutes": count,
        "hog": dict(hog.done),
        "most_upload_mb": most.upload_mb,
        "grown_mb": grown,
        "bound_mb": bound_mb,
        "left": left,
        "the_others": heard.as_json(),
        "failed": amid.failed,
        "visits": len(amid.first_audio),
        "first_audio_ms": _as_json(first_audio),
        "first_audio_quiet_ms": _as_json(at_first),
        "bounded": grown < bound_mb and not left and most.upload_mb <= UPLOAD_MB,
        "served": completed,
        "held": grown < bound_mb
        and not left
        and most.upload_mb <= UPLOAD_MB
        and completed
        and heard.underruns == 0
        and first_audio is not None
        and at_first is not None
        and first_audio.p99 <= MOST_SLOWER * at_first.p99,
    }


@dataclass(frozen=True)
class _Most:
    resident_mb: float
    upload_mb: float


async def _most_held(served: ServerProcess) -> _Most:
    """Sample until cancelled; the most that the server and its children held of the machine, and said that it held."""
    resident = upload = 0.0
    try:
        while True:
            said = await metrics(served.url)
            resident = max(resident, served.resident_mb())
            upload = max(upload, said["whispergpt_upload_bytes"] / MIB)
            await asyncio.sleep(_SAMPLE_SECONDS)
    except asyncio.CancelledError:
        return _Most(resident, upload)


@dataclass
class _Visits:
    """Seconds from the prompt's first byte to the first audio, of each that came; and why the others failed."""

    first_audio: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def percentiles(self) -> Percentiles | None:
        """Return them in milliseconds."""
        return Percentiles.of([1e3 * one for one in self.first_audio]) if self.first_audio else None


async def _visits(url: str, key: str, seconds: float, seed: int) -> _Visits:
    """Send a prompt, have it continued, leave once something is heard, and come again."""
    found, random = _Visits(), np.random.default_rng(seed)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            found.first_audio.append(await _first_audio(url, key, _noise(random, 2.0)))
        except (OSError, ConnectionClosed, InvalidHandshake, TimeoutError, ValueError) as error:
            found.failed.append(f"{type(error).__name__}: {error}")
        await asyncio.sleep(VISIT_SECONDS)
    return found


async def _first_audio(url: str, key: str, prompt: bytes) -> float:
    async with (
        asyncio.timeout(60),
        connect(stream_address(url), additional_headers=key_headers(key), compression=None) as session,
    ):
        await session.recv()
        began = time.perf_counter()
        await session.send(prompt)
        await session.send(json.dumps({"type": "input_audio_buffer.commit"}))
        await session.send(json.dumps({"type": "response.create", "response": {"seconds": 1}}))
        async for message in session:
            if isinstance(message, bytes):
                return time.perf_counter() - began
            event = json.loads(message)
            if event["type"] == "error":
                raise ValueError(event["error"]["message"])
    raise ValueError("the session ended without audio")


async def _stopped(task: asyncio.Task[Any]) -> Any:
    """Cancel, and return what the task makes of it."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        return await task


def _noise(random: np.random.Generator, seconds: float) -> bytes:
    """Return a wav that no other is like."""
    out = io.BytesIO()
    soundfile.write(out, random.normal(0, 0.05, round(seconds * 24_000)), 24_000, format="WAV", subtype="PCM_16")
    return out.getvalue()


@functools.cache
def _bomb() -> bytes:
    """Return 58 seconds of silence in 8 channels at 192 kHz: 89 million samples in some 100 kB."""
    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", 192_000, 8, subtype="PCM_16", format="FLAC") as file:
        for _ in range(58):
            file.write(np.zeros((192_000, 8), np.int16))
    return out.getvalue()


def _as_json(found: Percentiles | None) -> dict[str, float] | None:
    return None if found is None else {"p50": found.p50, "p99": found.p99}
