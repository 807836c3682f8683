"""The frame correlation: similarity of a sound's waveform to that of the frame before."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import HOP, SAMPLE_RATE
from whispergpt.training.measures.figures.comb import WINDOW
from whispergpt.training.measures.figures.spectra import ROUNDING_POWER

LOWEST_HZ = 2_000
"""Frequency in Hz above which the waveform is compared."""
TAPS = 511
"""Length of the high-pass filter: its edge is 300 Hz wide."""
KAISER_BETA = 10.0
"""Shape of the filter's window: sound below the edge is weakened by 100 dB."""
LEAST_SAMPLES = WINDOW
"""Shortest sound (0.4 s) that has a figure, the same as for the comb."""


def frame_correlation(audio: Samples) -> float | None:
    """Return the correlation of samples ``[n]`` above 2 kHz with themselves one frame (320 samples) later.

    The correlation is taken over the whole sound at once, so that loud passages weigh as much as their energy.

    Returns:
        0 for sound that repeats nothing, 1 for sound that repeats every frame. None for less than 0.4 s, and where
        sound above 2 kHz is no stronger than the rounding to 16 bits.
    """
    if len(audio) < LEAST_SAMPLES:
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
