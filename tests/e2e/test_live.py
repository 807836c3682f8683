"""Audio while it is generated: how soon, in which pieces, at which pace, and how it is stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from whispergpt_client import AsyncClient, Client

from tests.support.audio import HOP, SAMPLE_RATE, SPEECH, pcm_of, speech
from tests.support.http import HTTP
from tests.support.live_socket import LiveSocket
from tests.support.metrics import wait_for_idle

BYTES_PER_SECOND = 2 * SAMPLE_RATE
FRAME_BYTES = 2 * HOP


@pytest.mark.alone  # a second is little for the first audio of a busy machine
def test_first_audio_comes_before_a_tenth_could_be_played(server: str) -> None:
    seconds = 10.0
    with LiveSocket(server) as socket:
        socket.update(seed=1)
        socket.commit(SPEECH.read_bytes())
        start = time.monotonic()
        socket.create(seconds)
        assert isinstance(socket.receive(), bytes)
        assert time.monotonic() - start < seconds / 10
    start = time.monotonic()
    request = {"data": {"seconds": str(seconds), "stream": "true"}, "files": {"audio": SPEECH.read_bytes()}}
    with HTTP.stream("POST", f"{server}/continue", **request) as answer:  # type: ignore[arg-type]
        received = 0
        for piece in answer.iter_raw():
            received += len(piece)
            if received >= 44 + FRAME_BYTES:
                break
        assert time.monotonic() - start < seconds / 10
    wait_for_idle(server)


def test_messages_hold_whole_frames_and_the_first_is_small(server: str) -> None:
    with LiveSocket(server) as socket:
        socket.update(seed=1, pace="fast")
        socket.commit(SPEECH.read_bytes())
        socket.create(1.0)
        sizes = []
        while isinstance(message := socket.receive(), bytes):
            sizes.append(len(message))
    assert sum(sizes) == 75 * FRAME_BYTES
    assert all(size % FRAME_BYTES == 0 for size in sizes)
    assert sizes[0] <= 2 * FRAME_BYTES
    assert max(sizes) <= 0.08 * BYTES_PER_SECOND


def test_realtime_stays_at_most_two_seconds_ahead(client: Client) -> None:
    seconds, tolerance = 4.0, 0.1
    # Before the first audio: a listener that is late for it would seem to be ahead of more.
    received, start, leads = 0, time.monotonic(), []
    for pcm in client.stream(SPEECH, seconds=seconds, pace="realtime", seed=1):
        received += len(pcm)
        leads.append(received / BYTES_PER_SECOND - (time.monotonic() - start))
    assert received == seconds * BYTES_PER_SECOND
    assert max(leads) <= 2 + tolerance


def test_a_response_says_how_it_went(client: Client) -> None:
    stream = client.stream(SPEECH, seconds=2, pace="fast", seed=1)
    start = time.monotonic()
    with stream:
        audio = b"".join(stream)
        took = time.monotonic() - start
    assert len(audio) == 2 * BYTES_PER_SECOND
    assert stream.response is not None
    assert stream.response["status"] == "completed"
    assert stream.response["frames"] == 150
    assert stream.response["time_to_first_audio_ms"] > 0
    # The server's clock runs for less long than ours, which has the prompt and the way besides.
    assert 2 / took <= stream.response["realtime_factor"] < 1_000


def test_a_response_without_an_end_plays_until_it_is_cancelled(server: str, client: Client) -> None:
    stream = client.stream(SPEECH, seconds=None, pace="fast", seed=1)
    received = 0
    for pcm in stream:
        received += len(pcm)
        if received >= BYTES_PER_SECOND:
            stream.cancel()
    assert stream.response is not None
    assert stream.response["status"] == "cancelled"
    assert stream.response["frames"] >= received // FRAME_BYTES >= 75
    whole = client.continue_file(SPEECH, seconds=1, seed=1, response_format="pcm").audio
    assert len(whole) <= received
    wait_for_idle(server)


def test_a_session_goes_on_after_a_cancelled_response(server: str) -> None:
    with LiveSocket(server) as socket:
        socket.update(seed=6, pace="fast")
        socket.commit(SPEECH.read_bytes())
        socket.create(None)
        beginning = socket.receive()
        assert isinstance(beginning, bytes)
        socket.event("response.cancel")
        rest, described = socket.read_response()
        assert described["status"] == "cancelled"
        wait_for_idle(server)
        socket.create(0.5)
        again, described = socket.read_response()
    assert described["status"] == "completed"
    length = min(len(again), len(beginning + rest))
    assert (beginning + rest)[:length] == again[:length]


def test_clear_starts_the_prompt_over(server: str) -> None:
    prompt = SPEECH.read_bytes()
    with LiveSocket(server) as socket:
        socket.update(seed=6, pace="fast")
        socket.send(b"not the prompt")
        socket.clear()
        assert socket.commit(prompt) == pytest.approx(4.0, abs=0.02)
        socket.create(0.3)
        audio, _ = socket.read_response()
    with Client(server) as client:
        assert audio == client.continue_file(SPEECH, seconds=0.3, seed=6, response_format="pcm").audio


def test_the_session_says_what_it_is(server: str, client: Client) -> None:
    with LiveSocket(server) as socket:
        assert socket.session["id"]
        assert socket.session["model"] == client.models()[0].id
        assert socket.session["sample_rate"] == SAMPLE_RATE
        assert socket.session["frame_rate"] == 75
        assert socket.session["fingerprint"] == client.continue_file(SPEECH, seconds=0.1).fingerprint


def test_the_address_has_no_settings(server: str) -> None:
    with LiveSocket(server, "?model=piano", refused=True) as socket:
        error = socket.expect_error()
        assert (error["code"], error["param"]) == ("unknown_field", "model")
        assert error["message"].endswith("no parameter 'model'; there is token, and session.update has the settings.")
        assert socket.expect_close() == 1008


def test_a_prompt_is_sent_while_it_is_recorded(server: str) -> None:
    """The asynchronous client reads a microphone that gives 100 ms at a time."""
    pcm = pcm_of(speech(1.0, 16_000))

    async def microphone() -> AsyncIterator[bytes]:
        for start in range(0, len(pcm), 3_200):
            await asyncio.sleep(0.02)
            yield pcm[start : start + 3_200]

    async def play() -> tuple[bytes, str]:
        async with AsyncClient(server) as client:
            assert await client.ready()
            stream = client.stream(microphone(), sample_rate=16_000, seconds=None, pace="fast", seed=8)
            audio = b""
            async with stream:
                assert stream.session["model"] == (await client.models())[0].id
                async for piece in stream:
                    audio += piece
                    if len(audio) >= BYTES_PER_SECOND // 2:
                        await stream.cancel()
            assert stream.response is not None
            return audio, stream.response["status"]

    audio, status = asyncio.run(play())
    assert status == "cancelled"
    with Client(server) as client:
        at_once = b"".join(client.stream(pcm, seconds=0.5, pace="fast", sample_rate=16_000, seed=8))
    assert audio[: len(at_once)] == at_once


def test_leaving_a_stream_early_frees_its_slot(server: str, client: Client) -> None:
    with client.stream(SPEECH, seconds=None, pace="realtime") as stream:
        next(iter(stream))
    wait_for_idle(server)
