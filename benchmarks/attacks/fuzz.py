"""Nearly valid messages and uploads, and random bytes: the server answers each and never crashes."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from whispergpt.benchmarks.attacks.tools.footprint import footprint, settled
from whispergpt.benchmarks.attacks.tools.prompts import short_prompt
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.benchmarks.attacks.tools.session import say
from whispergpt.load.listener import stream_address

SESSION_MESSAGES = 50
UPLOAD_SHARE = 0.1
"""Share of uploads in all attempts; an upload takes ten times the work of a message."""
AT_ONCE = 8
PATIENCE_SECONDS = 60.0
MOST_MB = 100.0
WARM_UP = 200
"""Attempts before the first measurement, which fill pools."""
CONTAINERS = ("WAV", "FLAC", "OGG", "MP3", "AIFF")

_EVENTS: list[dict[str, Any]] = [
    {"type": "session.update", "session": {"seed": 1, "temperature": 1.0, "top_k": 5, "top_p": 0.9, "pace": "fast"}},
    {"type": "session.update", "session": {"input": {"format": "pcm_s16le", "sample_rate": 16_000}}},
    {"type": "session.update", "session": {"model": None, "output": {"format": "pcm_s16le"}}},
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    {"type": "response.create", "response": {"seconds": 0.1}},
    {"type": "response.create", "response": {"resume_token": "AAAA", "from_frame": 3}},
    {"type": "response.cancel"},
    {"type": "response.pause"},
    {"type": "response.resume"},
    {"type": "response.fork", "seed": 2},
    {"type": "playback.report", "played_frames": 1, "underruns": 0},
]
_ODD: list[Any] = [
    None, True, -1, 0, 1e308, -1e308, 2**53, 10**30, 0.5, "", "\0", "é" * 300, [], [[]], {}, {"a": 1}, "600", "nan",
]  # fmt: skip
_FIELDS = {
    "seconds": "0.04", "seed": "1", "temperature": "1", "top_k": "5", "top_p": "0.9", "response_format": "wav",
    "include_prompt": "true", "stream": "false",
}  # fmt: skip


async def fuzz(served: ServerProcess, count: int, seed: int) -> dict[str, Any]:
    """Make ``count`` attempts, nine messages for each upload, and return the measurements."""
    prompts = [short_prompt(container) for container in CONTAINERS]
    draw = random.Random(seed)
    said: Counter[str] = Counter()
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as http:

        async def some(attempts: int) -> int:
            uploads = round(attempts * UPLOAD_SHARE)
            sessions = (attempts - uploads) // SESSION_MESSAGES
            work = [_session(served.url, random.Random(draw.random()), prompts, said) for _ in range(sessions)]
            work += [_upload(http, served.url, random.Random(draw.random()), prompts, said) for _ in range(uploads)]
            draw.shuffle(work)
            await _bounded(work)
            return sessions * SESSION_MESSAGES + uploads

        await some(WARM_UP)
        said.clear()
        before = await footprint(served)
        attempts = await some(count)
        answer = await http.post(f"{served.url}/continue", data={"seconds": "0.04"}, files={"audio": prompts[0]})
    after = await settled(served, before, MOST_MB)
    left = after.leaked(before, MOST_MB)
    bad = {
        kind: n for kind, n in said.items() if "server_error" in kind or kind.startswith("HTTP 5") or "silent" in kind
    }
    log = served.log()
    traces = log.count("Traceback")
    return {
        "attempts": attempts,
        "answers": dict(said.most_common()),
        "stack_traces": traces,
        "first_trace": log[log.index("Traceback") :][:4000] if traces else None,
        "serves_after": answer.status_code == 200,
        "left": left,
        "held": not bad and not traces and answer.status_code == 200 and not left,
    }


async def _bounded(work: list[Any]) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(each: Any) -> None:
        async with gate:
            await each

    await asyncio.gather(*(one(each) for each in work))


async def _session(url: str, draw: random.Random, prompts: list[bytes], said: Counter[str]) -> None:
    """Open a connection and send its messages without waiting for answers."""
    connection = await connect(stream_address(url), compression=None, max_queue=None)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            for _ in range(SESSION_MESSAGES):
                await connection.send(_message(draw, prompts))
            await say(connection, "no.such")  # the refusal shows that all earlier messages were read
            async for message in connection:
                if isinstance(message, bytes):
                    continue
                event = json.loads(message)
                error = event.get("error")
                said[f"{error['type']} {error['code']}" if error else event["type"]] += 1
                if error and "no.such" in error["message"]:
                    break
    except ConnectionClosed as closed:
        said[f"closed {closed.rcvd.code if closed.rcvd else 'without a word'}"] += 1
    except TimeoutError:
        said["silent"] += 1
    finally:
        await connection.close()


def _message(draw: random.Random, prompts: list[bytes]) -> str | bytes:
    kind = draw.random()
    if kind < 0.15:
        return mutated(draw, draw.choice(prompts))
    event = json.loads(json.dumps(draw.choice(_EVENTS)))
    if kind < 0.3:
        text = mutated(draw, json.dumps(event).encode())
        return text.decode(errors="replace")
    if kind < 0.8:
        _spoil(draw, event)
    return json.dumps(event)


def _spoil(draw: random.Random, event: dict[str, Any]) -> None:
    """Replace one value of the event by an odd one, or add an unknown field."""
    place = event
    while inner := [value for value in place.values() if isinstance(value, dict)]:
        if draw.random() < 0.3:
            break
        place = draw.choice(inner)
    key = draw.choice([*place, "odd"])
    place[key] = draw.choice(_ODD)


def mutated(draw: random.Random, data: bytes) -> bytes:
    """Return ``data`` with some bytes changed, removed or doubled, or with its end cut off."""
    out = bytearray(data)
    for _ in range(draw.randint(1, 8)):
        at = draw.randrange(max(1, len(out)))
        match draw.randrange(4):
            case 0:
                out[at : at + 1] = draw.randbytes(1)
            case 1:
                del out[at : at + draw.randint(1, 64)]
            case 2:
                out[at:at] = out[at : at + draw.randint(1, 64)]
            case _:
                if draw.random() < 0.2:
                    del out[at:]
    return bytes(out)


async def _upload(
    http: httpx.AsyncClient, url: str, draw: random.Random, prompts: list[bytes], said: Counter[str]
) -> None:
    fields = {key: value for key, value in _FIELDS.items() if draw.random() < 0.4} | {"seconds": "0.04"}
    if draw.random() < 0.3:
        fields[draw.choice([*_FIELDS, "odd"])] = str(draw.choice([odd for odd in _ODD if odd != "600"]))
    audio = mutated(draw, draw.choice(prompts)) if draw.random() < 0.9 else draw.randbytes(draw.randint(0, 5000))
    try:
        answer = await http.post(f"{url}/continue", data=fields, files={"audio": audio})
    except httpx.TimeoutException:
        said["silent"] += 1
        return
    said[f"HTTP {answer.status_code}"] += 1
