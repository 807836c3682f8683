"""SIGTERM: what plays is finished, then the server ends with status 0."""

from __future__ import annotations

import json

import httpx
from whispergpt_client import Client

from tests.support.audio import HOP, SPEECH
from tests.support.http import HTTP
from tests.support.metrics import Metrics
from tests.support.waiting import wait_until
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess


def test_sigterm_lets_a_playing_stream_finish() -> None:
    """The log says what the end waits for, and has not been filled by the files of a page."""
    with ServerProcess() as process, Client(process.url) as client:
        for path, status in (("/", 200), ("/static/playground.css", 200), ("/static/nonesuch", 404)):
            assert HTTP.get(process.url + path).status_code == status
        stream = client.stream(SPEECH, seconds=4, pace="realtime", seed=1)
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
    assert received == 300 * HOP * 2
    lines = [json.loads(line) for line in process.log().splitlines()]
    assert [line["path"] for line in lines if line["event"] == "request"][:2] == ["/", "/static/nonesuch"]
    (draining,) = [line for line in lines if line["event"] == "draining"]
    assert (draining["streams"], draining["second_signal"]) == (1, "ends at once")


def refuses_new_work(url: str) -> bool:
    """A draining server either says so or no longer answers."""
    try:
        answer = HTTP.post(f"{url}/continue", files={"audio": SPEECH.read_bytes()}, data={"seconds": "1"})
    except httpx.TransportError:
        return True
    return answer.status_code == 503 and answer.json()["error"]["message"] != ""
