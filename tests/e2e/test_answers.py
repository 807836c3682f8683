"""What comes back: formats, lengths, headers."""

from __future__ import annotations

import io
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from whispergpt_client import Client, to_wav

from tests.support.audio import HOP, SAMPLE_RATE, SPEECH, encode, samples_of, speech
from tests.support.http import HTTP, raw_connection


@pytest.fixture(scope="module")
def short_prompt() -> bytes:
    """A second of speech as a wav."""
    return encode(speech(1.0))


@pytest.mark.parametrize("seconds", ["0.001", "0.04", "0.28", "0.5", "0.77", "1", "1.001"])
def test_the_audio_is_whole_frames_and_no_more(client: Client, short_prompt: bytes, seconds: str) -> None:
    audio = samples_of(client.continue_file(short_prompt, seconds=float(seconds)).audio)
    assert len(audio) == ceil(Fraction(seconds) * 75) * HOP


def test_lossless_formats_hold_the_same_samples(client: Client, short_prompt: bytes) -> None:
    wav, flac, pcm = (
        client.continue_file(short_prompt, seconds=0.5, seed=3, response_format=name).audio
        for name in ("wav", "flac", "pcm")
    )
    assert wav[:4] == b"RIFF"
    assert flac[:4] == b"fLaC"
    assert samples_of(wav).tobytes() == samples_of(flac).tobytes() == pcm
    assert len(pcm) == 38 * HOP * 2


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("name", "container"), [("mp3", "MP3"), ("opus", "OGG")])
def test_lossy_formats_hold_the_same_sound(
    server: str, short_prompt: bytes, name: str, container: str, streamed: bool
) -> None:
    answer = HTTP.post(
        f"{server}/continue",
        data={"seconds": "1", "seed": "3", "response_format": name, "stream": str(streamed).lower()},
        files={"audio": short_prompt},
    )
    assert answer.status_code == 200, answer.text
    with soundfile.SoundFile(io.BytesIO(answer.content)) as file:
        assert file.format == container
        assert file.channels == 1
        samples = file.read(dtype="float32")
        # Coders pad at both ends; nothing may be missing.
        assert 1.0 - 0.01 <= len(samples) / file.samplerate <= 1.2
    assert np.isfinite(samples).all()


def test_the_prompt_in_front_changes_nothing_behind_it(client: Client) -> None:
    bare = samples_of(client.continue_file(SPEECH, seconds=0.5, seed=5).audio)
    whole = samples_of(client.continue_file(SPEECH, seconds=0.5, seed=5, include_prompt=True).audio)
    prompt, continuation = whole[: -len(bare)], whole[-len(bare) :]
    assert continuation.tolist() == bare.tolist()
    assert len(prompt) == 4 * SAMPLE_RATE
    assert np.abs(prompt).max() > 0


def test_headers_say_how_it_was_made(server: str, short_prompt: bytes, client: Client, tmp_path: Path) -> None:
    answer = HTTP.post(f"{server}/continue", data={"seconds": "0.5", "seed": "9"}, files={"audio": short_prompt})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("audio/")
    assert answer.headers["x-seed"] == "9"
    assert answer.headers["x-sample-rate"] == "24000"
    assert answer.headers["x-fingerprint"]
    assert answer.headers["x-request-id"]

    continuation = client.continue_file(short_prompt, seconds=0.5, seed=9)
    assert continuation.audio == answer.content
    assert continuation.sample_rate == SAMPLE_RATE
    assert continuation.fingerprint == answer.headers["x-fingerprint"]
    assert continuation.request_id != answer.headers["x-request-id"]
    assert {"queue", "encode", "prefill", "first_audio", "generate"} <= continuation.timings.keys()
    assert all(milliseconds >= 0 for milliseconds in continuation.timings.values())
    assert continuation.save(tmp_path / "continuation.wav").read_bytes() == continuation.audio


def test_arrays_in_and_out(client: Client) -> None:
    stereo = np.stack([speech(1.0)] * 2, axis=1)
    wav = to_wav(stereo, SAMPLE_RATE)
    assert soundfile.info(io.BytesIO(wav)).channels == 2
    answers = [client.continue_file(wav, seconds=0.5, seed=3, response_format=name) for name in ("wav", "pcm", "flac")]  # type: ignore[arg-type]
    samples = [answer.samples() for answer in answers[:2]]
    assert samples[0].dtype == np.float32 and samples[0].tolist() == samples[1].tolist()
    assert (np.rint(samples[0] * 32_768) == samples_of(answers[0].audio)).all()
    with pytest.raises(ValueError, match="audio/flac"):
        answers[2].samples()
    live = np.concatenate(list(client.stream(wav, seconds=0.5, seed=3, pace="fast").arrays()))
    assert live.tolist() == samples[0].tolist()
    with pytest.raises(ValueError, match="finite"):
        to_wav(np.full(10, np.nan), SAMPLE_RATE)
    with pytest.raises(ValueError, match="int64"):
        to_wav(np.zeros(10, np.int64), SAMPLE_RATE)


GETS = (
    "/",
    "/docs",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/v1/models",
    "/openapi.json",
    "/static/playground.css",
)


@pytest.mark.parametrize("path", GETS)
def test_a_head_is_answered_as_a_get_without_its_body(server: str, path: str) -> None:
    whole, head = HTTP.get(server + path), HTTP.head(server + path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]
    if path != "/metrics":  # which counts what was asked meanwhile
        assert head.headers["content-length"] == str(len(whole.content))


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        *((path, "GET, HEAD") for path in GETS),
        ("/continue", "POST"),
        ("/v1/tokens", "POST"),
        ("/v1/play", "GET, HEAD, POST"),
    ],
)
def test_a_405_lists_what_there_is(server: str, path: str, allowed: str) -> None:
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        answer = HTTP.request(method, server + path)
        assert (answer.status_code == 405) is (method not in allowed.split(", ")), method
        if answer.status_code == 405:
            assert answer.headers["allow"] == allowed
            if method != "HEAD":
                assert allowed in answer.json()["error"]["message"]
    listed = HTTP.get(f"{server}/openapi.json").json()["paths"]
    assert all("head" not in methods for methods in listed.values())


def test_http_1_0_gets_what_http_1_1_gets(server: str, short_prompt: bytes) -> None:
    """Streamed, it ends with its connection: chunks came with HTTP/1.1."""
    form = {"data": {"seconds": "0.5", "seed": "3", "stream": "true"}, "files": {"audio": short_prompt}}
    with raw_connection(server) as wire:
        request = HTTP.build_request("POST", f"{server}/continue", **form)  # type: ignore[arg-type]
        body = request.read()
        head = f"POST /continue HTTP/1.0\r\nContent-Type: {request.headers['content-type']}\r\n"
        wire.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        with wire.makefile("rb") as answer:
            told, _, audio = answer.read().partition(b"\r\n\r\n")
    assert b" 200 " in told and b"chunked" not in told.lower() and b"content-length" not in told.lower()
    assert audio == HTTP.post(f"{server}/continue", **form).content  # type: ignore[arg-type]
    with raw_connection(server) as wire:
        wire.sendall(b"GET /health/live HTTP/1.0\r\n\r\n")
        with wire.makefile("rb") as answer:
            assert answer.read().endswith(b'{"status":"live"}')


def test_a_given_request_id_comes_back(server: str) -> None:
    answer = HTTP.get(f"{server}/v1/models", headers={"X-Request-Id": "mine-42"})
    assert answer.headers["x-request-id"] == "mine-42"
