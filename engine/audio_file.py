"""Any audio, as mono float32 at 24 kHz: decoded block by block, so that memory stays bounded whatever a file claims.

libsndfile reads wav, flac, ogg and mp3; what it does not know (m4a, webm, …) goes to FFmpeg through PyAV; soxr
resamples. Blocks have a fixed size, so the samples depend on the audio alone and not on how it arrived.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from engine.config import HOP, SAMPLE_RATE

READABLE = "wav, flac, ogg, opus, mp3, m4a, aac, webm and aiff"
MIN_PROMPT_SECONDS = 0.5
MAX_PROMPT_SECONDS = 60.0
MIN_RATE, MAX_RATE = 4_000, 768_000

Samples = npt.NDArray[np.float32]


class AudioError(ValueError):
    """Audio that cannot be used; ``code`` names the reason and the message is written for the user."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Resampler:
    """Mono audio at any rate → 24 kHz, in fixed blocks of 0.1 seconds.

    Args:
        rate: samples per second of the input.

    Raises:
        AudioError: the rate is outside 4 to 768 kHz (``unusable_rate``).
    """

    def __init__(self, rate: int) -> None:
        if not MIN_RATE <= rate <= MAX_RATE:
            raise AudioError("unusable_rate", f"A sample rate of {rate} Hz is outside {MIN_RATE} to {MAX_RATE} Hz.")
        self._stream = None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        self._block = max(1, rate // 10)
        self._pending: Samples = np.zeros(0, np.float32)

    def push(self, samples: Samples, last: bool = False) -> Samples:
        """Take ``[n]`` samples and return what is ready; ``last`` flushes the filter.

        Raises:
            AudioError: a sample is NaN or infinite (``not_finite``).
        """
        if not np.isfinite(samples).all():
            raise AudioError("not_finite", "The audio contains NaN or infinite samples.")
        if self._stream is None:
            return samples
        self._pending = np.concatenate([self._pending, samples])
        ready = []
        while len(self._pending) >= self._block:
            ready.append(self._stream.resample_chunk(self._pending[: self._block]))
            self._pending = self._pending[self._block :]
        if last:
            ready.append(self._stream.resample_chunk(self._pending, last=True))
            self._pending = self._pending[:0]
        return np.concatenate(ready) if ready else samples[:0]


def read_audio(source: bytes | Path, max_seconds: float | None = MAX_PROMPT_SECONDS) -> Samples:
    """Decode a whole file to mono float32 samples ``[n]`` at 24 kHz.

    Args:
        source: the bytes of a file, or its path.
        max_seconds: refuse audio longer than this many seconds; None reads on without a bound.

    Raises:
        AudioError: ``empty_audio``, ``not_audio``, ``undecodable``, ``not_finite``, ``unusable_rate`` or ``too_long``.
    """
    if isinstance(source, bytes) and not source:
        raise AudioError("empty_audio", "The audio is empty: send a file with sound in it.")
    opened = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    try:
        file = soundfile.SoundFile(opened)
    except soundfile.LibsndfileError:
        return _collect(_read_with_ffmpeg(source), max_seconds)
    with file:
        return _collect(_read_with_sndfile(file), max_seconds)


def cut_prompt(audio: Samples) -> Samples:
    """Cut 24 kHz audio ``[n]`` to whole frames.

    Raises:
        AudioError: shorter than 0.5 seconds (``too_short``) or longer than 60 (``too_long``).
    """
    seconds = len(audio) / SAMPLE_RATE
    if seconds < MIN_PROMPT_SECONDS:
        raise AudioError("too_short", f"The prompt has {seconds:.2f} s of audio; at least {MIN_PROMPT_SECONDS} s is needed.")
    if seconds > MAX_PROMPT_SECONDS + 1e-6:
        raise _too_long(MAX_PROMPT_SECONDS)
    return audio[: len(audio) // HOP * HOP]


def _too_long(limit: float) -> AudioError:
    return AudioError("too_long", f"The prompt is longer than {limit:g} s; send at most that much.")


def _collect(blocks: Iterator[tuple[int, Samples]], max_seconds: float | None) -> Samples:
    """Join ``(rate, mono samples)`` blocks into 24 kHz audio, counting as they come."""
    resampler: Resampler | None = None
    parts: list[Samples] = []
    total, limit = 0, None if max_seconds is None else int(max_seconds * SAMPLE_RATE)
    for rate, block in blocks:
        resampler = resampler or Resampler(rate)
        parts.append(resampler.push(block))
        total += len(parts[-1])
        if limit is not None and total > limit:
            raise _too_long(max_seconds or 0)
    if resampler is None:
        raise AudioError("undecodable", "The file holds no audio that can be decoded.")
    parts.append(resampler.push(np.zeros(0, np.float32), last=True))
    audio = np.concatenate(parts)
    if limit is not None and len(audio) > limit:
        # The filter's tail may add a few samples to a prompt of exactly the longest duration.
        audio = audio[:limit]
    return audio


def _read_with_sndfile(file: soundfile.SoundFile) -> Iterator[tuple[int, Samples]]:
    read, claimed = 0, file.frames
    while True:
        try:
            block = file.read(65_536, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            block = None
        if block is None or (not len(block) and file.format == "FLAC" and 0 < read < claimed):
            raise AudioError("undecodable", f"The {file.format} file is damaged or cut short after {read} samples.")
        if not len(block):
            return
        read += len(block)
        yield file.samplerate, block.mean(axis=1)


def _read_with_ffmpeg(source: bytes | Path) -> Iterator[tuple[int, Samples]]:
    import av  # FFmpeg takes a while to load, and most prompts do not need it.

    try:
        container = av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source))
    except (av.FFmpegError, OSError):
        raise AudioError("not_audio", f"The file is not audio in a known format; {READABLE} are read.") from None
    with container:
        if not container.streams.audio:
            raise AudioError("not_audio", f"The file has no audio in it; {READABLE} are read.")
        stream = container.streams.audio[0]
        to_float = av.AudioResampler(format="fltp")
        try:
            for frame in container.decode(stream):
                for converted in to_float.resample(frame):
                    yield converted.sample_rate, converted.to_ndarray().mean(axis=0, dtype=np.float32)
        except av.FFmpegError:
            raise AudioError("undecodable", "The audio is damaged or cut short and cannot be decoded.") from None
