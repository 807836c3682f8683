"""The WebSocket of one session, with bounds on the bytes it reads and on the time for the client to take audio.

A subclass serves the same session to clients that speak another protocol.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from websockets.frames import Opcode

from whispergpt.engine.messages.events import ModelInfo
from whispergpt.server.admission.held_bytes import ConnectionBytes
from whispergpt.server.errors import POLICY_VIOLATION, ApiError
from whispergpt.server.parameters import find_model, query_fields
from whispergpt.server.services import Services
from whispergpt.server.session.events import ClientEvent, parse_event, require_audio
from whispergpt.server.session.options import StreamOptions

_REASON_BYTES = 120


class ClientGoneError(Exception):
    """The client left, or does not take messages any more."""


@dataclass(frozen=True)
class IncomingMessage:
    """A message of the client, and its time (``time.perf_counter``)."""

    content: str | bytes
    at: float


class StreamSocket:
    """Sends events and audio, receives messages; any end of the connection is ``ClientGoneError``."""

    route: ClassVar[str] = "/stream"

    def __init__(self, websocket: WebSocket, services: Services) -> None:
        self._websocket, self._services = websocket, services
        self._send_seconds = services.settings.send_seconds
        held = getattr(websocket.state, "held", None)
        self._send_now: Callable[[bytes, Opcode], bool] = getattr(websocket.state, "send_now", _send_nothing)
        self._counts = held is None  # where another server than ours takes the messages from the network
        self.held: ConnectionBytes = held or services.admission.connection_bytes()
        """Count of the bytes that this connection holds."""

    def first_options(self, models: Mapping[str, ModelInfo]) -> StreamOptions:
        """Return the options with which the session begins.

        Raises:
            ApiError: the handshake asks for something that there is not.
        """
        self._address_fields("token", rest=", and session.update has the settings")
        return StreamOptions(find_model(models, None))

    def _address_fields(self, *known: str, rest: str = "") -> dict[str, str]:
        """Return the fields of the address, as ``query_fields``. Raises ApiError, which closes the connection."""
        try:
            return query_fields(self._websocket.query_params, *known, rest=rest)
        except ApiError as error:
            error.close_code = POLICY_VIOLATION
            raise

    async def receive(self) -> IncomingMessage:
        """Return the next message.

        Raises:
            ClientGoneError: there is none.
            ApiError: the client's share of the memory is used up.
        """
        try:
            message = await self._websocket.receive()
        except (WebSocketDisconnect, RuntimeError):
            raise ClientGoneError from None
        if message["type"] == "websocket.disconnect":
            raise ClientGoneError
        text = message.get("text")
        content = text if text is not None else message["bytes"]
        if self._counts:
            self.held.come(len(content), text is not None)
        return IncomingMessage(content, time.perf_counter())

    @contextmanager
    def read(self, message: IncomingMessage) -> Iterator[Sequence[ClientEvent | bytes]]:
        """Give the events and the audio of a message, which are handled within the context.

        Raises:
            ApiError: the message is neither.
        """
        if isinstance(message.content, bytes):
            require_audio(message.content)
            yield (message.content,)
        else:
            yield (parse_event(message.content),)

    async def send_event(self, kind: str, **fields: Any) -> None:
        """Send one event.

        Raises:
            ClientGoneError: it could not be sent in time.
        """
        event = msgspec.json.encode({"type": kind, "event_id": f"event_{uuid.uuid4().hex}", **fields})
        if not self._send_now(event, Opcode.TEXT):
            await self._send(self._websocket.send_text(event.decode()))

    async def send_audio(self, pcm: bytes) -> None:
        """Send one binary message.

        Raises:
            ClientGoneError: it could not be sent in time.
        """
        if not self._send_now(pcm, Opcode.BINARY):
            await self._send(self._websocket.send_bytes(pcm))

    async def send_error(self, error: ApiError) -> None:
        """Send an ``error`` event, with ``retry_after`` in seconds where trying again may help.

        Raises:
            ClientGoneError: it could not be sent in time.
        """
        again = {} if error.retry_after is None else {"retry_after": error.retry_after}
        await self.send_event("error", error=error.body(), **again)

    async def close(self, error: ApiError) -> None:
        """Send the error, then close with its code; a client that left meanwhile is ignored."""
        try:
            await self.send_error(error)
            reason = error.message.encode()[:_REASON_BYTES].decode(errors="ignore")
            await self._send(self._websocket.close(error.close_code or 1011, reason))
        except ClientGoneError:
            pass

    async def _send(self, sending: Any) -> None:
        if self._websocket.application_state is not WebSocketState.CONNECTED:
            sending.close()
            raise ClientGoneError
        try:
            async with asyncio.timeout(self._send_seconds):
                await sending
        except TimeoutError:
            self._services.metrics.slow_client.labels("closed").inc()
            raise ClientGoneError from None
        except (WebSocketDisconnect, RuntimeError, OSError):
            raise ClientGoneError from None


def _send_nothing(payload: bytes, opcode: Opcode) -> bool:
    """Return False: another server than ours has no short way."""
    return False
