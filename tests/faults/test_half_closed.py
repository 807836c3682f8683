"""A client that closes its side once it has said all gets its answer; one that is gone is noticed all the same."""

from __future__ import annotations

import pytest

from tests.support.audio import HOP, samples_of
from tests.support.faults import GOOD_PROMPT
from tests.support.http import HTTP, raw_connection
from tests.support.metrics import Metrics, wait_for_idle, wait_until
from tests.support.wire import answers_to

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
    assert len(answer.body) == 44 + 2 * HOP * round(75 * float(seconds))
    if stream == "false":
        assert len(samples_of(answer.body)) == HOP * round(75 * float(seconds))


def test_it_gets_the_answers_of_all_that_it_asked_for(server: str) -> None:
    asked = LIVE + _form(server, seconds="0.04") + LIVE
    assert [answer.status for answer in answers_to(server, asked, half_close=True)] == [200, 200, 200]
    assert [answer.status for answer in answers_to(server, asked + LIVE[:9], half_close=True)] == [200, 200, 200]


def test_half_a_request_is_none(server: str) -> None:
    assert answers_to(server, _form(server, seconds="0.04")[:-9], half_close=True) == []
    assert answers_to(server, LIVE[:-2], half_close=True) == []
    assert answers_to(server, half_close=True) == []


def test_an_old_client_gets_its_answer(server: str) -> None:
    """Of HTTP/1.0, which knows no interim answers: nothing is sent to see whether it is there."""
    asked = _form(server, seconds="3").replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    with raw_connection(server) as wire:
        wire.sendall(asked)
        wire.shutdown(1)
        with wire.makefile("rb") as answer:
            assert answer.read(12) == b"HTTP/1.1 200"


def test_who_is_gone_is_noticed(server: str) -> None:
    """At once or after having closed one side, in the middle of an answer of which nothing was sent yet."""
    for half_first in (False, True):
        with raw_connection(server) as wire:
            wire.sendall(_form(server, seconds="600"))
            wait_until(lambda: Metrics(server).sum("whispergpt_streams_active") == 1, "it plays")
            if half_first:
                wire.shutdown(1)
        wait_for_idle(server)
