"""Any recording works: every container, rate and channel count, and sounds that are no speech."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from whispergpt_client import Client

from tests.support.audio import (
    HOP,
    SPEECH,
    chord,
    encode,
    encode_with_ffmpeg,
    pcm_of,
    samples_of,
    silence,
    speech,
)

FILES: dict[str, Callable[[], bytes]] = {
    "wav 8 channels 192 kHz": lambda: encode(np.stack([speech(1.0, 192_000)] * 8, axis=1), 192_000, subtype="PCM_24"),
    "wav 8 kHz u-law": lambda: encode(speech(1.0, 8_000), 8_000, subtype="ULAW"),
    "wav float": lambda: encode(speech(1.0), subtype="FLOAT"),
    "wav stereo 44.1 kHz": lambda: encode(np.stack([speech(1.0, 44_100)] * 2, axis=1), 44_100),
    "flac 16 kHz": SPEECH.read_bytes,
    "ogg": lambda: encode(speech(1.0, 48_000), 48_000, "OGG", "VORBIS"),
    "ogg opus": lambda: encode(speech(1.0, 48_000), 48_000, "OGG", "OPUS"),
    "mp3": lambda: encode(speech(1.0, 44_100), 44_100, "MP3"),
    "m4a": lambda: encode_with_ffmpeg(speech(1.0, 44_100), 44_100, "mp4", "aac"),
    "webm": lambda: encode_with_ffmpeg(speech(1.0, 48_000), 48_000, "webm", "libopus"),
    "silence": lambda: encode(silence(1.0)),
    "music": lambda: encode(chord(1.0, 44_100), 44_100),
    "half a second": lambda: encode(speech(0.5)),
    "a minute": lambda: encode(np.tile(speech(4.0, 16_000), 15), 16_000, "FLAC"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_continued(client: Client, name: str) -> None:
    prompt = FILES[name]()
    assert len(samples_of(client.continue_file(prompt, seconds=0.2, seed=4).audio)) == 15 * HOP


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000, 192_000])
def test_raw_samples_are_continued_at_any_rate(client: Client, rate: int) -> None:
    audio = b"".join(client.stream(pcm_of(speech(1.0, rate)), seconds=0.2, pace="fast", sample_rate=rate, seed=4))
    assert len(audio) == 15 * HOP * 2


@pytest.mark.parametrize("name", ["silence", "music"])
def test_greedy_works_on_any_sound(client: Client, name: str) -> None:
    assert len(samples_of(client.continue_file(FILES[name](), seconds=0.2, temperature=0).audio)) == 15 * HOP
