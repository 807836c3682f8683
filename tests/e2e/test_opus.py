"""Ogg Opus, live: over the WebSocket and over HTTP, in short pages, the same sound as samples."""

from __future__ import annotations

import struct
import time

import numpy as np

from tests.support.audio import HOP, SAMPLE_RATE, SPEECH
from tests.support.http import HTTP
from tests.support.live_socket import LiveSocket
from tests.support.metrics import wait_for_idle
from whispergpt.engine.audio.audio_file import read_audio

SECONDS = 3.0


def pages(body: bytes) -> list[tuple[int, int, list[int]]]:
    """Of each Ogg page (RFC 3533, section 6): flags, granule position (48 kHz) and sizes of packets."""
    found, at = [], 0
    while at < len(body):
        magic, flags, granule, segments = struct.unpack_from("<4sxBq12xB", body, at)
        assert magic == b"OggS"
        table = body[at + 27 : at + 27 + segments]
        sizes, size = [], 0
        for segment in table:
            size += segment
            if segment < 255:
                sizes.append(size)
                size = 0
        found.append((flags, granule, sizes))
        at += 27 + segments + sum(table)
    return found


def heard(server: str, output: str) -> tuple[bytes, list[int]]:
    """All binary messages of a response joined, and the size of each."""
    with LiveSocket(server) as socket:
        session = socket.update(seed=3, output={"format": output})
        assert session["output"] == {"format": output, "sample_rate": SAMPLE_RATE}
        socket.commit(SPEECH.read_bytes())
        socket.create(SECONDS)
        parts = []
        while True:
            message = socket.receive()
            if isinstance(message, bytes):
                parts.append(message)
            elif message["type"] == "response.done":
                assert message["response"]["frames"] == SECONDS * 75
                return b"".join(parts), [len(part) for part in parts]


def check_pages(body: bytes) -> None:
    """Packets of 80 ms, pages of a tenth of a second at most, begun and ended as a stream should be."""
    head, tags, *audio = pages(body)
    assert head[0] == 2 and tags[2] and len(audio) > 10
    assert audio[-1][0] & 4, "the last page says so"
    before = 0
    for _, granule, sizes in audio:
        assert granule - before <= 4_800 + 312  # the first is early by what the encoder looks ahead
        assert len(sizes) == 1
        before = granule


def test_opus_over_the_websocket_is_the_same_sound(server: str) -> None:
    pcm, _ = heard(server, "pcm_s16le")
    body, sizes = heard(server, "opus")
    assert body[:4] == b"OggS" and len(body) < len(pcm) / 5 and len(sizes) > 10
    check_pages(body)
    samples, sound = np.frombuffer(pcm, "<i2") / 32_768, read_audio(body)
    assert len(sound) == len(samples) == SECONDS * 75 * HOP
    assert np.corrcoef(sound, samples)[0, 1] > 0.9


def test_the_first_message_of_opus_has_sound_in_it(server: str) -> None:
    """So that the time to the first audio is not that to a header."""
    with LiveSocket(server) as socket:
        socket.update(seed=3, output={"format": "opus"})
        socket.commit(SPEECH.read_bytes())
        for seconds in (SECONDS, 0.04):  # the shorter one is all in the last page
            socket.create(seconds)
            first = socket.receive()
            assert isinstance(first, bytes)
            head, tags, *audio = pages(first)
            assert head[0] == 2 and tags[2] and audio[0][2], "a page with packets in it"
            _, described = socket.read_response()
            assert described["status"] == "completed" and described["frames"] == seconds * 75
            assert described["time_to_first_audio_ms"] > 0


def test_opus_over_http_comes_in_short_pages(server: str) -> None:
    data = {"seconds": str(SECONDS), "stream": "true", "response_format": "opus", "seed": "3"}
    with HTTP.stream("POST", f"{server}/continue", data=data, files={"audio": SPEECH.read_bytes()}) as answer:
        body = b"".join(answer.iter_raw())
    assert answer.headers["content-type"] == "audio/ogg"
    check_pages(body)
    assert len(read_audio(body)) == SECONDS * 75 * HOP


def test_what_came_before_a_cancellation_can_be_heard(server: str) -> None:
    with LiveSocket(server) as socket:
        socket.update(seed=3, output={"format": "opus"})
        socket.commit(SPEECH.read_bytes())
        began = time.monotonic()
        socket.create(30)
        body = b""
        while len(body) < 6_000:
            message = socket.receive()
            body += message if isinstance(message, bytes) else b""
        assert time.monotonic() - began < 5
        socket.event("response.cancel")
        while not (isinstance(message := socket.receive(), dict) and message["type"] == "response.done"):
            body += message if isinstance(message, bytes) else b""
        assert message["response"]["status"] == "cancelled"
    assert len(read_audio(body)) > SAMPLE_RATE / 2
    wait_for_idle(server)
