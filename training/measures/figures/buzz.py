"""The buzz at the frame rate: its comb in the spectrum, and the waveform's similarity to that of the frame before."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import FRAME_RATE, HOP, SAMPLE_RATE
from whispergpt.training.measures.figures.spectra import ROUNDING_POWER, power_spectra

WINDOW = 9_600
"""Samples of a window (0.4 s), so that a bin is 2.5 Hz wide."""
WINDOW_HOP = WINDOW // 4
FIRST_HZ, LAST_HZ = 600, 7_500
"""Lowest and highest multiple of the frame rate that counts, in Hz."""
NEAREST, FARTHEST = 5, 14
"""Bins away from a multiple between which its surroundings lie, on both sides."""
LOWEST_HZ = 2_000
"""Frequency in Hz above which the waveform is compared."""
TAPS = 511
"""Length of the high-pass filter: its edge is 300 Hz wide."""
KAISER_BETA = 10.0
"""Shape of the filter's window: sound below the edge is weakened by 100 dB."""


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


def frame_correlation(audio: Samples) -> float | None:
    """Return the correlation of samples ``[n]`` above 2 kHz with themselves one frame (320 samples) later.

    The correlation is taken over the whole sound at once, so that loud passages weigh as much as their energy.

    Returns:
        0 for sound that repeats nothing, 1 for sound that repeats every frame. None for less than 0.4 s, and where
        sound above 2 kHz is no stronger than the rounding to 16 bits.
    """
    if len(audio) < WINDOW:
        return None
    high = np.convolve(audio.astype(np.float64), _high_pass(), "valid")
    if np.square(high).mean() < ROUNDING_POWER:
        return None
    before, after = high[:-HOP], high[HOP:]
    energy = float(np.sqrt((before @ before) * (after @ after)))
    return float(before @ after) / energy if energy else None


def _high_pass() -> npt.NDArray[np.float64]:
    """Return a linear-phase high-pass filter ``[TAPS]``: an impulse less a windowed sinc."""
    edge = 2 * LOWEST_HZ / SAMPLE_RATE
    low = np.sinc(edge * (np.arange(TAPS) - TAPS // 2)) * np.kaiser(TAPS, KAISER_BETA)
    high = -low / low.sum()
    high[TAPS // 2] += 1
    return np.asarray(high, np.float64)
