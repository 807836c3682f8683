"""An ``Upgrade`` that is no WebSocket handshake is ignored: one request, one answer, and no body is a request."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from whispergpt_client import Client

from tests.support.audio import HOP, samples_of
from tests.support.faults import GOOD_PROMPT, assert_serves
from tests.support.http import HTTP, raw_connection
from tests.support.proxies import proxy
from tests.support.tools import require_tool
from tests.support.wire import Answer, answers_to, exchange

HIDDEN = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: from-the-body\r\n\r\n"
LAST = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: the-last\r\nConnection: close\r\n\r\n"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
UPGRADES = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    "unknown": b"Connection: Upgrade\r\nUpgrade: foo\r\n",
    "tls": b"Connection: upgrade\r\nUpgrade: TLS/1.0\r\n",
    "empty": b"Connection: Upgrade\r\nUpgrade:\r\n",
    "two of them": b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket, h2c\r\n" + KEY,
    "in two headers": b"Connection: keep-alive\r\nConnection: UPGRADE\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n" + KEY,
    "websocket by POST": b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + KEY,
    "websocket without a key": b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
}


def _chunks(*parts: bytes, trailer: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n" + trailer + b"\r\n"


CHUNKED = b"Transfer-Encoding: chunked\r\n"
FRAMINGS = {
    "sized": (b"Content-Length: %d\r\n" % len(HIDDEN), HIDDEN),
    "sized, behind empty lines": (b"Content-Length: %d\r\n" % (len(HIDDEN) + 400), b"\r\n" * 200 + HIDDEN),
    "one chunk": (CHUNKED, _chunks(HIDDEN)),
    "small chunks": (CHUNKED, _chunks(*(HIDDEN[i : i + 5] for i in range(0, len(HIDDEN), 5)))),
    "trailer": (CHUNKED, _chunks(HIDDEN, trailer=b"X-Request-Id: from-the-body\r\n")),
    "no body": (b"Content-Length: 0\r\n", b""),
}


def _head(framing: bytes, upgrade: bytes, line: bytes = b"POST /health/live HTTP/1.1") -> bytes:
    return line + b"\r\nHost: localhost\r\nX-Request-Id: the-first\r\n" + upgrade + framing + b"\r\n"


def _writes(head: bytes, body: bytes, how: str) -> list[bytes]:
    if how == "one write":
        return [head + body + LAST]
    if how == "two writes":
        return [head, body + LAST]
    whole = head + body + LAST
    cut = sorted({0, 7, len(head), len(head) + 1, len(head) + len(body) // 2, len(head) + len(body), len(whole)})
    return [whole[a:b] for a, b in pairwise(cut)]


def _check(answers: list[Answer], status: int = 405) -> None:
    assert [(answer.status, answer.headers["x-request-id"]) for answer in answers] == [
        (status, "the-first"),
        (200, "the-last"),
    ]


@pytest.mark.parametrize("how", ["one write", "two writes", "many writes"])
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("upgrade", UPGRADES)
def test_one_request_one_answer(server: str, upgrade: str, framing: str, how: str) -> None:
    fields, body = FRAMINGS[framing]
    _check(answers_to(server, *_writes(_head(fields, UPGRADES[upgrade]), body, how)))


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_body_behind_a_handshake(server: str, framing: str) -> None:
    """A handshake with a body is none, and neither is one of HTTP/1.0; the answer is that of the page."""
    fields, body = FRAMINGS[framing]
    handshake = UPGRADES["websocket by POST"]
    if framing != "no body":
        head = _head(fields, handshake, b"GET /health/live HTTP/1.1")
        _check(answers_to(server, head + body + LAST), 200)
    old = _head(fields, handshake, b"GET /health/live HTTP/1.0")
    told = answers_to(server, old + body + LAST)
    assert [answer.headers["x-request-id"] for answer in told] == ["the-first"], "HTTP/1.0 ends with its answer"


def test_a_handshake_that_is_refused_ends_its_connection(server: str) -> None:
    for path, status in (("/health/live", 404), ("/continue", 404), ("/stream", 101)):
        head = _head(b"", UPGRADES["websocket by POST"], f"GET {path} HTTP/1.1".encode())
        told = answers_to(server, head + HIDDEN, half_close=True)
        assert [answer.status for answer in told] in ([status], []), path
        assert not any(answer.headers.get("x-request-id") == "from-the-body" for answer in told)
    assert_serves(server)


def test_connect_is_refused_and_nothing_is_read_behind_it(server: str) -> None:
    (told,) = answers_to(server, b"CONNECT a:443 HTTP/1.1\r\nHost: localhost\r\n\r\n" + HIDDEN)
    assert told.status == 400 and b"no proxy" in told.body


def test_what_is_expected_first_is_told_with_an_upgrade_too(server: str) -> None:
    with raw_connection(server) as wire:
        fields, body = FRAMINGS["sized"]
        head = b"POST /continue HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        wire.sendall(head + b"Expect: 100-continue\r\n" + UPGRADES["h2c"] + fields + b"\r\n")
        go_on = b"HTTP/1.1 100 Continue\r\n\r\n"
        assert wire.recv(len(go_on), socket.MSG_WAITALL) == go_on
        told = exchange(wire, [body + LAST])
    assert [answer.status for answer in told] == [400, 200]


def test_clients_that_offer_http_2(server: str, tmp_path: Path) -> None:
    """curl's ``--http2`` and Java's own client send such an upgrade with each first request."""
    curl = require_tool("curl")
    prompt, out = tmp_path / "prompt.wav", tmp_path / "out.wav"
    prompt.write_bytes(GOOD_PROMPT)
    form = ["-F", f"audio=@{prompt}", "-F", "seconds=0.04", "-F", "seed=1"]
    subprocess.run([curl, "-sS", "--fail", "--http2", *form, "-o", str(out), f"{server}/continue"], check=True)
    assert len(samples_of(out.read_bytes())) == 3 * HOP
    java = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAEAAEAAAAIAAAAA"}
    form2 = {"data": {"seconds": "0.04", "seed": "1"}, "files": {"audio": GOOD_PROMPT}}
    answer = HTTP.post(f"{server}/continue", headers=java, **form2)  # type: ignore[arg-type]
    assert answer.content == out.read_bytes()


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def proxied(request: pytest.FixtureRequest, server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server, behind a proxy that is configured as the documentation says."""
    with proxy(request.param, server, tmp_path_factory.mktemp(request.param)) as url:
        yield url


@pytest.mark.parametrize("how", ["one write", "two writes"])
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("upgrade", UPGRADES)
def test_a_stranger_behind_a_proxy_gets_their_own_answer(proxied: str, upgrade: str, framing: str, how: str) -> None:
    """Proxies send requests of many clients over one connection."""
    fields, body = FRAMINGS[framing]
    for path in (b"/health/live", b"/stream"):
        head = _head(fields, UPGRADES[upgrade], b"POST %s HTTP/1.1" % path)
        told = answers_to(proxied, *_writes(head, body, how))
        assert told and all(answer.headers.get("x-request-id") != "from-the-body" for answer in told)
        for name in ("stranger-1", "stranger-2"):
            stranger = HTTP.get(f"{proxied}/v1/models", headers={"X-Request-Id": name})
            assert (stranger.status_code, stranger.headers["x-request-id"]) == (200, name)


def test_everything_else_works_behind_a_proxy(proxied: str) -> None:
    assert_serves(proxied)
    with Client(proxied, timeout=60) as client:
        live = b"".join(client.stream(GOOD_PROMPT, seconds=0.04, seed=1, pace="fast"))
    whole = HTTP.post(
        f"{proxied}/continue",
        data={"seconds": "0.04", "seed": "1", "response_format": "pcm"},
        files={"audio": GOOD_PROMPT},
    )
    assert live == whole.content
