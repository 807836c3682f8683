"""``/stream`` refuses what it cannot use with an ``error`` that says why, and the session goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.support.audio import HOP, SPEECH, encode, pcm_of, silence, speech
from tests.support.faults import GOOD_PROMPT, check_error
from tests.support.live_socket import LiveSocket

pytestmark = pytest.mark.usefixtures("recovers")


@pytest.fixture
def socket(server: str) -> Iterator[LiveSocket]:
    """A fresh session."""
    with LiveSocket(server) as socket:
        yield socket


def assert_goes_on(socket: LiveSocket) -> None:
    """The same session still continues a good prompt."""
    socket.clear()
    socket.update(pace="fast", input={"format": "file"})
    socket.commit(GOOD_PROMPT)
    socket.create(0.04)
    audio, described = socket.read_response()
    assert len(audio) == 3 * HOP * 2
    assert described["status"] == "completed"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("this is not JSON", ("JSON",)),
        ('{"type": "session.update"', ("JSON",)),
        ("[1, 2]", ("object",)),
        ('"session.update"', ("object",)),
        ("null", ("object",)),
        ("{}", ("type",)),
        ('{"type": 7}', ("type",)),
        ('{"type": "session.destroy"}', ("session.destroy",)),
        ('{"type": "session.update", "session": 5}', ("session",)),
        ('{"type": "session.update", "session": {"tempo": 1}}', ("tempo",)),
        ('{"type": "session.update", "session": {"seed": NaN}}', ("JSON",)),
        ("[" * 50_000, ("JSON",)),
    ],
)
def test_a_message_that_is_no_event(socket: LiveSocket, message: str, words: tuple[str, ...]) -> None:
    socket.send(message)
    check_error(socket.expect_error(), *words)
    assert_goes_on(socket)


WRONG_SETTINGS: dict[str, list[Any]] = {
    "seed": [-1, 2**53, 10**40, 1.5, "7", True],
    "temperature": [-0.1, 2.1, 1e300, "warm", True, [1]],
    "top_k": [-1, 1025, 10**40, 1.5, "many"],
    "top_p": [-0.1, 0, 1.01, 1e300, "most"],
    "model": ["no-such-model", 7],
    "pace": ["slow", 2],
    "input": [{"format": "mp3000"}, {"format": "pcm_s16le", "sample_rate": 7_999}, 3],
    "output": [{"format": "mp3000"}, 3],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field in WRONG_SETTINGS for value in WRONG_SETTINGS[field]]
)
def test_a_setting_that_cannot_be(socket: LiveSocket, field: str, value: Any) -> None:
    socket.event("session.update", session={field: value})
    error = socket.expect_error()
    check_error(error, field)
    assert field in error["param"]
    assert_goes_on(socket)


@pytest.mark.parametrize("rate", [-1, 0, 7_999, 192_001, 10**40, "16000", None, 16_000.5])
def test_a_sample_rate_that_cannot_be(socket: LiveSocket, rate: Any) -> None:
    socket.event("session.update", session={"input": {"format": "pcm_s16le", "sample_rate": rate}})
    error = socket.expect_error()
    check_error(error, "sample_rate")
    assert "sample_rate" in error["param"]
    assert_goes_on(socket)


@pytest.mark.parametrize("seconds", [-1, 0, 1e300, "five", True, [5]])
def test_seconds_that_cannot_be(socket: LiveSocket, seconds: Any) -> None:
    socket.commit(GOOD_PROMPT)
    socket.event("response.create", response={"seconds": seconds})
    error = socket.expect_error()
    check_error(error, "seconds")
    assert "seconds" in error["param"]
    assert_goes_on(socket)


def test_a_response_with_an_unknown_field(socket: LiveSocket) -> None:
    socket.commit(GOOD_PROMPT)
    socket.event("response.create", response={"seconds": 1, "tempo": 2})
    check_error(socket.expect_error(), "tempo")
    assert_goes_on(socket)


FILES: dict[str, tuple[Callable[[], bytes], tuple[str, ...]]] = {
    "text": (lambda: b"Once upon a time there was a file without sound.\n" * 40, ("not audio", "wav")),
    "truncated FLAC": (lambda: SPEECH.read_bytes()[:30_000], ("FLAC", "cut short")),
    "0.1 s": (lambda: encode(speech(0.1)), ("0.10 s", "0.5")),
    "NaN": (lambda: encode(np.full(24_000, np.nan, np.float32), subtype="FLOAT"), ("NaN",)),
    "Inf": (lambda: encode(np.full(24_000, np.inf, np.float32), subtype="FLOAT"), ("infinite",)),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_continued(socket: LiveSocket, name: str) -> None:
    make, words = FILES[name]
    socket.send(make())
    socket.event("input_audio_buffer.commit")
    check_error(socket.expect_error(), *words)
    assert_goes_on(socket)


def test_raw_samples_that_are_too_short(socket: LiveSocket) -> None:
    socket.update(input={"format": "pcm_s16le", "sample_rate": 16_000})
    socket.send(pcm_of(speech(0.1, 16_000)))
    socket.event("input_audio_buffer.commit")
    check_error(socket.expect_error(), "0.5")
    assert_goes_on(socket)


def test_raw_samples_that_are_too_long(socket: LiveSocket) -> None:
    socket.update(input={"format": "pcm_s16le", "sample_rate": 8_000})
    socket.send_too_much(pcm_of(silence(10, 8_000)) for _ in range(360))
    check_error(socket.expect_error(), "60 s")
    assert socket.expect_close() == 1009


def test_a_commit_without_raw_samples_names_no_kinds_of_files(socket: LiveSocket) -> None:
    socket.update(input={"format": "pcm_s16le", "sample_rate": 16_000})
    socket.event("input_audio_buffer.commit")
    error = socket.expect_error()
    check_error(error, "no audio to commit")
    assert error["code"] == "empty_audio" and "wav" not in error["message"]
    assert_goes_on(socket)


def test_an_hour_in_a_file(socket: LiveSocket) -> None:
    socket.send(encode(silence(3600, 8_000), 8_000, "FLAC"))
    socket.event("input_audio_buffer.commit")
    check_error(socket.expect_error(), "60 s")
    assert socket.expect_close() == 1009


def test_half_a_sample(socket: LiveSocket) -> None:
    socket.update(input={"format": "pcm_s16le", "sample_rate": 16_000})
    socket.send(pcm_of(speech(1.0, 16_000)) + b"\0")
    socket.event("input_audio_buffer.commit")
    check_error(socket.expect_error(), "sample")
    assert_goes_on(socket)


def commit_nothing(socket: LiveSocket) -> None:
    socket.event("input_audio_buffer.commit")


def create_without_a_prompt(socket: LiveSocket) -> None:
    socket.event("response.create", response={"seconds": 1})


def create_before_the_commit(socket: LiveSocket) -> None:
    socket.send(GOOD_PROMPT)
    socket.event("response.create", response={"seconds": 1})
    check_error(socket.expect_error(), "commit")
    socket.clear()
    socket.event("response.create", response={"seconds": 1})


@pytest.mark.parametrize(
    ("act", "words"),
    [(commit_nothing, ("audio",)), (create_without_a_prompt, ("commit",)), (create_before_the_commit, ("commit",))],
)
def test_events_in_the_wrong_order(
    socket: LiveSocket, act: Callable[[LiveSocket], None], words: tuple[str, ...]
) -> None:
    act(socket)
    check_error(socket.expect_error(), *words)
    assert_goes_on(socket)


WHILE_PLAYING: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "binary": (GOOD_PROMPT, ("committed",)),
    "commit": (json.dumps({"type": "input_audio_buffer.commit"}), ("response",)),
    "update": (json.dumps({"type": "session.update", "session": {"seed": 1}}), ("response",)),
    "create": (json.dumps({"type": "response.create", "response": {"seconds": 1}}), ("response",)),
    "not JSON": ("not JSON", ("JSON",)),
}


@pytest.mark.parametrize("name", WHILE_PLAYING)
def test_what_cannot_come_while_a_response_plays(socket: LiveSocket, name: str) -> None:
    message, words = WHILE_PLAYING[name]
    socket.update(pace="realtime")
    socket.commit(GOOD_PROMPT)
    socket.create(None)
    socket.send(message)
    while isinstance(answer := socket.receive(), bytes):
        pass
    assert answer["type"] == "error", answer
    check_error(answer["error"], *words)
    # The response plays on.
    assert isinstance(socket.receive(), bytes)
    socket.event("response.cancel")
    _, described = socket.read_response()
    assert described["status"] == "cancelled"
    assert_goes_on(socket)


def test_a_message_that_is_too_large(socket: LiveSocket) -> None:
    socket.send_too_much([bytes(17 * 1024 * 1024)])
    # The server reads no further, so that its close frame may be lost under the rest of the message.
    assert socket.expect_close() in (1009, None)


def test_a_text_message_that_is_too_large(socket: LiveSocket) -> None:
    socket.send("[" * 300_000)
    check_error(socket.expect_error(), "262144")


def test_a_prompt_that_is_too_large(socket: LiveSocket) -> None:
    socket.send_too_much(bytes(8 * 1024 * 1024) for _ in range(9))
    check_error(socket.expect_error(), "larger")
    assert socket.expect_close() == 1009
