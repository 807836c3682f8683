"""Events of OpenAI's Realtime API, as the types of its own client check them."""

from __future__ import annotations

import base64
import json
from typing import Any

from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

_EVENTS: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


async def receive(connection: AsyncRealtimeConnection) -> Any:
    """The next event, which has every field that its type requires, of the right type."""
    return _EVENTS.validate_python(json.loads(await connection.recv_bytes()), strict=True)


async def expect(connection: AsyncRealtimeConnection, *kinds: str) -> Any:
    """The last of the next events, which must be these."""
    for kind in kinds:
        event = await receive(connection)
        assert event.type == kind, event
    return event


async def append(connection: AsyncRealtimeConnection, pcm: bytes, at_once: int = 4_800) -> None:
    """Send audio as a microphone does, in pieces."""
    for start in range(0, len(pcm), at_once):
        await connection.input_audio_buffer.append(audio=base64.b64encode(pcm[start : start + at_once]).decode())


async def response(connection: AsyncRealtimeConnection) -> tuple[bytes, Any]:
    """The audio of the response that begins, and its last description, once its events came in their order."""
    opened = (
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
    )
    await expect(connection, *opened)
    heard = b""
    while (event := await receive(connection)).type == "response.output_audio.delta":
        heard += base64.b64decode(event.delta, validate=True)
    assert event.type == "response.output_audio.done"
    closed = ("response.content_part.done", "response.output_item.done", "conversation.item.done", "response.done")
    return heard, (await expect(connection, *closed)).response
