"""Decoding of any audio to mono float32 at 24 kHz, block by block: memory stays bounded whatever a header claims.

libsndfile reads wav, flac, ogg and aiff; everything else (mp3, m4a, webm, …) goes to FFmpeg through PyAV; soxr
resamples. Blocks have a fixed size, so the samples depend on the audio alone and not on how it arrived.

Uploads are untrusted. Decoders get a file handle without a name. Duration, channels and samples per second are limited
twice: as the header claims them, and as they are decoded. The server decodes in confined processes
(``whispergpt.engine.audio.nursery``).

Truncated files: wav, aiff, FLAC and m4a say how long they are, and are refused when less is there. Ogg, mp3, aac, webm
and a wav that was streamed do not say it, and are read as far as they go. Joined Ogg and FLAC files are read to the end
of the last.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from whispergpt.engine.audio.limits import (
    MAX_CHANNELS,
    MAX_PROMPT_SECONDS,
    MAX_RATE,
    MIN_PROMPT_SECONDS,
    MIN_RATE,
    READABLE,
    AudioError,
    Block,
    Samples,
    check_length,
    too_long,
    too_short,
)
from whispergpt.engine.audio.resampler import Resampler
from whispergpt.engine.audio.sndfile import read_with_sndfile
from whispergpt.engine.audio.sound_chunk import SoundChunk, find_sound
from whispergpt.engine.audio.source import Memory, open_source, without_tags
from whispergpt.engine.config import HOP, SAMPLE_RATE

__all__ = [
    "MAX_CHANNELS",
    "MAX_PROMPT_SECONDS",
    "MAX_RATE",
    "MIN_PROMPT_SECONDS",
    "MIN_RATE",
    "READABLE",
    "AudioError",
    "Memory",
    "Resampler",
    "Samples",
    "cut_prompt",
    "read_audio",
    "too_long",
    "too_short",
]


def read_audio(source: bytes | Path | Memory, max_seconds: float | None = MAX_PROMPT_SECONDS) -> Samples:
    """Decode a whole file to mono float32 samples ``[n]`` at 24 kHz.

    Args:
        source: the bytes of a file, or its path; a pipe is read to its end.
        max_seconds: refuse audio longer than this many seconds; None reads on without a bound.

    Raises:
        AudioError: ``empty_audio``, ``not_audio``, ``undecodable``, ``not_finite``, ``unusable_rate`` or ``too_long``.
    """
    with open_source(source) as opened:
        file = without_tags(opened)
        file.seek(0)
        head = file.read(12)
        if not head:
            raise AudioError("empty_audio", "The audio is empty: send a file with sound in it.")
        sound = find_sound(file)
        if sound is not None and sound.breaks_off:
            raise _ends_early(sound)
        blocks = read_with_sndfile(file, head, sound, max_seconds)
        if blocks is None:
            from whispergpt.engine.audio.ffmpeg import (
                read_with_ffmpeg,  # takes a while to load; most prompts do not need it
            )

            blocks = read_with_ffmpeg(file, head, max_seconds)
        return _collect(blocks, max_seconds)


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


def _ends_early(sound: SoundChunk) -> AudioError:
    return AudioError(
        "undecodable",
        f"The {sound.kind} file ends early: it says {sound.claimed:,} bytes of sound, {sound.there:,} are there.",
    )


def _collect(blocks: Iterator[Block], max_seconds: float | None) -> Samples:
    """Join blocks into 24 kHz audio and check its length meanwhile. Joined files may differ in rate: each is filtered
    by itself."""
    resampler: Resampler | None = None
    parts: list[Samples] = []
    current, seconds, samples_read = 0, 0.0, 0
    for rate, padded, samples in blocks:
        if resampler is None or rate != current:
            if resampler is not None:
                parts.append(resampler.push(samples[:0], last=True))
                seconds, samples_read = seconds + samples_read / current, 0
            resampler, current = Resampler(rate), rate
        samples_read += len(samples)
        check_length(seconds + samples_read / rate, padded, max_seconds)
        parts.append(resampler.push(samples))
    if resampler is None:
        raise AudioError("undecodable", "The file holds no audio that can be decoded.")
    parts.append(resampler.push(np.zeros(0, np.float32), last=True))
    audio = np.concatenate(parts)
    if max_seconds is None:
        return audio
    limit = int(max_seconds * SAMPLE_RATE)
    # The filter may add a few samples to a prompt of exactly the longest duration.
    return audio[-limit:] if seconds + samples_read / current > max_seconds else audio[:limit]
