"""Connections that are dropped at every point of the protocol: no file, thread or stream may be left over."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import connect

from whispergpt.benchmarks.attacks.tools.footprint import footprint, settled
from whispergpt.benchmarks.attacks.tools.prompts import short_prompt
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.benchmarks.attacks.tools.session import RefusalError, read_until, say
from whispergpt.load.listener import stream_address

AT_ONCE = 32
WARM_UP = 300
"""Connections before the first measurement, which fill pools and caches."""
MOST_MB = 40.0
"""Megabytes that the allocator may keep."""
PATIENCE_SECONDS = 30.0
MOST_FAILED = 0.05
"""Largest share of connections that fail before the point at which they are to be dropped."""

_PROMPT = short_prompt()


async def vanish(served: ServerProcess, count: int, seed: int) -> dict[str, Any]:
    """Open ``count`` connections, some at once, and drop each at a random point; return the measurements."""
    draw = random.Random(seed)
    await _some(served.url, WARM_UP, draw)
    await asyncio.sleep(2)
    before = await footprint(served)
    points, failed = await _some(served.url, count, draw)
    after = await settled(served, before, MOST_MB)
    left = after.leaked(before, MOST_MB)
    return {
        "connections": dict(sorted(points.items())),
        "failed_before_their_point": failed,
        "before": asdict(before),
        "after": asdict(after),
        "left": left,
        "held": not left and failed <= MOST_FAILED * count and "Traceback" not in served.log(),
    }


async def _some(url: str, count: int, draw: random.Random) -> tuple[Counter[str], int]:
    gate, points, failed = asyncio.Semaphore(AT_ONCE), Counter[str](), 0

    async def one(name: str) -> None:
        nonlocal failed
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await POINTS[name](url)
            points[name] += 1
        except (OSError, TimeoutError, EOFError, RefusalError):
            failed += 1  # refused, or too late
        finally:
            gate.release()

    async with asyncio.TaskGroup() as all_of_them:
        for _ in range(count):
            await gate.acquire()
            all_of_them.create_task(one(draw.choice(list(POINTS))))
    return points, failed


# --- over HTTP


def _form(stream: str) -> bytes:
    fields = {"seconds": "600", "stream": stream}
    parts = [f'--line\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    head = "".join(parts) + '--line\r\nContent-Disposition: form-data; name="audio"; filename="p"\r\n\r\n'
    return head.encode() + _PROMPT + b"\r\n--line--\r\n"


def _post(stream: str, share: float = 1.0, answered: bool = False) -> Callable[[str], Awaitable[None]]:
    """Return an action that sends a share of a request, or waits for the beginning of its answer, and drops it."""

    async def act(url: str) -> None:
        address, body = urlsplit(url), _form(stream)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            head = (
                f"POST /continue HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(body)}\r\n"
                "Content-Type: multipart/form-data; boundary=line\r\n\r\n"
            ).encode()
            whole = head + body
            writer.write(whole[: round(share * len(whole))])
            await writer.drain()
            if answered:
                await reader.readexactly(600)
        finally:
            writer.transport.abort()

    return act


# --- over the WebSocket


async def _half_a_handshake(url: str) -> None:
    address = urlsplit(url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"GET /stream HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Up")
    await writer.drain()
    writer.transport.abort()


def _live(*acts: str, pace: str = "realtime") -> Callable[[str], Awaitable[None]]:
    """Return an action that performs ``acts`` in a session and drops the connection."""

    async def act(url: str) -> None:
        connection = await connect(stream_address(url), compression=None, ping_interval=None)
        try:
            await read_until(connection, "session.created")
            await say(connection, "session.update", session={"pace": pace})
            for name in acts:
                match name:
                    case "half a prompt":
                        await connection.send(_PROMPT[: len(_PROMPT) // 2])
                    case "prompt":
                        await connection.send(_PROMPT)
                        await say(connection, "input_audio_buffer.commit")
                    case "committed":
                        await read_until(connection, "input_audio_buffer.committed")
                    case "create":
                        await say(connection, "response.create", response={"seconds": None})
                    case "audio":
                        await read_until(connection, None)
                    case _:
                        await say(connection, f"response.{name}")
        finally:
            connection.transport.abort()

    return act


POINTS: dict[str, Callable[[str], Awaitable[None]]] = {
    "POST, nothing sent": _post("true", 0.0),
    "POST, half a header": _post("true", 0.005),
    "POST, half a body": _post("true", 0.6),
    "POST, whole, no answer awaited": _post("false"),
    "POST, amid the answer": _post("true", answered=True),
    "WebSocket, half a handshake": _half_a_handshake,
    "WebSocket, just open": _live(),
    "WebSocket, half a prompt": _live("half a prompt"),
    "WebSocket, with the commit": _live("prompt"),
    "WebSocket, committed": _live("prompt", "committed"),
    "WebSocket, with the create": _live("prompt", "create"),
    "WebSocket, amid the audio": _live("prompt", "create", "audio"),
    "WebSocket, amid fast audio": _live("prompt", "create", "audio", pace="fast"),
    "WebSocket, paused": _live("prompt", "create", "audio", "pause"),
    "WebSocket, forked": _live("prompt", "create", "audio", "fork"),
    "WebSocket, with the cancel": _live("prompt", "create", "audio", "cancel"),
}
"""Actions that drop a connection, by the point of the protocol."""
