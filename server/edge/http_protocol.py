"""uvicorn's HTTP, with bounds on what comes before a request is known and on what waits behind one.

How many clients connect, how long heads are and take, and how much is sent ahead of answers: all is bounded. One
request of a connection is parsed at a time. An ``Upgrade`` that is no WebSocket handshake is ignored, so that no body
is ever parsed as a request. What is refused here has the envelope of every other error.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from whispergpt.server.edge.departure import while_open
from whispergpt.server.edge.handshake import is_handshake
from whispergpt.server.edge.raw_answer import raw_answer
from whispergpt.server.edge.reading_flow import ReadingFlow
from whispergpt.server.edge.request_head import check_host, check_size, check_start, split_absolute
from whispergpt.server.edge.request_turns import RequestTurns
from whispergpt.server.edge.unchunked import unchunked
from whispergpt.server.edge.unparsed import Unparsed
from whispergpt.server.errors import ApiError

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

MOST_HEAD_BYTES = 65_536
MOST_URL_BYTES = 8_192
MOST_HEADERS = 128
HEAD_SECONDS = 20.0
ALWAYS_ANSWERED = frozenset({"/health/live", "/health/ready", "/metrics"})
"""Also of connections beyond the bound: a server that is full is not one to be killed and started anew."""
MOST_BEYOND = 16
"""Connections beyond the bound whose requests are looked at."""
MOST_WAITING_BYTES = 16_384
"""Bytes behind a request that is being answered, above which nothing more is read from its connection."""
PROBE_SECONDS = 1.0
"""Time after which a client that sends nothing more is asked whether it still waits for its answer."""
_MOST_PROBE_SECONDS = 30.0
_SECOND_PROBE_SECONDS = 0.1
"""Time between two probes that belong together: the first makes a client that is gone say so, the second hears it."""
_PROBE = b"HTTP/1.1 100 Continue\r\n\r\n"
_PIECES_AT_ONCE = 16
"""Pieces of one connection that are parsed before other connections have their turn."""
_PIECE_BYTES = 65_536
_CHUNKED_PIECE_BYTES = 4_096
"""Bytes of such a piece of a chunked body, where each byte may cost a call."""
_PROBE_HEAD_SECONDS = 2.0
_FULL_RETRY_SECONDS = 5


class BoundedHttpProtocol(HttpToolsProtocol):
    """Ends a connection whose request line, headers or trailers are too many or too slow; the parser itself has no
    bounds."""

    most_connections: int | None = None
    """Of all kinds at once; None for no bound. Set before the server starts."""
    most_waiting_bytes: int | None = None
    """Bytes behind requests that are being answered, of all connections together; None for no bound. Set before the
    server starts."""
    waiting_bytes = 0
    """How many there are now."""
    body_seconds = 120.0
    """For the rest of a body whose request is answered already. Set before the server starts."""
    flow: ReadingFlow
    _turns = RequestTurns()
    _beyond = False
    """Whether this connection came when there were as many as there may be."""
    _in_head = _in_body = False
    _left: int | None = None
    """Bytes of the body that have not come; None for a chunked one."""
    _barren = 0
    """Bytes since the last of which anything came: a head, a part of a body, or a body's end."""
    _came = False
    _asked_headers: list[tuple[bytes, bytes]] | None = None
    """Headers of a request whose upgrade is ignored, while it is parsed anew without it."""
    _refusal: ApiError | None = None
    """Why the parser was stopped."""
    _handshake = False
    _counted = 0
    """Bytes of this connection in ``waiting_bytes``."""
    _sent_all = False
    """Whether the client closed its side of the connection."""
    _turn: asyncio.Handle | None = None
    _overdue: asyncio.TimerHandle | None = None
    _probe: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = ReadingFlow(transport)
        self._unparsed = Unparsed()
        if hasattr(transport, "max_size"):  # asyncio's own reads four times as much at once
            transport.max_size = _PIECE_BYTES
        too_many = self._too_many()
        if too_many > MOST_BEYOND:
            self._refuse(self._full())
            return
        self._beyond = too_many > 0
        self._wait_for_more(self._head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        for timer in (self._turn, self._probe):
            if timer is not None:
                timer.cancel()
        self._unparsed.clear()
        self._count_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():  # it was refused
            return
        self._unset_keepalive_if_required()
        self._unparsed.add(data)
        self._read_on()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection while an answer is owed: some clients close their side once they have said all."""
        self._sent_all = self.flow.held = True  # there is nothing to be read, whoever asks for it
        if self._owing:
            self._ask_whether_there(PROBE_SECONDS)
        return self._owing

    def send_400_response(self, msg: str) -> None:
        self._refuse(ApiError(400, "bad_request", msg))

    def on_message_begin(self) -> None:
        self._in_head = True
        self._wait_for_more(self._head_seconds)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if len(self.url) + len(url) > MOST_URL_BYTES:
            self._stop_parsing(ApiError(414, "uri_too_long", f"The address is longer than {MOST_URL_BYTES} bytes."))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:  # a trailer of a chunked body is no header
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
        self._in_head, self._in_body, self._came = False, True, True
        names = dict(self.headers)
        self._left = None if b"transfer-encoding" in names else int(names.get(b"content-length", b"0"))
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._came = True
        if self._left is not None:
            self._left -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._in_head:  # of a request that is parsed anew
            return
        self._in_body, self._came = False, True
        self._stop_waiting()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and (self._unparsed or self._sent_all):
            self._unset_keepalive_if_required()
            self._read_on()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over, with what came behind the handshake."""
        if not self._may_be_served(""):
            self._refuse(self._full())
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
        if self._beyond:  # the next probe needs its place
            cycle.keep_alive = False
        if not self._may_be_served(cycle.scope["path"]):
            app = cast("ASGI3Application", self._full().response({"Connection": "close"}))
        if cycle.scope["http_version"] == "1.0":
            app = unchunked(cycle, app)
        self._turns.begin(partial(self._begin, cycle, while_open(cycle, app)))

    def _begin(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if not self.transport.is_closing():  # nobody waits for the answer any more
            super()._start_asgi_task(cycle, app)

    def _read_on(self) -> None:
        """Parse what came, up to the end of the request that is being answered."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        pieces = 0
        while self._unparsed and (self._in_head or self._in_body or not self._answering):
            if pieces == _PIECES_AT_ONCE:
                self._turn = self.loop.call_soon(self._read_on)
                break
            pieces += 1
            self._parse(self._next_piece())
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
        if self._too_much_waits and not self._in_body:  # the rest of a body belongs to a request that is known
            self._forget_what_waits()
        elif len(self._unparsed) > MOST_WAITING_BYTES:
            self.flow.hold()
        else:
            self.flow.release()
        if not self._answering and self.timeout_keep_alive_task is None and self._turn is None:
            # What came stopped the other clock, and need not be a request.
            self._wait_for_more(self.body_seconds if self._in_body else self._head_seconds)

    def _next_piece(self) -> bytes:
        if self._in_body and self._left is not None:
            return self._unparsed.counted(min(self._left, _PIECE_BYTES))
        most = MOST_HEAD_BYTES + 1 - self._barren
        return self._unparsed.until_blank_line(min(most, _CHUNKED_PIECE_BYTES) if self._in_body else most)

    def _parse(self, piece: bytes) -> None:
        self._came, self._refusal = False, None
        try:
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade:
                if self._should_upgrade():
                    self.handle_websocket_upgrade()
                    return
                self._parse_without_upgrade()
        except httptools.HttpParserError:
            self._refuse(self._refusal or ApiError(400, "bad_request", "Invalid HTTP request received."))
            return
        self._barren = 0 if self._came else self._barren + len(piece)
        if self._barren > MOST_HEAD_BYTES:
            self.send_400_response(f"The request's headers are longer than {MOST_HEAD_BYTES} bytes.")

    def _parse_without_upgrade(self) -> None:
        """Parse the head of a request anew, without what made the parser end behind it."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (method, self.url, version)]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._asked_headers = self.headers
        try:
            self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))
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
        """Leave a callback of the parser, which raises an error of its own then."""
        self._refusal = error
        raise error

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _owing(self) -> bool:
        """Whether the client gets another answer without sending anything more."""
        return self._turn is not None or (self._answering and not self._in_body)

    def _too_many(self) -> int:
        """Connections there are beyond the bound."""
        return 0 if self.most_connections is None else max(0, len(self.connections) - self.most_connections)

    @property
    def _too_much_waits(self) -> bool:
        most = self.most_waiting_bytes
        return most is not None and self._counted > 0 and BoundedHttpProtocol.waiting_bytes > most

    def _forget_what_waits(self) -> None:
        """End the connection behind the answer that is under way."""
        self._unparsed.clear()
        self._count_waiting()
        self.flow.hold()
        if self._answering:
            self.cycle.keep_alive = False
        else:
            self.transport.close()

    def _may_be_served(self, path: str) -> bool:
        return path in ALWAYS_ANSWERED or not (self._beyond and self._too_many())

    def _full(self) -> ApiError:
        told = f"{self.most_connections} connections are open already; try again in {_FULL_RETRY_SECONDS} s."
        return ApiError(503, "too_many_connections", told, retry_after=_FULL_RETRY_SECONDS)

    def _refuse(self, error: ApiError) -> None:
        """Answer before there is a request, and close. An answer that is under way is cut instead."""
        if not (self._in_body and self._answering and self.cycle.response_started):
            self.transport.write(raw_answer(error))
        self.transport.close()

    def _count_waiting(self) -> None:
        """Bring ``waiting_bytes`` up to date."""
        BoundedHttpProtocol.waiting_bytes += len(self._unparsed) - self._counted
        self._counted = len(self._unparsed)

    def _ask_whether_there(self, seconds: float) -> None:
        """Probe the client after so long, and again and again until an answer begins: a client that closed its side
        and one that is gone look the same to this server until it sends.

        HTTP/1.0 knows no interim answers: there a client whose answer does not begin in time counts as gone.
        """
        asked = self.cycle

        def ask() -> None:
            if self._unanswered and self.cycle.scope["http_version"] == "1.0":
                if self.cycle is asked:
                    self.transport.close()
                    return
            elif self._unanswered:
                self.transport.write(_PROBE)
                self._probe = self.loop.call_later(_SECOND_PROBE_SECONDS, ask_again)
                return
            self._ask_whether_there(later)

        def ask_again() -> None:
            if self._unanswered:
                self.transport.write(_PROBE)
            self._ask_whether_there(later)

        later = min(2 * seconds, _MOST_PROBE_SECONDS)
        self._probe = self.loop.call_later(seconds, ask)

    @property
    def _unanswered(self) -> bool:
        """Whether the client waits for an answer of which nothing was sent."""
        return self._answering and not self.cycle.response_started and not self.transport.is_closing()

    @property
    def _head_seconds(self) -> float:
        return _PROBE_HEAD_SECONDS if self._beyond else HEAD_SECONDS

    def _wait_for_more(self, seconds: float) -> None:
        """Close the connection after so long, unless that is so already, or ``_stop_waiting`` comes before."""
        if self._overdue is None:
            self._overdue = self.loop.call_later(seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
