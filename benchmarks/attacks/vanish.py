"""Connections that vanish at every point of the protocol: nothing may be left of them."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect

from whispergpt.benchmarks.attacks.tools.footprint import footprint, settled
from whispergpt.benchmarks.attacks.tools.prompts import short_prompt
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.load.listener import stream_address

AT_ONCE = 32
WARM_UP = 300
"""Connections before the first look: pools and caches fill once."""
MOST_MB = 40.0
"""Of memory that an allocator may keep for later."""
PATIENCE_SECONDS = 30.0
MOST_FAILED = 0.05
"""Of the connections: those that never came to the point where they were to vanish prove nothing."""

_PROMPT = short_prompt()


async def vanish(served: ServerProcess, count: int, seed: int) -> dict[str, Any]:
    """``count`` connections, some at once, each gone without a word at a point drawn at random."""
    draw = random.Random(seed)
    await _some(served.url, WARM_UP, draw)
    await asyncio.sleep(2)
    before = await footprint(served)
    points, failed = await _some(served.url, count, draw)
    after = await settled(served, before, MOST_MB)
    left = after.leaked(before, MOST_MB)
    return {
        "connections": dict(sorted(points.items())),
        "not_even_begun": failed,
        "before": before.as_json(),
        "after": after.as_json(),
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
        except (OSError, TimeoutError, EOFError, Refused):
            failed += 1  # refused, or too late: it never came to its point
        finally:
            gate.release()

    async with asyncio.TaskGroup() as all_of_them:
        for _ in range(count):
            await gate.acquire()
            all_of_them.create_task(one(draw.choice(list(POINTS))))
    return points, failed


class Refused(Exception):
    """The server said no."""


# --- over HTTP


def _form(stream: str) -> bytes:
    fields = {"seconds": "600", "stream": stream}
    parts = [f'--line\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    head = "".join(parts) + '--line\r\nContent-Disposition: form-data; name="audio"; filename="p"\r\n\r\n'
    return head.encode() + _PROMPT + b"\r\n--line--\r\n"


def _post(stream: str, share: float = 1.0, answered: bool = False) -> Callable[[str], Awaitable[None]]:
    """A request of which a share is sent, or whose answer has begun."""

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


async def _event(connection: ClientConnection, kind: str, **fields: Any) -> None:
    await connection.send(json.dumps({"type": kind, **fields}))


async def _until(connection: ClientConnection, kind: str | None) -> None:
    """An event of this kind, or audio."""
    while True:
        message = await connection.recv()
        if isinstance(message, bytes):
            if kind is None:
                return
            continue
        event = json.loads(message)
        if event["type"] == "error":
            raise Refused
        if event["type"] == kind:
            return


def _live(*acts: str, pace: str = "realtime") -> Callable[[str], Awaitable[None]]:
    """A session that does this and is gone."""

    async def act(url: str) -> None:
        connection = await connect(stream_address(url), compression=None, ping_interval=None)
        try:
            await _until(connection, "session.created")
            await _event(connection, "session.update", session={"pace": pace})
            for name in acts:
                match name:
                    case "half a prompt":
                        await connection.send(_PROMPT[: len(_PROMPT) // 2])
                    case "prompt":
                        await connection.send(_PROMPT)
                        await _event(connection, "input_audio_buffer.commit")
                    case "committed":
                        await _until(connection, "input_audio_buffer.committed")
                    case "create":
                        await _event(connection, "response.create", response={"seconds": None})
                    case "audio":
                        await _until(connection, None)
                    case _:
                        await _event(connection, f"response.{name}")
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
"""Where a connection may end."""
