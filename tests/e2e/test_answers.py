"""What comes back: formats, lengths, headers."""

from __future__ import annotations

import io
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from whispergpt_client import Client

from tests.support.audio import HOP, SAMPLE_RATE, SPEECH, encode, samples_of, speech
from tests.support.http import HTTP


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


def test_a_given_request_id_comes_back(server: str) -> None:
    answer = HTTP.get(f"{server}/v1/models", headers={"X-Request-Id": "mine-42"})
    assert answer.headers["x-request-id"] == "mine-42"
