"""A machine that has no time for another real-time stream says so, and when there will be."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from benchmarks.attacks.server_process import ServerProcess
from tests.support.faults import GOOD_PROMPT, assert_serves, check_error
from tests.support.http import HTTP
from tests.support.live_socket import LiveSocket
from tests.support.metrics import Metrics, wait_for_idle

SETTINGS = {"WHISPERGPT_MAX_LOAD": "0.001", "WHISPERGPT_MAX_WAITING": "1", "WHISPERGPT_QUEUE_SECONDS": "3"}
"""A machine a thousand times slower than this one: there is time for one."""


@pytest.fixture(scope="module")
def slow() -> Iterator[ServerProcess]:
    with ServerProcess(environment=SETTINGS) as process:
        yield process


def play(socket: LiveSocket, seconds: float) -> None:
    socket.commit(GOOD_PROMPT)
    socket.create(seconds)


def wait_in_line(socket: LiveSocket) -> None:
    socket.commit(GOOD_PROMPT)
    socket.event("response.create", response={"seconds": 1})


def refusal(socket: LiveSocket, *words: str) -> int:
    """The seconds after which to come again; whoever is refused has to send no more than the beginning of a prompt."""
    refused = socket.expect_error()
    check_error(refused, *words)
    told = re.search(r"try again in (\d+) s", refused["message"])
    assert refused["code"] == "no_capacity" and told
    assert socket.expect_close() == 1013
    return int(told[1])


def test_one_plays_one_waits_and_others_are_told_when(slow: ServerProcess) -> None:
    with LiveSocket(slow.url) as first, LiveSocket(slow.url) as second, LiveSocket(slow.url) as third:
        play(first, 6)
        assert isinstance(first.receive(), bytes)
        assert Metrics(slow.url).sum("whispergpt_streams_limit") == 1 < Metrics(slow.url).sum("whispergpt_slots_total")
        # Six seconds, two of which are made ahead: longer than anybody may stand in line.
        with LiveSocket(slow.url) as early:
            asked = time.monotonic()
            early.send(GOOD_PROMPT)
            seconds = refusal(early, "1 real-time stream", "none is free within 3 s")
            assert time.monotonic() - asked < 1 and 1 <= seconds <= 3
        time.sleep(seconds)
        wait_in_line(second)
        time.sleep(0.2)
        third.send(GOOD_PROMPT)
        assert 1 <= refusal(third, "1 real-time stream", "the line is full") <= 3
        # Whoever does not play in real time takes what is left, and is not in the way.
        answer = HTTP.post(f"{slow.url}/continue", files={"audio": GOOD_PROMPT}, data={"seconds": "0.5"})
        assert answer.status_code == 200, answer.text
        assert first.read_response()[1]["status"] == "completed"
        second.expect("response.created")
        assert second.read_response()[1]["status"] == "completed"
    wait_for_idle(slow.url)
    assert_serves(slow.url)


def test_who_waits_for_a_stream_without_an_end_waits_no_longer_than_is_said(slow: ServerProcess) -> None:
    with LiveSocket(slow.url) as endless, LiveSocket(slow.url) as other:
        endless.commit(GOOD_PROMPT)
        endless.create(None)
        assert isinstance(endless.receive(), bytes)
        asked = time.monotonic()
        wait_in_line(other)
        refusal(other, "within 3 s")
        assert 3 <= time.monotonic() - asked < 5
        endless.drop()
    wait_for_idle(slow.url)
