"""No capacity, silent clients, an engine that dies: on a small server of its own, which must outlive them all."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from whispergpt_client import Client, WhisperGPTError

from tests.support.audio import HOP, SPEECH
from tests.support.faults import GOOD_PROMPT, assert_serves, check_error
from tests.support.http import HTTP
from tests.support.live_socket import LiveSocket
from tests.support.metrics import Metrics, wait_for_idle
from tests.support.waiting import wait_until
from whispergpt.benchmarks.attacks.tools.server_process import START_SECONDS, ServerProcess
from whispergpt.engine.playback_clock import BUFFER_SECONDS, PlaybackClock

IDLE_SECONDS = 6.0
AHEAD_SECONDS = 2.0
"""Seconds that a stream in real time is made ahead."""
SETTINGS = {
    "WHISPERGPT_MAX_WAITING": "0",
    "WHISPERGPT_IDLE_SECONDS": str(IDLE_SECONDS),
    "WHISPERGPT_RETRY_AFTER_SECONDS": "3",
}


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the small server has its temporary files."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def small(temporary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Two slots, nobody waits for one, and a session may be silent for two seconds. It is started where a file has the
    name of one of Python's own modules."""
    folder = tmp_path_factory.mktemp("folder")
    (folder / "random.py").write_text("raise ImportError('of the folder where the server was started')")
    environment = SETTINGS | {"TMPDIR": str(temporary)}
    with ServerProcess("--max-streams", "2", environment=environment, folder=folder) as process:
        yield process
        process.terminate()
        assert process.wait() == 0, process.log()


def play_until_cancelled(url: str) -> LiveSocket:
    socket = LiveSocket(url)
    socket.commit(GOOD_PROMPT)
    socket.create(None)
    assert isinstance(socket.receive(), bytes)
    return socket


def hear_while_the_engine_stops(small: ServerProcess, after: float, seconds: float) -> PlaybackClock:
    """Play a stream, stop the engine when a player would have ``after`` seconds left; returns what the player heard."""
    clock = PlaybackClock(BUFFER_SECONDS)
    (engine,) = small.engine_pids()
    resumes = threading.Timer(seconds, os.kill, (engine, signal.SIGCONT))
    with LiveSocket(small.url) as socket:
        socket.commit(GOOD_PROMPT)
        socket.create(None)
        while isinstance(message := socket.receive(), bytes):
            clock.arrive(now := time.perf_counter(), len(message) / 2 / HOP / 75)
            if resumes.finished.is_set():
                socket.event("response.cancel")
            elif resumes.ident is None and clock.lead(now) > after:
                os.kill(engine, signal.SIGSTOP)
                resumes.start()
        clock.end(time.perf_counter(), complete=False)
    return clock


@pytest.mark.alone  # a machine without time for the engine makes gaps of its own
def test_gaps_count_where_they_are_heard(small: ServerProcess) -> None:
    """A pause of the engine shorter than the lead is no gap, and a longer one as long a gap as the player's."""

    def gaps() -> tuple[float, float, float, float]:
        wait_for_idle(small.url)
        metrics, name = Metrics(small.url), "whispergpt_largest_message_gap_seconds"
        continuous, underruns = metrics.sum(f"{name}_bucket", le="0.05"), metrics.sum("whispergpt_underruns_total")
        return metrics.sum(f"{name}_count"), continuous, underruns, metrics.sum(f"{name}_sum")

    streams, continuous, underruns, total = gaps()
    unheard = hear_while_the_engine_stops(small, after=0.9, seconds=0.5)
    assert unheard.gaps == [] and gaps() == (streams + 1, continuous + 1, underruns, total)
    heard = hear_while_the_engine_stops(small, after=0.9, seconds=2.5)
    assert len(heard.gaps) == 1 and heard.largest_gap > 0.5
    longest = pytest.approx(total + heard.largest_gap, abs=0.3)
    assert gaps() == (streams + 2, continuous + 1, underruns + 1, longest)


def test_no_capacity(small: ServerProcess) -> None:
    playing = [play_until_cancelled(small.url) for _ in range(2)]
    answer = HTTP.post(f"{small.url}/continue", files={"audio": GOOD_PROMPT})
    assert answer.status_code == 429, answer.text
    assert int(answer.headers["retry-after"]) == 3
    check_error(answer.json()["error"])
    with Client(small.url) as client, pytest.raises(WhisperGPTError) as refused:
        client.continue_file(GOOD_PROMPT)
    assert (refused.value.status, refused.value.retry_after) == (429, 3)

    with LiveSocket(small.url) as socket:
        socket.send(GOOD_PROMPT)
        refusal = socket.expect("error")
        check_error(refusal["error"])
        assert refusal["retry_after"] == 3
        assert socket.expect_close() == 1013
    assert Metrics(small.url).sum("whispergpt_rejected_total") >= 2
    assert Metrics(small.url).sum("whispergpt_requests_total", outcome="rejected") >= 2
    for socket in playing:
        socket.event("response.cancel")
        assert socket.read_response()[1]["status"] == "cancelled"
        socket.drop()
    assert_serves(small.url)


class Refusals:
    """How many there were since then: continuations that were rejected, and codes that were told."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._before = self._now()

    def since(self) -> tuple[float, float]:
        requests, codes = (now - before for now, before in zip(self._now(), self._before, strict=True))
        return requests, codes

    def _now(self) -> tuple[float, float]:
        metrics = Metrics(self._url)
        rejected = metrics.sum("whispergpt_requests_total", route="/stream", outcome="rejected")
        return rejected, metrics.sum("whispergpt_rejected_total", reason="no_capacity")


def resume_token(url: str) -> str:
    with LiveSocket(url) as socket:
        socket.commit(GOOD_PROMPT)
        socket.create(1)
        while isinstance(point := socket.receive(checkpoints=True), bytes):
            pass
        assert point["type"] == "response.checkpoint", point
    wait_for_idle(url)
    return str(point["resume_token"])


@pytest.mark.parametrize("refused_at", ["audio", "commit", "create", "resumption"])
def test_a_session_that_is_refused_counts_once(small: ServerProcess, refused_at: str) -> None:
    token = resume_token(small.url)
    before = Refusals(small.url)
    with LiveSocket(small.url) as socket:
        if refused_at == "commit":
            socket.send(GOOD_PROMPT)  # taken by the time that the next event is answered
        elif refused_at == "create":
            socket.commit(GOOD_PROMPT)
            wait_until(lambda: Metrics(small.url).sum("whispergpt_streams_slack") == 2, "its place is given back")
        playing = []
        for _ in range(2):
            socket.update(pace="realtime")  # it may not be silent for long
            playing.append(play_until_cancelled(small.url))
        if refused_at == "audio":
            socket.send(GOOD_PROMPT)
        elif refused_at == "commit":
            socket.event("input_audio_buffer.commit")
        elif refused_at == "create":
            socket.event("response.create", response={"seconds": 1})
        else:
            socket.event("response.create", response={"resume_token": token})
        assert socket.expect_error()["code"] == "no_capacity"
        assert socket.expect_close() == 1013
    for other in playing:
        other.drop()
    wait_for_idle(small.url)
    assert before.since() == (1, 1)


def test_who_is_silent_or_wrong_was_not_rejected(small: ServerProcess) -> None:
    """Nothing was asked for that could be; and what was begun ends as what it is."""
    before = Refusals(small.url)
    with LiveSocket(small.url) as socket:
        socket.event("response.create")
        assert socket.expect_error()["code"] == "wrong_order"
        assert socket.expect_error()["code"] == "idle_timeout"
    assert before.since() == (0, 0)


def test_when_to_come_again(small: ServerProcess) -> None:
    """That is when the first stream ends; one that is paused tells nothing of it."""

    def seconds_told() -> int:
        answer = HTTP.post(f"{small.url}/continue", files={"audio": GOOD_PROMPT})
        assert answer.status_code == 429, answer.text
        return int(answer.headers["retry-after"])

    endless, ending = play_until_cancelled(small.url), LiveSocket(small.url)
    ending.commit(GOOD_PROMPT)
    began = time.monotonic()
    ending.create(20.0)
    told = seconds_told()
    assert 20 - AHEAD_SECONDS - (time.monotonic() - began) - 1 <= told <= 20
    ending.event("response.pause")
    wait_until(lambda: seconds_told() == 3, "the paused one does not count")
    for socket in (endless, ending):
        socket.drop()
    wait_for_idle(small.url)


def test_a_silent_client(small: ServerProcess) -> None:
    with LiveSocket(small.url) as socket:
        start = time.monotonic()
        check_error(socket.expect_error(), f"{IDLE_SECONDS:g} s")
        assert 0.7 * IDLE_SECONDS < time.monotonic() - start < 5 * IDLE_SECONDS
        assert socket.expect_close() in (1000, 1001, 1008)
    assert_serves(small.url)


def test_a_client_that_falls_silent_amid_its_prompt(small: ServerProcess) -> None:
    with LiveSocket(small.url) as socket:
        socket.update(input={"format": "pcm_s16le", "sample_rate": 16_000})
        socket.send(bytes(16_000))
        check_error(socket.expect_error(), f"{IDLE_SECONDS:g} s")
        assert socket.expect_close() in (1000, 1001, 1008)
    assert_serves(small.url)


def test_a_listener_may_be_silent_while_a_response_plays(small: ServerProcess) -> None:
    with Client(small.url) as client:
        began = time.monotonic()
        stream = client.stream(SPEECH, seconds=AHEAD_SECONDS + IDLE_SECONDS + 1, pace="realtime", seed=1)
        assert sum(len(pcm) for pcm in stream) == round(75 * (AHEAD_SECONDS + IDLE_SECONDS + 1)) * HOP * 2
    assert time.monotonic() - began > IDLE_SECONDS
    assert stream.response is not None
    assert stream.response["status"] == "completed"
    assert_serves(small.url)


def test_an_engine_that_hangs_while_nobody_waits_for_it() -> None:
    with ServerProcess(environment={"WHISPERGPT_STALL_SECONDS": "3"}) as process, Client(process.url) as client:
        stopped = process.engine_pids()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: not client.ready(), "it is noticed")
        wait_until(client.ready, "another engine is there", seconds=START_SECONDS)
        assert not set(stopped) & set(process.engine_pids())
        assert_serves(process.url)


def test_an_address_outlives_a_refusal(small: ServerProcess) -> None:
    made = HTTP.post(f"{small.url}/v1/play", data={"seconds": "1"}, files={"audio": GOOD_PROMPT})
    playing = [play_until_cancelled(small.url) for _ in range(2)]
    url = small.url + made.json()["url"]
    refused = HTTP.get(url)
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) == 3
    for socket in playing:
        socket.drop()
    wait_for_idle(small.url)
    assert HTTP.get(url).status_code == 200
    wait_for_idle(small.url)


def test_a_server_that_is_killed_would_leave_nothing(small: ServerProcess, temporary: Path) -> None:
    assert_serves(small.url)
    assert list(temporary.iterdir()) == []


def test_an_engine_that_dies(small: ServerProcess, temporary: Path) -> None:
    with Client(small.url) as client:
        before = client.continue_file(SPEECH, seconds=0.5, seed=1)
        stream = client.stream(SPEECH, seconds=None, pace="realtime", resume_seconds=0)
        with pytest.raises(WhisperGPTError) as lost:
            for number, _ in enumerate(stream):
                if number == 0:
                    for pid in small.engine_pids():
                        os.kill(pid, signal.SIGKILL)
        check_error({**vars(lost.value)}, "engine")
        # The server itself lives, says that it is not ready, and recovers.
        assert HTTP.get(f"{small.url}/health/live").status_code == 200
        refused = HTTP.post(f"{small.url}/continue", files={"audio": GOOD_PROMPT})
        assert refused.status_code == 503, refused.text
        assert int(refused.headers["retry-after"]) >= 1
        check_error(refused.json()["error"])
        assert Metrics(small.url).sum("whispergpt_streams_limit") == 0, "no engine bears any stream"
        wait_until(client.ready, "the engine is back", seconds=START_SECONDS)
        assert Metrics(small.url).sum("whispergpt_streams_limit") > 0
        wait_for_idle(small.url)
        after = client.continue_file(SPEECH, seconds=0.5, seed=1)
    assert after.audio == before.audio
    assert "Traceback" not in small.log()
    assert_serves(small.url)
    assert list(temporary.iterdir()) == [], "of the first engine and of the second"
