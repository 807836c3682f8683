"""uvicorn's HTTP protocol, with bounds on connections, heads, and bytes that wait behind a request.

One request of a connection is parsed at a time. An ``Upgrade`` that is no WebSocket handshake is ignored, so that no
body is ever parsed as a request. Refusals have the envelope of every other error.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from whispergpt.server.edge.connection.client_probe import ClientProbe
from whispergpt.server.edge.connection.connection_bound import ConnectionBound
from whispergpt.server.edge.connection.deadline import Deadline
from whispergpt.server.edge.connection.reading_flow import ReadingFlow
from whispergpt.server.edge.connection.request_progress import MOST_HEAD_BYTES, PIECE_BYTES, RequestProgress
from whispergpt.server.edge.connection.shared_bounds import SharedBounds
from whispergpt.server.edge.connection.unparsed import UnparsedBytes
from whispergpt.server.edge.connection.waiting_bytes import WaitingShare
from whispergpt.server.edge.departure import while_open
from whispergpt.server.edge.handshake import is_handshake, without_upgrade
from whispergpt.server.edge.raw_answer import raw_answer
from whispergpt.server.edge.request_head import check_host, check_size, check_start, split_absolute
from whispergpt.server.edge.unchunked import unchunked
from whispergpt.server.errors import ApiError

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

MOST_URL_BYTES = 8_192
MOST_HEADERS = 128
MOST_WAITING_BYTES = 16_384
"""Bytes behind a request that is being answered, above which nothing more is read from its connection."""
_PIECES_AT_ONCE = 16
"""Pieces of one connection that are parsed before other connections have their turn."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """Protocol that closes connections with too large or too slow heads or trailers; the parser has no bounds."""

    flow: ReadingFlow
    _pipelined = False
    """True for a request that came while an earlier one of its connection was being answered."""
    _bound: ConnectionBound
    _deadline: Deadline
    _probe: ClientProbe
    _asked_headers: list[tuple[bytes, bytes]] | None = None
    """Headers of a request that is parsed again without its upgrade."""
    _refusal: ApiError | None = None
    """Reason why the parser was stopped."""
    _handshake = False
    _sent_all = False
    """True once the client closed its side of the connection."""
    _turn: asyncio.Handle | None = None

    def __init__(self, *args: Any, bounds: SharedBounds, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._shared = bounds

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = ReadingFlow(transport)
        self._unparsed, self._progress = UnparsedBytes(), RequestProgress()
        self._share = WaitingShare(self._shared.waiting)
        self._deadline = Deadline(self.loop, transport)
        self._probe = ClientProbe(self.loop, transport, self._unanswered)
        self._bound = ConnectionBound(self.connections, self._shared.most_connections)
        if hasattr(transport, "max_size"):  # asyncio's own reads four times as much at once
            transport.max_size = PIECE_BYTES
        if self._bound.refuses:
            self._refuse(self._bound.full())
            return
        self._deadline.start(self._bound.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.stop()
        if self._turn is not None:
            self._turn.cancel()
        self._probe.stop()
        self._unparsed.clear()
        self._share.count(0)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():  # it was refused
            return
        self._unset_keepalive_if_required()
        self._unparsed.add(data)
        self._pipelined = self._pipelined and self._turn is not None
        self._read_on()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection while an answer is owed: some clients close their side after the request."""
        self._sent_all = self.flow.held = True  # there is nothing to be read, whoever asks for it
        if self._owing:
            self._probe.start()
        return self._owing

    def send_400_response(self, msg: str) -> None:
        self._refuse(ApiError(400, "bad_request", msg))

    def on_message_begin(self) -> None:
        self._progress.begin_head()
        self._deadline.start(self._bound.head_seconds)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if len(self.url) + len(url) > MOST_URL_BYTES:
            self._stop_parsing(ApiError(414, "uri_too_long", f"The address is longer than {MOST_URL_BYTES} bytes."))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._progress.in_head:  # a trailer of a chunked body is no header
            return
        if len(self.headers) >= MOST_HEADERS:
            told = f"The request has more than {MOST_HEADERS} headers."
            self._stop_parsing(ApiError(431, "too_many_headers", told))
        try:
            check_size(name, value)
        except ApiError as error:
            self._stop_parsing(error)
        super().on_header(name, value)

    def on_headers_complete(self) -> Any:
        method, version = self.parser.get_method().decode("ascii"), self.parser.get_http_version()
        if self._asked_headers is None:
            self._check_head(method, version)
            self._handshake = is_handshake(method, version, self.headers)
            if self.parser.should_upgrade() and not self._handshake:
                return  # the parser would skip the body: the request is parsed anew
        else:
            self.headers[:] = self._asked_headers
        self._progress.end_head(self.headers)
        self._deadline.stop()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._progress.count_body(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._progress.in_head:  # of a request that is parsed anew
            return
        self._progress.end_body()
        self._deadline.stop()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and (self._unparsed or self._sent_all):
            self._unset_keepalive_if_required()
            self._pipelined = bool(self._unparsed)
            self._read_on()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over, with the bytes behind the handshake."""
        if not self._bound.serves(""):
            self._refuse(self._bound.full())
            return
        rest = self._unparsed.counted(len(self._unparsed))
        self._unparsed.clear()
        self._count_waiting()
        self.flow.release()
        self.flow.resume_reading()
        super().handle_websocket_upgrade()
        protocol = self.transport.get_protocol()
        if rest and isinstance(protocol, asyncio.Protocol):
            protocol.data_received(rest)

    def _should_upgrade(self) -> bool:
        return self._handshake and self._should_upgrade_to_ws()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if self._bound.beyond:  # the next probe needs its place
            cycle.keep_alive = False
        if not self._bound.serves(cycle.scope["path"]):
            app = cast("ASGI3Application", self._bound.full().response({"Connection": "close"}))
        if cycle.scope["http_version"] == "1.0":
            app = unchunked(cycle, app)
        turns = self._shared.pipelined_turns if self._pipelined else self._shared.turns
        turns.begin(partial(self._begin, cycle, while_open(cycle, app)))

    def _begin(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if not self.transport.is_closing():  # nobody waits for the answer any more
            super()._start_asgi_task(cycle, app)

    def _read_on(self) -> None:
        """Parse received bytes, up to the end of the request that is being answered."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        pieces, progress = 0, self._progress
        while self._unparsed and (progress.in_head or progress.in_body or not self._answering):
            if pieces == _PIECES_AT_ONCE:
                self._turn = self.loop.call_soon(self._read_on)
                break
            pieces += 1
            self._parse(progress.next_piece(self._unparsed))
            if self.transport.is_closing():
                self._unparsed.clear()
            if self.transport.get_protocol() is not self:
                return
        self._count_waiting()
        if self.transport.is_closing():
            return
        if self._sent_all:
            if not self._owing:
                self.transport.close()
            return
        if self._share.too_much and not progress.in_body:  # the rest of a body belongs to a request that is known
            self._forget_what_waits()
        elif len(self._unparsed) > MOST_WAITING_BYTES:
            self.flow.hold()
        else:
            self.flow.release()
        if not self._answering and self.timeout_keep_alive_task is None and self._turn is None:
            # What came stopped the other clock, and need not be a request.
            self._deadline.start(self._shared.body_seconds if progress.in_body else self._bound.head_seconds)

    def _parse(self, piece: bytes) -> None:
        self._refusal = None
        try:
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade:
                if self._should_upgrade():
                    self.handle_websocket_upgrade()
                    return
                self._parse_without_upgrade()
        except httptools.HttpParserError:
            self._refuse(
                self._refusal or ApiError(400, "bad_request", "The request is not HTTP/1.1; use http://, not https://.")
            )
            return
        if not self._progress.count_piece(len(piece)):
            self.send_400_response(f"The request's headers are longer than {MOST_HEAD_BYTES} bytes.")

    def _parse_without_upgrade(self) -> None:
        """Parse the head of a request again, without the upgrade at which the parser stopped."""
        version = self.parser.get_http_version().encode()
        head = without_upgrade(self.parser.get_method(), self.url, version, self.headers)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._asked_headers = self.headers
        try:
            self.parser.feed_data(head)
        finally:
            self._asked_headers = None

    def _check_head(self, method: str, version: str) -> None:
        try:
            check_start(method, version)
            check_host(version, [value for name, value in self.headers if name == b"host"])
        except ApiError as error:
            self._stop_parsing(error)
        self.url, host = split_absolute(self.url)
        if host is not None:  # it counts instead of the header (RFC 9112, 3.2.2)
            self.headers[:] = [header for header in self.headers if header[0] != b"host"] + [(b"host", host)]

    def _stop_parsing(self, error: ApiError) -> NoReturn:
        """Stop the parser from within its callback; it raises an error of its own then."""
        self._refusal = error
        raise error

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _owing(self) -> bool:
        """Return whether the client gets another answer without sending more."""
        return self._turn is not None or (self._answering and not self._progress.in_body)

    def _forget_what_waits(self) -> None:
        """Close the connection after the answer that is under way."""
        self._unparsed.clear()
        self._count_waiting()
        self.flow.hold()
        if self._answering:
            self.cycle.keep_alive = False
        else:
            self.transport.close()

    def _refuse(self, error: ApiError) -> None:
        """Send an error before there is a request, and close. An answer that is under way is cut off instead."""
        if not (self._progress.in_body and self._answering and self.cycle.response_started):
            self.transport.write(raw_answer(error))
        self.transport.close()

    def _count_waiting(self) -> None:
        """Bring the count of waiting bytes up to date."""
        self._share.count(len(self._unparsed))

    def _unanswered(self) -> RequestResponseCycle | None:
        """Return the request of whose answer nothing was sent; None where there is none."""
        if self._answering and not self.cycle.response_started and not self.transport.is_closing():
            return self.cycle
        return None
