"""Requests behind one that is being answered wait as they came, within bounds, and are answered in their order."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.faults import assert_serves
from tests.support.uvicorn_server import serving
from tests.support.wire import Answers, answers_to
from whispergpt.server.edge.connection.request_turns import RequestTurns
from whispergpt.server.edge.connection.shared_bounds import SharedBounds
from whispergpt.server.edge.connection.waiting_bytes import WaitingBytes
from whispergpt.server.edge.http_protocol import MOST_WAITING_BYTES

SMALL = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
READ_AT_ONCE = 65_536


def test_many_at_once_are_answered_in_their_order(server: str) -> None:
    head = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: %d\r\n\r\n"
    body = b"POST /health/live HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: %d\r\n"
    sized = body + b"Content-Length: 11\r\n\r\n" + b"GET / HTTP/"
    chunked = body + b"Transfer-Encoding: chunked\r\n\r\n4\r\n\r\n\r\n\r\n0\r\nX: y\r\n\r\n"
    wires = [(head, sized, chunked)[i % 3] % i for i in range(300)]
    wires.append(LAST.replace(b": a", b": localhost"))
    told = answers_to(server, b"".join(wires))
    assert [answer.headers["x-request-id"] for answer in told[:-1]] == [str(i) for i in range(300)]
    assert [answer.status for answer in told] == [200, 405, 405] * 100 + [404]
    assert_serves(server)


class _Gate:
    """An app that answers once it may, and counts the requests that it was given."""

    def __init__(self) -> None:
        self.requests, self.paths = 0, set[str]()
        self.opened = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.requests += 1
        self.paths.add(scope["path"])
        await self.opened.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def _filled(writer: asyncio.StreamWriter, data: bytes) -> int:
    """Send until the peer takes nothing more for a while; how much it took, but for the system's buffers."""
    sent, still = 0, 0
    while still < 5 and sent < len(data):
        if writer.transport.get_write_buffer_size():
            still += 1
            await asyncio.sleep(0.05)
        else:
            still = 0
            writer.write(data[sent : sent + 65_536])
            sent += 65_536
            await asyncio.sleep(0)
    return sent


def test_what_waits_is_not_parsed_and_not_read_without_end() -> None:
    async def run() -> None:
        gate, bounds = _Gate(), SharedBounds()
        async with serving(gate, bounds) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            count = 2_000_000
            sent = await _filled(writer, SMALL * count)
            assert sent < len(SMALL) * count / 2, "the socket is not read meanwhile"
            assert gate.requests == 1, "one request is parsed at a time"
            assert 0 < bounds.waiting.total <= MOST_WAITING_BYTES + READ_AT_ONCE
            writer.transport.abort()
            gate.opened.set()
            async with asyncio.timeout(20):
                while bounds.waiting.total:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            del reader

    asyncio.run(run())


def test_all_that_waited_is_answered_in_the_end() -> None:
    async def run() -> None:
        gate, answers, bounds = _Gate(), Answers(), SharedBounds(pipelined_turns=RequestTurns())
        async with serving(gate, bounds) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(SMALL * 8_000 + LAST)
            while not bounds.waiting.total:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            gate.opened.set()
            async with asyncio.timeout(200):
                while data := await reader.read(65_536):
                    answers.feed(data)
            writer.close()
        assert len(answers.all) == gate.requests == 8_001 and "/last" in gate.paths
        assert bounds.waiting.total == 0

    asyncio.run(run())


def test_pipelined_requests_wait_for_each_other_and_hold_up_no_other() -> None:
    """Connections that send each request after the last answer are served while pipelined ones wait for their turn."""
    bounds = SharedBounds(pipelined_turns=RequestTurns(1, 1000.0))

    async def run() -> None:
        gate, answers = _Gate(), Answers()
        gate.opened.set()
        async with serving(gate, bounds) as port, asyncio.timeout(60):
            for _ in range(2):  # the second of the first connection begins at once, that of the other one later
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(SMALL * 20)
            while gate.requests < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for count in range(1, 201):
                writer.write(SMALL)
                while len(answers.all) < count:
                    answers.feed(await reader.read(65_536))
            assert gate.requests == 3 + 200

    asyncio.run(run())


def test_where_all_together_send_too_much_a_connection_ends_behind_its_answer() -> None:
    bounds = SharedBounds(waiting=WaitingBytes(20_000))

    async def run() -> None:
        gate, first, second = _Gate(), Answers(), Answers()
        async with serving(gate, bounds) as port:
            one, two = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            one[1].write(
                SMALL + b"GET /waits HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: " + b"a" * 15_000 + b"\r\n\r\n"
            )
            while not bounds.waiting.total:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            two[1].write(SMALL + b"GET /never HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 15_000 + b"\r\n\r\n")
            while gate.requests < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            gate.opened.set()
            async with asyncio.timeout(20):
                first.feed(await one[0].read())
                second.feed(await two[0].read())
        assert [answer.status for answer in first.all] == [204, 204] and "/waits" in gate.paths
        assert [answer.status for answer in second.all] == [204] and "/never" not in gate.paths
        assert second.all[0].headers["connection"] == "close"

    asyncio.run(run())


def test_where_all_together_send_too_much_a_body_is_still_read_to_its_end() -> None:
    """Of a body in small chunks, some waits as well, for the turn of other connections."""
    bounds = SharedBounds(waiting=WaitingBytes(1_000))
    count, sizes = 6_000, []

    async def takes_all(scope: Any, receive: Any, send: Any) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size, more = size + len(message["body"]), message["more_body"]
        sizes.append(size)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def run() -> None:
        answers = Answers()
        async with serving(takes_all, bounds) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            writer.write(head + b"4\r\n\r\n\r\n\r\n" * count + b"0\r\n\r\n")
            try:
                async with asyncio.timeout(60):
                    answers.feed(await reader.read())
            finally:
                writer.transport.abort()
        assert [answer.status for answer in answers.all] == [204] and sizes == [4 * count]

    asyncio.run(run())


def test_a_body_that_nobody_takes_is_not_read_without_end() -> None:
    """Sized or in chunks: what an app does not ask for stays with its client."""

    async def run(head: bytes, part: bytes) -> None:
        gate = _Gate()
        async with serving(gate) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n")
            most = 50_000_000
            assert await _filled(writer, part * (most // len(part))) < most / 2
            writer.transport.abort()
            gate.opened.set()

    asyncio.run(run(b"Content-Length: 1000000000\r\n", bytes(10)))
    asyncio.run(run(b"Transfer-Encoding: chunked\r\n", b"4\r\n\r\n\r\n\r\n"))
