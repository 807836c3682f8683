"""A client that closes its side once it has said all gets its answer; one that is gone is noticed all the same."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from typing import Any

import pytest

from tests.support.audio import HOP, samples_of
from tests.support.faults import GOOD_PROMPT
from tests.support.http import HTTP, raw_connection
from tests.support.memory_wire import MemoryWire
from tests.support.metrics import Metrics, wait_for_idle
from tests.support.uvicorn_server import serving
from tests.support.waiting import wait_until
from tests.support.wire import answers_to
from whispergpt.server.edge.http_protocol import BoundedHttpProtocol

LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


def _form(server: str, **data: str) -> bytes:
    request = HTTP.build_request("POST", f"{server}/continue", data=data, files={"audio": GOOD_PROMPT})
    body = request.read()
    head = f"POST /continue HTTP/1.1\r\nHost: localhost\r\nContent-Type: {request.headers['content-type']}\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("seconds", ["0.04", "4"])
@pytest.mark.parametrize("stream", ["false", "true"])
def test_it_gets_its_answer(server: str, seconds: str, stream: str) -> None:
    """Also one that takes long."""
    (answer,) = answers_to(server, _form(server, seconds=seconds, stream=stream), half_close=True)
    assert answer.status == 200 and answer.whole
    sound = 2 * HOP * round(75 * float(seconds))
    if stream == "true":
        assert len(answer.body) == 44 + sound
    else:
        assert answer.body[40:44] == sound.to_bytes(4, "little")
        assert len(samples_of(answer.body)) == HOP * round(75 * float(seconds))


def test_it_gets_the_answers_of_all_that_it_asked_for(server: str) -> None:
    asked = LIVE + _form(server, seconds="0.04") + LIVE
    assert [answer.status for answer in answers_to(server, asked, half_close=True)] == [200, 200, 200]
    assert [answer.status for answer in answers_to(server, asked + LIVE[:9], half_close=True)] == [200, 200, 200]


def test_half_a_request_is_none(server: str) -> None:
    assert answers_to(server, _form(server, seconds="0.04")[:-9], half_close=True) == []
    assert answers_to(server, LIVE[:-2], half_close=True) == []
    assert answers_to(server, half_close=True) == []


def _old(request: bytes) -> bytes:
    return request.replace(b"HTTP/1.1", b"HTTP/1.0", 1)


def test_an_old_client_gets_an_answer_that_has_begun(server: str) -> None:
    """Of HTTP/1.0, which knows no interim answers: nothing is sent to see whether it is there."""
    (answer,) = answers_to(server, _old(LIVE), half_close=True)
    assert answer.status == 200
    with raw_connection(server) as wire, wire.makefile("rb") as answers:
        wire.sendall(_old(_form(server, seconds="4", stream="true")))
        assert answers.read(12) == b"HTTP/1.1 200"
        wire.shutdown(socket.SHUT_WR)
        assert len(answers.read().partition(b"\r\n\r\n")[2]) == 44 + 2 * HOP * 300


def test_an_old_client_whose_answer_does_not_begin_counts_as_gone(server: str) -> None:
    assert answers_to(server, _old(_form(server, seconds="600")), half_close=True) == []
    wait_for_idle(server)


@pytest.mark.parametrize("half_first", [False, True])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_who_is_gone_is_noticed(server: str, version: str, half_first: bool) -> None:
    """At once or after having closed one side, in the middle of an answer of which nothing was sent yet."""
    asked = _form(server, seconds="600")
    with raw_connection(server) as wire:
        wire.sendall(asked if version == "1.1" else _old(asked))
        wait_until(lambda: Metrics(server).sum("whispergpt_streams_active") == 1, "it plays")
        if half_first:
            wire.shutdown(socket.SHUT_WR)
    wait_for_idle(server)


class _Clock(asyncio.SelectorEventLoop):
    """A loop whose time is what a test says."""

    now = 0.0

    def time(self) -> float:
        return self.now


class _Silent(MemoryWire):
    """A connection to an app that answers nothing."""

    left = False

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left = True


async def _half_closed(wire: MemoryWire, request: bytes) -> None:
    await wire.feed(request)
    assert wire.transport.protocol.eof_received(), "the connection stays"


async def _writes(wire: MemoryWire, until: float) -> list[float]:
    """Let time pass, and return when something was written."""
    loop, written, times = asyncio.get_running_loop(), len(wire.transport.written), list[float]()
    assert isinstance(loop, _Clock)
    while loop.now < until:
        loop.now += 0.125
        await wire.feed(b"")
        if len(wire.transport.written) > written:
            written = len(wire.transport.written)
            times.append(loop.now)
    return times


def test_a_probe_is_followed_by_one_that_hears_what_it_caused() -> None:
    async def run() -> list[float]:
        wire = _Silent()
        await _half_closed(wire, LIVE)
        times = await _writes(wire, until=8)
        wire.transport.close()
        return times

    with asyncio.Runner(loop_factory=_Clock) as runner:
        assert runner.run(run()) == [1.0, 1.125, 3.125, 3.25, 7.25, 7.375]


def test_an_old_client_is_never_probed() -> None:
    async def run() -> None:
        wire = _Silent()
        await _half_closed(wire, _old(LIVE))
        assert await _writes(wire, until=0.875) == [] and not wire.left
        assert await _writes(wire, until=1.0) == [] and wire.left

    with asyncio.Runner(loop_factory=_Clock) as runner:
        runner.run(run())


def test_nothing_is_written_to_a_connection_that_is_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)

    async def run() -> None:
        closed_side, gone, done = asyncio.Event(), asyncio.Event(), asyncio.Event()
        keeps = BoundedHttpProtocol.eof_received

        def eof_received(protocol: BoundedHttpProtocol) -> bool:
            closed_side.set()
            return keeps(protocol)

        async def whole(scope: Any, receive: Any, send: Any) -> None:
            await gone.wait()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
            for left in reversed(range(100)):
                await send({"type": "http.response.body", "body": b"a", "more_body": left > 0})
            done.set()

        monkeypatch.setattr(BoundedHttpProtocol, "eof_received", eof_received)
        async with serving(whole) as port:
            wire = socket.create_connection(("127.0.0.1", port))
            wire.sendall(LIVE)
            wire.shutdown(socket.SHUT_WR)
            await closed_side.wait()
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wire.close()
            gone.set()
            await done.wait()

    asyncio.run(run())
    assert [record.getMessage() for record in caplog.records] == []
