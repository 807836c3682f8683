"""A machine that has no time for another real-time stream says so, and when there will be."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator

import pytest
from whispergpt_client import AsyncClient, Client, WhisperGPTError

from tests.support.audio import chord, encode
from tests.support.faults import GOOD_PROMPT, assert_serves, check_error
from tests.support.http import HTTP
from tests.support.live_socket import LiveSocket
from tests.support.metrics import Metrics, wait_for_idle
from tests.support.waiting import wait_until
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess

pytestmark = pytest.mark.alone
"""Streams play in real time here while others come at certain times, are told how long to wait, and wait so long."""
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
        play(first, 9)
        assert isinstance(first.receive(), bytes)
        assert Metrics(slow.url).sum("whispergpt_streams_limit") == 1 < Metrics(slow.url).sum("whispergpt_slots")
        # Nine seconds, two of which are made ahead: longer than anybody may stand in line.
        with LiveSocket(slow.url) as early:
            asked = time.monotonic()
            early.send(GOOD_PROMPT)
            seconds = refusal(early, "1 real-time stream", "none is free within 3 s")
            assert time.monotonic() - asked < 3 and 1 <= seconds <= 6
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


def test_who_has_a_prompt_worked_on_has_a_place(slow: ServerProcess) -> None:
    """Others are told at once, and not after their own prompt; and nobody keeps a place that they do not take."""
    long = encode(chord(55.0))
    with LiveSocket(slow.url) as first, LiveSocket(slow.url) as second, LiveSocket(slow.url) as third:
        for one in (first, second):
            one.send(long)
            one.event("input_audio_buffer.commit")
        wait_until(lambda: Metrics(slow.url).sum("whispergpt_streams_slack") < 0, "both have a place")
        third.send(GOOD_PROMPT)
        refusal(third, "1 real-time stream", "the line is full")
        for one in (first, second):
            one.expect("input_audio_buffer.committed")
        first.create(1)
        assert first.read_response()[1]["status"] == "completed"
    with LiveSocket(slow.url) as broken, LiveSocket(slow.url) as other:
        broken.send(b"this is no audio")
        broken.event("input_audio_buffer.commit")
        assert broken.expect_error()["code"] == "not_audio"
        for one in (broken, other):  # one plays and one waits: no place is lost to the failure
            one.commit(GOOD_PROMPT)
    wait_for_idle(slow.url)
    time.sleep(1.2)
    assert_serves(slow.url)
    with LiveSocket(slow.url) as later:
        play(later, 0.2)
        assert later.read_response()[1]["status"] == "completed", "the places that nobody took are free"


def test_whose_prompt_would_wait_for_long_is_told_so_at_once() -> None:
    """Only where it is to play in real time."""
    long = [encode(chord(seconds)) for seconds in (55.0, 56.0, 57.0)]
    with (
        ServerProcess(environment={"WHISPERGPT_PROMPT_WAIT_SECONDS": "0.05"}) as server,
        LiveSocket(server.url) as first,
        LiveSocket(server.url) as second,
        LiveSocket(server.url) as hurried,
    ):
        assert_serves(server.url)  # so that it knows how long prompts take
        for one in (first, second):
            one.event("session.update", session={"pace": "fast"})
            one.expect("session.updated")
        for one, prompt in zip((first, second, hurried), long, strict=True):
            one.send(prompt)
            one.event("input_audio_buffer.commit")
        refused = hurried.expect_error()
        check_error(refused, "before this one", "try again")
        assert refused["code"] == "no_capacity" and hurried.expect_close() == 1013
        for one in (first, second):
            one.expect("input_audio_buffer.committed")


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_the_clients_wait_for_room_where_they_may(slow: ServerProcess, kind: type[Client | AsyncClient]) -> None:
    def heard(seconds: float) -> int:
        if kind is Client:
            with Client(slow.url) as client:
                return len(b"".join(client.stream(GOOD_PROMPT, seconds=0.2, retry_seconds=seconds)))

        async def listen() -> int:
            async with AsyncClient(slow.url) as client:
                parts = client.stream(GOOD_PROMPT, seconds=0.2, retry_seconds=seconds)
                return sum([len(part) async for part in parts])

        return asyncio.run(listen())

    with LiveSocket(slow.url) as playing:
        play(playing, 9)
        assert isinstance(playing.receive(), bytes)
        with pytest.raises(WhisperGPTError, match="try again in") as refused:
            heard(0)
        assert refused.value.retry_after
        assert heard(30) == 15 * 640
        assert playing.read_response()[1]["status"] == "completed"
    wait_for_idle(slow.url)


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


def test_who_waits_may_ask_for_more_and_knows_of_its_response_first(slow: ServerProcess) -> None:
    with LiveSocket(slow.url) as endless, LiveSocket(slow.url) as other:
        endless.commit(GOOD_PROMPT)
        endless.create(None)
        assert isinstance(endless.receive(), bytes)
        wait_in_line(other)
        other.event("response.pause")
        other.expect("response.created")
        assert other.expect("response.paused")["frames"] == 0
        other.event("response.cancel")
        audio, done = other.read_response()
        assert (audio, done["status"], done["frames"]) == (b"", "cancelled", 0)
        other.event("response.create", response={"seconds": 1})
        other.event("session.update", session={"temperature": 0.5})
        other.expect("response.created")
        other.expect("session.updated")
        # What was begun for the client is ended for it, before it is told why.
        assert other.read_response()[1]["status"] == "failed"
        refusal(other, "All streams of 'speech' are taken, and none became free within 3 s; try again in")
        endless.drop()
    wait_for_idle(slow.url)
