"""The clients go on by themselves where a connection, or the engine behind it, was lost."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from whispergpt_client import AsyncClient, Client, WhisperGPTError
from whispergpt_client.protocol import StreamProtocol, StreamRequest

from tests.support.audio import HOP, SPEECH
from tests.support.cuttable import CuttableWire
from tests.support.metrics import wait_for_idle
from tests.support.waiting import wait_until
from whispergpt.benchmarks.attacks.tools.server_process import ServerProcess
from whispergpt.engine.checkpoints.checkpoint import save_model
from whispergpt.engine.config import HYBRID, SMALL_CODEC, FineConfig, SamplingDefaults, StackConfig
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.whisper_gpt import WhisperGPT

FRAME_BYTES = 2 * HOP
SECONDS = 5.0
WHOLE = round(SECONDS * 75) * FRAME_BYTES


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    plain = replace(HYBRID, stack=StackConfig(256, 2, 4, 1, 256, 64))
    for name, config in (("fine", replace(plain, fine=FineConfig())), ("plain", plain)):
        save_model(root / name, WhisperGPT(config), Codec(SMALL_CODEC), SamplingDefaults(), "unknown")
    with ServerProcess("--model", str(root / "fine"), "--model", str(root / "plain")) as process:
        yield process


@pytest.fixture(scope="module")
def undisturbed(process: ServerProcess) -> bytes:
    with Client(process.url) as client:
        return b"".join(client.stream(SPEECH, seconds=SECONDS, seed=5, pace="fast"))


@pytest.fixture(autouse=True)
def resumed_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The frames at which streams went on."""
    found: list[int] = []
    real = StreamProtocol.__init__

    def noted(self: StreamProtocol, request: StreamRequest, lost: StreamProtocol | None = None) -> None:
        real(self, request, lost)
        if lost is not None and (not found or found[-1] != lost.frames):
            found.append(lost.frames)

    monkeypatch.setattr(StreamProtocol, "__init__", noted)
    return found


def assert_goes_on(heard: bytes, undisturbed: bytes, resumed_at: list[int]) -> None:
    """Nothing is lost or doubled, and what follows the cut is what would have followed."""
    assert len(heard) == WHOLE and resumed_at
    until = (resumed_at[0] + 5) * FRAME_BYTES
    assert until < WHOLE, "it was over by then"
    ours, theirs = (np.frombuffer(pcm[:until], "<i2").astype(int) for pcm in (heard, undisturbed))
    assert np.abs(ours - theirs).max() < 0.02 * 32_768


@pytest.mark.parametrize("cut_after", [0.3, 1.5])
def test_a_cut_wire(process: ServerProcess, undisturbed: bytes, resumed_at: list[int], cut_after: float) -> None:
    with CuttableWire(process.url) as wire, Client(wire.url) as client:
        heard, cut_at = b"", 0
        with client.stream(SPEECH, seconds=SECONDS, seed=5) as stream:
            for pcm in stream:
                heard += pcm
                if not cut_at and len(heard) > cut_after * 75 * FRAME_BYTES:
                    wire.cut()
                    cut_at = len(heard)
            assert stream.frames == WHOLE // FRAME_BYTES
        assert stream.response is not None and stream.response["status"] == "completed"
        assert wire.connections == 2
    assert_goes_on(heard, undisturbed, resumed_at)


async def test_a_cut_wire_asynchronously(process: ServerProcess, undisturbed: bytes, resumed_at: list[int]) -> None:
    with CuttableWire(process.url) as wire:
        async with AsyncClient(wire.url) as client:
            heard, cuts = b"", []
            async with client.stream(SPEECH, seconds=SECONDS, seed=5) as stream:
                async for pcm in stream:
                    heard += pcm
                    if len(heard) > (1.2 + 1.5 * len(cuts)) * 75 * FRAME_BYTES and wire.connections > len(cuts) < 2:
                        wire.cut()
                        cuts.append(len(heard))
            assert stream.response is not None and stream.response["status"] == "completed"
        assert wire.connections == 3
    assert_goes_on(heard, undisturbed, resumed_at)


def test_a_killed_engine(process: ServerProcess, undisturbed: bytes, resumed_at: list[int]) -> None:
    with Client(process.url) as client:
        heard, cut_at = b"", 0
        for pcm in client.stream(SPEECH, seconds=SECONDS, seed=5, resume_seconds=180):
            heard += pcm
            if not cut_at and len(heard) > 1.5 * 75 * FRAME_BYTES:
                for pid in process.engine_pids():
                    os.kill(pid, signal.SIGKILL)
                cut_at = len(heard)
    assert_goes_on(heard, undisturbed, resumed_at)


def test_what_cannot_be_resumed_is_told(process: ServerProcess) -> None:
    for model, seconds in (("fine", 0.0), ("plain", 30.0)):  # not wanted; a model without a fine stage
        with CuttableWire(process.url) as wire, Client(wire.url) as client:
            heard = 0
            stream = client.stream(SPEECH, seconds=SECONDS, model=model, resume_seconds=seconds)
            with pytest.raises(WhisperGPTError) as lost:
                for pcm in stream:
                    heard += len(pcm)
                    if heard > 1.5 * 75 * FRAME_BYTES:
                        wire.cut()
            assert lost.value.code == "closed" and wire.connections == 1


def test_trying_ends(process: ServerProcess) -> None:
    with CuttableWire(process.url) as wire, Client(wire.url) as client:
        heard, began = 0, 0.0
        with pytest.raises(WhisperGPTError) as lost:
            for pcm in client.stream(SPEECH, seconds=SECONDS, resume_seconds=1.0):
                heard += len(pcm)
                if not began and heard > 1.5 * 75 * FRAME_BYTES:
                    wire.refusing = True
                    wire.cut()
                    began = time.monotonic()
        assert lost.value.code == "closed", "what was lost first, not the last try's error"
        assert time.monotonic() - began < 10


def test_a_response_is_steered(process: ServerProcess) -> None:
    async def steer() -> list[float]:
        async with AsyncClient(process.url) as client, client.stream(SPEECH, seconds=None, seed=5) as stream:
            parts = aiter(stream)
            for _ in range(5):
                await anext(parts)
            await stream.change_sampling(temperature=0.0)
            await stream.fork(9)
            await stream.pause()
            await stream.pause()
            gaps, at = [], time.monotonic()
            resumed = asyncio.get_running_loop().call_later(4.0, lambda: asyncio.ensure_future(stream.resume()))
            async for _ in parts:
                gaps.append(time.monotonic() - at)
                at = time.monotonic()
                if len(gaps) > 40:
                    await stream.cancel()
            assert resumed.when() < asyncio.get_running_loop().time()
            assert stream.response is not None
            assert (stream.response["status"], stream.response["seed"]) == ("cancelled", 9)
            return gaps

    assert max(asyncio.run(steer())) > 1.0, "the pause is heard as one"


def test_the_synchronous_one_is_steered_too(process: ServerProcess) -> None:
    with Client(process.url) as client, client.stream(SPEECH, seconds=2.0, pace="fast", seed=5) as stream:
        heard = 0
        for number, pcm in enumerate(stream):
            heard += len(pcm)
            if number == 0:
                stream.pause()
                stream.fork()
                stream.change_sampling(top_k=3)
                stream.resume()
        assert heard == 150 * FRAME_BYTES


def test_the_prompt_is_sent_once(process: ServerProcess) -> None:
    """The prompt is sent once: what goes on does so from the token."""
    sent: list[int] = []

    def prompt() -> Iterator[bytes]:
        data = SPEECH.read_bytes()
        sent.append(len(data))
        yield data

    with CuttableWire(process.url) as wire, Client(wire.url) as client:
        heard, cut = 0, False
        for pcm in client.stream(prompt(), seconds=3.0):
            heard += len(pcm)
            if not cut and heard > 1.2 * 75 * FRAME_BYTES:
                wire.cut()
                cut = True
    assert heard == 225 * FRAME_BYTES and len(sent) == 1


def test_what_was_asked_for_survives_a_cut(process: ServerProcess) -> None:
    with CuttableWire(process.url) as wire, Client(wire.url) as client:
        last, longest, heard, cut = time.monotonic(), 0.0, 0, False
        with client.stream(SPEECH, seconds=None, seed=5) as stream:
            for pcm in stream:
                now = time.monotonic()
                longest, last = max(longest, now - last) if cut else 0.0, now
                heard += len(pcm)
                if not cut and heard > 0.3 * 75 * FRAME_BYTES:
                    stream.fork(9)
                    stream.change_sampling(temperature=0.5)
                    stream.change_sampling(temperature=50)
                    stream.pause()
                    wire.cut()
                    cut = True
                    threading.Timer(2.5, stream.resume).start()
                elif longest > 1.0:
                    stream.cancel()
        assert longest > 1.0, "it was not paused any more"
        assert stream.response is not None
        assert (stream.response["status"], stream.response["seed"]) == ("cancelled", 9)
        assert stream.refusal is not None and "temperature" in stream.refusal.message
        assert wire.connections == 2


def test_a_stream_that_is_closed_stays_closed(process: ServerProcess) -> None:
    with CuttableWire(process.url) as wire, Client(wire.url) as client:
        stream = client.stream(SPEECH, seconds=None)
        with pytest.raises(WhisperGPTError):
            for number, _ in enumerate(stream):
                if number == 3:
                    wire.refusing = True
                    wire.cut()
                    threading.Timer(1.0, stream.close).start()
        wire.refusing = False
        time.sleep(0.5)
        assert wire.connections == 1


@pytest.mark.parametrize("pieces", [0, 4], ids=["the first", "the second"])
def test_a_close_while_it_connects(process: ServerProcess, pieces: int) -> None:
    """The connection that was being made then is not one to play on."""
    heard: list[bytes] = []
    until_closed: list[int] = []
    with CuttableWire(process.url) as wire, Client(wire.url) as client:
        stream = client.stream(SPEECH, seconds=30.0)

        def close() -> None:
            wait_until(lambda: wire.knocks == (2 if pieces else 1), "it connects")
            stream.close()
            until_closed.append(len(heard))
            wire.answering.set()

        if not pieces:
            wire.answering.clear()
        closing = threading.Thread(target=close)
        closing.start()
        with pytest.raises(WhisperGPTError, match="closed"):
            for pcm in stream:
                heard.append(pcm)
                if len(heard) == pieces:
                    wire.answering.clear()
                    wire.cut()
        closing.join()
        assert until_closed == [len(heard)] and len(heard) >= pieces and wire.knocks == (2 if pieces else 1)
        wait_for_idle(process.url)


@pytest.mark.parametrize("pieces", [0, 4], ids=["the first", "the second"])
async def test_a_close_while_it_connects_asynchronously(process: ServerProcess, pieces: int) -> None:
    heard: list[bytes] = []
    with CuttableWire(process.url) as wire:
        async with AsyncClient(wire.url) as client:
            stream = client.stream(SPEECH, seconds=30.0)

            async def listen() -> None:
                async for pcm in stream:
                    heard.append(pcm)
                    if len(heard) == pieces:
                        wire.answering.clear()
                        wire.cut()

            if not pieces:
                wire.answering.clear()
            listening = asyncio.create_task(listen())
            await asyncio.to_thread(wait_until, lambda: wire.knocks == (2 if pieces else 1), "it connects")
            await stream.close()
            until_closed = len(heard)
            wire.answering.set()
            with pytest.raises(WhisperGPTError, match="closed"):
                await listening
            assert pieces <= until_closed == len(heard) and wire.knocks == (2 if pieces else 1)
        await asyncio.to_thread(wait_for_idle, process.url)


async def test_what_was_closed_does_not_open(process: ServerProcess) -> None:
    with CuttableWire(process.url) as wire, Client(wire.url) as client:
        stream = client.stream(SPEECH, seconds=1.0)
        stream.close()
        with pytest.raises(WhisperGPTError, match="closed"):
            stream.open()
        async with AsyncClient(wire.url) as asynchronous:
            other = asynchronous.stream(SPEECH, seconds=1.0)
            await other.close()
            with pytest.raises(WhisperGPTError, match="closed"):
                await other.open()
        assert wire.knocks == 0
