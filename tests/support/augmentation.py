"""Random changes of one crop by NumPy, as a reference for the batch's of ``training/data/augmentation.py``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from whispergpt.engine.audio.limits import Samples
from whispergpt.engine.config import SAMPLE_RATE
from whispergpt.training.data.augmentation import BANDS_HZ, ROOM_DB, ROOM_DECAY, Augmentation


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
