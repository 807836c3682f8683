"""Inbox of a session: messages that are not handled yet."""

from __future__ import annotations

import asyncio

from whispergpt.server.admission.held_bytes import MAX_TEXT_BYTES
from whispergpt.server.session.socket import IncomingMessage

_MESSAGES = 16
_AUDIO_BYTES = 1_048_576
"""Bytes of audio that wait to be handled; a message that is larger waits alone."""


class Inbox:
    """A queue with a bound on messages, and one each on bytes of text and of audio."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[IncomingMessage] = asyncio.Queue(_MESSAGES)
        self._bytes = {str: 0, bytes: 0}
        self._taken = asyncio.Event()

    async def put(self, message: IncomingMessage) -> None:
        """Append a message once there is room for it."""
        kind, most = (str, MAX_TEXT_BYTES) if isinstance(message.content, str) else (bytes, _AUDIO_BYTES)
        while self._bytes[kind] and self._bytes[kind] + len(message.content) > most:
            self._taken.clear()
            await self._taken.wait()
        self._bytes[kind] += len(message.content)
        await self._messages.put(message)

    async def get(self) -> IncomingMessage:
        """Wait for the next message, and return it."""
        message = await self._messages.get()
        self._bytes[type(message.content)] -= len(message.content)
        self._taken.set()
        return message

    def clear(self) -> None:
        """Forget all messages."""
        while not self._messages.empty():
            self._messages.get_nowait()
