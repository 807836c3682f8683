"""A key that occupies all it can get, beside another key: memory stays bounded, and the other key is served."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from whispergpt.benchmarks.attacks.hog import attacking
from whispergpt.benchmarks.attacks.tools.crowds import staying_crowd
from whispergpt.benchmarks.attacks.tools.footprint import footprint, settled
from whispergpt.benchmarks.attacks.tools.prompts import noise
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.benchmarks.attacks.tools.session import RefusalError, read_until, say
from whispergpt.benchmarks.attacks.tools.watch import watching
from whispergpt.engine.short_slices import take_short_slices
from whispergpt.load.listener import stream_address
from whispergpt.load.percentiles import Percentiles
from whispergpt.load.reach import key_headers

MIB = 1024 * 1024
UPLOAD_MB, CONTROL_MB = 64, 8
KEYS = {"hog": 2, "other": None}
"""Names and stream limits of the attacking key and of the key whose service is measured."""
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
"""Seconds between two measurements of the other key's time to first audio."""
MOST_MB = 96.0
"""Megabytes allowed above the bounds, for two files being decoded and for memory that the allocator keeps."""
MOST_SLOWER = 2.0
_HOG_STARTS_SECONDS = 5.0


async def hold(served: ServerProcess, count: int, seed: int) -> dict[str, Any]:
    """Attack with one key for ``count`` minutes, measure another key's service meanwhile, and return both."""
    take_short_slices()  # a remote client would not wait for the server's processors
    key, done = served.keys["other"], Counter[str]()
    seconds, quiet_seconds = count * MINUTE_SECONDS, QUIET_MINUTES * MINUTE_SECONDS
    await _visits(served.url, key, quiet_seconds / 4, seed)  # fills pools and caches
    before, resident_mb = await footprint(served), served.resident_mb()
    # The listeners play in both measurements, so that the attack is their only difference.
    others = staying_crowd(served.url, LISTENERS, quiet_seconds + seconds, seed, key)
    listening = asyncio.create_task(others.run())
    quiet = await _visits(served.url, key, quiet_seconds, seed)
    with watching(served) as held, attacking(served.url, served.keys["hog"], done):
        await asyncio.sleep(min(_HOG_STARTS_SECONDS, seconds / 4))
        amid = await _visits(served.url, key, seconds - min(_HOG_STARTS_SECONDS, seconds / 4), seed + 1)
        await listening
    bound_mb = UPLOAD_MB + CONTROL_MB + MOST_MB
    after = await settled(served, before, MOST_MB)
    left = after.leaked(before, MOST_MB)
    heard = others.summary()
    completed = heard.listeners.get("completed") == LISTENERS and not amid.failed and bool(amid.first_audio)
    first_audio, at_first = amid.percentiles(), quiet.percentiles()
    grown = held.resident_mb - resident_mb
    bounded = grown < bound_mb and not left and held.upload_mb <= UPLOAD_MB
    quick = first_audio is not None and at_first is not None and first_audio.p99 <= MOST_SLOWER * at_first.p99
    return {
        "minutes": count,
        "hog": dict(done),
        "most_upload_mb": held.upload_mb,
        "grown_mb": grown,
        "bound_mb": bound_mb,
        "left": left,
        "other_listeners": heard.as_json(),
        "failed": amid.failed,
        "visits": len(amid.first_audio),
        "first_audio_ms": first_audio and asdict(first_audio),
        "first_audio_quiet_ms": at_first and asdict(at_first),
        "bounded": bounded,
        "served": completed,
        "held": bounded and completed and heard.underruns == 0 and quick,
    }


@dataclass
class _Visits:
    """Times to first audio of the visits that got audio, in seconds, and the errors of the others."""

    first_audio: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def percentiles(self) -> Percentiles | None:
        """Return the percentiles in milliseconds; None if no visit got audio."""
        return Percentiles.of([1e3 * one for one in self.first_audio]) if self.first_audio else None


async def _visits(url: str, key: str, seconds: float, seed: int) -> _Visits:
    """Connect repeatedly: send a prompt, request a continuation, and leave at the first audio."""
    found, random = _Visits(), np.random.default_rng(seed)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            found.first_audio.append(await _first_audio(url, key, noise(random, 2.0)))
        except (OSError, ConnectionClosed, InvalidHandshake, TimeoutError, RefusalError) as error:
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
        await say(session, "input_audio_buffer.commit")
        await say(session, "response.create", response={"seconds": 1})
        await read_until(session, None)
        return time.perf_counter() - began
