"""SIGTERM: what plays is finished, then the server ends with status 0."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from whispergpt_client import Client

from tests.support.audio import HOP, SPEECH
from tests.support.http import HTTP
from tests.support.live_socket import LiveSocket
from tests.support.metrics import Metrics
from tests.support.processes import alive
from tests.support.waiting import wait_until
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess


def test_sigterm_lets_a_playing_stream_finish() -> None:
    """The log says what the end waits for, and has not been filled by the files of a page."""
    with ServerProcess() as process, Client(process.url) as client:
        for path, status in (("/", 200), ("/static/playground.css", 200), ("/static/nonesuch", 404)):
            assert HTTP.get(process.url + path).status_code == status
        stream = client.stream(SPEECH, seconds=10, pace="realtime", seed=1)
        pieces = iter(stream)
        received = len(next(pieces))
        # The log counts what the engine last told, a moment after the first piece on a busy machine.
        wait_until(lambda: Metrics(process.url).sum("whispergpt_streams_active") == 1, "the stream is counted")
        process.terminate()
        wait_until(lambda: refuses_new_work(process.url), "it takes no new work")
        received += sum(len(piece) for piece in pieces)
        assert process.wait() == 0, process.log()
    assert stream.response is not None
    assert stream.response["status"] == "completed"
    assert received == 750 * HOP * 2
    lines = [json.loads(line) for line in process.log().splitlines()]
    assert [line["path"] for line in lines if line["event"] == "request"][:2] == ["/", "/static/nonesuch"]
    (draining,) = [line for line in lines if line["event"] == "draining"]
    assert (draining["streams"], draining["second_signal"]) == (1, "ends at once")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_who_is_cut_off_is_told_why_before_the_end(workers: str) -> None:
    """Also who reads late: the second signal once closed the connection without a word before the reason was sent."""
    narrow = {"WHISPERGPT_SEND_BUFFER_BYTES": "4096"}
    with ServerProcess("--workers", workers, environment=narrow) as process:
        with LiveSocket(process.url, receive_buffer=4096) as listener:
            listener.update(seed=1, pace="fast")
            listener.commit(SPEECH.read_bytes())
            listener.create(60)
            time.sleep(1.5)  # until the buffers on the way are full, and the server waits
            process.terminate()
            wait_until(lambda: refuses_new_work(process.url), "it takes no new work")
            process.terminate()
            # For a server that does not wait, which would look each tenth of a second. One that waits does so for five
            # seconds, in which a busy machine has to read everything.
            time.sleep(0.3)
            told = []
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    if isinstance(message := listener.receive(), dict):
                        told.append(message.get("error", message.get("response", {})))
        assert process.wait() == 0, process.log()
    assert [what.get("status", what.get("code")) for what in told if what][-2:] == ["failed", "cut_off"]
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001


def test_an_upload_under_way_is_told_of_the_end() -> None:
    """It has no stream yet that could be cut off."""
    with ServerProcess() as process:
        parts = urlsplit(process.url)
        with socket.create_connection((parts.hostname, parts.port), timeout=20) as wire:
            head = f"POST /continue HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 1000\r\n"
            wire.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n".encode())
            wait_until(lambda: Metrics(process.url).sum("whispergpt_requests_open") >= 1, "it is counted")
            process.terminate()
            wait_until(lambda: refuses_new_work(process.url), "it takes no new work")
            process.terminate()
            answer = b""
            while part := wire.recv(65_536):
                answer += part
        assert process.wait() == 0, process.log()
    assert answer.startswith(b"HTTP/1.1 503 ") and b'"code":"cut_off"' in answer, answer
    assert "Traceback" not in process.log()


@pytest.fixture
def with_hangups() -> Iterator[None]:
    """A server started here hears SIGHUP, which it ignores where the tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_closes_lets_a_playing_stream_finish(with_hangups: None) -> None:
    with ServerProcess() as process, Client(process.url) as client:
        stream = client.stream(SPEECH, seconds=2, pace="realtime", seed=1)
        pieces = iter(stream)
        received = len(next(pieces))
        for _ in range(2):  # by the shell and by the system
            os.kill(process.pid, signal.SIGHUP)
            time.sleep(0.1)
        received += sum(len(piece) for piece in pieces)
        assert process.wait() == 0, process.log()
    assert received == 150 * HOP * 2


def test_a_front_end_that_leaves_lets_its_streams_finish_when_all_drain() -> None:
    """The hub's first signal is not its second one."""
    with ServerProcess("--workers", "2") as process:
        form = {"seconds": "10", "seed": "1", "response_format": "pcm"}
        address = HTTP.post(f"{process.url}/v1/play", files={"audio": SPEECH.read_bytes()}, data=form).json()["url"]
        with HTTP.stream("GET", process.url + address) as answer:
            parts = answer.iter_raw()
            received = len(next(parts))
            playing = process.worker_pids()
            for pid in playing:
                os.kill(pid, signal.SIGTERM)
            wait_until(lambda: process.log().count('"signal": "leave"') == 2, "both leave")
            process.terminate()
            received += sum(len(part) for part in parts)
        assert process.wait() == 0, process.log()
        assert not any(alive(pid) for pid in playing)
    assert received == 750 * HOP * 2


def test_a_signal_while_a_front_end_is_replaced_ends_all() -> None:
    with ServerProcess("--workers", "2") as process:
        before = process.worker_pids()
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: set(process.worker_pids()) - set(before), "another is being started", pause=0.001)
        process.terminate()
        assert process.wait() == 0, process.log()


def refuses_new_work(url: str) -> bool:
    """A draining server either says so or no longer answers."""
    try:
        answer = HTTP.post(f"{url}/continue", files={"audio": SPEECH.read_bytes()}, data={"seconds": "1"})
    except httpx.TransportError:
        return True
    return answer.status_code == 503 and answer.json()["error"]["message"] != ""
