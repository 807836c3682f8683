"""Bandwidth: level of a sound above 8.2 kHz, and whether a continuation opens that band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import SAMPLE_RATE
from whispergpt.training.measures.figures.spectra import ROUNDING_POWER, power_spectra

EDGE_HZ = 8_200
"""Lower edge of the high band in Hz: a recording made at 16 kHz has nothing above it."""
WINDOW = 960
"""Samples of a window (40 ms)."""
WINDOW_HOP = WINDOW // 2
LOUDEST = 24
"""Windows of half a second: the high band's level is that of its loudest half second."""
LEVEL_PERCENTILE = 95
"""Percentile of the windows' levels that counts as the level of the whole sound."""
INAUDIBLE_DB = -75.0
"""Lowest level in dB of a high band; weaker bands count as this level."""
QUIETEST_DB = 10.0
"""Level in dB below the prompt's; a sound's reference level is never lower."""
OPENING_DB = 30.0
"""Rise in dB above which a sound opens the band; docs/measuring.md explains the choice."""


@dataclass(frozen=True)
class BandLevels:
    """Levels of one sound in dB below full scale.

    Attributes:
        high: mean power above 8.2 kHz in the half second where it is the greatest.
        whole: power of all frequencies that only one window in twenty exceeds.
    """

    high: float
    whole: float


def band_levels(audio: Samples) -> BandLevels | None:
    """Return the levels of samples ``[n]`` at 24 kHz; None for silence and for less than half a second."""
    first = EDGE_HZ * WINDOW // SAMPLE_RATE
    blocks = [(block[:, first:].sum(1), block.sum(1)) for block in power_spectra(audio, WINDOW, WINDOW_HOP)]
    if sum(len(whole) for _, whole in blocks) < LOUDEST or not audio.any():
        return None
    high, whole = (np.concatenate(powers) for powers in zip(*blocks, strict=True))
    loudest = np.convolve(high, np.full(LOUDEST, 1 / LOUDEST), "valid").max()
    return BandLevels(_in_db(loudest), _in_db(np.percentile(whole, LEVEL_PERCENTILE)))


def high_band_db(levels: BandLevels | None, prompt: BandLevels | None = None) -> float | None:
    """Return the level above 8.2 kHz in dB relative to the whole sound.

    The reference is at least 10 dB below the prompt's level. Otherwise a continuation that fades to a hiss would count
    as one with a loud high band.
    """
    if levels is None:
        return None
    return levels.high - (levels.whole if prompt is None else max(levels.whole, prompt.whole - QUIETEST_DB))


def band_rise_db(prompt: BandLevels | None, levels: BandLevels | None) -> float | None:
    """Return by how many dB the high band is louder than the prompt's; inaudible bands count as -75 dB."""
    before, after = high_band_db(prompt), high_band_db(levels, prompt)
    if before is None or after is None:
        return None
    return max(after, INAUDIBLE_DB) - max(before, INAUDIBLE_DB)


def opens_band(prompt: BandLevels | None, levels: BandLevels | None) -> bool | None:
    """Return whether a sound has a high band that its prompt does not have: one louder by more than 30 dB."""
    rise = band_rise_db(prompt, levels)
    return None if rise is None else rise > OPENING_DB


def _in_db(power: float | np.floating[Any]) -> float:
    return float(10 * np.log10(max(power, ROUNDING_POWER)))
