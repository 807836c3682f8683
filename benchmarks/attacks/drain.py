"""SIGTERM under load: the old server ends in time, and its successor continues every stream."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import urlsplit

from whispergpt_client import AsyncClient

from whispergpt.benchmarks.attacks.tools.ear import Ear, in_place, judge
from whispergpt.benchmarks.attacks.tools.prompts import MODEL
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess

SECONDS = 30.0
DRAIN_SECONDS = 3.0
MOST_LATE_SECONDS = 3.0
SETTINGS = {"WHISPERGPT_DRAIN_SECONDS": str(DRAIN_SECONDS), "WHISPERGPT_RESUME_KEY": "the same for both servers"}


async def drain(served: ServerProcess, count: int, seed: int) -> dict[str, Any]:
    """Stop the server while ``count`` listeners play in real time, and start another at its address."""
    port = urlsplit(served.url).port
    async with AsyncClient(served.url) as client:
        ears = [Ear(client, SECONDS, seed + number) for number in range(count)]
        hearing = [asyncio.create_task(ear.listen()) for ear in ears]
        await asyncio.sleep(SECONDS / 5)
        await asyncio.gather(*(ear.begun.wait() for ear in ears))
        began = time.monotonic()
        served.terminate()
        status = await asyncio.to_thread(served.wait)
        took = time.monotonic() - began
        arguments = ("--port", str(port), "--model", MODEL)
        with await asyncio.to_thread(lambda: ServerProcess(*arguments, environment=SETTINGS)):
            ended = await asyncio.gather(*hearing, return_exceptions=True)
            seams, wrong = await judge(ears)
    lost = [repr(error) for error in ended if error is not None]
    return {
        "listeners": count,
        "exit_status": status,
        "exit_seconds": round(took, 2),
        "drain_seconds": DRAIN_SECONDS,
        "seams": dict(seams),
        "lost": lost,
        "wrong": wrong,
        "held": status == 0 and took < DRAIN_SECONDS + MOST_LATE_SECONDS and not lost and not wrong and in_place(seams),
    }
