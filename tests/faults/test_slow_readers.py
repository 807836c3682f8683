"""Listeners who stop reading: each deployment's policy, and nobody else hears of it."""

from __future__ import annotations

import socket
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.audio import HOP, SPEECH
from tests.support.faults import assert_serves
from tests.support.http import HTTP
from tests.support.live_socket import LiveSocket
from tests.support.metrics import Metrics, wait_for_idle
from tests.support.waiting import wait_until
from whispergpt.benchmarks.attacks.stall import narrow_wire
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess

FRAME_BYTES = 2 * HOP
FRAMES = 600
NARROW = 4096
PINGS = 50
"""In a sixteenth of a second: not too fast."""
STOPPED_SECONDS = 5.0
"""Of not reading, of which the sockets' buffers and the client's queue swallow two."""


IN_TIME = pytest.mark.alone
"""Mark of tests in which another listener must hear everything in time, for which a busy machine has no time."""


@contextmanager
def serving(policy: str) -> Iterator[str]:
    settings = {
        "WHISPERGPT_SLOW_READER": policy,
        "WHISPERGPT_SLOW_SECONDS": "1",
        "WHISPERGPT_SEND_BUFFER_BYTES": str(NARROW),
    }
    with ServerProcess("--max-streams", "4", environment=settings) as process:
        yield process.url
        wait_for_idle(process.url)


def open_files(process: ServerProcess) -> int:
    return sum(1 for _ in Path(f"/proc/{process.pid}/fd").iterdir())


def play(socket: LiveSocket, pace: str, seconds: float | None = FRAMES / 75) -> None:
    socket.update(seed=11, pace=pace)
    socket.commit(SPEECH.read_bytes())
    socket.create(seconds)


def whole(url: str) -> bytes:
    with LiveSocket(url) as socket:
        play(socket, "fast")
        return socket.read_response()[0]


@contextmanager
def one_who_stops_and_another(url: str) -> Iterator[LiveSocket]:
    """The one has not read for a while; the other has heard everything in time meanwhile."""
    with LiveSocket(url, receive_buffer=NARROW) as stopped, LiveSocket(url) as other:
        play(stopped, "realtime")
        play(other, "realtime", seconds=None)
        until, heard = time.monotonic() + STOPPED_SECONDS, 0
        began = time.monotonic()
        while time.monotonic() < until:
            message = other.receive()
            heard += len(message) // FRAME_BYTES if isinstance(message, bytes) else 0
            assert heard / 75 > time.monotonic() - began - 0.5, "the other one waits"
        yield stopped
        other.drop()  # who leaves politely first waits for all that is on its way


@IN_TIME
def test_the_stream_waits_by_default() -> None:
    with serving("pause") as url, one_who_stops_and_another(url) as stopped:
        assert Metrics(url).sum("whispergpt_streams_active") == 2
        audio, done = stopped.read_response()
        assert done["status"] == "completed" and audio == whole(url)
        assert Metrics(url).sum("whispergpt_slow_client_total", action="paused") >= 1


@IN_TIME
def test_what_is_late_is_dropped_where_the_deployment_says_so() -> None:
    with serving("drop") as url, one_who_stops_and_another(url) as stopped:
        heard: dict[int, bytes] = {}
        frame = dropped = 0
        paused = None
        stopped.event("response.pause")
        while True:
            try:
                message = stopped.receive(within=30.0 if paused is None or frame < paused else 1.0)
            except TimeoutError:
                assert paused == frame < FRAMES, "what was given out before the pause still comes"
                stopped.event("response.resume")
                continue
            if isinstance(message, bytes):
                for start in range(0, len(message), FRAME_BYTES):
                    heard[frame] = message[start : start + FRAME_BYTES]
                    frame += 1
            elif message["type"] == "response.output_audio.dropped":
                assert message["frame"] == frame
                frame, dropped = frame + message["frames"], dropped + message["frames"]
            elif message["type"] == "response.paused":
                paused = message["frames"]
            elif message["type"] != "response.resumed":
                break
        assert message["type"] == "response.output_audio.done"
        assert frame == FRAMES and 20 < dropped < 75 * STOPPED_SECONDS
        complete = whole(url)
        assert all(pcm == complete[n * FRAME_BYTES : (n + 1) * FRAME_BYTES] for n, pcm in heard.items())
        assert Metrics(url).sum("whispergpt_slow_client_total", action="dropped") >= 1


@IN_TIME
def test_it_is_closed_with_a_reason_where_the_deployment_says_so() -> None:
    with serving("close") as url, one_who_stops_and_another(url) as stopped:
        wait_until(lambda: Metrics(url).sum("whispergpt_streams_active") == 1, "its slot is free all the same")
        while isinstance(message := stopped.receive(), bytes) or message["type"] != "error":
            pass
        assert message["error"]["code"] == "slow_reader" and "1 s" in message["error"]["message"]
        assert stopped.expect_close() == 1008


@pytest.fixture(scope="module")
def impatient() -> Iterator[ServerProcess]:
    """A server that waits little for what is to be taken, and has one request at a time."""
    with ServerProcess(environment={"WHISPERGPT_SEND_SECONDS": "2", "WHISPERGPT_MAX_REQUESTS": "1"}) as process:
        yield process


def test_one_who_never_reads_again_keeps_no_connection(impatient: ServerProcess) -> None:
    """Nor one that stays open, into which nothing more can be sent."""
    before = open_files(impatient)
    with LiveSocket(impatient.url, receive_buffer=NARROW) as stopped:
        play(stopped, "fast")
        wait_until(lambda: open_files(impatient) > before, "it is connected")
        wait_until(lambda: open_files(impatient) <= before, "its connection is gone", seconds=30)
        stopped.drop()
    wait_for_idle(impatient.url)


@pytest.mark.parametrize("between", [b"", b"\x82\x80" + bytes(4)], ids=["pings alone", "messages between them"])
def test_answers_to_pings_that_nobody_reads_are_bounded(server: str, between: bytes) -> None:
    """Who pings, not too fast, and takes no pongs is not read from either: what waits is what the sockets hold."""
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
    key = b64encode(bytes(16)).decode()
    ping = b"\x89\xfd" + bytes(4) + b"x" * 125  # masked, by zeros
    with narrow_wire(server, NARROW) as wire:
        wire.sendall(f"GET /stream HTTP/1.1\r\nHost: {urlsplit(server).netloc}\r\n{upgrade}{key}\r\n\r\n".encode())
        assert wire.recv(12) == b"HTTP/1.1 101"
        wire.settimeout(2)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, NARROW)
        piece = ping * PINGS + between
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 5_000_000:
                at = sent % len(piece)
                sent += wire.send(piece[at:])
                time.sleep(0.06)
        wire.settimeout(30)
        asking = threading.Thread(target=wire.sendall, args=(piece[sent % len(piece) :],))
        asking.start()  # once pongs are taken, it is read
        pongs, told = (sent // len(piece) + 1) * PINGS, b""
        while told.count(b"x" * 125) < pongs:
            told += (some := wire.recv(65_536))
            assert some, "it was closed"
        asking.join()


def test_a_whole_answer_that_nobody_takes_is_given_up(impatient: ServerProcess) -> None:
    """It counts as a request until it was taken; afterwards nothing of it is kept."""
    url = impatient.url
    form = {"data": {"seconds": "10"}, "files": {"audio": SPEECH.read_bytes()}}
    request = HTTP.build_request("POST", f"{url}/continue", **form)  # type: ignore[arg-type]
    with narrow_wire(url, NARROW) as wire:
        body = request.read()
        head = "\r\n".join(f"{name}: {value}" for name, value in request.headers.items())
        wire.sendall(f"POST /continue HTTP/1.1\r\n{head}\r\n\r\n".encode() + body)
        assert wire.recv(12) == b"HTTP/1.1 200"
        again = HTTP.post(f"{url}/continue", **form)  # type: ignore[arg-type]
        assert again.status_code == 429, "the first is not over"
        given_up = "whispergpt_slow_client_total"
        wait_until(lambda: Metrics(url).sum(given_up, action="cancelled") == 1, "it is given up", seconds=30)
    assert_serves(url)


@pytest.mark.parametrize(("played", "underruns"), [(10_000, 0), (-1, 0), (0, -1)])
def test_a_report_that_cannot_be_is_refused(server: str, played: int, underruns: int) -> None:
    with LiveSocket(server) as socket:
        play(socket, "realtime")
        socket.event("playback.report", played_frames=played, underruns=underruns)
        while isinstance(message := socket.receive(), bytes):
            pass
        assert message["type"] == "error" and message["error"]["code"] == "out_of_range"


def test_a_listener_says_what_it_heard(server: str) -> None:
    name = "whispergpt_listener_underruns_total"
    before = Metrics(server).sum(name)
    with LiveSocket(server) as socket:
        socket.event("playback.report", played_frames=3)  # nothing plays, and that is no mistake
        play(socket, "realtime")
        assert isinstance(socket.receive(), bytes)
        for underruns in (1, 3, 3):
            socket.event("playback.report", played_frames=1, underruns=underruns)
        socket.event("playback.report", played_frames=1)  # nothing new of them
        socket.event("response.resume")
        while isinstance(message := socket.receive(), bytes):
            pass
        assert "not paused" in message["error"]["message"], "no report was refused"
        wait_until(lambda: Metrics(server).sum(name) == before + 3, "all are counted once")
