"""Two engines in one server: they share listeners evenly, play the same samples, and outlive each other."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from whispergpt_client import Client

from tests.support.audio import HOP, SPEECH, pcm_of, samples_of, speech
from tests.support.http import HTTP
from tests.support.live_socket import LiveSocket
from tests.support.metrics import Metrics, wait_for_idle
from tests.support.waiting import PATIENCE_SECONDS, wait_until
from whispergpt.benchmarks.attacks.tools.server_process import START_SECONDS, ServerProcess

FRAME_BYTES = 2 * HOP
SLOTS = 4
"""Slots of each engine."""
LISTENERS = 4
SECONDS = 20.0
FRAMES = round(SECONDS * 75)
SEED = 21
BUFFERED_SECONDS = 2.0
"""Seconds that a listener in real time has ahead of playback."""
PROMPT = SPEECH.read_bytes()


@pytest.fixture(scope="module")
def process() -> Iterator[ServerProcess]:
    with ServerProcess("--device", "cpu,cpu", "--max-streams", str(SLOTS)) as process:
        yield process
        wait_for_idle(process.url)
        process.terminate()
        assert process.wait() == 0, process.log()


@dataclass
class Listener:
    """A listener in real time, and what it heard until the end."""

    audio: bytes = b""
    points: list[dict[str, Any]] = field(default_factory=list)
    status: str | None = None
    error: str | None = None
    close_code: int | None = None
    longest_silence: float = 0.0
    """Most seconds between two messages with audio."""
    heard_a_second: threading.Event = field(default_factory=threading.Event)

    @property
    def frames(self) -> int:
        return len(self.audio) // FRAME_BYTES

    def listen(self, socket: LiveSocket) -> None:
        """Listen to a response that was asked for, until it or the session is over."""
        before: float | None = None
        while self.status != "completed" and self.error is None:
            message = socket.receive(checkpoints=True)
            if isinstance(message, bytes):
                now = time.monotonic()
                self.longest_silence = max(self.longest_silence, now - before if before else 0.0)
                before = now
                self.audio += message
            elif message["type"] == "response.checkpoint":
                self.points.append(message)
                if message["frame"] >= 75:
                    self.heard_a_second.set()
            elif message["type"] == "response.done":
                self.status = message["response"]["status"]
            elif message["type"] == "error":
                self.error = message["error"]["code"]
        if self.error is not None:
            self.close_code = socket.expect_close()


def begin(url: str, seconds: float | None = SECONDS) -> LiveSocket:
    socket = LiveSocket(url)
    socket.update(seed=SEED)
    socket.commit(PROMPT)
    socket.create(seconds)
    return socket


def recorded(url: str) -> LiveSocket:
    """A session whose prompt is being recorded, so that it has its engine."""
    socket = LiveSocket(url)
    socket.update(seed=SEED, input={"format": "pcm_s16le", "sample_rate": 24_000})
    socket.send(pcm_of(speech(1.0)))
    socket.update(pace="realtime")  # answered once the audio was handled
    return socket


def resumed(url: str, lost: Listener) -> bytes:
    """The rest of what a listener has lost, as fast as it comes."""
    with LiveSocket(url) as socket:
        socket.update(pace="fast")
        wanted = {"resume_token": lost.points[-1]["resume_token"], "from_frame": lost.frames}
        socket.event("response.create", response=wanted)
        created = socket.expect("response.created")["response"]
        assert (created["from_frame"], created["seed"]) == (lost.frames, SEED)
        audio, done = socket.read_response()
        assert done["status"] == "completed"
        return audio


def engines(url: str) -> list[str]:
    """The state of each engine of a server that takes new work."""
    answer = HTTP.get(f"{url}/health/ready")
    assert answer.status_code == 200, answer.text
    return [engine["state"] for engine in answer.json()["engines"]]


def gauges(url: str) -> dict[str, float]:
    metrics = Metrics(url)
    names = ("slots", "streams_active", "streams_waiting", "streams_limit", "streams_slack", "prompts_encoding")
    return {name: metrics.sum(f"whispergpt_{name}") for name in names}


IDLE = {
    "slots": 2 * SLOTS,
    "streams_active": 0,
    "streams_waiting": 0,
    "streams_limit": 2 * SLOTS,
    "streams_slack": 2 * SLOTS,
    "prompts_encoding": 0,
}


def test_an_engine_that_is_killed_is_lost_to_its_own_listeners_alone(process: ServerProcess) -> None:
    url = process.url
    assert engines(url) == ["ready", "ready"] and gauges(url) == IDLE
    with ExitStack() as sessions, ThreadPoolExecutor(LISTENERS) as threads:
        listeners = [Listener() for _ in range(LISTENERS)]
        sockets = [sessions.enter_context(begin(url)) for _ in listeners]
        prompts = [sessions.enter_context(recorded(url)) for _ in range(2)]
        taken = (LISTENERS, 2 * SLOTS - LISTENERS)  # as the engines last told, a moment ago on a busy machine
        wait_until(lambda: (gauges(url)["streams_active"], gauges(url)["streams_slack"]) == taken, "all play")
        heard = [threads.submit(listener.listen, socket) for listener, socket in zip(listeners, sockets, strict=True)]
        for listener in listeners:
            assert listener.heard_a_second.wait(PATIENCE_SECONDS)
        first, second = process.engine_pids()
        os.kill(second, signal.SIGKILL)
        wait_until(lambda: "restarting" in engines(url), "the loss is noticed, and the server is ready all the while")
        with Client(url) as client:
            posted = client.continue_file(SPEECH, seconds=1, seed=SEED)  # the other engine takes it

        # Half of the prompts are lost too, and only those.
        codes = []
        for socket in prompts:
            socket.event("input_audio_buffer.commit")
            answer = socket.receive()
            assert isinstance(answer, dict)
            codes.append(answer["error"]["code"] if answer["type"] == "error" else answer["type"])
        assert sorted(codes) == ["engine_lost", "input_audio_buffer.committed"]

        for one in heard:
            one.result(PATIENCE_SECONDS)
    outlived = [listener for listener in listeners if listener.status == "completed"]
    lost = [listener for listener in listeners if listener not in outlived]
    assert len(outlived) == len(lost) == LISTENERS // 2, "they were shared out evenly"
    whole = outlived[0].audio
    for listener in outlived:
        assert listener.audio == whole and listener.frames == FRAMES
        assert listener.longest_silence < BUFFERED_SECONDS, "the start of another engine takes longer"
    assert samples_of(posted.audio).tobytes() == whole[: len(samples_of(posted.audio)) * 2]
    for listener in lost:
        assert (listener.status, listener.error, listener.close_code) == ("failed", "engine_lost", 1011)
        assert 75 <= listener.frames < FRAMES
        assert listener.audio == whole[: len(listener.audio)], "both engines play the same samples"

    with ThreadPoolExecutor(len(lost)) as threads:
        rests = list(threads.map(lambda listener: resumed(url, listener), lost))
    for listener, rest in zip(lost, rests, strict=True):
        assert listener.frames + len(rest) // FRAME_BYTES == FRAMES
        near = 10 * FRAME_BYTES
        ours, theirs = rest[:near], whole[len(listener.audio) :][:near]
        assert np.abs(np.subtract(*(np.frombuffer(pcm, "<i2").astype(int) for pcm in (ours, theirs)))).max() < 656

    wait_until(lambda: engines(url) == ["ready", "ready"], "the engine is back", seconds=START_SECONDS)
    assert first in process.engine_pids() and second not in process.engine_pids()
    wait_for_idle(url)
    assert gauges(url) == IDLE
    metrics = Metrics(url)
    assert metrics.sum("whispergpt_engine_restarts_total") == 1
    ended = {
        outcome: metrics.sum("whispergpt_requests_total", route="/stream", outcome=outcome)
        for outcome in ("completed", "failed", "cancelled", "rejected")
    }
    # The session whose prompt was lost counts too.
    assert ended == {"completed": LISTENERS, "failed": len(lost) + 1, "cancelled": 0, "rejected": 0}
    assert "Traceback" not in process.log()


def test_all_slots_of_both_engines_can_be_taken(process: ServerProcess) -> None:
    """A full engine lets nobody wait while the other has a slot."""
    url = process.url
    playing = []
    for number in range(2 * SLOTS):
        playing.append(begin(url, None))
        assert gauges(url)["streams_waiting"] == 0, number
    wait_until(lambda: gauges(url) == IDLE | {"streams_active": 2 * SLOTS, "streams_slack": 0}, "all slots are taken")
    waiting = [LiveSocket(url) for _ in range(2)]
    for socket in waiting:
        socket.update(seed=SEED)
        socket.commit(PROMPT)
        socket.event("response.create", response={"seconds": 0.5})
    wait_until(lambda: gauges(url)["streams_waiting"] == 2, "two wait, one for each engine")
    assert gauges(url)["streams_slack"] == -2
    for socket in playing:
        socket.drop()
    for socket in waiting:
        assert socket.expect("response.created")["response"]["fingerprint"] == socket.session["fingerprint"]
        assert socket.read_response()[1]["status"] == "completed"
        socket.drop()
    wait_for_idle(url)
    assert gauges(url) == IDLE
