"""A machine that has no time for another real-time stream says so, and when there will be."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from benchmarks.attacks.server_process import ServerProcess
from tests.support.faults import GOOD_PROMPT, assert_serves, check_error
from tests.support.http import HTTP
from tests.support.live_socket import LiveSocket
from tests.support.metrics import Metrics, wait_for_idle

SETTINGS = {"WHISPERGPT_MAX_LOAD": "0.001", "WHISPERGPT_MAX_WAITING": "1", "WHISPERGPT_QUEUE_SECONDS": "2"}
"""A machine a thousand times slower than this one: there is time for one."""


@pytest.fixture(scope="module")
def slow() -> Iterator[ServerProcess]:
    with ServerProcess(environment=SETTINGS) as process:
        yield process


def play(socket: LiveSocket, seconds: float) -> None:
    socket.commit(GOOD_PROMPT)
    socket.create(seconds)


def test_one_plays_one_waits_and_the_next_is_told_when(slow: ServerProcess) -> None:
    with LiveSocket(slow.url) as first, LiveSocket(slow.url) as second, LiveSocket(slow.url) as third:
        play(first, 6)
        assert isinstance(first.receive(), bytes)
        assert Metrics(slow.url).sum("whispergpt_streams_limit") == 1 < Metrics(slow.url).sum("whispergpt_slots_total")
        second.commit(GOOD_PROMPT)
        second.event("response.create", response={"seconds": 6})
        third.commit(GOOD_PROMPT)
        third.event("response.create", response={"seconds": 1})
        refused = third.expect_error()
        check_error(refused, "1 real-time stream")
        told = re.search(r"try again in (\d+) s", refused["message"])
        assert refused["code"] == "no_capacity" and told
        assert 3 <= int(told[1]) <= 6, "what the first still has to play, two seconds of which are made ahead"
        assert third.expect_close() == 1013
        # Whoever does not play in real time takes what is left, and is not in the way.
        answer = HTTP.post(f"{slow.url}/continue", files={"audio": GOOD_PROMPT}, data={"seconds": "0.5"})
        assert answer.status_code == 200, answer.text
        check_error(second.expect_error(), "within 2 s")
        assert first.read_response()[1]["status"] == "completed"
    wait_for_idle(slow.url)
    assert_serves(slow.url)
