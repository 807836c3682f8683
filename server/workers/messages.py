"""Messages between the hub and a front end: msgpack on a socket that the front end inherits, validated, never pickled.

A front end is told its *part* first. What is asked for each stream may cross; frames go from the engine to the front
end's own link.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Literal, Self, TypeAlias

import msgspec

from whispergpt.server.errors import ApiError
from whispergpt.server.http.upload import ContinueForm

_LENGTH_BYTES = 4
_MOST_BYTES = 1 << 28


class HeldForm(msgspec.Struct, frozen=True):
    """Form that an address plays, without its samples, and the identity of the caller who made it."""

    identity: str
    form: ContinueForm


class Refusal(msgspec.Struct, frozen=True, tag=True):
    """An ``ApiError`` of the hub."""

    status: int
    code: str
    message: str
    retry_after: int | None

    @classmethod
    def of(cls, error: ApiError) -> Self:
        """Return the message for an error."""
        return cls(error.status, error.code, error.message, error.retry_after)

    def error(self) -> ApiError:
        """Return the error."""
        return ApiError(self.status, self.code, self.message, retry_after=self.retry_after)


# --- hub → front end


class Part(msgspec.Struct, frozen=True, tag=True):
    """A front end's part.

    Attributes:
        worker: its name in logs, traces and the names of metrics' files.
        link: number of its links to the engines.
        lane, lanes, board: its lane on the board, and the descriptor of the board's memory.
        port: that all front ends listen at.
        settings: by name, secrets included.
        made_key: the key that was made for this run.
        metrics: folder of the metrics' files.
        begun: whether every engine has been ready once.
    """

    worker: str
    link: int
    lane: int
    lanes: int
    board: int
    port: int
    settings: dict[str, Any]
    made_key: str | None
    metrics: str
    begun: bool


class EngineUp(msgspec.Struct, frozen=True, tag=True):
    """An engine is ready. Answered by ``LinkBound``."""

    device: str
    number: int
    engines: int
    sharing: int
    run: int
    pid: int | None


class EngineDown(msgspec.Struct, frozen=True, tag=True):
    """A run of an engine has ended, for this reason."""

    number: int
    run: int
    how: str


class Drain(msgspec.Struct, frozen=True, tag=True):
    """Take no new work and end with the last stream."""


class End(msgspec.Struct, frozen=True, tag=True):
    """Cut the streams off, and end once their clients were told why."""


class Leave(msgspec.Struct, frozen=True, tag=True):
    """Another front end takes over: listen no more, send listeners there who can go on there, end with the others."""


class AddressMade(msgspec.Struct, frozen=True, tag=True):
    """Answer to ``HoldAddress``."""

    token: str


class AddressFound(msgspec.Struct, frozen=True, tag=True):
    """Answer to ``LookAddress``, and with the samples to ``TakeAddress``."""

    held: HeldForm
    decoded: bytes = b""


class Counts(msgspec.Struct, frozen=True, tag=True):
    """Answer to ``ShowCounts``."""

    text: bytes


Answer: TypeAlias = AddressMade | AddressFound | Counts | Refusal


class Answered(msgspec.Struct, frozen=True, tag=True):
    """Answer to the question of this number."""

    question: int
    answer: Answer


ToFrontEnd: TypeAlias = Part | EngineUp | EngineDown | Drain | End | Leave | Answered

# --- front end → hub


class LinkBound(msgspec.Struct, frozen=True, tag=True):
    """The front end's socket for a run of an engine is at this ZeroMQ address."""

    number: int
    run: int
    endpoint: str


class Serving(msgspec.Struct, frozen=True, tag=True):
    """The front end takes connections, and has links to the engines."""


class Leaving(msgspec.Struct, frozen=True, tag=True):
    """A signal ends the front end. Another is started, and then this one is told to ``Leave``."""


class Beat(msgspec.Struct, frozen=True, tag=True):
    """The front end's event loop runs."""


class HoldAddress(msgspec.Struct, frozen=True, tag=True):
    """Hold a continuation, whose caller's connection and bytes the hub counts from now on."""

    held: HeldForm
    decoded: bytes


class LookAddress(msgspec.Struct, frozen=True, tag=True):
    """Ask what an address plays."""

    token: str


class TakeAddress(msgspec.Struct, frozen=True, tag=True):
    """Take what an address plays, once; the front end counts it from now on."""

    token: str


AddressQuestion: TypeAlias = HoldAddress | LookAddress | TakeAddress


class ShowCounts(msgspec.Struct, frozen=True, tag=True):
    """Ask for the counters and histograms of all front ends, as text in the format for this ``Accept``."""

    accepted: str


Question: TypeAlias = AddressQuestion | ShowCounts


class Asked(msgspec.Struct, frozen=True, tag=True):
    """A question of the front end, and its number."""

    question: int
    what: Question


ToHub: TypeAlias = LinkBound | Serving | Leaving | Beat | Asked


class Channel:
    """One end of the socket between the hub and a front end.

    Args:
        kind: messages that come in.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: Any) -> None:
        self._reader, self._writer = reader, writer
        self._encoder, self._decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(kind)

    @classmethod
    async def open(cls, end: socket.socket, incoming: Literal["front end", "hub"]) -> Self:
        """Return the channel over a connected socket, for the process that ``incoming`` names."""
        reader, writer = await asyncio.open_unix_connection(sock=end)
        return cls(reader, writer, ToHub if incoming == "hub" else ToFrontEnd)

    def post(self, message: msgspec.Struct) -> None:
        """Send a message without waiting; none is sent to a process that has ended."""
        data = self._encoder.encode(message)
        if not self._writer.is_closing():
            self._writer.write(len(data).to_bytes(_LENGTH_BYTES, "little") + data)

    async def flush(self) -> None:
        """Wait until the other process has taken most of what was sent.

        Raises:
            ConnectionError: it has ended.
        """
        await self._writer.drain()

    async def receive(self) -> Any:
        """Return the next message, None where the other process has ended.

        Raises:
            msgspec.ValidationError: it is none.
        """
        try:
            size = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES), "little")
            if size > _MOST_BYTES:
                raise msgspec.ValidationError(f"a message of {size} bytes")
            return self._decoder.decode(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    def close(self) -> None:
        """Close the socket."""
        self._writer.close()
