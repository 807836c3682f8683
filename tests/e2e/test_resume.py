"""A listener whose connection, engine or server is gone goes on from its last token."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from whispergpt_client import Client

from tests.support.audio import HOP, SPEECH
from tests.support.live_socket import LiveSocket
from tests.support.metrics import wait_for_idle
from tests.support.waiting import wait_until
from whispergpt.benchmarks.attacks.tools.server_process import START_SECONDS, ServerProcess
from whispergpt.engine.checkpoints.checkpoint import save_model
from whispergpt.engine.config import GPT_S, HYBRID, SMALL_CODEC, FineConfig, ModelConfig, SamplingDefaults, StackConfig
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.whisper_gpt import WhisperGPT

FRAME_BYTES = 2 * HOP
KEY = {"WHISPERGPT_RESUME_KEY": "both servers have this one"}
STACK = StackConfig(256, 2, 4, 1, 256, 64)
SECONDS = 6.0


def model_folder(folder: Path, config: ModelConfig) -> str:
    torch.manual_seed(0)
    save_model(folder, WhisperGPT(config), Codec(SMALL_CODEC), SamplingDefaults(), "unknown")
    return str(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """One that can be resumed, and one without a fine stage, which cannot."""
    root = tmp_path_factory.mktemp("models")
    fine = replace(HYBRID, stack=STACK, fine=FineConfig())
    return [model_folder(root / "fine", fine), model_folder(root / "plain", replace(GPT_S, stack=STACK))]


@pytest.fixture(scope="module")
def url(models: list[str]) -> Iterator[str]:
    with ServerProcess("--model", models[0], "--model", models[1], environment=KEY) as process:
        yield process.url
        wait_for_idle(process.url)
        process.terminate()
        assert process.wait() == 0


@pytest.fixture(scope="module")
def stranger(models: list[str]) -> Iterator[ServerProcess]:
    """A server with a key of its own."""
    with ServerProcess("--model", models[0]) as process:
        yield process
        wait_for_idle(process.url)
        process.terminate()
        assert process.wait() == 0


def begin(url: str, seconds: float | None = SECONDS, **session: Any) -> LiveSocket:
    socket = LiveSocket(url)
    socket.update(seed=21, **session)
    socket.commit(SPEECH.read_bytes())
    socket.create(seconds)
    return socket


def listen(socket: LiveSocket, checkpoints: int | None = None, start: int = 0) -> tuple[bytes, list[dict[str, Any]]]:
    """Audio from frame ``start`` on and checkpoints, until there are so many of these or the response is over."""
    audio, points = b"", []
    while True:
        message = socket.receive(checkpoints=True)
        if isinstance(message, bytes):
            audio += message
        elif message["type"] == "response.checkpoint":
            # A token is for a frame all of whose past was sent.
            assert message["frame"] <= start + len(audio) // FRAME_BYTES
            points.append(message)
            if len(points) == checkpoints:
                return audio, points
        elif message["type"] == "response.done":
            assert message["response"]["status"] == "completed"
            return audio, points


def resume(url: str, point: dict[str, Any], from_frame: int | None = None, pace: str = "fast") -> LiveSocket:
    socket = LiveSocket(url)
    socket.update(pace=pace)
    wanted = {"resume_token": point["resume_token"], **({} if from_frame is None else {"from_frame": from_frame})}
    socket.event("response.create", response=wanted)
    created = socket.expect("response.created")["response"]
    assert created["from_frame"] == (point["frame"] if from_frame is None else from_frame)
    assert created["seed"] == 21
    return socket


def difference(ours: bytes, theirs: bytes) -> float:
    """Largest difference of two stretches of samples, of full scale."""
    a, b = (np.frombuffer(pcm, "<i2").astype(int) for pcm in (ours, theirs))
    return float(np.abs(a - b).max()) / 32_768


def test_a_lost_connection_goes_on_without_a_sample_lost_or_doubled(url: str) -> None:
    with begin(url, pace="fast") as socket:
        whole, points = listen(socket)
    assert [point["frame"] for point in points] == [0, 75, 150, 225, 300, 375]
    assert len(whole) == SECONDS * 75 * FRAME_BYTES
    for point, skipped in ((points[0], None), (points[2], None), (points[4], 40)):
        start = point["frame"] + (skipped or 0)
        with resume(url, point, None if skipped is None else start) as socket:
            socket.event("playback.report", played_frames=start)  # of the whole response, not of this connection
            rest, later = listen(socket, start=start)
        assert len(rest) == len(whole) - start * FRAME_BYTES
        assert [one["frame"] for one in later] == [
            frame for frame in (0, 75, 150, 225, 300, 375) if frame > start or frame == start == 0
        ]
        near = 10 * FRAME_BYTES
        assert difference(rest[:near], whole[start * FRAME_BYTES :][:near]) < 0.02
    wait_for_idle(url)


def test_another_server_with_the_same_key_takes_a_stream_over(url: str, models: list[str]) -> None:
    with begin(url, None, pace="fast") as socket:
        _, points = listen(socket, checkpoints=3)
    with ServerProcess("--model", models[0], environment=KEY) as other:
        with resume(other.url, points[-1]) as socket:
            audio, later = listen(socket, 1, points[-1]["frame"])
        assert later[0]["frame"] == 225 and len(audio) >= 75 * FRAME_BYTES
        wait_for_idle(other.url)
        other.terminate()
        assert other.wait() == 0


def test_strict_servers_go_on_with_the_very_same_samples(models: list[str]) -> None:
    strict = ("--model", models[0], "--strict")
    with ServerProcess(*strict, environment=KEY) as first, begin(first.url, pace="fast") as socket:
        whole, points = listen(socket)
    with ServerProcess(*strict, environment=KEY) as second:
        for number, skipped in ((0, 0), (4, 30)):
            start = points[number]["frame"] + skipped
            with resume(second.url, points[number], start) as socket:
                rest, _ = listen(socket, start=start)
            assert rest == whole[start * FRAME_BYTES :]


def test_a_killed_engine_is_outlived(stranger: ServerProcess) -> None:
    with begin(stranger.url) as socket:
        heard, points = listen(socket, checkpoints=2)
        for pid in stranger.engine_pids():
            os.kill(pid, signal.SIGKILL)
        socket.expect_close()
    with Client(stranger.url) as client:
        wait_until(client.ready, "the engine is back", seconds=START_SECONDS)
    with resume(stranger.url, points[-1]) as socket:  # the server, and its key, are the same
        rest, _ = listen(socket, start=points[-1]["frame"])
    assert len(rest) + points[-1]["frame"] * FRAME_BYTES == SECONDS * 75 * FRAME_BYTES
    assert len(heard) >= 75 * FRAME_BYTES


def test_what_cannot_be_resumed_is_said(url: str, stranger: ServerProcess) -> None:
    with begin(url, pace="fast") as socket:
        _, points = listen(socket, checkpoints=2)
    token = points[-1]["resume_token"]
    with LiveSocket(url) as socket:
        for wanted, param, code in (
            ({"resume_token": token[:-8] + "AAAAAAA="}, "response.resume_token", "bad_token"),
            ({"resume_token": token, "from_frame": 10}, "response.from_frame", "out_of_range"),
            ({"resume_token": token, "seconds": 3}, "response.seconds", "bad_value"),
            ({"from_frame": 10}, "response.from_frame", "bad_value"),
        ):
            socket.event("response.create", response=wanted)
            error = socket.expect_error()
            assert (error["param"], error["code"]) == (param, code)
        socket.event("response.create", response={"resume_token": token})  # the session is none the worse
        socket.expect("response.created")
        listen(socket, 1, points[-1]["frame"])
    with LiveSocket(stranger.url) as socket:
        socket.event("response.create", response={"resume_token": token})
        assert "none of this server's" in socket.expect_error()["message"]


def test_a_model_without_a_fine_stage_gives_no_tokens(url: str) -> None:
    with begin(url, 2.5, model="plain", pace="fast") as socket:
        audio, points = listen(socket)
    assert len(audio) == 188 * FRAME_BYTES and points == []
