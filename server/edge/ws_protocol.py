"""uvicorn's WebSocket protocol, with bounds on parts of messages and on answers that the client does not read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidHandshake
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.streams import StreamReader

from whispergpt.server.admission.held_bytes import ConnectionBytes
from whispergpt.server.edge.connection.reading_pace import ReadingPace
from whispergpt.server.edge.raw_answer import raw_answer
from whispergpt.server.errors import POLICY_VIOLATION, ApiError

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
    from websockets.frames import Frame
    from websockets.http11 import Request

_READ_BYTES = 16_384
"""Bytes read at once: all frames in them are parsed before another connection's turn."""
_READ_BYTES_WITHIN = 131_072
"""Bytes read at once within a message that is larger than ``_READ_BYTES``, and of which there is nothing to parse."""
_LAST = 0x80
"""Bit of a message's last frame."""
_SMALL_BYTES = 128
MOST_SMALL_FRAMES = 2_000
"""Pings, pongs and small parts of messages that are taken in a second: they cost work and carry nothing."""


class _FrameReader(StreamReader):
    """The parser's reader, which notes the kind of the frame that is under way.

    The parser asks whether the stream ended before each frame, and reads the frame's first two bytes next.
    """

    opcode: int | None = None
    """Kind of the frame that has begun; None between frames and in the handshake."""
    _at_start = False

    def at_eof(self) -> Generator[None, None, bool]:
        self._at_start, self.opcode = True, None
        return (yield from super().at_eof())

    def read_exact(self, n: int) -> Generator[None, None, bytearray]:
        data = yield from super().read_exact(n)
        if self._at_start:
            self._at_start, self.opcode = False, data[0] & 0x0F
        return data


class BoundedWebSocketProtocol(WebSocketsSansIOProtocol):
    """Counts bytes from their arrival, and closes connections that send messages in tiny parts.

    It stops reading from a client that pings and does not take the pongs, and for a while from one that sends too fast.
    The app finds the count as ``state.held``, and notes there what it has handled; ``state.send_now`` is a short way
    for messages that need not wait.

    Args:
        count_bytes: makes the count of a connection.
    """

    def __init__(self, *args: Any, count_bytes: Callable[[], ConnectionBytes], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held = count_bytes()
        self.conn.reader = self._reader = _FrameReader()
        self.conn.parser = self.conn.parse()  # the other one has the other reader
        next(self.conn.parser)
        self._unfinished = 0
        """Bytes of a message whose last frame has not come."""
        self._small_frames = 0
        self._second = 0.0
        """Time from which small frames are counted."""
        self._pongs_wait = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._pace = ReadingPace(self.loop, self.transport.pause_reading, self._read_on)
        if hasattr(transport, "max_size"):  # asyncio's own
            transport.max_size = _READ_BYTES

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._pace.stop()
        # The connection's objects hold each other, so that their memory is given back late.
        self.conn.reader.discard()
        self.frames = []
        self._forget_audio()
        self._held.arrive(0, is_text=False)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._pace.count(len(data))
        super().data_received(data)
        refused = self.conn.handshake_exc
        if refused is not None and not self.transport.is_closing():  # uvicorn is not told of it
            self._refuse(refused.__cause__ or refused)
        self._measure()
        if hasattr(self.transport, "max_size"):
            within = len(self.conn.reader.buffer) > _READ_BYTES
            self.transport.max_size = _READ_BYTES_WITHIN if within else _READ_BYTES

    def _forget_audio(self) -> None:
        """Drop the audio that waits: it cannot be answered any more, while control messages may still count."""
        for _ in range(self.queue.qsize()):
            event = self.queue.get_nowait()
            self.queue.put_nowait({"type": "websocket.receive", "bytes": b""} if event.get("bytes") else event)

    def handle_connect(self, event: Request) -> None:
        try:
            self.conn.process_request(event)
        except InvalidHandshake as error:
            self._refuse(error)
        else:
            super().handle_connect(event)
            if not self.handshake_complete:
                self.scope["state"]["held"] = self._held
                self.scope["state"]["send_now"] = self.send_now

    def send_now(self, payload: bytes, opcode: Opcode) -> bool:
        """Send a message without the layers between app and socket; returns False where ``send`` must be used, because
        the client takes nothing for now or the connection ends."""
        open_ = self.conn.state is State.OPEN and self.handshake_complete and not self.close_sent
        if not open_ or not self.writable.is_set() or self.transport.is_closing():
            return False
        self.transport.write(message_head(opcode, len(payload)) + payload)
        return True

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if self.close_sent:  # also of a handshake that was refused, which uvicorn would log as forgotten
            self.handshake_complete = True

    def handle_text(self, event: Frame) -> None:
        self._unfinished = len(event.data)
        super().handle_text(event)
        _empty(event)

    def handle_bytes(self, event: Frame) -> None:
        self._unfinished = len(event.data)
        super().handle_bytes(event)
        _empty(event)

    def handle_cont(self, event: Frame) -> None:
        self._unfinished += len(event.data)
        super().handle_cont(event)
        if not event.fin:
            self._count(event)
        _empty(event)

    def send_receive_event_to_app(self) -> None:
        size, self._unfinished = self._unfinished, 0
        if not self.close_sent:
            try:
                self._held.come(size, self.curr_msg_data_type == "text")
            except ApiError as error:
                self.frames = []
                self._end_for(error)
                return
        super().send_receive_event_to_app()

    def handle_ping(self) -> None:
        super().handle_ping()
        self._count()
        if not self.writable.is_set():
            self._pongs_wait = True
            self.transport.pause_reading()

    def handle_pong(self, event: Frame) -> None:
        super().handle_pong(event)
        self._count()

    async def receive(self) -> ASGIReceiveEvent:
        message = await super().receive()
        if self._pongs_wait or self._pace.pausing:  # it reads on after each message that is taken
            self.transport.pause_reading()
        return message

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._pongs_wait:
            self._pongs_wait = False
            self._small_frames = 0  # what comes now was sent while nothing was read
            self._read_on()

    def _read_on(self) -> None:
        """Resume reading, unless there is another reason to pause."""
        if not (self.read_paused or self._pongs_wait or self._pace.pausing):
            self.transport.resume_reading()

    def _refuse(self, because: BaseException) -> None:
        self.handshake_complete = self.close_sent = True
        told = f"This is no WebSocket handshake: {because}."
        self.transport.write(raw_answer(ApiError(400, "bad_request", told)))
        self.transport.close()

    def _measure(self) -> None:
        """Count the bytes that wait for the rest of their message."""
        try:
            self._held.arrive(len(self.conn.reader.buffer) + self._unfinished, self._text_arrives)
        except ApiError as error:
            self._end_for(error)

    @property
    def _text_arrives(self) -> bool:
        """Return whether the bytes that wait for the rest of their message belong to a text, or may do so."""
        if self.conn.current_size is not None:  # a message of several frames is under way
            return self.curr_msg_data_type == "text"
        return self._reader.opcode != Opcode.BINARY

    def _count(self, part: Frame | None = None) -> None:
        if part is not None and len(part.data) >= _SMALL_BYTES:
            return
        now = self.loop.time()
        if now - self._second > 1:
            self._second, self._small_frames = now, 0
        self._small_frames += 1
        if self._small_frames > MOST_SMALL_FRAMES:
            told = f"More than {MOST_SMALL_FRAMES} pings, pongs or splinters of messages came in a second."
            self._end(POLICY_VIOLATION, told)

    def _end_for(self, error: ApiError) -> None:
        self._end(error.close_code or POLICY_VIOLATION, error.message)

    def _end(self, code: int, reason: str) -> None:
        if self.transport.is_closing():
            return
        self.conn.fail(code, reason)
        if self.conn.close_sent is None:  # the handshake is under way, and no reason can be sent
            self.transport.close()
        else:
            self.handle_parser_exception()


def message_head(opcode: Opcode, size: int) -> bytes:
    """Return the head of a message that is one frame, of the server and so unmasked (RFC 6455, section 5.2)."""
    if size < 126:
        return bytes((_LAST | opcode, size))
    if size < 65_536:
        return bytes((_LAST | opcode, 126)) + size.to_bytes(2, "big")
    return bytes((_LAST | opcode, 127)) + size.to_bytes(8, "big")


def _empty(frame: Frame) -> None:
    """Drop a frame's payload, which was copied: the parser keeps its last frame until the next comes."""
    frame.data = b""
