"""A response is paused, goes on, and is drawn differently, all while it plays."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.audio import HOP, SPEECH
from tests.support.live_socket import LiveSocket
from tests.support.metrics import wait_for_idle
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess

FRAME_BYTES = 2 * HOP
SECONDS = 6.0
"""Long enough that what is asked for at the beginning comes before the end; two seconds are made ahead."""


@pytest.fixture
def playing(server: str) -> Iterator[LiveSocket]:
    """A response of some seconds in real time that has just begun."""
    with LiveSocket(server) as socket:
        socket.update(seed=11)
        socket.commit(SPEECH.read_bytes())
        socket.create(SECONDS)
        yield socket
    wait_for_idle(server)


def read_until(socket: LiveSocket, kind: str) -> tuple[bytes, dict[str, Any]]:
    """Audio up to an event of this kind, and the event."""
    audio = b""
    while isinstance(message := socket.receive(), bytes):
        audio += message
    assert message["type"] == kind, message
    return audio, message


@pytest.fixture(scope="module")
def whole(server: str) -> bytes:
    """The same response as if nothing had been done to it."""
    with LiveSocket(server) as socket:
        socket.update(seed=11, pace="fast")
        socket.commit(SPEECH.read_bytes())
        socket.create(SECONDS)
        return socket.read_response()[0]


def test_a_paused_response_goes_on_where_it_was(whole: bytes, playing: LiveSocket) -> None:
    first = playing.receive()
    assert isinstance(first, bytes)
    playing.event("response.pause")
    more, paused = read_until(playing, "response.paused")
    before = first + more
    assert paused["frames"] == len(before) // FRAME_BYTES
    stood = time.monotonic()
    with pytest.raises(TimeoutError):
        playing.receive(within=1.5)
    began = time.monotonic()
    playing.event("response.resume")
    resumed = playing.expect("response.resumed")
    stood = time.monotonic() - stood
    assert resumed["frames"] == paused["frames"]
    after, done = playing.read_response()
    assert before + after == whole
    assert done["status"] == "completed"
    # Still in real time: the pause is not caught up with.
    assert time.monotonic() - began > len(after) / FRAME_BYTES / 75 - 2.5
    assert stood > 1.4


PAUSE, RESUME, CANCEL = ({"type": f"response.{what}"} for what in ("pause", "resume", "cancel"))
FORK, UPDATE = {"type": "response.fork", "seed": 12}, {"type": "session.update", "session": {"temperature": 0.5}}
NONSENSE = {"type": "response.create", "response": {"seconds": 1}}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ([PAUSE, CANCEL], ["response.paused"]),
        ([PAUSE, RESUME, CANCEL], ["response.paused", "response.resumed"]),
        ([FORK, CANCEL], ["response.forked"]),
        ([UPDATE, CANCEL], ["session.updated"]),
        ([NONSENSE, CANCEL], ["error"]),
        ([CANCEL], []),
    ],
)
def test_a_response_is_created_before_anything_is_said_of_it(
    server: str, asked: list[dict[str, Any]], told: list[str]
) -> None:
    with LiveSocket(server) as socket:
        socket.update(seed=11)
        socket.commit(SPEECH.read_bytes())
        for event in ({"type": "response.create", "response": {"seconds": SECONDS}}, *asked):
            socket.event(**event)
        assert socket.expect("response.created")["response"]["seed"] == 11
        for kind in told:
            read_until(socket, kind)
        _, done = socket.read_response()
        assert done["status"] == "cancelled" and done["seed"] == (12 if FORK in asked else 11)
    wait_for_idle(server)


def test_sampling_changes_from_the_next_frame(whole: bytes, playing: LiveSocket) -> None:
    first = playing.receive()
    assert isinstance(first, bytes)
    assert playing.session["temperature"] > 0
    playing.event("session.update", session={"temperature": 0, "top_k": 5})
    more, updated = read_until(playing, "session.updated")
    assert (updated["session"]["temperature"], updated["session"]["top_k"]) == (0, 5)
    rest, done = playing.read_response()
    changed, unchanged = first + more + rest, whole
    assert done["status"] == "completed" and len(changed) == len(unchanged) == SECONDS * 75 * FRAME_BYTES
    assert changed[: len(first)] == unchanged[: len(first)]
    assert changed[-FRAME_BYTES * 75 :] != unchanged[-FRAME_BYTES * 75 :]


def test_a_fork_has_the_same_past_and_another_future(whole: bytes, playing: LiveSocket) -> None:
    first = playing.receive()
    assert isinstance(first, bytes)
    playing.event("response.fork", seed=12)
    more, forked = read_until(playing, "response.forked")
    rest, done = playing.read_response()
    ours, theirs = first + more + rest, whole
    assert (forked["seed"], done["seed"], len(ours)) == (12, 12, len(theirs))
    parted = forked["frame"] * FRAME_BYTES
    assert 0 < parted < len(ours)
    assert ours[:parted] == theirs[:parted]
    assert ours[parted : parted + 75 * FRAME_BYTES] != theirs[parted : parted + 75 * FRAME_BYTES]


def test_forks_that_cannot_be(server: str) -> None:
    with LiveSocket(server) as socket:
        socket.event("response.fork")
        assert socket.expect_error()["code"] == "wrong_order"
        socket.update(seed=1)
        socket.commit(SPEECH.read_bytes())
        socket.create(SECONDS)
        socket.event("response.fork", seed=-1)
        assert read_until(socket, "error")[1]["error"]["param"] == "seed"
        socket.event("response.fork")
        assert read_until(socket, "response.forked")[1]["seed"] >= 0
    wait_for_idle(server)


def test_the_rest_of_a_session_is_fixed_while_it_plays(playing: LiveSocket) -> None:
    for session in ({"seed": 3}, {"pace": "fast"}):
        playing.event("session.update", session=session)
        _, event = read_until(playing, "error")
        assert event["error"]["code"] == "wrong_order" and "only temperature" in event["error"]["message"]
    playing.event("response.resume")
    _, event = read_until(playing, "error")
    assert "not paused" in event["error"]["message"]
    playing.event("response.cancel")
    _, done = playing.read_response()
    assert done["status"] == "cancelled"
    playing.event("response.pause")
    assert playing.expect_error()["code"] == "wrong_order"


def test_a_paused_response_can_be_cancelled(playing: LiveSocket) -> None:
    playing.receive()
    playing.event("response.pause")
    read_until(playing, "response.paused")
    playing.event("response.cancel")
    assert playing.read_response()[1]["status"] == "cancelled"


def test_a_pause_has_an_end() -> None:
    with ServerProcess(environment={"WHISPERGPT_PAUSE_SECONDS": "0.5"}) as process:
        with LiveSocket(process.url) as socket:
            socket.commit(SPEECH.read_bytes())
            socket.create(None)
            socket.receive()
            socket.event("response.pause")
            read_until(socket, "response.paused")
            _, done = socket.read_response()
            assert done["status"] == "failed"
            assert socket.expect_error()["code"] == "paused_too_long"
            with pytest.raises(ConnectionClosed):
                socket.receive()
        wait_for_idle(process.url)
        process.terminate()
        assert process.wait() == 0
