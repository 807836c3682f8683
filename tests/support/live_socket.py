"""A bare WebSocket on ``/stream``, for what the client would never send."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.support.waiting import PATIENCE_SECONDS
from whispergpt.benchmarks.attacks.stall import narrow_wire


class LiveSocket:
    """Sends whatever it is told to and reads one event at a time; every wait is bounded.

    Args:
        query: behind ``/stream``, such as ``?token=…``.
        refused: whether an error is expected instead of a session.
        receive_buffer: bytes that the system takes in while nobody reads; by itself it takes a minute of audio.
    """

    def __init__(
        self,
        url: str,
        query: str = "",
        headers: dict[str, str] | None = None,
        refused: bool = False,
        receive_buffer: int | None = None,
    ) -> None:
        self._open = ExitStack()
        address = url.replace("http", "ws", 1) + "/stream" + query
        wire = None if receive_buffer is None else narrow_wire(url, receive_buffer)
        connecting = connect(
            address,
            open_timeout=PATIENCE_SECONDS,
            ping_timeout=None,
            max_size=None,
            additional_headers=headers,
            sock=wire,
        )
        self._connection = self._open.enter_context(connecting)
        self.session: dict[str, Any] = {} if refused else self.expect("session.created")["session"]

    def __enter__(self) -> LiveSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def send(self, message: str | bytes) -> None:
        """Send one message as it is. Of a session that the server has closed, ``receive`` tells the reason and the end.

        A refusal may come before the client has sent the rest of what it meant to send. How far the client got by then
        is a matter of speed alone.
        """
        with suppress(ConnectionClosed):
            self._connection.send(message)

    def event(self, type: str, **fields: Any) -> None:
        """Send one event."""
        self.send(json.dumps({"type": type, **fields}))

    def update(self, **session: Any) -> dict[str, Any]:
        """Send ``session.update`` and return the answer's session."""
        self.event("session.update", session=session)
        return dict(self.expect("session.updated")["session"])

    def receive(self, within: float = PATIENCE_SECONDS, checkpoints: bool = False) -> dict[str, Any] | bytes:
        """The next message: an event, or audio; checkpoints are passed by unless they are wanted.

        Raises:
            TimeoutError: none came within so many seconds.
        """
        while True:
            message = self._connection.recv(within)
            if isinstance(message, bytes):
                return message
            event: dict[str, Any] = json.loads(message)
            if checkpoints or event["type"] != "response.checkpoint":
                return event

    def expect(self, type: str) -> dict[str, Any]:
        """The next message, which must be this event."""
        message = self.receive()
        assert isinstance(message, dict), f"audio came where {type} was expected"
        assert message["type"] == type, message
        return message

    def expect_error(self) -> dict[str, Any]:
        """The error of the next message."""
        return dict(self.expect("error")["error"])

    def expect_close(self, within: float = PATIENCE_SECONDS) -> int | None:
        """Read to the end and return the close code; None where the connection broke without one.

        Raises:
            TimeoutError: the session is open, and nothing came within so many seconds.
        """
        try:
            while True:
                self.receive(within)
        except ConnectionClosed as closed:
            return None if closed.rcvd is None else closed.rcvd.code

    def close_code(self) -> int | None:
        """Return the code with which the server closed the session; None where it answers, and so is open."""
        self.event("session.update", session={})
        try:
            while not (isinstance(message := self.receive(), dict) and message["type"] == "session.updated"):
                pass
        except ConnectionClosed as closed:
            return None if closed.rcvd is None else closed.rcvd.code
        return None

    def send_too_much(self, messages: Iterable[bytes]) -> None:
        """Send on until the server will take no more."""
        with suppress(ConnectionClosed):
            for message in messages:
                self._connection.send(message)

    def clear(self) -> None:
        """Forget the prompt."""
        self.event("input_audio_buffer.clear")
        self.expect("input_audio_buffer.cleared")

    def commit(self, prompt: bytes) -> float:
        """Send a prompt, commit it, and return its seconds."""
        self.send(prompt)
        self.event("input_audio_buffer.commit")
        return float(self.expect("input_audio_buffer.committed")["seconds"])

    def create(self, seconds: float | None) -> None:
        """Start a response."""
        self.event("response.create", response={"seconds": seconds})
        self.expect("response.created")

    def read_response(self) -> tuple[bytes, dict[str, Any]]:
        """Everything of the response that plays: its audio, and ``response.done``'s response."""
        messages = []
        while isinstance(message := self.receive(), bytes):
            messages.append(message)
        assert message["type"] == "response.output_audio.done", message
        return b"".join(messages), dict(self.expect("response.done")["response"])

    def drop(self) -> None:
        """Vanish: the connection ends without a close frame."""
        # Not close(): a thread of the library still reads, and the peer would hear nothing until it returned.
        self._connection.socket.shutdown(socket.SHUT_RDWR)
