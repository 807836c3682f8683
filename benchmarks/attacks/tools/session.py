"""Events of a ``/stream`` session as an attacker sends and reads them."""

from __future__ import annotations

import json
from typing import Any

from websockets.asyncio.client import ClientConnection


class RefusalError(Exception):
    """The server answered with an error, whose message this is."""


async def say(session: ClientConnection, kind: str, /, **fields: Any) -> None:
    """Send an event."""
    await session.send(json.dumps({"type": kind, **fields}))


async def read_until(session: ClientConnection, kind: str | None) -> None:
    """Read until an event of this kind, or until audio if ``kind`` is None.

    Raises:
        RefusalError: the server sent an error.
        ConnectionClosed: the session ended before.
    """
    while True:
        message = await session.recv()
        if isinstance(message, bytes):
            if kind is None:
                return
            continue
        event = json.loads(message)
        if event["type"] == "error":
            raise RefusalError(event["error"]["message"])
        if event["type"] == kind:
            return
