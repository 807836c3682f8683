"""Seeded streams under random schedules and beside random other streams: their samples never change."""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import Any

from whispergpt_client import AsyncClient

from whispergpt.benchmarks.attacks.tools.prompts import short_prompt
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess

STREAMS = 32
FRAMES = 30
SECONDS = FRAMES / 75
STRANGERS = 6
"""Other streams that start and end meanwhile."""


async def schedules(served: ServerProcess, count: int, seed: int) -> dict[str, Any]:
    """Run the same streams ``count`` times and return which runs had other samples."""
    draw = random.Random(seed)
    prompts = [short_prompt(), short_prompt("FLAC")]
    different: list[int] = []
    async with AsyncClient(served.url) as client:
        wanted = [await _played(client, prompts[number % 2], number, "fast") for number in range(STREAMS)]
        for number in range(count):
            # Each task has its own generator, since the order of the tasks' draws depends on timing.
            strangers = [
                asyncio.create_task(_stranger(client, prompts, random.Random(draw.random()))) for _ in range(STRANGERS)
            ]
            order = draw.sample(range(STREAMS), STREAMS)
            heard = await asyncio.gather(
                *(_some_time(client, prompts, stream, random.Random(draw.random())) for stream in order)
            )
            await asyncio.gather(*strangers)
            if any(wanted[stream] != got for stream, got in zip(order, heard, strict=True)):
                different.append(number)
    return {
        "schedules": count,
        "streams": STREAMS,
        "frames": FRAMES,
        "distinct_streams": len(set(wanted)),
        "schedules_that_differ": different,
        "held": not different,
    }


async def _some_time(client: AsyncClient, prompts: list[bytes], stream: int, draw: random.Random) -> bytes:
    late, pace = draw.random() * 0.5, "realtime" if draw.random() < 0.5 else "fast"
    await asyncio.sleep(late)
    return await _played(client, prompts[stream % 2], stream, pace)


async def _played(client: AsyncClient, prompt: bytes, seed: int, pace: Any) -> bytes:
    """Return the hash of one stream's samples."""
    heard = hashlib.sha256()
    async for pcm in client.stream(prompt, seconds=SECONDS, pace=pace, seed=seed):
        heard.update(pcm)
    return heard.digest()


async def _stranger(client: AsyncClient, prompts: list[bytes], draw: random.Random) -> None:
    """Play a stream and leave in the middle of it."""
    await asyncio.sleep(draw.random() * 0.5)
    left = draw.randint(1, 5)
    async with client.stream(draw.choice(prompts), seconds=5, pace="realtime", seed=draw.randrange(1000)) as stream:
        async for _ in stream:
            left -= 1
            if not left:
                return
