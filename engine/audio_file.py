"""Any audio, as mono float32 at 24 kHz: decoded block by block, so that memory stays bounded whatever a file claims.

libsndfile reads wav, flac, ogg and aiff; everything else (mp3, m4a, webm, …) goes to FFmpeg through PyAV; soxr
resamples. Blocks have a fixed size, so the samples depend on the audio alone and not on how it arrived.

Uploads are hostile until decoded. A file is only ever read through a handle without a name, and the work is bounded by
duration, channels and samples per second. libsndfile gets no mp3: its libmpg123 writes to stderr what it thinks of one.

What is cut short: wav, aiff, FLAC and m4a say how long they are, and are refused when less is there. Ogg, mp3, webm and
a wav whose size was not known when it was written are streamed without a known end, so what is there of them is read.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from engine.config import HOP, SAMPLE_RATE
from engine.sound_chunk import SoundChunk, find_sound

READABLE = "wav, flac, ogg, opus, mp3, m4a, aac, webm and aiff"
MIN_PROMPT_SECONDS = 0.5
MAX_PROMPT_SECONDS = 60.0
MIN_RATE, MAX_RATE = 4_000, 768_000
MAX_CHANNELS = 64
MAX_VALUES_PER_SECOND = 8 * MAX_RATE
"""Rate times channels: what bounds the work of a second of audio."""
LARGEST_SAMPLE = 65_536.0
"""Full scale is 1; some float files hold 16-bit values unscaled. Anything larger is no sound."""
ENCODER_PADDING_SECONDS = 0.1
"""What the encoder of a lossy format adds at the ends. So much over the limit is not refused; it is cut in front, since
the continuation joins the end."""

BLOCK_VALUES = 262_144
UNKNOWN_FRAMES = 2**62
"""libsndfile says 2^63 - 1 where a file does not tell how long it is."""
SNDFILE_FORMATS = {"WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF"}
SNDFILE_BEGINNINGS = (b"RIFF", b"RIFX", b"RF64", b"riff", b"fLaC", b"OggS", b"FORM", b".snd", b"dns.", b"caff")
WAVE_MPEG = {0x50, 0x55}
"""The numbers of MPEG layers 1 to 3 in a wav."""

Samples = npt.NDArray[np.float32]


class AudioError(ValueError):
    """Audio that cannot be used; ``code`` names the reason and the message is written for the user."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Block(NamedTuple):
    """Some of a file's sound, mono float32 ``[n]``.

    Attributes:
        rate: samples per second.
        padded: whether the encoder may have added something at the ends.
    """

    rate: int
    padded: bool
    samples: Samples


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
            AudioError: a sample is NaN, infinite or absurdly large (``not_finite``).
        """
        if not (np.abs(samples) <= LARGEST_SAMPLE).all():
            raise AudioError("not_finite", "The audio contains samples that are NaN, infinite or absurdly large.")
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
    with _open(source) as file:
        head = file.read(12)
        if not head:
            raise AudioError("empty_audio", "The audio is empty: send a file with sound in it.")
        sound = find_sound(file)
        if sound is not None and sound.breaks_off:
            raise _ends_early(sound)
        if head.startswith(SNDFILE_BEGINNINGS) and not (sound and sound.coding in WAVE_MPEG):
            with contextlib.suppress(soundfile.LibsndfileError), soundfile.SoundFile(file) as opened:
                if opened.format not in SNDFILE_FORMATS:
                    raise not_audio()
                # A FLAC or wav that was streamed may not say how long it is: the end of the one is damage to
                # libsndfile, and the other is empty.
                if 0 < opened.frames < UNKNOWN_FRAMES or not (opened.frames or (sound and sound.open_ended)):
                    return _collect(_read_with_sndfile(opened), max_seconds)
        from engine.ffmpeg_file import read_with_ffmpeg  # takes a while to load, and most prompts do not need it

        return _collect(read_with_ffmpeg(file, head), max_seconds)


def cut_prompt(audio: Samples) -> Samples:
    """Cut 24 kHz audio ``[n]`` to whole frames.

    Raises:
        AudioError: shorter than 0.5 seconds (``too_short``) or longer than 60 (``too_long``).
    """
    seconds = len(audio) / SAMPLE_RATE
    if seconds < MIN_PROMPT_SECONDS:
        raise too_short(seconds)
    if seconds > MAX_PROMPT_SECONDS + 1e-6:
        raise too_long()
    return audio[: len(audio) // HOP * HOP]


def too_short(seconds: float) -> AudioError:
    """The error for a prompt of so few seconds."""
    return AudioError(
        # Rounded down, so that what is just too short is not said to be long enough.
        "too_short",
        f"The prompt has {int(seconds * 100 + 1e-6) / 100:.2f} s of audio; at least {MIN_PROMPT_SECONDS} s is needed.",
    )


def too_long(limit: float = MAX_PROMPT_SECONDS) -> AudioError:
    """The error for more than so many seconds."""
    return AudioError("too_long", f"The prompt is longer than {limit:g} s; send at most that much.")


def not_audio() -> AudioError:
    """The error for what is no file of sound."""
    return AudioError("not_audio", f"The file is not audio in a known format; {READABLE} are read.")


def _ends_early(sound: SoundChunk) -> AudioError:
    return AudioError(
        "undecodable",
        f"The {sound.kind} file ends early: it says {sound.claimed:,} bytes of sound, {sound.there:,} are there.",
    )


class _Bounded(io.BufferedIOBase):
    """A damaged header may send its decoder to before the beginning: it arrives there instead of raising, since the
    decoder calls from C, which would write the stack trace to stderr and go on."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OSError):
            return super().seek(0)


class _Bytes(_Bounded, io.BytesIO):
    """A file in memory."""


class _File(_Bounded, io.BufferedReader):
    """An open file that keeps its name from the decoders, which would guess the format by the extension."""

    name = "audio"


def _open(source: bytes | Path) -> _Bytes | _File:
    if isinstance(source, bytes):
        return _Bytes(source)
    try:
        return _File(io.FileIO(source))
    except OSError as error:
        raise AudioError("not_audio", f"{source} cannot be opened: {error.strerror}.") from None


def _collect(blocks: Iterator[Block], max_seconds: float | None) -> Samples:
    """Join blocks into 24 kHz audio, counting as they come."""
    resampler: Resampler | None = None
    parts: list[Samples] = []
    read, most = 0, math.inf
    for rate, padded, samples in blocks:
        resampler = resampler or Resampler(rate)
        read += len(samples)
        if max_seconds is not None:
            most = max_seconds * rate
            if read > most + padded * ENCODER_PADDING_SECONDS * rate:
                raise too_long(max_seconds)
        parts.append(resampler.push(samples))
    if resampler is None:
        raise AudioError("undecodable", "The file holds no audio that can be decoded.")
    parts.append(resampler.push(np.zeros(0, np.float32), last=True))
    audio = np.concatenate(parts)
    if max_seconds is None:
        return audio
    limit = int(max_seconds * SAMPLE_RATE)
    # Behind a prompt of exactly the longest duration there may be a few samples of the filter.
    return audio[-limit:] if read > most else audio[:limit]


def check_size(rate: int, channels: int) -> None:
    """Bound the work of a second of sound.

    Raises:
        AudioError: there are too many channels or samples (``undecodable``, ``unusable_rate``).
    """
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioError("undecodable", f"The audio has {channels} channels; 1 to {MAX_CHANNELS} can be read.")
    if rate * channels > MAX_VALUES_PER_SECOND:
        raise AudioError("unusable_rate", f"{channels} channels at {rate} Hz are more than can be read.")


def mix(channels: Samples, axis: int) -> Samples:
    """All channels as one."""
    with np.errstate(invalid="ignore", over="ignore"):  # The resampler refuses what comes of it.
        mono: Samples = channels.mean(axis=axis, dtype=np.float32)
    return mono


def _read_with_sndfile(file: soundfile.SoundFile) -> Iterator[Block]:
    check_size(file.samplerate, file.channels)
    if not file.frames:
        raise AudioError("empty_audio", f"The {file.format} file is empty: it has no samples.")
    read = 0
    while True:
        try:
            block = file.read(BLOCK_VALUES // file.channels, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            raise cut_short(file.format) from None
        if not len(block):
            break
        read += len(block)
        yield Block(file.samplerate, False, mix(block, axis=1))
    if file.format == "FLAC" and read < file.frames:
        raise cut_short(file.format)


def cut_short(kind: str) -> AudioError:
    """The error for a file of this kind that is not all there, or not as it was."""
    return AudioError("undecodable", f"The {kind} file is damaged or cut short and cannot be decoded.")
