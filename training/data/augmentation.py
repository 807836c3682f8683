"""Random changes of recordings for a codec's training: levels, microphones, rooms and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from whispergpt.engine.audio.limits import Samples
from whispergpt.engine.config import SAMPLE_RATE

BANDS_HZ = (0.0, 150.0, 500.0, 1_500.0, 4_000.0, 8_000.0, 12_000.0)
"""Frequencies in Hz at which an equaliser's gains are drawn."""
ROOM_DB = (2.0, 15.0)
"""Range of a room's response, in dB below the sound itself."""
ROOM_DECAY = 6.9
"""Exponent of a fall by 60 dB: exp(-6.9) is a thousandth."""


@dataclass(frozen=True)
class Augmentation:
    """Settings of the random changes: how often a crop is changed, and how much.

    ``level_db``: range of the RMS level of all crops; ``equalizer_db``: standard deviation of the gain at each of
    seven frequencies; ``room_seconds``: range of the time in which the room's sound falls by 60 dB; ``noise_db``: range
    of the noise's level below the sound's.
    """

    level_db: tuple[float, float] = (-32.0, -14.0)
    equalizer_share: float = 0.25
    equalizer_db: float = 4.0
    room_share: float = 0.1
    room_seconds: tuple[float, float] = (0.1, 0.6)
    noise_share: float = 0.1
    noise_db: tuple[float, float] = (20.0, 45.0)


def augment(samples: Samples, draw: np.random.Generator, how: Augmentation) -> Samples:
    """Change ``[n]`` samples at 24 kHz at random, bring them to a random level, and return them."""
    if draw.random() < how.equalizer_share:
        samples = _equalize(samples, draw.normal(0, how.equalizer_db, len(BANDS_HZ)))
    if draw.random() < how.room_share:
        samples = _in_a_room(samples, draw.uniform(*how.room_seconds), draw)
    level = float(np.sqrt(np.mean(samples**2)))
    if draw.random() < how.noise_share:
        below = 10 ** (-draw.uniform(*how.noise_db) / 20)
        samples = samples + draw.normal(0, level * below, len(samples)).astype(np.float32)
    gain = 10 ** (draw.uniform(*how.level_db) / 20) / max(level, 1e-3)
    # The peak stays below full scale.
    gain = min(gain, 0.99 / max(float(np.abs(samples).max()), 1e-3))
    return (samples * gain).astype(np.float32)


def _equalize(samples: Samples, gains_db: npt.NDArray[np.float64]) -> Samples:
    """Apply a smooth gain over frequency, as another microphone would."""
    spectrum = np.fft.rfft(samples)
    frequency = np.linspace(0, SAMPLE_RATE / 2, len(spectrum))
    gain = 10 ** (np.interp(frequency, BANDS_HZ, gains_db) / 20)
    return np.fft.irfft(spectrum * gain, len(samples)).astype(np.float32)


def _in_a_room(samples: Samples, seconds: float, draw: np.random.Generator) -> Samples:
    """Add a room's response to the sound: noise that dies away exponentially (Polack 1988)."""
    taps = int(seconds * SAMPLE_RATE)
    decay = np.exp(-ROOM_DECAY * np.arange(taps) / taps)
    response = draw.normal(0, 1, taps) * decay
    response *= 10 ** (-draw.uniform(*ROOM_DB) / 20) / np.sqrt((response**2).sum())
    response[0] = 1.0
    size = 1 << (len(samples) + taps - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)
    return wet[: len(samples)].astype(np.float32)
