"""Recordings for the tests, in every kind of file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import soundfile
import soxr

SAMPLE_RATE = 24_000
HOP = 320
SPEECH = Path(__file__).resolve().parents[2] / "examples" / "prompt.flac"
"""Four seconds of read English, 16 kHz FLAC."""

Samples = npt.NDArray[np.float32]


def speech(seconds: float = 1.0, rate: int = SAMPLE_RATE) -> Samples:
    """The beginning of the bundled prompt at some rate, ``[n]``."""
    samples, original = soundfile.read(SPEECH, dtype="float32")
    return np.asarray(soxr.resample(samples[: round(seconds * original)], original, rate), np.float32)


def chord(seconds: float, rate: int = SAMPLE_RATE) -> Samples:
    """A struck, decaying major chord with a few overtones, ``[n]``."""
    t = np.arange(round(seconds * rate)) / rate
    notes = [(note * overtone, 0.1 / overtone) for note in (220.0, 277.18, 329.63) for overtone in (1, 2, 3)]
    sound = sum(level * np.sin(2 * np.pi * hertz * t) for hertz, level in notes) * np.exp(-2 * (t % 0.5))
    return np.asarray(sound, np.float32)


def tone(hertz: float, seconds: float) -> Samples:
    """Return a sine of amplitude 0.2."""
    return np.asarray(
        0.2 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE), np.float32
    )


def silence(seconds: float, rate: int = SAMPLE_RATE) -> Samples:
    """Zeros, ``[n]``."""
    return np.zeros(round(seconds * rate), np.float32)


def noisy(sound: Samples, level: float, seed: int = 0) -> Samples:
    """Return a sound with noise of this level."""
    noise = np.random.default_rng(seed).normal(0, level, len(sound))
    return (sound + noise).astype(np.float32)


def encode(
    samples: npt.NDArray[Any], rate: int = SAMPLE_RATE, format: str = "WAV", subtype: str | None = None
) -> bytes:
    """A file of ``[n]`` or ``[n, channels]`` samples as libsndfile writes it."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def encode_with_ffmpeg(samples: Samples, rate: int, container: str, codec: str) -> bytes:
    """A file of mono samples ``[n]`` in a container that libsndfile does not write."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        fifo = av.AudioFifo()
        fifo.write(frame)
        size = stream.codec_context.frame_size or 960
        while block := fifo.read(size, partial=True):
            output.mux(stream.encode(block))
        output.mux(stream.encode(None))
    return file.getvalue()


def pcm_of(samples: Samples) -> bytes:
    """s16le bytes of samples ``[n]``."""
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


def wav_of_pcm(pcm: bytes, rate: int = SAMPLE_RATE) -> bytes:
    """A 16-bit mono wav with exactly these s16le samples."""
    return encode(np.frombuffer(pcm, "<i2"), rate, subtype="PCM_16")


def samples_of(file: bytes) -> npt.NDArray[np.int16]:
    """The 16-bit samples of a mono 24 kHz wav, flac, mp3 or Ogg Opus file, ``[n]``."""
    samples, rate = soundfile.read(io.BytesIO(file), dtype="int16")
    assert samples.ndim == 1
    assert rate == SAMPLE_RATE
    return np.asarray(samples)


def samples_of_pcm(pcm: bytes) -> npt.NDArray[np.int16]:
    """s16le bytes as samples, ``[n]``."""
    return np.frombuffer(pcm, "<i2")
