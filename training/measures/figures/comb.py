"""The comb: prominence of the multiples of the frame rate in the spectrum of a sound."""

from __future__ import annotations

import numpy as np

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import FRAME_RATE, SAMPLE_RATE
from whispergpt.training.measures.figures.spectra import ROUNDING_POWER, power_spectra

WINDOW = 9_600
"""Samples of a window (0.4 s), so that a bin is 2.5 Hz wide."""
WINDOW_HOP = WINDOW // 4
FIRST_HZ, LAST_HZ = 600, 7_500
"""Lowest and highest multiple of the frame rate that counts, in Hz."""
NEAREST, FARTHEST = 5, 14
"""Bins away from a multiple between which its surroundings lie, on both sides."""


def comb_db(audio: Samples) -> float | None:
    """Return the prominence in dB of the multiples of 75 Hz in the average power spectrum of samples ``[n]``.

    Prominence at a multiple is the mean of three bins, in dB, less the median of the bins 5 to 14 away. The figure is
    its mean over the multiples from 600 to 7,500 Hz. Bins weaker than the rounding to 16 bits count as that rounding.

    Returns:
        0 for sound that has no comb; None for silence and for less than one window (0.4 s).
    """
    if len(audio) < WINDOW or not audio.any():
        return None
    total, count = np.zeros(WINDOW // 2 + 1), 0
    for block in power_spectra(audio, WINDOW, WINDOW_HOP):
        total += block.sum(axis=0)
        count += len(block)
    levels = 10 * np.log10(np.maximum(total / count, ROUNDING_POWER / (WINDOW // 2)))
    step = FRAME_RATE * WINDOW // SAMPLE_RATE
    teeth = np.arange(FIRST_HZ // FRAME_RATE, LAST_HZ // FRAME_RATE + 1)[:, None] * step
    away = np.arange(NEAREST, FARTHEST + 1)
    top = levels[teeth + np.arange(-1, 2)].mean(axis=1)
    around = np.median(levels[teeth + np.concatenate([-away, away])], axis=1)
    return float((top - around).mean())
