"""What comes before a request is known has no key and no size: it is bounded all the same."""

from __future__ import annotations

import asyncio
import json
import time
from http.client import HTTPResponse

import pytest

from tests.support.faults import GOOD_PROMPT, assert_serves, check_error
from tests.support.http import HTTP, raw_connection
from tests.support.metrics import wait_for_idle
from tests.support.uvicorn_server import serving
from tests.support.wire import answers_to
from whispergpt.server.edge.connection import connection_bound
from whispergpt.server.edge.connection.shared_bounds import SharedBounds
from whispergpt.server.edge.http_protocol import BoundedHttpProtocol

HALF = b"GET / HTTP/1.1\r\nHost:"


def test_a_header_without_an_end(server: str) -> None:
    with raw_connection(server) as wire:
        wire.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        sent = 0
        with pytest.raises(OSError):
            while sent < 50_000_000:
                sent += wire.send(b"a" * 65_536)
        assert sent < 10_000_000, "what the system's buffers hold"
    assert_serves(server)


def test_long_headers_that_end_are_read(server: str) -> None:
    with raw_connection(server) as wire:
        for _ in range(2):  # the same connection
            wire.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 30_000 + b"\r\n\r\n")
            answer = HTTPResponse(wire)
            answer.begin()
            assert answer.status == 200 and answer.read(), "read to its end: head and body may come apart"


def test_who_says_nothing_whole_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The silent, and the second request of a connection that stops half-way."""
    monkeypatch.setattr(connection_bound, "HEAD_SECONDS", 0.3)
    assert issubclass(BoundedHttpProtocol, asyncio.Protocol)
    ended = asyncio.run(_ended(b"", b"GET / HTTP/1.1\r\nHost:", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTT"))
    assert all(seconds < 3 for seconds in ended), ended


def test_what_is_no_request_keeps_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line's end, or a byte of a body that nobody reads, stops the clock of idle connections."""
    monkeypatch.setattr(connection_bound, "HEAD_SECONDS", 0.3)
    whole, body = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
    ended = asyncio.run(_ended([whole, 0.1, b"\r\n"], [body, 0.1, b"a"], bounds=SharedBounds(body_seconds=0.3)))
    assert all(seconds < 3 for seconds in ended), ended


def test_a_body_that_comes_slowly_does_not_cut_its_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many read their answer once all is sent."""
    monkeypatch.setattr(connection_bound, "HEAD_SECONDS", 0.2)
    asked = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n"
    again = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    (answer,) = asyncio.run(_answers([asked, *[0.1, b"a"] * 6, again]))
    assert answer.count(b"HTTP/1.1 204 ") == 2, "it takes another request too"


def test_trailers_without_an_end(server: str) -> None:
    with raw_connection(server) as wire:
        wire.sendall(b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        sent = 0
        with pytest.raises(OSError):
            while sent < 50_000_000:
                sent += wire.send(b"a: " + b"b" * 1_000 + b"\r\n")
        assert sent < 10_000_000, "what the system's buffers hold"
    assert_serves(server)


def test_a_request_behind_another_hides_nobodys_leaving(server: str) -> None:
    form = {"seconds": "600", "response_format": "pcm"}
    made = HTTP.post(f"{server}/v1/play", data=form, files={"audio": GOOD_PROMPT}).json()
    with raw_connection(server) as wire:
        paths = (made["url"].encode(), b"/health/live")
        wire.sendall(b"".join(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path for path in paths))
        assert wire.recv(12) == b"HTTP/1.1 200"
    wait_for_idle(server)


def test_half_a_request_behind_another_does_not_cut_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_bound, "HEAD_SECONDS", 0.2)
    (answer,) = asyncio.run(_answers(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /"))
    assert b"whole" in answer and answer.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("request_line", [b"no request at all\r\n\r\n", b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n"])
def test_what_is_no_request_is_told_so_in_the_envelope(server: str, request_line: bytes) -> None:
    with raw_connection(server) as wire:
        wire.sendall(request_line)
        with wire.makefile("rb") as answer:
            head, _, body = answer.read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and b"application/json" in head
    check_error(json.loads(body)["error"], "request")


@pytest.mark.parametrize(
    ("head", "status", "words"),
    [
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, "8192 bytes"),
        (b"GET /?" + b"a&" * 5_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, "8192 bytes"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 128 + b"\r\n", 431, "128 headers"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nRange: bytes=" + b"0-1," * 2_000 + b"\r\n\r\n", 431, "4096 bytes"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nACCEPT: " + b"a;q=1," * 2_000 + b"\r\n\r\n", 431, "accept"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: " + b"::1," * 2_000 + b"\r\n\r\n", 431, "4096"),
        (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 400, "HTTP/1.1"),
    ],
    ids=["long address", "long query", "many headers", "many ranges", "long list", "many proxies", "other version"],
)
def test_what_would_take_long_to_read_is_refused_before(server: str, head: bytes, status: int, words: str) -> None:
    (answer,) = answers_to(server, head)
    assert answer.status == status and answer.headers["connection"] == "close"
    check_error(json.loads(answer.body)["error"], words)


def test_a_trailer_is_no_header(server: str) -> None:
    """What stands behind a body does not count as if it stood in front."""
    head = b"POST /health/live HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: first\r\nTransfer-Encoding: chunked\r\n\r\n"
    last = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    trailer = b"0\r\nHost: evil.example\r\nX-Request-Id: second\r\n\r\n"
    told = answers_to(server, head + trailer + last)
    assert [answer.status for answer in told] == [405, 200] and told[0].headers["x-request-id"] == "first"


def test_one_connection_too_many_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves files for what those who are there need."""
    monkeypatch.setattr(connection_bound, "MOST_BEYOND", 0)
    monkeypatch.setattr(connection_bound, "HEAD_SECONDS", 1.0)
    answers = sorted(asyncio.run(_answers(HALF, HALF, HALF, bounds=SharedBounds(most_connections=2))))
    assert answers[:2] == [b"", b""], "who was there is served on"
    _check_full(answers[2])


UPGRADE = (
    b"GET /stream HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize(
    "request_whole", [b"POST /continue HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", UPGRADE]
)
def test_a_full_server_still_answers_probes(monkeypatch: pytest.MonkeyPatch, request_whole: bytes) -> None:
    """Else it would be killed for being full, with everybody who is served."""
    monkeypatch.setattr(connection_bound, "HEAD_SECONDS", 1.5)
    probe = b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    there, probed, refused = asyncio.run(_answers(HALF, probe, request_whole, bounds=SharedBounds(most_connections=1)))
    assert there == b""
    assert probed.startswith(b"HTTP/1.1 204 ")
    _check_full(refused)


def _check_full(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ") and b"retry-after: 5" in head.lower()
    check_error(json.loads(body)["error"], "connections are open", "try again in 5 s")


Beginning = bytes | list[bytes | float]
"""What is sent on a connection before nothing more comes; between pieces, seconds."""


async def _ended(*beginnings: Beginning, bounds: SharedBounds | None = None) -> list[float]:
    """After how many seconds a server ends connections that stop after these bytes."""
    return [seconds for seconds, _ in await _outcomes(beginnings, bounds)]


async def _answers(*beginnings: Beginning, bounds: SharedBounds | None = None) -> list[bytes]:
    """What connections that stop after these bytes are told, one after the other."""
    return [told for _, told in await _outcomes(beginnings, bounds)]


async def _outcomes(beginnings: tuple[Beginning, ...], bounds: SharedBounds | None) -> list[tuple[float, bytes]]:
    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        status = 200 if scope["path"] == "/slow" else 204
        await send({"type": "http.response.start", "status": status, "headers": []})  # type: ignore[operator]
        if scope["path"] == "/slow":
            await asyncio.sleep(0.6)
            await send({"type": "http.response.body", "body": b"whole", "more_body": True})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]

    async def one(beginning: Beginning, port: int) -> tuple[float, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for piece in [beginning] if isinstance(beginning, bytes) else beginning:
            if isinstance(piece, bytes):
                writer.write(piece)
            else:
                await asyncio.sleep(piece)
        began = time.monotonic()
        async with asyncio.timeout(10):
            told = await reader.read()
        writer.close()
        return time.monotonic() - began, told

    async with serving(app, bounds) as port:
        return await asyncio.gather(*(one(beginning, port) for beginning in beginnings))
