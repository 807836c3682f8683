"""Limits of audio, and the errors for audio outside them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

READABLE = "wav, flac, ogg, opus, mp3, m4a, aac, webm and aiff"
MIN_PROMPT_SECONDS = 0.5
MAX_PROMPT_SECONDS = 60.0
MIN_RATE, MAX_RATE = 4_000, 768_000
MAX_CHANNELS = 64
MAX_VALUES_PER_SECOND = MAX_CHANNELS * 48_000
"""Rate times channels, which limits the work for a second of audio: 16 channels at 192 kHz, 4 at 768 kHz."""
ENCODER_PADDING_SECONDS = 0.1
"""Longest padding that the encoder of a lossy format adds at the ends. A prompt may exceed its limit by this much. It
is then cut at its beginning, since the continuation joins its end."""

Samples = npt.NDArray[np.float32]


class AudioError(ValueError):
    """Audio that cannot be used; ``code`` names the reason and the message is written for the user."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Block(NamedTuple):
    """A piece of a file's sound, mono float32 ``[n]``.

    Attributes:
        rate: samples per second.
        padded: whether the encoder may have added silence at the ends.
    """

    rate: int
    padded: bool
    samples: Samples


def check_size(rate: int, channels: int) -> None:
    """Check channels and rate, which limit the work for a second of sound.

    Raises:
        AudioError: there are too many channels or samples (``undecodable``, ``unusable_rate``).
    """
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioError("undecodable", f"The audio has {channels} channels; 1 to {MAX_CHANNELS} can be read.")
    check_rate(rate)
    if rate * channels > MAX_VALUES_PER_SECOND:
        raise AudioError("unusable_rate", f"{channels} channels at {rate} Hz are more than can be read.")


def check_rate(rate: int) -> None:
    """Check the rate.

    Raises:
        AudioError: the rate is outside 4 to 768 kHz (``unusable_rate``).
    """
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError("unusable_rate", f"A sample rate of {rate} Hz is outside {MIN_RATE} to {MAX_RATE} Hz.")


def check_length(claimed: float, padded: bool, max_seconds: float | None) -> None:
    """Refuse a file that is too long.

    Args:
        claimed: seconds, from the header or as read so far.
        padded: whether the encoder may have added silence at the ends.
        max_seconds: the limit; None for no limit.

    Raises:
        AudioError: the file is longer (``too_long``).
    """
    if max_seconds is not None and claimed > max_seconds + padded * ENCODER_PADDING_SECONDS:
        raise too_long(max_seconds)


def mix(channels: Samples, axis: int) -> Samples:
    """Average all channels."""
    with np.errstate(invalid="ignore", over="ignore"):  # The resampler refuses infinite and NaN samples.
        mono: Samples = channels.mean(axis=axis, dtype=np.float32)
    return mono


def too_short(seconds: float) -> AudioError:
    """Make the error for a prompt of ``seconds``, which are too few."""
    return AudioError(
        # Rounded down: the message must not name a length that would be long enough.
        "too_short",
        f"The prompt has {int(seconds * 100 + 1e-6) / 100:.2f} s of audio; at least {MIN_PROMPT_SECONDS} s is needed.",
    )


def too_long(limit: float = MAX_PROMPT_SECONDS) -> AudioError:
    """Make the error for a prompt of more than ``limit`` seconds."""
    return AudioError("too_long", f"The prompt is longer than {limit:g} s; send at most that much.")


def not_audio() -> AudioError:
    """Make the error for a file that is not audio."""
    return AudioError("not_audio", f"The file is not audio in a known format; {READABLE} are read.")


def cut_short(kind: str) -> AudioError:
    """Make the error for a file of this kind that is truncated or damaged."""
    return AudioError("undecodable", f"The {kind} file is damaged or cut short and cannot be decoded.")
