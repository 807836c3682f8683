"""Bandwidth of a prompt: the limit above which its recording has nothing, and which its streams keep to.

A recording that was sampled at 16 kHz ends abruptly below 8 kHz, while sounds fade gradually with frequency. A limit is
found where the spectrum falls by 30 dB within 750 Hz, and is inaudible from there on. The definitions are those of the
measure of an opened band (`docs/measuring.md`): levels in the loudest half second, relative to the power that one
window in twenty exceeds, and inaudible below -75 dB. A hiss, a click, a hum or a single tone therefore sets no limit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import LIMITS_HZ, NO_LIMIT, SAMPLE_RATE

WINDOW_HOP = 480
WINDOW = 2 * WINDOW_HOP
"""Samples of a window, 40 ms; the next one begins half a window later."""
BAND_HZ = 250
BANDS = SAMPLE_RATE // 2 // BAND_HZ
_BINS = WINDOW // 2 // BANDS
LOUDEST = 24
"""Windows of half a second: a band's level is that of its loudest half second."""
LEVEL_PERCENTILE = 95
"""Percentile of the windows' powers that counts as the power of the whole prompt."""
FALL_DB = 30.0
"""Least fall in dB at a limit. Of 3,000 prompts of sampled pianos, which have no limit, none falls as much."""
INAUDIBLE_DB = -75.0
"""Highest level in dB of each band above a limit, relative to the whole prompt."""
SILENT_POWER = 1e-8
"""Power of the whole prompt, relative to full scale, below which there is no limit."""
_FILLED, _GAP = 4, 3
"""Bands that must be louder than all above the limit, and bands between, in which resamplers' filters fall."""
_LOWEST, _HIGHEST = 14, 45
"""First bands above a limit that are looked at: 3,500 and 11,250 Hz."""
_FAINTEST_POWER = 1e-16
_KAISER = np.kaiser(WINDOW, 12.0)  # 100 Hz beside a sound, its spectrum is 90 dB down
_POWER_SCALE = 2 / WINDOW / float(np.square(_KAISER).sum())

Powers = npt.NDArray[np.float64]


class Bandwidth:
    """Spectrum of a prompt that arrives in pieces; the result does not depend on their sizes."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)
        self._powers: list[Powers] = []

    def push(self, samples: Samples) -> None:
        """Take the next samples ``[n]`` at 24 kHz."""
        joined = np.concatenate([self._rest, samples])
        count = max(0, (len(joined) - WINDOW) // WINDOW_HOP + 1)
        if count:
            hops = joined[: (count + 1) * WINDOW_HOP].reshape(count + 1, WINDOW_HOP)
            spectrum = np.fft.rfft(np.concatenate([hops[:-1], hops[1:]], axis=1) * _KAISER, axis=1)
            parts = spectrum.view(np.float64)[:, : 2 * BANDS * _BINS]  # of each bin, real and imaginary
            self._powers.append(np.square(parts).reshape(count, BANDS, 2 * _BINS).sum(axis=2) * _POWER_SCALE)
        self._rest = joined[count * WINDOW_HOP :]

    def limit(self) -> int:
        """Return the lowest of ``LIMITS_HZ`` above which the prompt has nothing, or ``NO_LIMIT``."""
        if not self._powers:
            return NO_LIMIT
        powers = np.concatenate(self._powers)
        whole = float(np.percentile(powers.sum(axis=1), LEVEL_PERCENTILE))
        if whole < SILENT_POWER:
            return NO_LIMIT
        levels = 10 * np.log10(np.maximum(_loudest(powers), _FAINTEST_POWER) / whole)
        above = np.maximum.accumulate(levels[::-1])[::-1]
        for first in range(_LOWEST, _HIGHEST + 1):
            below = levels[first - _GAP - _FILLED : first - _GAP].min()
            if above[first] <= INAUDIBLE_DB and below - above[first] >= FALL_DB:
                return next(limit for limit in LIMITS_HZ if limit + BAND_HZ >= first * BAND_HZ)
        return NO_LIMIT


def _loudest(powers: Powers) -> Powers:
    """Return the mean power of each band ``[BANDS]`` in the half second where it is the greatest."""
    windows = min(LOUDEST, len(powers))
    sums = np.cumsum(np.concatenate([np.zeros((1, BANDS)), powers]), axis=0)
    return np.asarray((sums[windows:] - sums[:-windows]).max(axis=0) / windows)
